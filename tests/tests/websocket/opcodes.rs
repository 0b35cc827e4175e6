//! Section 4: opcodes that mean nothing yet.

use fleet::raw::{FIN, Heard, PING, frame};

use crate::{Cut, House, are_answered, case, ping, pong};

#[tokio::test(flavor = "multi_thread")]
async fn section_4_an_opcode_that_means_nothing_ends_the_connection() {
    let house = House::as_shipped().await;
    let broken = Heard::Close(Some(1002));
    let mut cases = Vec::new();
    for (section, first) in [("4.1", 3), ("4.2", 11)] {
        let name = |number: u8| format!("{section}.{number}");
        let between = |opcode| [ping("before"), frame(FIN | opcode, "unknown"), frame(FIN | PING, [])];
        let heard = || [pong("before"), broken.clone()];
        cases.extend([
            case(name(1), [frame(FIN | first, "")], [broken.clone()]),
            case(name(2), [frame(FIN | (first + 1), "unknown")], [broken.clone()]),
            case(name(3), between(first + 2), heard()),
            case(name(4), between(first + 3), heard()).cut(Cut::Frames),
            case(name(5), between(first + 4), heard()).cut(Cut::Pieces(1)),
        ]);
    }
    are_answered(&house, cases).await;
}
