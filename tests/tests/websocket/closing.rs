//! Section 7: closing.

use fleet::raw::{CLOSE, FIN, Heard, MORE, PING, TEXT, close, frame, text};

use crate::{Case, House, are_answered, case, long_ping, ping, pong};

/// Codes that a client may close with.
const GOOD: [u16; 15] = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999];
/// Codes that no client may close with: some have no meaning, and some only say how a connection ended without a close.
const BAD: [u16; 12] = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];

fn closed(code: u16) -> Heard {
    Heard::Close(Some(code))
}

#[tokio::test(flavor = "multi_thread")]
async fn section_7_a_close_is_answered_with_its_code_and_a_wrong_one_with_what_is_wrong() {
    let house = House::as_shipped().await;
    let goodbye = || close(1000, "");
    let mut cases: Vec<Case> = vec![
        case("7.1.1", [ping("before"), goodbye()], [pong("before"), closed(1000)]),
        case("7.1.2", [goodbye(), goodbye()], [closed(1000)]),
        case("7.1.3", [goodbye(), frame(FIN | PING, "")], [closed(1000)]),
        case("7.1.4", [goodbye(), ping("after")], [closed(1000)]),
        case("7.1.5", [frame(TEXT, "a"), goodbye(), frame(FIN | MORE, "b")], [closed(1000)]),
        case("7.1.6", [text(long_ping(65_536)), goodbye(), ping("after")], [pong("long"), closed(1000)]),
        case("7.3.1", [frame(FIN | CLOSE, "")], [Heard::Close(None)]),
        case("7.3.2", [frame(FIN | CLOSE, "a")], [closed(1002)]),
        case("7.3.3", [goodbye()], [closed(1000)]),
        case("7.3.4", [close(1000, "Hello, world!")], [closed(1000)]),
        case("7.3.5", [close(1000, [b'*'; 123])], [closed(1000)]),
        case("7.3.6", [close(1000, [b'*'; 124])], [closed(1002)]),
        case("7.5.1", [close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited")], [closed(1007)]),
    ];
    let answered =
        |section: &str, sent: u16, code| case(format!("{section} {sent}"), [close(sent, "")], [closed(code)]);
    cases.extend(GOOD.map(|code| answered("7.7", code, code)));
    cases.extend(BAD.map(|code| answered("7.9, 7.13", code, 1002)));
    are_answered(&house, cases.into_iter().flat_map(Case::however_cut)).await;
}
