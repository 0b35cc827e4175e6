//! Clients that mean harm: what never ends, comes without end, or keeps others waiting.

use std::time::{Duration, Instant};

use fleet::raw::{BINARY, FIN, Heard, MORE, PING, PONG, Raw, TEXT, frame, header, text, upgrade};

use crate::{House, are_answered, case, ping, pong};

/// Longest that anybody may keep a place without saying who they are, or a head without ending it, with some time to spare.
const SOON: Duration = Duration::from_secs(15);

/// What is heard of somebody who sends `flood` until they are told to stop, besides what each piece of it is answered with.
async fn told_at_last(mut raw: Raw, flood: &[u8], at_most: usize) -> Heard {
    let mut sent = 0;
    while raw.can_send(flood).await {
        sent += flood.len();
        assert!(sent <= at_most, "{sent} bytes were taken");
        while let Some(heard) = raw.hears_already() {
            if matches!(heard, Heard::Close(_) | Heard::Ended) {
                return heard;
            }
        }
    }
    loop {
        let heard = raw.hears().await;
        if matches!(heard, Heard::Close(_) | Heard::Ended) {
            return heard;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_without_a_mask_end_the_connection() {
    let house = House::as_shipped().await;
    let broken = || Heard::Close(Some(1002));
    let bare = |first: u8, payload: &[u8]| [&[first, payload.len() as u8], payload].concat();
    are_answered(
        &house,
        [
            case("text", [bare(FIN | TEXT, b"{}")], [broken()]),
            case("ping", [bare(FIN | PING, b"")], [broken()]),
            case("the last piece", [frame(TEXT, "{"), bare(FIN | MORE, b"}")], [broken()]),
            case("behind a masked one", [ping("masked"), bare(FIN | TEXT, b"{}")], [pong("masked"), broken()]),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_pieces_without_end_is_refused_though_it_stays_small() {
    let house = House::as_shipped().await;
    let (asked, unasked) = (frame(FIN | PING, ""), frame(FIN | PONG, [b'x'; 125]));
    for (what, first, piece) in [
        ("a byte each", TEXT, frame(MORE, "x")),
        ("nothing each", TEXT, frame(MORE, "")),
        ("bytes, nothing each", BINARY, frame(MORE, "")),
        ("with pings in between", TEXT, [frame(MORE, "").repeat(400), asked].concat()),
        ("with pongs in between", TEXT, [frame(MORE, "").repeat(400), unasked].concat()),
    ] {
        for (door, port) in house.doors() {
            let mut raw = Raw::opens(port, &house.token()).await;
            raw.sends(frame(first, "{")).await;
            // What the kernels and nginx hold on the way is taken too.
            let told = told_at_last(raw, &piece.repeat(64), 64 << 20).await;
            assert_eq!(told, Heard::Close(Some(1009)), "{what} {door}");
        }
    }
}

/// Everything costs something, an empty frame as well.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_floods_is_cut_whatever_the_frames_are_and_nobody_else_waits() {
    let house = House::as_shipped().await;
    let neighbour = async |port, until: &std::sync::atomic::AtomicBool| {
        let mut raw = Raw::opens(port, &house.token()).await;
        let mut longest = Duration::ZERO;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            let begun = Instant::now();
            raw.sends(ping("me")).await;
            assert_eq!(raw.hears().await, pong("me"));
            longest = longest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        longest
    };
    for (door, port) in house.doors() {
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let floods = async {
            for (what, flood) in [
                ("pings", frame(FIN | PING, "")),
                ("long pings", frame(FIN | PING, [b'x'; 125])),
                ("pongs", frame(FIN | PONG, "")),
                ("empty texts", text("")),
                ("bytes", frame(FIN | BINARY, "")),
                ("commands", ping("flood")),
            ] {
                let raw = Raw::opens(port, &house.token()).await;
                let told = told_at_last(raw, &flood.repeat(100), 64 << 20).await;
                assert_eq!(told, Heard::Close(Some(4429)), "{what} {door}");
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        let (longest, ()) = tokio::join!(neighbour(port, &is_over), floods);
        assert!(longest < Duration::from_secs(2), "somebody else waited for {longest:?} {door}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_say_who_they_are_is_gone_after_five_seconds_whatever_they_do_meanwhile() {
    let house = House::as_shipped().await;
    let slowly: Vec<Vec<u8>> = frame(FIN | TEXT, [b' '; 1_000]).chunks(1).map(<[u8]>::to_vec).collect();
    let pieces = [vec![frame(TEXT, "{")], vec![frame(MORE, " "); 1_000]].concat();
    let mut visits = tokio::task::JoinSet::new();
    for (what, writes, code) in [
        ("nothing", vec![], 4408),
        ("half a frame", vec![header(FIN | TEXT, 65_536)], 4408),
        ("a byte now and then", slowly, 4408),
        ("a piece now and then", pieces, 4408),
        ("a ping", vec![frame(FIN | PING, "")], 4401),
        ("a command", vec![ping("me")], 4401),
    ] {
        for (door, port) in house.doors() {
            let writes = writes.clone();
            visits.spawn(async move {
                let mut raw = Raw::connect(port).await;
                raw.sends(upgrade("/api/v1/ws", "")).await;
                assert!(raw.answer().await.starts_with("HTTP/1.1 101 "), "{door}");
                let begun = Instant::now();
                for write in writes {
                    raw.sends(write).await;
                    if let Some(heard) = raw.hears_within(Duration::from_millis(100)).await {
                        assert_eq!(heard, Heard::Close(Some(code)), "{what} {door}");
                        return;
                    }
                    assert!(begun.elapsed() < SOON, "{what} {door}");
                }
                assert_eq!(raw.hears_within(SOON).await, Some(Heard::Close(Some(code))), "{what} {door}");
            });
        }
    }
    visits.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_ends_its_connection() {
    let house = House::as_shipped().await;
    let endless = format!("GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: {}", "x".repeat(1_000));
    let mut visits = tokio::task::JoinSet::new();
    for (door, port) in house.doors() {
        // The second time behind a request that was answered.
        for before in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let endless = endless.clone();
            visits.spawn(async move {
                let mut raw = Raw::connect(port).await;
                raw.sends(before).await;
                let begun = Instant::now();
                for byte in endless.bytes() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if !raw.can_send(&[byte]).await {
                        return;
                    }
                    assert!(begun.elapsed() < SOON, "it is listened to for {:?} {door}", begun.elapsed());
                }
                panic!("every byte of it was taken {door}");
            });
        }
    }
    visits.join_all().await;
}
