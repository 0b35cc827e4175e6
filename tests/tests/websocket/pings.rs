//! Section 2: pings and pongs.

use fleet::raw::{FIN, Heard, PING, PONG, frame};

use crate::{Case, Cut, House, are_answered, case};

const BYTES: &[u8] = &[0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff];
const LONGEST: &[u8] = &[0xfe; 125];

fn ping(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | PING, payload)
}

/// A pong that nobody asked for.
fn unasked(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | PONG, payload)
}

fn pong(payload: impl AsRef<[u8]>) -> Heard {
    Heard::Pong(payload.as_ref().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn section_2_a_ping_is_answered_with_its_payload_and_a_pong_not_at_all() {
    let house = House::as_shipped().await;
    let ten = |name: &str| {
        let numbers = std::array::from_fn::<_, 10, _>(|number| format!("payload {number}"));
        case(name, numbers.clone().map(ping), numbers.map(pong))
    };
    let cases: [Case; 11] = [
        case("2.1", [ping("")], [pong("")]),
        case("2.2", [ping("Hello, world!")], [pong("Hello, world!")]),
        case("2.3", [ping(BYTES)], [pong(BYTES)]),
        case("2.4", [ping(LONGEST)], [pong(LONGEST)]),
        case("2.5", [ping([0xfe; 126])], [Heard::Close(Some(1002))]),
        case("2.6", [ping(LONGEST)], [pong(LONGEST)]).cut(Cut::Pieces(1)),
        case("2.7", [unasked("")], []),
        case("2.8", [unasked("unasked")], []),
        case("2.9", [unasked("unasked"), ping("asked")], [pong("asked")]),
        ten("2.10"),
        ten("2.11").cut(Cut::Pieces(1)),
    ];
    are_answered(&house, cases).await;
}
