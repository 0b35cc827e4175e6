//! How much one person, one address and one pod may take.

use std::time::Duration;

use gateway::address::Network;
use gateway::config::GatewaySettings;
use serde_json::{Value, json};
use shared::channel::Role;
use shared::config::Value as _;
use shared::limits::{Limit, LimitSettings};
use tokio_tungstenite::tungstenite::Error;

use crate::village::Village;

#[tokio::test]
async fn who_publishes_or_joins_too_often_is_told_how_long_to_wait_and_stays_connected() {
    let limits = LimitSettings { publishes: limit("2/10h"), subscriptions: limit("3/10h"), ..LimitSettings::none() };
    let village = Village::limited(GatewaySettings::default(), limits).await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let (mut phone, mut desk, mut his) = (alice.connects("").await, alice.connects("").await, bob.connects("").await);
    for (number, socket) in [&mut phone, &mut desk, &mut his].into_iter().enumerate() {
        socket.says(&json!({"action": "subscribe", "room": format!("tour_{number}")})).await;
        socket.hears("ack").await;
    }
    let publish = |room: &str| json!({"action": "message", "room": room, "data": 1, "ref": "p"});
    for (socket, room) in [(&mut phone, "tour_8"), (&mut desk, "tour_8"), (&mut his, "tour_8")] {
        socket.says(&publish(room)).await;
        socket.hears("ack").await;
    }
    phone.says(&publish("tour_8")).await;
    let refused = phone.hears("error").await;
    assert_eq!((&refused["ref"], &refused["data"]["code"]), (&json!("p"), &json!("rate_limited")));
    let wait = refused["data"]["retry_after_ms"].as_u64().expect("a time");
    assert!((17_000_000..=18_000_000).contains(&wait), "half of ten hours, not {wait} ms");

    phone.says(&json!({"action": "subscribe", "room": "tour_7"})).await;
    phone.hears("ack").await;
    desk.says(&json!({"action": "subscribe", "room": "tour_7", "ref": "s"})).await;
    let refused = desk.hears("error").await;
    assert_eq!((&refused["ref"], &refused["data"]["code"]), (&json!("s"), &json!("rate_limited")));
    desk.says(&json!({"action": "ping"})).await;
    desk.hears("pong").await;
}

#[tokio::test]
async fn who_connects_too_often_is_told_when_to_come_back_at_every_door() {
    let limits = LimitSettings { connects: limit("2/10h"), ..LimitSettings::none() };
    let village = Village::limited(GatewaySettings::default(), limits).await;
    let (alice, bob, robot) =
        (village.person("alice"), village.person("bob"), village.person_as("robot", Role::Service));
    let _let_in = (alice.connects("").await, alice.connects("").await, bob.connects("").await);
    let mut refused = village.dial(&format!("/api/v1/ws?token={}", alice.token), &[]).await.expect("a socket");
    let error = refused.hears("error").await;
    assert_eq!(error["data"]["code"], "rate_limited");
    assert!(error["data"]["retry_after_ms"].as_u64().is_some_and(|wait| wait > 17_000_000), "{error}");
    assert_eq!(refused.ends().await, 1013);
    let stream = alice.asks_stream(&alice.token).await;
    assert_eq!(stream.status(), 429);
    let wait: u64 = stream.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((17_000..=18_000).contains(&wait), "half of ten hours, not {wait} s");
    for _ in 0..5 {
        robot.connects("").await;
    }
}

#[tokio::test]
async fn whoever_cannot_be_believed_yet_is_told_when_to_come_back_at_every_door() {
    let village = Village::disowned().await;
    let alice = village.person("alice");
    let mut refused = village.dial(&format!("/api/v1/ws?token={}", alice.token), &[]).await.expect("a socket");
    let error = refused.hears("error").await;
    assert_eq!(error["data"]["code"], "unavailable");
    assert!(error["data"]["retry_after_ms"].as_u64().is_some_and(|wait| wait >= 100), "{error}");
    assert_eq!(refused.ends().await, 1013);
    let stream = alice.asks_stream(&alice.token).await;
    assert_eq!(stream.status(), 503);
    assert!(stream.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn nobody_has_more_connections_than_allowed_at_any_door_and_whoever_leaves_makes_room() {
    let village =
        Village::limited(GatewaySettings::default(), LimitSettings { connections: 2, ..LimitSettings::none() }).await;
    let (alice, bob, robot) =
        (village.person("alice"), village.person("bob"), village.person_as("robot", Role::Service));
    let (phone, _desk, _other) = (alice.connects("").await, alice.connects("").await, bob.connects("").await);
    let mut refused = village.dial(&format!("/api/v1/ws?token={}", alice.token), &[]).await.expect("a socket");
    let error = refused.hears("error").await;
    let said = (&error["data"]["code"], &error["data"]["retry_after_ms"]);
    assert_eq!(said.0, "rate_limited");
    assert!(said.1.as_u64().is_some_and(|wait| (22_500..=37_500).contains(&wait)), "{error}");
    assert_eq!(refused.ends().await, 1013);
    let stream = alice.asks_stream(&alice.token).await;
    assert!(stream.status() == 429 && stream.headers().contains_key("retry-after"));
    let robots = [robot.connects("").await, robot.connects("").await, robot.connects("").await];
    drop(phone);
    // As soon as the gateway has noticed.
    let let_in = async {
        loop {
            let stream = alice.asks_stream(&alice.token).await;
            if stream.status() == 200 {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _stream = tokio::time::timeout(Duration::from_secs(10), let_in).await.expect("there is room again");
    assert_eq!(alice.asks_stream(&alice.token).await.status(), 429, "the stream has a seat too");
    drop(robots);
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_refused_before_the_upgrade_and_a_proxy_speaks_for_others() {
    let limits = LimitSettings { connects_per_address: limit("2/10h"), ..LimitSettings::none() };
    let trusted_proxies = vec![Network::parse("127.0.0.1").expect("an address")];
    let village =
        Village::limited(GatewaySettings { trusted_proxies, ..GatewaySettings::default() }, limits.clone()).await;
    let token = village.token("alice", Role::Guest, 60);
    let dial = async |village: &Village, from: &str| {
        let from = [("x-forwarded-for", from.to_owned())];
        match village.dial(&format!("/api/v1/ws?token={token}"), &from).await {
            Ok(mut socket) => socket.hears("connection_established").await,
            Err(Error::Http(answer)) => {
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
                let wait: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
                assert!((17_000..=18_000).contains(&wait), "half of ten hours, not {wait} s");
                json!({ "status": answer.status().as_u16() })
            }
            Err(error) => panic!("neither let in nor refused: {error}"),
        }
    };
    for address in ["192.0.2.1", "192.0.2.2", "forged, 192.0.2.1", "192.0.2.2"] {
        assert_eq!(dial(&village, address).await["type"], "connection_established");
    }
    assert_eq!(dial(&village, "192.0.2.1").await["status"], 429);

    // Whoever is no proxy speaks for nobody.
    let village = Village::limited(GatewaySettings::default(), limits).await;
    for address in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(dial(&village, address).await["type"], "connection_established");
    }
    assert_eq!(dial(&village, "192.0.2.3").await["status"], 429);
}

#[tokio::test]
async fn a_pod_that_lets_in_as_many_as_it_can_tells_others_when_to_come_back() {
    let settings = GatewaySettings { max_arrivals: 1, ..GatewaySettings::default() };
    let village = Village::with(settings).await;
    let alice = village.person("alice");
    let _slow = village.dial("/api/v1/ws", &[]).await.expect("who has no token yet is in nobody's way");
    let coming = (0..20).map(|_| async {
        match village.dial(&format!("/api/v1/ws?token={}", alice.token), &[]).await {
            Ok(mut socket) => drop(socket.hears("connection_established").await),
            Err(Error::Http(answer)) => {
                let problem: Value = serde_json::from_slice(answer.body().as_ref().expect("a body")).expect("JSON");
                let wait = problem["retry_after_ms"].as_u64().expect("a time");
                assert_eq!(answer.status(), 429);
                assert_eq!(answer.headers()["retry-after"], wait.div_ceil(1_000).to_string());
                assert!((100..5_000).contains(&wait), "twenty one after the other do not take {wait} ms");
                return 1;
            }
            Err(error) => panic!("neither let in nor refused: {error}"),
        }
        0
    });
    let refused: usize = futures_util::future::join_all(coming).await.into_iter().sum();
    assert!((1..20).contains(&refused), "{refused} of twenty came while another came in");

    // Who says its token behind the upgrade is told there.
    let mut told = 0;
    while told == 0 {
        let mut coming = Vec::new();
        for _ in 0..20 {
            coming.push(village.dial("/api/v1/ws", &[]).await.expect("a socket"));
        }
        for socket in &mut coming {
            socket.says(&json!({"action": "auth", "data": {"token": alice.token}})).await;
        }
        for socket in &mut coming {
            let event = socket.next().await;
            if event["type"] == "error" {
                assert!(event["data"]["retry_after_ms"].as_u64().is_some_and(|wait| wait >= 100), "{event}");
                assert_eq!(socket.ends().await, 1013);
                told += 1;
            }
        }
    }
    tokio::time::timeout(Duration::from_secs(10), async {
        while alice.asks_stream(&alice.token).await.status() != 200 {}
    })
    .await
    .expect("there is room again");
}

fn limit(text: &str) -> Limit {
    Limit::parse(text).expect("a limit")
}
