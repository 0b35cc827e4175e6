//! Section 1: whole messages of every kind of length.

use fleet::raw::{BINARY, FIN, frame, text};

use crate::{Cut, House, are_answered, case, error, long_ping, pong};

/// About where a length is written in one, three and nine bytes.
const LENGTHS: [usize; 6] = [125, 126, 127, 128, 65_535, 65_536];

#[tokio::test(flavor = "multi_thread")]
async fn section_1_text_of_every_length_is_taken_and_bytes_are_answered_with_unsupported() {
    let house = House::as_shipped().await;
    let bytes = |length: usize| frame(FIN | BINARY, vec![0xfe; length]);
    let mut cases = vec![
        case("1.1.1", [text("")], [error("bad_request")]),
        case("1.1.8", [text(long_ping(65_536))], [pong("long")]).cut(Cut::Pieces(997)),
        case("1.2.1", [bytes(0)], [error("unsupported")]),
        case("1.2.8", [bytes(65_536)], [error("unsupported")]).cut(Cut::Pieces(997)),
    ];
    for (number, length) in LENGTHS.into_iter().enumerate() {
        cases.push(case(format!("1.1.{}", number + 2), [text(long_ping(length))], [pong("long")]));
        cases.push(case(format!("1.2.{}", number + 2), [bytes(length)], [error("unsupported")]));
    }
    are_answered(&house, cases).await;
}
