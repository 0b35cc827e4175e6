//! The gateway from outside: what clients see through real sockets, with a real api behind it.

mod limits;
mod presence;
mod revocations;
mod tickets;
mod village;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use gateway::config::GatewaySettings;
use serde_json::{Value, json};
use shared::channel::Role;
use shared::config::ByteSize;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use village::Village;

#[tokio::test]
async fn the_source_systems_first_steps_work_as_written() {
    let village = Village::new().await;
    let mut socket = village.person("user123").connects("&device_type=mobile&app_version=1.2").await;
    socket.says(&json!({"action": "ping"})).await;
    assert!(socket.hears("pong").await["data"]["head"].is_string());
    socket.says(&json!({"action": "subscribe", "room": "tour_456", "ref": "r1"})).await;
    assert_eq!(socket.hears("ack").await["ref"], "r1");
    socket.says(&json!({"action": "message", "room": "tour_456", "data": {"text": "Hello"}, "ref": "r2"})).await;
    let (first, second) = (socket.next().await, socket.next().await);
    let (event, ack) = if first["type"] == "message" { (first, second) } else { (second, first) };
    assert_eq!((&ack["type"], &ack["ref"]), (&json!("ack"), &json!("r2")));
    assert_eq!(event["room"], "tour_456");
    assert_eq!(event["data"], json!({"text": "Hello"}));
    assert_eq!(event["sender_id"], "user123");
    assert_eq!(event["position"], ack["data"]["position"]);
    socket.says(&json!({"action": "unsubscribe", "room": "tour_456"})).await;
    socket.hears("ack").await;
}

#[tokio::test]
async fn every_device_of_every_participant_shows_a_message_once_and_in_order() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let (mut phone, mut laptop, mut hers) =
        (bob.connects("&device_id=phone").await, bob.connects("&device_id=laptop").await, alice.connects("").await);
    let conversation = alice.starts_with(&[&bob]).await;
    for number in 0..50 {
        alice.says(&conversation, &number.to_string()).await;
    }
    let all: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(phone.shows(50).await, all);
    assert_eq!(laptop.shows(50).await, all);
    assert_eq!(hers.shows(50).await, all);
}

#[tokio::test]
async fn a_message_sent_over_the_socket_is_the_same_as_one_over_rest() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let (mut hers, mut his) = (alice.connects("&since=now").await, bob.connects("&since=now").await);
    let data = json!({"conversation_id": conversation, "message_text": "hello", "client_message_id": "k1"});
    hers.says(&json!({"action": "message", "data": data, "ref": "m"})).await;
    let event = his.hears("new_message").await;
    let ack = hers.waits_for("ack").await;
    assert_eq!(ack["data"]["id"], event["data"]["message_id"]);
    assert_eq!((&ack["data"]["seq"], &event["data"]["unread_count"]), (&json!(1), &json!(1)));
    // The same again makes no second message.
    hers.says(&json!({"action": "message", "data": data, "ref": "again"})).await;
    assert_eq!(hers.waits_for("ack").await["data"]["id"], event["data"]["message_id"]);
    let other = json!({"conversation_id": conversation, "message_text": "other", "client_message_id": "k1"});
    hers.says(&json!({"action": "message", "data": other})).await;
    assert_eq!(hers.waits_for("error").await["data"]["code"], "key_reused");
}

#[tokio::test]
async fn a_device_that_was_away_gets_what_it_missed_and_nothing_twice() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut phone = bob.connects("&device_id=phone&since=now").await;
    alice.says(&conversation, "one").await;
    let cursor = phone.hears("new_message").await["cursor"].as_str().expect("a cursor").to_owned();
    drop(phone);
    for number in 0..300 {
        alice.says(&conversation, &format!("{number} {}", "x".repeat(600))).await;
    }
    let mut phone = bob.connects(&format!("&device_id=phone&since={cursor}")).await;
    let shown = phone.shows(300).await;
    assert!(shown.iter().enumerate().all(|(number, text)| text.starts_with(&format!("{number} "))));
    // And live from there on.
    alice.says(&conversation, "live").await;
    assert_eq!(phone.hears("new_message").await["data"]["message_text"], "live");
}

#[tokio::test]
async fn a_device_that_returns_while_another_stays_gets_what_it_missed_from_the_window() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let (mut laptop, mut phone) = (bob.connects("&since=now").await, bob.connects("&since=now").await);
    alice.says(&conversation, "0").await;
    let cursor = phone.hears("new_message").await["cursor"].as_str().expect("a cursor").to_owned();
    drop(phone);
    let all: Vec<_> = (0..90).map(|number| number.to_string()).collect();
    for number in 1..90 {
        alice.says(&conversation, &number.to_string()).await;
    }
    // 89 missed: more than a window holds. Then fewer.
    let mut phone = bob.connects(&format!("&since={cursor}")).await;
    assert_eq!(phone.shows(89).await, all[1..]);
    let cursor = {
        alice.says(&conversation, "90").await;
        phone.hears("new_message").await["cursor"].as_str().expect("a cursor").to_owned()
    };
    drop(phone);
    for number in 91..100 {
        alice.says(&conversation, &number.to_string()).await;
    }
    let mut phone = bob.connects(&format!("&since={cursor}")).await;
    assert_eq!(phone.shows(9).await, (91..100).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(laptop.shows(100).await.len(), 100);
}

#[tokio::test]
async fn without_a_cursor_a_device_starts_where_it_acknowledged() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    // Nobody ever came: everything kept is the offline queue.
    alice.says(&conversation, "one").await;
    let mut phone = bob.connects("&device_id=phone").await;
    let created = phone.hears("conversation.created").await;
    assert_eq!(created["prev"], 0);
    let cursor = phone.hears("new_message").await["cursor"].clone();
    phone.says(&json!({"action": "ack", "data": {"cursor": cursor}})).await;
    // The acknowledgement is on its way for two seconds; leaving hands it over as well.
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let mut again = bob.connects("&device_id=phone").await;
            alice.says(&conversation, "two").await;
            if again.next().await["data"]["message_text"] != "one" {
                break;
            }
        }
    })
    .await
    .expect("the acknowledgement counts in time");
}

#[tokio::test]
async fn lost_publishes_are_healed_by_the_beat_and_without_beats_by_polling() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut phone = bob.connects("&since=now").await;
    village.losses.entries.store(true, Ordering::Relaxed);
    alice.says(&conversation, "healed by the beat").await;
    assert_eq!(phone.shows(1).await, ["healed by the beat"]);
    village.losses.beats.store(true, Ordering::Relaxed);
    alice.says(&conversation, "healed by polling").await;
    assert_eq!(phone.shows(1).await, ["healed by polling"]);
}

#[tokio::test]
async fn a_hole_is_filled_before_what_follows_it() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut phone = bob.connects("&since=now").await;
    alice.says(&conversation, "one").await;
    assert_eq!(phone.shows(1).await, ["one"]);
    village.losses.entries.store(true, Ordering::Relaxed);
    alice.says(&conversation, "lost").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    village.losses.entries.store(false, Ordering::Relaxed);
    alice.says(&conversation, "three").await;
    assert_eq!(phone.shows(2).await, ["lost", "three"]);
}

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
async fn a_returning_client_recovers_a_room_from_its_history() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    his.says(&json!({"action": "subscribe", "room": "tour_1"})).await;
    his.hears("ack").await;
    let mut position = Value::Null;
    for number in 0..5 {
        hers.says(&json!({"action": "message", "room": "tour_1", "data": {"n": number}})).await;
        hers.hears("ack").await;
        if number < 3 {
            position = his.hears("message").await["position"].clone();
        } else if number == 3 {
            his.says(&json!({"action": "unsubscribe", "room": "tour_1"})).await;
            his.waits_for("ack").await;
        }
    }
    his.says(&json!({"action": "subscribe", "room": "tour_1", "data": {"since": position}})).await;
    assert_eq!(his.hears("ack").await["data"]["recovered"], true);
    assert_eq!(his.hears("message").await["data"]["n"], 3);
    assert_eq!(his.hears("message").await["data"]["n"], 4);
    // A position of another life is answered with what there is, and said to be incomplete.
    his.says(&json!({"action": "subscribe", "room": "tour_1", "data": {"since": "00000000000000aa-1"}})).await;
    assert_eq!(his.hears("ack").await["data"]["recovered"], false);
    assert_eq!(his.waits_for("resync_required").await["data"]["room"], "tour_1");
}

#[tokio::test]
async fn a_token_is_taken_in_each_of_four_ways() {
    let village = Village::new().await;
    let token = village.token("alice", Role::Guest, 60);
    let bearer = ("authorization", format!("Bearer {token}"));
    let offered = ("sec-websocket-protocol", format!("carillon.v1, bearer.{token}"));
    let mut by_header = village.dial("/ws/connect?user_id=alice", &[bearer]).await.expect("a socket");
    by_header.hears("connection_established").await;
    let mut by_query = village.dial(&format!("/ws/connect?token={token}"), &[]).await.expect("a socket");
    by_query.hears("connection_established").await;
    let mut by_protocol = village.dial("/api/v1/ws", &[offered]).await.expect("a socket");
    assert_eq!(by_protocol.subprotocol.as_deref(), Some("carillon.v1"));
    by_protocol.hears("connection_established").await;
    let mut by_command = village.dial("/api/v1/ws", &[]).await.expect("a socket");
    by_command.says(&json!({"action": "auth", "data": {"token": token}})).await;
    by_command.hears("connection_established").await;
}

#[tokio::test]
async fn who_may_not_connect_is_told_by_the_close_code() {
    let settings =
        GatewaySettings { auth_timeout: Duration::from_millis(200), max_connections: 1, ..GatewaySettings::default() };
    let village = Village::with(settings).await;
    let ends = async |path: &str| village.dial(path, &[]).await.expect("a socket").ends().await;
    let good = village.token("alice", Role::Guest, 60);
    assert_eq!(ends("/api/v1/ws?token=forged").await, 4401);
    assert_eq!(ends(&format!("/api/v1/ws?token={good}x")).await, 4401);
    assert_eq!(ends("/api/v1/ws").await, 4408);
    assert_eq!(ends(&format!("/ws/connect?user_id=mallory&token={good}")).await, 4403);
    assert_eq!(ends(&format!("/ws/notifications/mallory?token={good}")).await, 4403);
    let alice = village.person("alice");
    let _only = alice.connects("").await;
    assert_eq!(ends(&format!("/api/v1/ws?token={good}")).await, 1013);
    let foreign = [("origin", "https://evil.example".to_owned())];
    assert!(village.dial(&format!("/api/v1/ws?token={good}"), &foreign).await.is_err());
    assert!(village.dial(&format!("/api/v1/ws?token={good}&device_type=toaster"), &[]).await.is_err());
}

#[tokio::test]
async fn an_expired_token_ends_the_socket_unless_it_is_renewed() {
    let settings = GatewaySettings { heartbeat_interval: Duration::from_millis(600), ..GatewaySettings::default() };
    let village = Village::with(settings).await;
    let short = village.token("alice", Role::Guest, 2);
    let dial = async || village.dial(&format!("/api/v1/ws?token={short}"), &[]).await.expect("a socket");
    let (mut renewed, mut forgotten) = (dial().await, dial().await);
    renewed.hears("connection_established").await;
    let other = village.token("bob", Role::Guest, 60);
    renewed.says(&json!({"action": "auth", "data": {"token": other}})).await;
    assert_eq!(renewed.hears("error").await["data"]["code"], "forbidden");
    renewed.says(&json!({"action": "auth", "data": {"token": village.token("alice", Role::Guest, 60)}})).await;
    assert!(renewed.hears("ack").await["data"]["expires_at"].is_string());
    tokio::select! {
        code = forgotten.ends() => assert_eq!(code, 4401),
        // Reading answers the pings that come.
        event = renewed.next() => panic!("{event}"),
    }
    renewed.says(&json!({"action": "ping"})).await;
    renewed.hears("pong").await;
}

#[tokio::test]
async fn bad_input_is_answered_and_leaves_the_connection_alone() {
    let settings = GatewaySettings { max_subscriptions: 2, ..GatewaySettings::default() };
    let village = Village::with(settings).await;
    let (alice, bob, mallory) = (village.person("alice"), village.person("bob"), village.person("mallory"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut socket = mallory.connects("").await;
    let unknown = uuid::Uuid::now_v7();
    for (frame, code) in [
        ("not json".to_owned(), "bad_request"),
        (r#"{"action":7}"#.to_owned(), "bad_request"),
        (r#"{"action":"fly"}"#.to_owned(), "unknown_action"),
        (r#"{"action":"subscribe","room":"two words"}"#.to_owned(), "bad_request"),
        (r#"{"action":"subscribe","room":"lobby"}"#.to_owned(), "forbidden"),
        (format!(r#"{{"action":"subscribe","room":"conversation:{conversation}"}}"#), "not_a_participant"),
        (r#"{"action":"message","data":{"text":"to nobody"}}"#.to_owned(), "bad_request"),
        (
            format!(r#"{{"action":"message","data":{{"conversation_id":"{conversation}","message_text":"hi"}}}}"#),
            "not_found",
        ),
        (
            format!(r#"{{"action":"message","data":{{"conversation_id":"{unknown}","message_text":"hi"}}}}"#),
            "not_found",
        ),
        (r#"{"action":"resume","data":{"since":"nonsense"}}"#.to_owned(), "bad_request"),
        (r#"{"action":"ack","data":{"cursor":"nonsense"}}"#.to_owned(), "bad_request"),
    ] {
        socket.sends(Message::text(frame.clone())).await;
        let error = socket.hears("error").await;
        assert_eq!(error["data"]["code"], code, "{frame}: {error}");
        assert!(error["data"]["remedy"].is_string());
    }
    socket.sends(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.hears("error").await["data"]["code"], "unsupported");
    for number in 0..3 {
        socket.says(&json!({"action": "subscribe", "room": format!("tour_{number}")})).await;
        let answer = socket.next().await;
        assert_eq!(answer["type"], if number < 2 { "ack" } else { "error" }, "{answer}");
    }
    socket.says(&json!({"action": "ping"})).await;
    socket.hears("pong").await;
}

#[tokio::test]
async fn broken_framing_ends_the_connection_with_its_code() {
    let village = Village::new().await;
    let alice = village.person("alice");
    let mut huge = alice.connects("").await;
    // The gateway stops reading in the middle, so sending may fail too.
    let _ = huge.socket.send(Message::text("x".repeat(65_537))).await;
    assert_eq!(huge.ends().await, 1009);
    let mut garbled = alice.connects("").await;
    let frame = Frame::message(Bytes::from_static(b"\xff\xfe"), OpCode::Data(Data::Text), true);
    garbled.sends(Message::Frame(frame)).await;
    assert_eq!(garbled.ends().await, 1007);
}

#[tokio::test]
async fn a_cursor_that_does_not_continue_asks_to_resync_and_a_snapshot_mends_it() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    alice.says(&conversation, "one").await;
    let foreign = alice.gets("/api/v1/snapshot").await["cursor"].as_str().expect("a cursor").to_owned();
    let mut phone = bob.connects(&format!("&since={foreign}")).await;
    assert_eq!(phone.hears("resync_required").await["data"]["reason"], "owner");
    let own = bob.gets("/api/v1/snapshot").await;
    assert_eq!(own["conversations"][0]["unread_count"], 1);
    phone.says(&json!({"action": "resume", "data": {"since": own["cursor"]}})).await;
    phone.hears("ack").await;
    alice.says(&conversation, "two").await;
    assert_eq!(phone.hears("new_message").await["data"]["message_text"], "two");
    phone.says(&json!({"action": "resume", "data": {"since": foreign}})).await;
    assert_eq!(phone.hears("error").await["data"]["code"], "resync_required");
}

#[tokio::test]
async fn the_notifications_door_shows_no_messages_and_takes_none() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let path = format!("/ws/notifications/bob?token={}&since=now", bob.token);
    let mut door = village.dial(&path, &[]).await.expect("a socket");
    door.hears("connection_established").await;
    alice.says(&conversation, "not for this door").await;
    // The door moves on without showing it.
    assert!(door.hears("cursor").await["cursor"].is_string());
    door.says(&json!({"action": "message", "room": "tour_1", "data": {}})).await;
    assert_eq!(door.hears("error").await["data"]["code"], "forbidden");
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
async fn a_token_with_another_role_swaps_the_feeds_over_the_open_socket() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut phone = bob.connects("&since=now").await;
    phone.says(&json!({"action": "subscribe", "room": "tour_1"})).await;
    phone.hears("ack").await;
    let promoted = village.token("bob", Role::Staff, 60);
    phone.says(&json!({"action": "auth", "data": {"token": promoted}, "ref": "a"})).await;
    assert_eq!(phone.hears("resync_required").await["data"]["room"], "tour_1");
    assert_eq!(phone.hears("resync_required").await["data"]["reason"], "owner");
    assert_eq!(phone.hears("ack").await["ref"], "a");
    alice.says(&conversation, "to the promoted").await;
    assert_eq!(phone.shows(1).await, ["to the promoted"]);
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
async fn an_event_stream_shows_messages_and_continues_by_its_last_id() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut stream = bob.listens("now").await;
    assert!(stream.next().await.1.contains("connection_established"));
    alice.says(&conversation, "one").await;
    let (id, data) = stream.next().await;
    assert!(data.contains("\"one\""), "{data}");
    drop(stream);
    alice.says(&conversation, "two").await;
    let mut again = bob.listens(&id.expect("a cursor")).await;
    assert!(again.next().await.1.contains("\"resumed\":true"));
    assert!(again.next().await.1.contains("\"two\""));
    let refused = bob.asks_stream("forged").await;
    assert_eq!(refused.status(), 401);
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

#[tokio::test]
async fn a_socket_opens_however_its_request_comes() {
    let village = Village::new().await;
    let token = village.person("alice").token;
    let upgrade = format!(
        "GET /ws/connect?token={token} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    // A command in the same packet as the request: {"action":"ping"}, masked with zeros.
    let command = b"\x81\x91\0\0\0\0{\"action\":\"ping\"}";
    let whole = [upgrade.as_bytes(), command].concat();
    let (head, tail) = whole.split_at(upgrade.len() / 2);
    // Behind another request of the connection, as a proxy that reuses its connections sends it.
    let plain = b"GET /api/v1/ws HTTP/1.1\r\nHost: x\r\n\r\n".as_slice();
    let behind = [plain, &whole].concat();
    // An escaped id is the router's.
    let escaped = [upgrade.replacen("/ws/connect", "/ws/notifications/al%69ce", 1).as_bytes(), command].concat();
    for pieces in [vec![&*whole], vec![head, tail], vec![&*behind], vec![plain, head, tail], vec![&*escaped]] {
        let mut stream = tokio::net::TcpStream::connect(village.address).await.expect("a connection");
        for piece in &pieces {
            tokio::io::AsyncWriteExt::write_all(&mut stream, piece).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut read = Vec::new();
        let answered = async {
            while !read.windows(13).any(|text| text == br#""type":"pong""#) {
                assert!(tokio::io::AsyncReadExt::read_buf(&mut stream, &mut read).await.expect("open") > 0, "closed");
            }
        };
        let answered = tokio::time::timeout(Duration::from_secs(5), answered).await;
        let heard = String::from_utf8_lossy(&read);
        answered.unwrap_or_else(|_| panic!("no pong to {} pieces: {heard}", pieces.len()));
        assert!(heard.contains("101 Switching Protocols") && heard.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{heard}");
    }
}

#[tokio::test]
async fn reading_over_the_socket_clears_the_counts_on_every_device_and_of_nobody_else() {
    let village = Village::new().await;
    let (alice, bob, eve) = (village.person("alice"), village.person("bob"), village.person("eve"));
    let conversation = alice.starts_with(&[&bob]).await;
    for text in ["one", "two", "three"] {
        alice.says(&conversation, text).await;
    }
    let (mut phone, mut desk) = (bob.connects("&device_id=phone").await, bob.connects("&device_id=desk").await);
    let mut hers = eve.connects("").await;
    phone.says(&json!({"action": "read", "ref": "r", "data": {"conversation_id": conversation, "up_to_seq": 2}})).await;
    let answer = phone.waits_for("ack").await;
    assert_eq!((&answer["ref"], &answer["data"]["last_read_seq"]), (&json!("r"), &json!(2)), "{answer}");
    assert_eq!(answer["data"]["unread_count"], 1, "{answer}");
    let told = desk.waits_for("message.read").await;
    assert_eq!((&told["data"]["last_read_seq"], &told["data"]["unread_count"]), (&json!(2), &json!(1)), "{told}");
    // All of it, and what is read stays read.
    for up_to in [json!(null), json!(1)] {
        phone.says(&json!({"action": "read", "data": {"conversation_id": conversation, "up_to_seq": up_to}})).await;
        let answer = phone.waits_for("ack").await;
        assert_eq!((&answer["data"]["last_read_seq"], &answer["data"]["unread_count"]), (&json!(3), &json!(0)));
    }
    for (data, code) in [
        (json!({"conversation_id": conversation}), "not_found"),
        (json!({"conversation_id": "seven"}), "bad_request"),
        (json!({"conversation_id": conversation, "up_to_seq": -1}), "bad_request"),
        (json!({}), "bad_request"),
    ] {
        hers.says(&json!({"action": "read", "ref": "e", "data": data})).await;
        let error = hers.waits_for("error").await;
        assert_eq!((&error["ref"], &error["data"]["code"]), (&json!("e"), &json!(code)), "{data}");
    }
}

#[tokio::test]
async fn who_types_and_who_looks_is_seen_by_those_in_the_room_and_ends_with_the_connection() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let room = format!("conversation:{conversation}");
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    let typing =
        json!({"action": "typing", "ref": "t", "data": {"conversation_id": conversation, "kind": "recording"}});
    hers.says(&typing).await;
    assert_eq!(hers.waits_for("error").await["data"]["code"], "forbidden");
    for socket in [&mut hers, &mut his] {
        socket.says(&json!({"action": "subscribe", "room": room})).await;
        socket.waits_for("ack").await;
    }
    hers.says(&typing).await;
    assert_eq!(hers.waits_for("ack").await["ref"], "t");
    let seen = his.waits_for("typing").await;
    assert_eq!((&seen["data"]["user_id"], &seen["data"]["kind"]), (&json!("alice"), &json!("recording")), "{seen}");
    assert_eq!((&seen["data"]["conversation_id"], &seen["room"]), (&json!(conversation), &json!(room)), "{seen}");
    hers.says(&json!({"action": "viewing", "room": room})).await;
    assert_eq!(his.waits_for("viewing").await["data"]["active"], true);
    drop(hers);
    let ended = [his.waits_for("typing").await, his.waits_for("viewing").await];
    assert!(ended.iter().all(|event| event["data"]["active"] == false && event["sender_id"] == "alice"), "{ended:?}");
}

#[tokio::test]
async fn who_is_removed_from_a_conversation_hears_its_room_no_more() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let room = format!("conversation:{conversation}");
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    for socket in [&mut hers, &mut his] {
        socket.says(&json!({"action": "subscribe", "room": room})).await;
        socket.waits_for("ack").await;
    }
    alice.removes(&conversation, "bob").await;
    let told = his.waits_for("unsubscribed").await;
    assert_eq!(told["data"], json!({"room": room, "reason": "not_a_participant"}), "{told}");
    // She stays, and is heard by nobody but herself.
    hers.says(&json!({"action": "typing", "room": room})).await;
    assert_eq!(hers.waits_for("typing").await["data"]["active"], true);
    his.says(&json!({"action": "ping"})).await;
    assert_eq!(his.next().await["type"], "pong");
}
