//! Sections 9 and 10: messages up to the limit and beyond it, however they come, and many of them.

use std::time::{Duration, Instant};

use fleet::raw::{BINARY, FIN, Heard, Raw, TEXT, frame, text};

use crate::{Case, Cut, House, are_answered, case, error, in_pieces, long_ping, pong};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A message of text and one of bytes, of so many bytes each, in pieces; and whether they are within the limit.
fn messages(name: &str, length: usize, piece: usize, fits: bool) -> [Case; 2] {
    let framed = |what: &str, opcode, message: &[u8], heard| Case {
        name: format!("{name} {what} of {length} in pieces of {piece}"),
        frames: in_pieces(opcode, message, piece),
        cut: Cut::Together,
        hears: vec![if fits { heard } else { Heard::Close(Some(1009)) }],
    };
    [
        framed("text", TEXT, &long_ping(length), pong("long")),
        framed("bytes", BINARY, &vec![0xfe; length], error("unsupported")),
    ]
}

/// What the sections ask where the longest message has so many bytes.
async fn are_taken_up_to(house: &House, limit: usize) {
    let mut cases = Vec::new();
    for length in [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB, limit, limit + 1] {
        cases.extend(messages("9.1, 9.2", length, length, length <= limit));
    }
    for piece in [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB] {
        cases.extend(messages("9.3, 9.4", limit, piece, true));
        cases.extend(messages("9.3, 9.4", limit + 1, piece, false));
    }
    for size in [64, 128, 256, 512, KIB, 2 * KIB] {
        cases.extend(messages("9.5, 9.6", 64 * KIB, 64 * KIB, true).map(|case| case.cut(Cut::Pieces(size))));
    }
    cases.push(Case { name: "10.1".into(), ..messages("", 64 * KIB, 1300, true)[0].clone() });
    are_answered(house, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_9_and_10_messages_are_taken_up_to_the_limit_as_shipped_however_they_come() {
    are_taken_up_to(&*House::as_shipped().await, 64 * KIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_9_and_10_messages_are_taken_up_to_the_longest_command_and_a_thousand_of_them() {
    let raised = [("CARILLON_GATEWAY__MAX_FRAME_BYTES", "1MiB"), ("CARILLON_GATEWAY__COMMANDS_PER_SECOND", "100000")];
    let house = House::told(raised).await.expect("nginx starts");
    are_taken_up_to(&house, MIB).await;
    for (door, port) in house.doors() {
        for length in [43, 64, 256, KIB, 4 * KIB, 16 * KIB] {
            let mut raw = Raw::opens(port, &house.token()).await;
            let (text, bytes) = (text(long_ping(length)), frame(FIN | BINARY, vec![0xfe; length]));
            for _ in 0..100 {
                // All on their way at once, as the suite does not have it.
                raw.sends(text.repeat(10)).await;
                for _ in 0..10 {
                    assert_eq!(raw.hears().await, pong("long"), "9.7 {length} {door}");
                }
            }
            raw.sends(bytes).await;
            assert_eq!(raw.hears().await, error("unsupported"), "9.8 {length} {door}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_longer_than_a_command_may_be_is_read_and_leaves_the_connection_alone() {
    let house = House::told([("CARILLON_GATEWAY__MAX_FRAME_BYTES", "16MiB")]).await.expect("nginx starts");
    for (door, port) in house.doors() {
        let mut raw = Raw::opens(port, &house.token()).await;
        for (length, heard) in [(MIB, pong("long")), (MIB + 1, error("too_large")), (16 * MIB, error("too_large"))] {
            for piece in [length, 64 * KIB] {
                raw.sends(in_pieces(TEXT, &long_ping(length), piece).concat()).await;
                assert_eq!(raw.hears().await, heard, "{length} in pieces of {piece} {door}");
            }
        }
        raw.sends(frame(FIN | BINARY, vec![0xfe; 16 * MIB])).await;
        assert_eq!(raw.hears().await, error("unsupported"), "{door}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_limit_is_refused_by_its_header_alone() {
    let house = House::as_shipped().await;
    let begun = Instant::now();
    let refused = || [Heard::Close(Some(1009))];
    let lengths = [65_537, 1 << 31, 1 << 32, (1 << 32) + 5, 1 << 63, u64::MAX];
    let header = |length| fleet::raw::header(FIN | TEXT, length);
    are_answered(&house, lengths.map(|length| case(format!("{length} bytes"), [header(length)], refused()))).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "nothing was waited for");
}
