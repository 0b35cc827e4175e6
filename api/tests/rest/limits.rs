//! Whoever does something too often is told how long to wait.

use serde_json::json;
use shared::channel::Role;
use shared::config::Value as _;
use shared::limits::{Limit, LimitSettings};

use super::dsl::{Api, answer};

const SEND: &str = "/api/v1/messages/messages";

/// A pod that takes five messages from each, and two files, within ten hours.
async fn strict() -> Api {
    let limit = |text| Limit::parse(text).expect("a limit");
    Api::limited(LimitSettings { sends: limit("5/10h"), uploads: limit("2/10h"), ..LimitSettings::none() }).await
}

#[tokio::test]
async fn who_sends_too_often_over_rest_and_sockets_together_is_told_to_wait() {
    let api = strict().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    let first = alice.send(&id, "one").await["id"].as_str().expect("an id").to_owned();
    alice.send(&id, "two").await;
    let body = json!({ "conversation_id": id, "message_text": "over a socket" });
    assert_eq!(answer(alice.through_gateway("send").json(&body)).await.status, 201);
    let forward = format!("{SEND}/{first}/forward");
    assert_eq!(alice.post(&forward, &json!({ "conversation_id": id })).await.status, 201);
    alice.post(SEND, &json!({ "conversation_id": id })).await.is_problem(400, "bad_request");
    alice.send(&id, "five: what is wrong with a request is said without counting it").await;

    let refused = alice.post(SEND, &body).await;
    refused.is_problem(429, "rate_limited");
    assert_eq!(refused.body["detail"], "too many sends: at most 5 in 10h");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((7_000..=7_200).contains(&wait), "a fifth of ten hours, not {wait} s");
    answer(alice.through_gateway("send").json(&body)).await.is_problem(429, "rate_limited");
    alice.post(&forward, &json!({ "conversation_id": id })).await.is_problem(429, "rate_limited");
    bob.send(&id, "everybody has limits of their own").await;
    assert_eq!(alice.get(&format!("/api/v1/messages/conversations/{id}/messages")).await.body["items"][5]["seq"], 6);
}

#[tokio::test]
async fn services_are_not_told_to_wait() {
    let api = strict().await;
    let robot = api.user_as("robot", Role::Service);
    let id = robot.start_group(&["bob"]).await;
    for number in 0..20 {
        robot.send(&id, &format!("{number}")).await;
    }
}

#[tokio::test]
async fn who_announces_too_many_files_is_told_to_wait() {
    let api = strict().await;
    let alice = api.user("alice");
    let file = json!({ "file_name": "a.txt", "file_type": "text/plain", "file_size": 3 });
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(alice.post("/api/v1/attachments", &file).await.status);
    }
    assert_eq!(statuses, [201, 201, 429]);
}
