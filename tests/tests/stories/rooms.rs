//! Rooms: live, for whoever joined, wherever they are connected.

use fleet::client::Device;
use fleet::place::Place;
use serde_json::{Value, json};

told_everywhere! {
    what_is_said_in_a_room_reaches_who_joined_it_at_any_pod_and_nobody_else,
    who_comes_back_to_a_room_gets_what_was_said_meanwhile_from_its_history,
}

/// A device that is in a room, from a position on.
async fn joins(device: &Device, room: &str, since: Option<&Value>) -> Value {
    let data = since.map_or_else(|| json!({}), |since| json!({ "since": since }));
    let answer = device.asks(json!({ "action": "subscribe", "room": room, "data": data })).await;
    assert_eq!(answer["type"], "ack", "{answer}");
    answer
}

fn texts(device: &Device, room: &str) -> Vec<String> {
    let record = device.record();
    let said = record.frames.iter().filter(|frame| frame["type"] == "message" && frame["room"] == room);
    said.map(|frame| frame["data"]["text"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn what_is_said_in_a_room_reaches_who_joined_it_at_any_pod_and_nobody_else(place: &impl Place) {
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| place.user(name));
    let hers = place.at_gateway(&alice, 0).device("phone").connect().await;
    let his = place.at_gateway(&bob, 1).device("phone").connect().await;
    let outside = place.at_gateway(&carol, 1).device("phone").connect().await;
    joins(&hers, "tour_456", None).await;
    joins(&his, "tour_456", None).await;

    for number in 1..=20 {
        let answer = hers
            .asks(json!({ "action": "message", "room": "tour_456", "data": { "text": format!("stop {number}") } }))
            .await;
        assert_eq!(answer["type"], "ack", "{answer}");
    }

    let all: Vec<String> = (1..=20).map(|number| format!("stop {number}")).collect();
    for device in [&hers, &his] {
        device.hears("the last stop", |frame| frame["data"]["text"] == "stop 20").await;
        assert_eq!(texts(device, "tour_456"), all);
    }
    assert_eq!(texts(&outside, "tour_456"), Vec::<String>::new());

    his.asks(json!({ "action": "unsubscribe", "room": "tour_456" })).await;
    hers.asks(json!({ "action": "message", "room": "tour_456", "data": { "text": "after he left" } })).await;
    hers.hears("herself", |frame| frame["data"]["text"] == "after he left").await;
    his.asks(json!({ "action": "ping" })).await;
    assert_eq!(texts(&his, "tour_456").len(), 20);
    let denied = outside.asks(json!({ "action": "subscribe", "room": "staff_only" })).await;
    assert_eq!(denied["type"], "error", "{denied}");
}

async fn who_comes_back_to_a_room_gets_what_was_said_meanwhile_from_its_history(place: &impl Place) {
    let [alice, bob] = ["alice", "bob"].map(|name| place.user(name));
    let hers = place.at_gateway(&alice, 0).device("phone").connect().await;
    let his = place.at_gateway(&bob, 1).device("phone").connect().await;
    let position = joins(&his, "tour_9", None).await["data"]["position"].clone();
    drop(his);
    for number in 1..=30 {
        hers.asks(json!({ "action": "message", "room": "tour_9", "data": { "text": format!("stop {number}") } })).await;
    }

    let back = place.at_gateway(&bob, 0).device("tablet").connect().await;
    joins(&back, "tour_9", Some(&position)).await;

    back.hears("the last stop", |frame| frame["data"]["text"] == "stop 30").await;
    assert_eq!(texts(&back, "tour_9"), (1..=30).map(|number| format!("stop {number}")).collect::<Vec<_>>());
}
