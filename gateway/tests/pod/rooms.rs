//! What is said and shown in rooms.

use serde_json::{Value, json};

use crate::village::Village;

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
