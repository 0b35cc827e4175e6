//! Section 3: reserved bits, which mean nothing here.

use fleet::raw::{BINARY, CLOSE, FIN, Heard, PING, TEXT, frame};

use crate::{Cut, House, are_answered, case, ping, ping_text, pong};

const BROKEN: Heard = Heard::Close(Some(1002));

/// A frame with the reserved bits of a number from 1 to 7.
fn reserved(bits: u8, opcode: u8) -> Vec<u8> {
    frame(FIN | bits << 4 | opcode, ping_text("reserved"))
}

#[tokio::test(flavor = "multi_thread")]
async fn section_3_a_reserved_bit_ends_the_connection_and_nothing_behind_it_is_taken() {
    let house = House::as_shipped().await;
    let between = |bits| [ping("before"), reserved(bits, TEXT), frame(FIN | PING, [])];
    are_answered(
        &house,
        [
            case("3.1", [reserved(1, TEXT)], [BROKEN]),
            case("3.2", between(2), [pong("before"), BROKEN]),
            case("3.3", between(3), [pong("before"), BROKEN]).cut(Cut::Frames),
            case("3.4", between(4), [pong("before"), BROKEN]).cut(Cut::Pieces(1)),
            case("3.5", [reserved(5, BINARY)], [BROKEN]),
            case("3.6", [reserved(6, PING)], [BROKEN]),
            case("3.7", [reserved(7, CLOSE)], [BROKEN]),
        ],
    )
    .await;
}
