//! Whoever watches somebody is told what they are.

use std::time::Duration;

use gateway::config::GatewaySettings;
use serde_json::{Value, json};
use shared::channel::Role;
use shared::config::ByteSize;

use crate::village::{Person, Socket, Village};

/// Watches people, and answers what they are: each id with its state.
async fn watches(socket: &mut Socket, people: &[&str]) -> Vec<(String, String)> {
    socket.says(&json!({"action": "presence", "ref": "w", "data": {"watch": people}})).await;
    let answer = socket.waits_for("ack").await;
    assert_eq!(answer["ref"], "w", "{answer}");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let statuses = answer["data"]["presence"].as_array().expect("a list");
    statuses.iter().map(|status| (text(&status["user_id"]), text(&status["state"]))).collect()
}

/// Says what somebody is on this connection.
async fn is(socket: &mut Socket, state: &str) {
    socket.says(&json!({"action": "presence", "data": {"state": state}})).await;
    assert_eq!(socket.waits_for("ack").await["data"]["presence"], json!([]));
}

/// Waits until somebody sees that another is this.
async fn until_seen(by: &Person<'_>, of: &str, state: &str) {
    let seen =
        async { while by.gets(&format!("/api/v1/presence?user_ids={of}")).await["items"][0]["state"] != state {} };
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("it is seen in time");
}

/// What the next change tells: of whom, and what they are.
async fn changed(socket: &mut Socket) -> (String, String) {
    let event = socket.waits_for("presence.changed").await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let data = &event["data"];
    assert_eq!(event["channel"], format!("presence:{}", text(&data["user_id"])));
    assert!(event["version"].as_u64().is_some_and(|version| version > 0), "{event}");
    assert_eq!(data["last_seen"].is_null(), data["state"] != "offline", "{event}");
    (text(&data["user_id"]), text(&data["state"]))
}

fn of(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

#[tokio::test]
async fn whoever_watches_somebody_is_told_what_they_are_over_all_their_devices() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    alice.starts_with(&[&bob]).await;
    let mut his = bob.connects("").await;
    assert_eq!(watches(&mut his, &["alice", "alice"]).await, [of("alice", "offline")]);
    let mut phone = alice.connects("").await;
    assert_eq!(changed(&mut his).await, of("alice", "online"));
    let mut desk = alice.connects("").await;
    is(&mut phone, "idle").await;
    is(&mut desk, "dnd").await;
    assert_eq!(changed(&mut his).await, of("alice", "dnd"), "her desk counts, not her phone");
    is(&mut desk, "idle").await;
    assert_eq!(changed(&mut his).await, of("alice", "idle"));
    assert_eq!(watches(&mut his, &["alice"]).await, [of("alice", "idle")], "watching again reads it");
    drop((phone, desk));
    assert_eq!(changed(&mut his).await, of("alice", "offline"));
    let seen = bob.gets("/api/v1/presence?user_ids=alice,bob").await;
    assert_eq!(
        (&seen["items"][0]["state"], &seen["items"][1]["state"]),
        (&json!("offline"), &json!("online")),
        "{seen}"
    );
    assert!(seen["items"][0]["last_seen"].is_string(), "{seen}");
}

#[tokio::test]
async fn whoever_watches_no_longer_is_told_nothing() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    alice.starts_with(&[&bob]).await;
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    until_seen(&bob, "alice", "online").await;
    until_seen(&bob, "bob", "online").await;
    watches(&mut his, &["alice", "bob"]).await;
    his.says(&json!({"action": "presence", "data": {"unwatch": ["alice"]}})).await;
    his.waits_for("ack").await;
    is(&mut hers, "dnd").await;
    is(&mut his, "dnd").await;
    assert_eq!(changed(&mut his).await, of("bob", "dnd"), "of himself, and not of her before");
}

#[tokio::test]
async fn whom_one_may_not_see_is_like_somebody_who_was_never_here() {
    let village = Village::new().await;
    let (alice, bob, eve) = (village.person("alice"), village.person("bob"), village.person("eve"));
    alice.starts_with(&[&bob]).await;
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    let mut other = eve.connects("").await;
    other.says(&json!({"action": "presence", "data": {"watch": ["alice", "nobody"]}})).await;
    let told = other.waits_for("ack").await["data"]["presence"].clone();
    let unknown = |place: usize, name| {
        let version = &told[place]["version"];
        assert!(version.as_u64() > Some(0), "{told}");
        json!({"user_id": name, "state": "offline", "last_seen": null, "version": version})
    };
    assert_eq!(told, json!([unknown(0, "alice"), unknown(1, "nobody")]));
    until_seen(&bob, "alice", "online").await;
    assert_eq!(watches(&mut his, &["alice"]).await, [of("alice", "online")]);

    alice.patches("/api/v1/users/me/privacy", &json!({"presence": false})).await;
    let told = his.waits_for("presence.changed").await;
    let hidden = json!({"user_id": "alice", "state": "offline", "last_seen": null});
    assert_eq!(told["data"], hidden, "it is withdrawn at once");
    is(&mut hers, "dnd").await;
    his.says(&json!({"action": "ping"})).await;
    assert_eq!(his.next().await["type"], "pong", "and nothing follows");

    alice.patches("/api/v1/users/me/privacy", &json!({"presence": true})).await;
    until_seen(&bob, "alice", "dnd").await;
    assert_eq!(watches(&mut his, &["alice"]).await, [of("alice", "dnd")]);
    alice.puts("/api/v1/users/me/blocks/bob", &json!({})).await;
    let told = his.waits_for("presence.changed").await;
    assert_eq!(told["data"], hidden, "a block looks like her leaving");
    assert_eq!(watches(&mut his, &["alice"]).await, [of("alice", "offline")]);
    assert_eq!(watches(&mut hers, &["bob"]).await, [of("bob", "offline")], "and hides both");
}

#[tokio::test]
async fn who_shares_no_conversation_any_more_is_not_seen_any_more() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    until_seen(&bob, "alice", "online").await;
    assert_eq!(watches(&mut his, &["alice"]).await, [of("alice", "online")]);
    until_seen(&alice, "bob", "online").await;
    assert_eq!(watches(&mut hers, &["bob"]).await, [of("bob", "online")]);
    alice.removes(&conversation, "bob").await;
    for socket in [&mut hers, &mut his] {
        assert_eq!(socket.waits_for("presence.changed").await["data"]["state"], "offline");
    }
}

#[tokio::test]
async fn at_most_a_hundred_people_are_watched_and_what_is_wrong_is_named() {
    let village = Village::new().await;
    let mut his = village.person_as("sam", Role::Staff).connects("").await;
    let people: Vec<_> = (0..101).map(|number| format!("u{number}")).collect();
    let people: Vec<_> = people.iter().map(String::as_str).collect();
    assert_eq!(watches(&mut his, &people[..60]).await.len(), 60);
    for watch in [&people[..], &people[60..]] {
        his.says(&json!({"action": "presence", "data": {"watch": watch}})).await;
        let error = his.waits_for("error").await;
        assert_eq!(error["data"]["code"], "limit_exceeded", "{error}");
        assert!(error["data"]["message"].as_str().is_some_and(|detail| detail.contains("100")), "{error}");
    }
    assert_eq!(watches(&mut his, &people[..100]).await.len(), 100);
    his.says(&json!({"action": "presence", "data": {"watch": [people[100]], "unwatch": [people[0]]}})).await;
    assert_eq!(his.waits_for("ack").await["data"]["presence"][0]["user_id"], "u100");
    // Whom one may not see counts as well: otherwise the limit would tell who they are.
    let mut hers = village.person("eve").connects("").await;
    assert_eq!(watches(&mut hers, &people[..100]).await.len(), 100);
    hers.says(&json!({"action": "presence", "data": {"watch": [people[100]]}})).await;
    assert_eq!(hers.waits_for("error").await["data"]["code"], "limit_exceeded");
    hers.says(&json!({"action": "presence", "data": {"watch": [people[100]], "unwatch": [people[0]]}})).await;
    assert_eq!(hers.waits_for("ack").await["data"]["presence"][0]["user_id"], "u100");
    for data in [json!({"state": "offline"}), json!({"watch": ["two words"]}), json!({"watch": "alice"})] {
        his.says(&json!({"action": "presence", "data": data})).await;
        assert_eq!(his.waits_for("error").await["data"]["code"], "bad_request", "{data}");
    }
}

#[tokio::test]
async fn another_role_is_no_other_presence() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    alice.starts_with(&[&bob]).await;
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    is(&mut hers, "idle").await;
    until_seen(&bob, "alice", "idle").await;
    assert_eq!(watches(&mut his, &["alice"]).await, [of("alice", "idle")]);
    for (socket, name) in [(&mut hers, "alice"), (&mut his, "bob")] {
        let token = village.token(name, Role::Staff, 3_600);
        socket.says(&json!({"action": "auth", "ref": "a", "data": {"token": token}})).await;
        assert_eq!(socket.waits_for("ack").await["ref"], "a");
    }
    is(&mut hers, "dnd").await;
    // What he watches may be said again, but never that she was gone.
    let mut told = changed(&mut his).await;
    if told == of("alice", "idle") {
        told = changed(&mut his).await;
    }
    assert_eq!(told, of("alice", "dnd"));
}

#[tokio::test]
async fn whose_changes_were_lost_on_the_way_is_told_again() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    alice.starts_with(&[&bob]).await;
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    until_seen(&bob, "alice", "online").await;
    assert_eq!(watches(&mut his, &["alice"]).await, [of("alice", "online")]);
    village.falls_deaf();
    is(&mut hers, "idle").await;
    until_seen(&bob, "alice", "idle").await;
    village.hears_again();
    assert_eq!(changed(&mut his).await, of("alice", "idle"));
}

#[tokio::test]
async fn who_is_too_slow_for_a_change_is_told_it_once_they_keep_up_again() {
    let settings = GatewaySettings {
        send_queue_bytes: ByteSize(8 * 1024),
        commands_per_second: 100_000,
        ..GatewaySettings::default()
    };
    let village = Village::with(settings).await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    alice.starts_with(&[&bob]).await;
    let (mut hers, mut his) = (alice.connects("").await, bob.connects("").await);
    until_seen(&bob, "alice", "online").await;
    watches(&mut his, &["alice"]).await;
    his.says(&json!({"action": "subscribe", "room": "tour_1"})).await;
    his.waits_for("ack").await;
    // More than the socket and the queue can hold, and she changes when nothing fits any more.
    let much = json!({"action": "message", "room": "tour_1", "data": "x".repeat(30_000)});
    for _ in 0..400 {
        hers.says(&much).await;
        hers.waits_for("ack").await;
    }
    is(&mut hers, "dnd").await;
    until_seen(&bob, "alice", "dnd").await;
    assert_eq!(changed(&mut his).await, of("alice", "dnd"));
}
