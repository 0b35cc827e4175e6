//! Limits hold over all pods together, and while Redis is away for each of them.

use fleet::client::{Conversation, Kind, Refusal, User};
use fleet::fleet::{Fleet, GRACE, Shape};
use fleet::place::Place as _;
use fleet::proxy::Weather;
use reqwest::{Method, StatusCode};
use serde_json::json;

const SEND: &str = "/api/v1/messages/messages";

/// Sends so many messages, a few at a time and each once, and says how many were taken. The others are told how long to wait.
async fn tries(user: &User, conversation: &Conversation, times: usize) -> usize {
    let mut taken = 0;
    for _ in 0..times / 5 {
        let body = json!({ "conversation_id": conversation.id, "message_text": "hello" });
        let sends = (0..5).map(|_| user.request(Method::POST, SEND).json(&body).send());
        for answer in futures_util::future::join_all(sends).await {
            let answer = answer.expect("an answer");
            if answer.status() == StatusCode::CREATED {
                taken += 1;
                continue;
            }
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            let wait = answer.headers()["retry-after"].to_str().expect("text").parse::<u64>().expect("seconds");
            assert!((1..=1_800).contains(&wait), "a twentieth of ten hours, not {wait} s");
        }
    }
    taken
}

/// What the api pods have counted under a name, all together.
async fn counted(fleet: &Fleet, name: &str) -> f64 {
    let mut sum = 0.0;
    for pod in &fleet.api {
        sum += pod.measures(name).await;
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_more_connections_than_allowed_over_all_gateways_and_a_stop_gives_them_back() {
    let environment = vec![("CARILLON_LIMITS__CONNECTIONS", "4".to_owned())];
    let mut fleet = Fleet::start(Shape { environment, ..Shape::default() }).await;
    let alice = fleet.user("alice");
    let mut devices = Vec::new();
    for number in 0..4 {
        // Two at each gateway.
        let door = format!("127.0.0.1:{}", fleet.gateway[number % 2].port());
        devices.push(alice.with_sockets_at(door).device(&format!("d{number}")).connect().await);
    }
    let another = alice.device("another");
    assert_eq!(another.is_refused().await, Refusal::Close(1013), "wherever it comes in");
    assert_eq!(another.is_refused().await, Refusal::Close(1013));
    assert_eq!(fleet.user("bob").device("phone").connect().await.connections(), 1);

    // Those of the one that is stopped come back with their own address, where nobody is for now.
    fleet.gateway[1].stop(GRACE).await;
    let _back = (alice.device("first").connect().await, alice.device("second").connect().await);
    assert_eq!(another.is_refused().await, Refusal::Close(1013));

    // While Redis is away, the gateway counts its own alone.
    fleet.weather_towards("redis", Weather::Gone);
    assert_eq!(another.is_refused().await, Refusal::Close(1013));
    let _bobs = fleet.user("bob").device("desk").connect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_often_is_told_to_wait_by_every_pod_and_redis_being_gone_neither_frees_nor_stops_them() {
    let environment = vec![("CARILLON_LIMITS__SENDS", "20/10h".to_owned())];
    let fleet = Fleet::start(Shape { environment, ..Shape::default() }).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    assert_eq!(tries(&alice, &conversation, 50).await, 20, "over both api pods");
    let limited = r#"carillon_rate_limited_total{limit="sends"}"#;
    assert_eq!(counted(&fleet, limited).await, 30.0);
    assert_eq!(tries(&bob, &conversation, 5).await, 5, "everybody has limits of their own");

    fleet.weather_towards("redis", Weather::Gone);
    let taken = tries(&alice, &conversation, 100).await;
    assert!((20..=40).contains(&taken), "{taken}: as many as each of two pods allows");
    assert!(counted(&fleet, "carillon_limits_counted_alone_total").await >= 80.0);
}
