//! Clients that are slow, silent or sent away.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use gateway::config::GatewaySettings;
use serde_json::json;
use shared::config::ByteSize;
use tokio_tungstenite::tungstenite::Message;

use crate::village::Village;

#[tokio::test]
async fn a_slow_reader_is_not_cut_and_delays_nobody() {
    // Whoever takes nothing at all is cut after half a minute, which is less than this takes on a busy machine.
    let stall_timeout = Duration::from_secs(600);
    let settings =
        GatewaySettings { send_queue_bytes: ByteSize(8 * 1024), stall_timeout, ..GatewaySettings::default() };
    let village = Village::with(settings).await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let (mut slow, mut quick) = (bob.connects("&since=now").await, bob.connects("&since=now").await);
    let text = "x".repeat(15_000);
    let count = 500;
    for number in 0..count {
        alice.says(&conversation, &format!("{number} {text}")).await;
        assert!(quick.shows(1).await[0].starts_with(&format!("{number} ")));
    }
    let shown = slow.shows(count).await;
    assert!(shown.iter().enumerate().all(|(number, text)| text.starts_with(&format!("{number} "))));
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_not_listened_to_until_it_does() {
    let settings = GatewaySettings { commands_per_second: 100_000, ..GatewaySettings::default() };
    let village = Village::with(settings).await;
    let alice = village.person("alice");
    let mut socket = alice.connects("").await;
    for _ in 0..4 {
        let data = "x".repeat(30_000);
        socket.says(&json!({"action": "message", "room": "tour_1", "data": data})).await;
        socket.hears("ack").await;
    }
    // Each of these is answered with 120 KB, and has 50 KB itself, which no buffer between holds four hundred times.
    let (mut asking, mut answers) = socket.socket.split();
    let asked = tokio::spawn(async move {
        let ask = json!({"action": "subscribe", "room": "tour_1", "padding": "x".repeat(50_000)}).to_string();
        for _ in 0..400 {
            asking.send(Message::text(ask.clone())).await.expect("taken in the end");
        }
        asking.send(Message::text(r#"{"action":"ping"}"#)).await.expect("taken in the end");
        asking
    });
    let _elapsed = tokio::time::timeout(Duration::from_secs(3), asked).await.expect_err("the gateway reads on and on");

    let answered = async {
        while let Some(frame) = answers.next().await {
            if frame.expect("a frame").to_text().is_ok_and(|text| text.contains(r#""type":"pong""#)) {
                return;
            }
        }
        panic!("closed");
    };
    tokio::time::timeout(Duration::from_secs(60), answered).await.expect("it is listened to again");
}

#[tokio::test]
async fn a_silent_client_is_gone_within_two_intervals() {
    let settings = GatewaySettings { heartbeat_interval: Duration::from_millis(300), ..GatewaySettings::default() };
    let village = Village::with(settings).await;
    let alice = village.person("alice");
    let mut answering = alice.connects("").await;
    // A raw stream answers no pings.
    let silent = tokio::net::TcpStream::connect(village.address).await.expect("a connection");
    let request = format!(
        "GET /api/v1/ws?token={} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        alice.token
    );
    let mut read = Vec::new();
    let mut silent = silent;
    tokio::io::AsyncWriteExt::write_all(&mut silent, request.as_bytes()).await.expect("sent");
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut read);
    tokio::select! {
        ended = tokio::time::timeout(Duration::from_secs(5), ended) => { ended.expect("closed in time").expect("closed"); }
        // Reading answers the pings that come.
        event = answering.next() => panic!("{event}"),
    }
    // 4408 in the close frame.
    assert!(read.windows(2).any(|pair| pair == 4408_u16.to_be_bytes()));
    answering.says(&json!({"action": "ping"})).await;
    answering.hears("pong").await;
}

#[tokio::test]
async fn a_draining_pod_tells_each_client_when_to_come_back_and_delivers_until_then() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(alice.connects("").await);
    }
    village.drain.begin();
    let mut delays = Vec::new();
    for socket in &mut sockets {
        delays.push(socket.hears("reconnect").await["data"]["delay_ms"].as_u64().expect("milliseconds"));
    }
    delays.sort_unstable();
    delays.dedup();
    assert_eq!(delays.len(), 4, "spread over the window");
    for socket in &mut sockets {
        assert_eq!(socket.ends().await, 1012);
    }
    assert!(village.dial(&format!("/api/v1/ws?token={}", bob.token), &[]).await.is_err());
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_told_to_come_back() {
    let settings = GatewaySettings {
        stall_timeout: Duration::from_millis(500),
        heartbeat_interval: Duration::from_secs(2),
        ..GatewaySettings::default()
    };
    let village = Village::with(settings).await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let stalled = bob.connects("&since=now").await;
    let text = "x".repeat(16_000);
    // More than the kernel's buffers hold: the gateway's writes come to a stand.
    for _ in 0..600 {
        alice.says(&conversation, &text).await;
    }
    tokio::time::timeout(Duration::from_secs(10), async {
        while village.open_sockets() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("given up in time");
    drop(stalled);
}

#[tokio::test]
async fn one_who_comes_while_the_pod_is_left_is_sent_on_too() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let mut early = alice.connects("").await;
    let mut late = village.dial("/api/v1/ws", &[]).await.expect("a socket");
    village.drain.begin();
    early.hears("reconnect").await;
    late.says(&json!({"action": "auth", "data": {"token": bob.token}})).await;
    assert_eq!(late.ends().await, 1012);
}
