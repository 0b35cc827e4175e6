//! Who comes in through nginx, by which door, and who does not.

use fleet::client::{Kind, Refusal, Showing, User};
use fleet::eventually::until;
use fleet::fleet::{Fleet, Shape};
use fleet::place::Place;
use fleet::servers::carillon::Pod;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::CAUGHT_UP;

told_everywhere! {
    every_door_and_every_way_to_show_a_token_lets_in,
    who_has_no_good_token_or_names_another_is_not_let_in,
    what_is_said_over_the_socket_is_a_message_for_everybody_and_bad_frames_hurt_nobody,
    a_stream_of_events_says_each_at_once_and_continues_from_its_last_id,
}

async fn every_door_and_every_way_to_show_a_token_lets_in(place: &impl Place) {
    let alice = place.user("alice");
    for path in [
        "/api/v1/ws",
        "/ws/connect?user_id=alice&device_type=mobile&app_version=1.2",
        "/ws/connect?user_id=alice&device_type=desktop",
        "/ws/connect?user_id=alice&device_type=tablet",
        "/ws/notifications/alice",
    ] {
        for showing in [Showing::Header, Showing::Query, Showing::Subprotocol, Showing::Command, Showing::Ticket] {
            let phone = alice.device("phone").through(path).showing(showing).connect().await;
            let first = phone.record().frames[0].clone();
            assert_eq!(first["type"], "connection_established", "{first}");
            assert_eq!((&first["data"]["user_id"], &first["data"]["role"]), (&json!("alice"), &json!("guest")));
            assert_eq!(first["data"]["heartbeat_interval"], 30, "{first}");
            // As bare as the source systems' commands are.
            phone.sends(&json!({ "action": "ping" }));
            phone.hears("a pong", |frame| frame["type"] == "pong" && frame["ref"].is_null()).await;
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

    let notices = bob.device("watch").through("/ws/notifications/bob").connect().await;
    let refused = notices.asks(json!({ "action": "message", "data": { "conversation_id": conversation.id } })).await;
    assert_eq!(refused["type"], "error", "the door for notifications takes no messages: {refused}");
    stranger.sends(&json!({ "action": "ping", "data": "x".repeat(70_000) }));
    until(CAUGHT_UP, "a close", || stranger.record().closed.is_some()).await;
    assert_eq!(stranger.record().closed.as_ref().map(|(code, _)| *code), Some(1009));

    his.shows(&conversation, &["over the socket"]).await;
    hers.shows(&conversation, &["over the socket"]).await;
    assert_eq!((hers.connections(), his.connections()), (1, 1));
    assert!(notices.record().messages(&conversation.id).is_empty());
}

/// For clients that only listen.
async fn a_stream_of_events_says_each_at_once_and_continues_from_its_last_id(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut stream = Stream::open(&bob, None).await;
    stream.hears("connection_established").await;
    alice.says(&conversation, "one").await;
    let id = stream.hears(r#""message_text":"one""#).await;
    drop(stream);
    alice.says(&conversation, "two").await;
    let mut again = Stream::open(&bob, Some(&id)).await;
    again.hears(r#""message_text":"two""#).await;
    assert!(!again.heard.contains(r#""message_text":"one""#), "{}", again.heard);
}

/// An open event stream.
struct Stream {
    answer: reqwest::Response,
    heard: String,
}

impl Stream {
    async fn open(user: &User, last: Option<&str>) -> Self {
        let mut request = user.request(Method::GET, "/api/v1/events?device_id=radio");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, heard: String::new() }
    }

    /// Waits until the stream says something, and returns the id of the event that does.
    async fn hears(&mut self, what: &str) -> String {
        let heard = async {
            loop {
                let mut events = self.heard.split_inclusive("\n\n").filter(|event| event.ends_with("\n\n"));
                if let Some(event) = events.find(|event| event.contains(what)) {
                    let id = event.lines().find_map(|line| line.strip_prefix("id: "));
                    return id.unwrap_or_default().to_owned();
                }
                let chunk = self.answer.chunk().await.expect("open").expect("not ended");
                self.heard.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio::time::timeout(CAUGHT_UP, heard).await.expect("the event comes")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_id_follows_a_message_through_every_hop() {
    let environment = vec![("CARILLON_LOG_LEVEL", "info,api=debug,gateway=debug".to_owned())];
    let fleet = Fleet::start(Shape { environment, ..Shape::default() }).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let _phone = bob.device("phone").connect().await;
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let sent = alice
        .request(Method::POST, "/api/v1/messages/messages")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&json!({ "conversation_id": conversation.id, "message_text": "follow me" }))
        .send()
        .await
        .expect("an answer");
    assert_eq!(sent.status(), 201);
    let echoed = sent.headers()["traceparent"].to_str().expect("text");
    assert!(echoed.contains(&trace), "{echoed}");
    let tells = |pods: &[Pod], what: &str| {
        let written: String = pods.iter().map(Pod::printed).collect();
        written.lines().any(|line| line.contains(&trace) && line.contains(what))
    };
    let both = || tells(&fleet.api, "message kept") && tells(&fleet.gateway, "entry heard");
    until(CAUGHT_UP, "the trace in the logs of an api and of a gateway", both).await;
}
