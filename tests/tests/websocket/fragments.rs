//! Section 5: messages in pieces.

use fleet::raw::{BINARY, FIN, Heard, MORE, PING, PONG, TEXT, frame};

use crate::{House, are_answered, case, error, in_pieces, ping, ping_text, pong};

/// The first or a middle piece of something.
fn piece(opcode: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame(opcode, bytes)
}

/// The last piece.
fn last(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | MORE, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn section_5_a_message_in_pieces_is_the_message_and_pieces_of_nothing_end_the_connection() {
    let house = House::as_shipped().await;
    let whole = ping_text("pieces");
    let (one, two) = whole.split_at(9);
    let broken = || Heard::Close(Some(1002));
    let (asked, answered) = (frame(FIN | PING, "now"), Heard::Pong(b"now".to_vec()));
    let mut five = in_pieces(TEXT, &whole, whole.len().div_ceil(5));
    five.insert(2, asked.clone());
    five.insert(5, asked.clone());
    let five: [Vec<u8>; 7] = five.try_into().expect("five pieces and two pings");
    let cases = [
        case("5.1", [piece(PING, "a"), last("b")], [broken()]),
        case("5.2", [piece(PONG, "a"), last("b")], [broken()]),
        case("5.3-5", [piece(TEXT, one), last(two)], [pong("pieces")]),
        case("5.6-8", [piece(TEXT, one), asked.clone(), last(two)], [answered.clone(), pong("pieces")]),
        case("5.9-11", [last("of nothing"), ping("behind")], [broken()]),
        case("5.12-14", [piece(MORE, "of nothing"), ping("behind")], [broken()]),
        case(
            "5.15",
            [piece(TEXT, one), last(two), piece(MORE, "of nothing"), ping("behind")],
            [pong("pieces"), broken()],
        ),
        case("5.16", [piece(MORE, "of nothing"), piece(TEXT, one), last(two)], [broken()]),
        case("5.17", [last("of nothing"), piece(TEXT, one), last(two)], [broken()]),
        case("5.18", [piece(TEXT, one), frame(FIN | TEXT, two)], [broken()]),
        case("5.19-20", five, [answered.clone(), answered, pong("pieces")]),
        case("bytes", [piece(BINARY, "a"), piece(MORE, ""), last("b")], [error("unsupported")]),
        case("bytes between text", [piece(TEXT, one), frame(FIN | BINARY, two)], [broken()]),
    ];
    are_answered(&house, cases.into_iter().flat_map(|case| case.however_cut())).await;
}
