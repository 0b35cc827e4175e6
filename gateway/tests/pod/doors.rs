//! Who comes in, how, and until when.

use std::time::Duration;

use futures_util::SinkExt as _;
use gateway::config::GatewaySettings;
use serde_json::json;
use shared::channel::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::village::Village;

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
