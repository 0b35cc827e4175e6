//! The gateway from outside: what clients see through real sockets, with a real api behind it.

mod catch_up;
mod doors;
mod limits;
mod patience;
mod presence;
mod revocations;
mod rooms;
mod tickets;
mod village;

use gateway::config::GatewaySettings;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
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
