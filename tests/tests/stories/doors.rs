//! Who comes in through nginx, by which door, and who does not.

use fleet::client::{Kind, Refusal, Showing, User};
use fleet::place::Place;
use reqwest::{Method, StatusCode};
use serde_json::json;

told_everywhere! {
    every_door_and_every_way_to_show_a_token_lets_in,
    who_has_no_good_token_or_names_another_is_not_let_in,
    what_is_said_over_the_socket_is_a_message_for_everybody_and_bad_frames_hurt_nobody,
}

async fn every_door_and_every_way_to_show_a_token_lets_in(place: &impl Place) {
    let alice = place.user("alice");
    for path in
        ["/api/v1/ws", "/ws/connect?user_id=alice&device_type=mobile&app_version=1.2", "/ws/notifications/alice"]
    {
        for showing in [Showing::Header, Showing::Query, Showing::Subprotocol, Showing::Command] {
            let phone = alice.device("phone").through(path).showing(showing).connect().await;
            let first = phone.record().frames[0].clone();
            assert_eq!(first["type"], "connection_established", "{first}");
            assert_eq!((&first["data"]["user_id"], &first["data"]["role"]), (&json!("alice"), &json!("guest")));
            let pong = phone.asks(json!({ "action": "ping" })).await;
            assert_eq!(pong["type"], "pong", "{pong}");
            assert!(pong["data"]["head"].is_string(), "{pong}");
        }
    }
}

async fn who_has_no_good_token_or_names_another_is_not_let_in(place: &impl Place) {
    let alice = place.user("alice");
    let stranger =
        User::new("alice", fleet::client::token("another secret", "alice", "admin"), alice.door().to_owned());
    let forged = stranger.device("phone");
    assert_eq!(forged.is_refused().await, Refusal::Close(4401));
    assert_eq!(forged.clone().showing(Showing::Query).is_refused().await, Refusal::Close(4401));
    assert_eq!(forged.showing(Showing::Command).is_refused().await, Refusal::Close(4401));
    assert_eq!(alice.device("phone").showing(Showing::Nowhere).is_refused().await, Refusal::Close(4408));
    for path in ["/ws/connect?user_id=bob", "/ws/notifications/bob"] {
        assert_eq!(alice.device("phone").through(path).is_refused().await, Refusal::Close(4403), "{path}");
    }
    let elsewhere = alice.device("phone").header("origin", "https://evil.example");
    assert_eq!(elsewhere.is_refused().await, Refusal::Status(403));
    let here = alice.device("phone").header("origin", &format!("http://{}", alice.door()));
    here.connect().await;
    let answer = stranger.request(Method::GET, "/api/v1/messages/conversations").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

async fn what_is_said_over_the_socket_is_a_message_for_everybody_and_bad_frames_hurt_nobody(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let hers = place.at_gateway(&alice, 0).device("phone").connect().await;
    let his = place.at_gateway(&bob, 1).device("phone").connect().await;

    let message = json!({ "action": "message", "data": {
        "conversation_id": conversation.id, "message_text": "over the socket", "client_message_id": "key-1",
    }});
    let answer = hers.asks(message.clone()).await;
    assert_eq!((&answer["type"], &answer["data"]["seq"]), (&json!("ack"), &json!(1)), "{answer}");
    let again = hers.asks(message).await;
    assert_eq!(again["data"]["id"], answer["data"]["id"], "the same key makes the same message");

    for (frame, code) in [
        (json!({ "action": "dance" }), "unknown_action"),
        (json!({ "action": "message", "data": {} }), "bad_request"),
        (json!({ "action": "subscribe", "room": "no such/room" }), "bad_request"),
    ] {
        let error = hers.asks(frame).await;
        assert_eq!((&error["type"], &error["data"]["code"]), (&json!("error"), &json!(code)), "{error}");
        assert!(error["data"]["remedy"].is_string(), "{error}");
    }
    let stranger = place.user("carol").device("phone").connect().await;
    let refused = stranger
        .asks(json!({ "action": "message", "data": { "conversation_id": conversation.id, "message_text": "me too" } }))
        .await;
    assert_eq!(refused["type"], "error", "{refused}");

    his.shows(&conversation, &["over the socket"]).await;
    hers.shows(&conversation, &["over the socket"]).await;
    assert_eq!((hers.connections(), his.connections()), (1, 1));
}
