//! Drafts over REST.

use reqwest::Method;
use serde_json::{Value, json};

use crate::dsl::{Api, User, answer};

const DRAFTS: &str = "/api/v1/drafts";

async fn save(user: &User<'_>, path: &str, text: &str) -> Value {
    let saved = answer(user.request(Method::PUT, path).json(&json!({ "message_text": text }))).await;
    assert_eq!(saved.status, 200, "{saved:?}");
    saved.body
}

#[tokio::test]
async fn a_draft_is_saved_shown_listed_and_thrown_away() {
    let api = Api::start().await;
    let (alice, bob, eve) = (api.user("alice"), api.user("bob"), api.user("eve"));
    let id = alice.start_group(&["bob"]).await;
    let path = format!("/api/v1/messages/conversations/{id}/draft");
    alice.get(&path).await.is_problem(404, "not_found");
    save(&alice, &path, "dear al").await;
    let saved = save(&alice, &path, "dear all").await;
    assert_eq!((&saved["message_text"], &saved["version"]), (&json!("dear all"), &json!(2)), "{saved}");
    assert_eq!(alice.get(&path).await.body, saved);
    assert_eq!(alice.get(DRAFTS).await.body, json!({ "items": [saved], "next": null }));
    bob.get(&path).await.is_problem(404, "not_found");
    assert_eq!(bob.get(DRAFTS).await.body["items"], json!([]));
    for _ in 0..2 {
        assert_eq!(answer(alice.request(Method::DELETE, &path)).await.status, 204);
    }
    alice.get(&path).await.is_problem(404, "not_found");
    answer(eve.request(Method::PUT, &path).json(&json!({ "message_text": "x" }))).await.is_problem(404, "not_found");
    for body in [json!({}), json!({ "message_text": "" }), json!({ "message_text": "x", "version": 1 })] {
        answer(alice.request(Method::PUT, &path).json(&body)).await.is_problem(400, "bad_request");
    }
}

#[tokio::test]
async fn sending_a_draft_clears_it_unless_it_was_changed_since() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let path = format!("/api/v1/messages/conversations/{id}/draft");
    let send = |text: &str, version: Value| {
        let body = json!({ "conversation_id": id, "message_text": text, "client_message_id": text.replace(' ', "_"), "draft_version": version });
        let alice = &alice;
        async move { alice.post("/api/v1/messages/messages", &body).await }
    };
    save(&alice, &path, "dear all").await;
    alice.send(&id, "just a word").await;
    save(&alice, &path, "dear all, ").await;
    assert_eq!(send("dear all", json!(1)).await.status, 201);
    assert_eq!(alice.get(&path).await.body["version"], 2, "another device went on writing");
    assert_eq!(send("dear all, ", json!(2)).await.status, 201);
    alice.get(&path).await.is_problem(404, "not_found");
    let told = alice.feed("limit=100").await;
    let kinds: Vec<_> = told["events"].as_array().expect("events").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["new_message", "draft.deleted"], "{told}");
    // Whatever kept the first send from clearing it, the repeat does.
    let again = save(&alice, &path, "dear all, ").await;
    assert_eq!(send("dear all, ", again["version"].clone()).await.status, 200);
    alice.get(&path).await.is_problem(404, "not_found");
}
