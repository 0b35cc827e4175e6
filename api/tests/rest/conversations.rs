//! Starting, listing and looking at conversations.

use reqwest::Method;
use serde_json::json;
use shared::channel::Role;

use super::dsl::{Api, answer};

const PATH: &str = "/api/v1/messages/conversations";

#[tokio::test]
async fn whoever_starts_a_conversation_owns_it_and_all_participants_see_it() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let body = json!({
        "type": "guest_guest", "subject": "Dinner", "participant_ids": ["bob"], "metadata": {"table": 7},
    });
    let started = alice.post(PATH, &body).await;
    assert_eq!(started.status, 201, "{started:?}");
    let id = started.body["id"].as_str().expect("an id");
    assert_eq!(started.body["type"], "guest_guest");
    assert_eq!(started.body["status"], "active");
    assert_eq!(started.body["subject"], "Dinner");
    assert_eq!(started.body["metadata"], json!({"table": 7}));
    assert_eq!(started.body["participants"][0]["user_id"], "alice");
    assert_eq!(started.body["participants"][0]["role"], "owner");
    assert_eq!(started.body["last_message"], json!(null));

    alice.send(id, "At eight?").await;
    let seen = bob.get(&format!("{PATH}/{id}")).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.body["last_message"]["message_text"], "At eight?");
    assert_eq!(seen.body["unread_count"], 1);
}

#[tokio::test]
async fn a_conversation_that_is_not_yours_does_not_exist_for_you_but_for_staff() {
    let api = Api::start().await;
    let id = api.user("alice").start_group(&["bob"]).await;
    let path = format!("{PATH}/{id}");
    api.user("eve").get(&path).await.is_problem(404, "not_found");
    api.user("alice").get(&format!("{PATH}/{}", uuid::Uuid::now_v7())).await.is_problem(404, "not_found");
    assert_eq!(api.user_as("maria", Role::Staff).get(&path).await.status, 200);
}

#[tokio::test]
async fn the_same_key_starts_one_conversation() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let start = |subject: &str| {
        let body = json!({ "type": "group", "subject": subject, "participant_ids": ["bob"] });
        answer(alice.request(Method::POST, PATH).header("Idempotency-Key", "k-1").json(&body))
    };
    let (first, again) = (start("Dinner").await, start("Dinner").await);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body["id"], again.body["id"]);
    start("Lunch").await.is_problem(409, "key_reused");
}

#[tokio::test]
async fn a_pair_has_one_direct_conversation() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let with = |other: &str| json!({ "type": "direct", "participant_ids": [other] });
    let first = alice.post(PATH, &with("bob")).await;
    let again = bob.post(PATH, &with("alice")).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body["id"], again.body["id"]);
}

#[tokio::test]
async fn guests_do_not_start_conversations_of_staff() {
    let api = Api::start().await;
    let body = json!({ "type": "staff_staff", "participant_ids": ["maria"] });
    api.user("alice").post(PATH, &body).await.is_problem(403, "forbidden");
    assert_eq!(api.user_as("john", Role::Staff).post(PATH, &body).await.status, 201);
}

#[tokio::test]
async fn too_many_participants_are_refused_by_the_named_limit() {
    let api = Api::start().await;
    let ids: Vec<String> = (0..250).map(|n| format!("u{n}")).collect();
    let body = json!({ "type": "group", "participant_ids": ids });
    api.user("alice").post(PATH, &body).await.is_problem(409, "limit_exceeded");
}

#[tokio::test]
async fn pages_of_conversations_cover_all_of_them_once_the_last_active_first() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(alice.start_group(&[&format!("friend{n}")]).await);
    }
    alice.send(&ids[0], "back to the first").await;
    let expected = [0, 4, 3, 2, 1].map(|n: usize| ids[n].clone());

    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = alice.get(&format!("{PATH}?limit=2{next}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let items = page.body["items"].as_array().expect("items");
        seen.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));
        let Some(place) = page.body["next"].as_str() else { break };
        next = format!("&after={place}");
    }
    assert_eq!(seen, expected);

    let skipped = alice.get(&format!("{PATH}?limit=2&offset=3")).await;
    assert_eq!(skipped.body["items"][0]["id"], expected[3]);
    assert_eq!(skipped.body["next"], json!(null));
    let none = alice.get(&format!("{PATH}?type=direct")).await;
    assert_eq!(none.body, json!({ "items": [], "next": null }));
}
