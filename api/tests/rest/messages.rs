//! Sending and reading messages.

use reqwest::Method;
use serde_json::{Value, json};
use shared::channel::Role;

use super::dsl::{Api, User, answer};

const PATH: &str = "/api/v1/messages/messages";

#[tokio::test]
async fn messages_are_numbered_in_the_order_they_were_taken() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    let first = alice.send(&id, "one").await;
    let second = bob.send(&id, "two").await;
    assert_eq!((&first["seq"], &second["seq"]), (&json!(1), &json!(2)));
    assert_eq!(first["sender_id"], "alice");
    assert_eq!(first["message_type"], "text");
    assert_eq!(first["conversation_id"], id.as_str());
    assert_eq!(first["client_message_id"], json!(null));
}

#[tokio::test]
async fn the_same_client_message_id_makes_one_message() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let body = |text| json!({ "conversation_id": id, "message_text": text, "client_message_id": "c-1" });
    let first = alice.post(PATH, &body("hello")).await;
    let again = alice.post(PATH, &body("hello")).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body, again.body);
    alice.post(PATH, &body("something else")).await.is_problem(409, "key_reused");
    assert_eq!(api.user("bob").post(PATH, &body("hello")).await.status, 201, "keys are the sender's own");
}

#[tokio::test]
async fn the_same_idempotency_key_makes_one_message_whatever_the_conversation() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let (id, elsewhere) = (alice.start_group(&["bob"]).await, alice.start_group(&["carol"]).await);
    let send = |body: &Value| answer(alice.request(Method::POST, PATH).header("Idempotency-Key", "k-1").json(body));
    let body = json!({ "conversation_id": id, "message_text": "hello", "client_message_id": "c-1" });
    let (first, again) = (send(&body).await, send(&body).await);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body, again.body);
    assert_eq!(first.body["client_message_id"], "c-1");
    for (field, other) in
        [("conversation_id", elsewhere.as_str()), ("client_message_id", "c-2"), ("message_text", "hi")]
    {
        let mut body = body.clone();
        body[field] = other.into();
        send(&body).await.is_problem(409, "key_reused");
    }
    // Another path has keys of its own.
    let group = json!({ "type": "group", "participant_ids": ["bob"] });
    let started = alice.request(Method::POST, "/api/v1/messages/conversations").header("Idempotency-Key", "k-1");
    assert_eq!(answer(started.json(&group)).await.status, 201);
}

#[tokio::test]
async fn only_participants_send_and_only_to_what_exists() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let to = |id: &str| json!({ "conversation_id": id, "message_text": "hello" });
    api.user("eve").post(PATH, &to(&id)).await.is_problem(404, "not_found");
    alice.post(PATH, &to(&uuid::Uuid::now_v7().to_string())).await.is_problem(404, "not_found");
    api.user_as("maria", Role::Staff).post(PATH, &to(&id)).await.is_problem(403, "not_a_participant");
    let mut body = to(&id);
    body["reply_to"] = uuid::Uuid::now_v7().to_string().into();
    alice.post(PATH, &body).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn guests_do_not_speak_as_the_system() {
    let api = Api::start().await;
    let (alice, maria) = (api.user("alice"), api.user_as("maria", Role::Staff));
    let id = alice.start_group(&["maria"]).await;
    let body = json!({ "conversation_id": id, "message_text": "Checkout is at ten", "message_type": "system" });
    alice.post(PATH, &body).await.is_problem(403, "forbidden");
    assert_eq!(maria.post(PATH, &body).await.status, 201);
}

#[tokio::test]
async fn a_message_calls_people_by_a_list_and_not_by_its_text() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob", "carol"]).await;
    alice.send(&id, "@bob not really").await;
    let body = json!({ "conversation_id": id, "message_text": "look", "mentioned_users": ["carol", "bob", "bob"] });
    let sent = alice.post(PATH, &body).await;
    assert_eq!((sent.status, &sent.body["mentioned_users"]), (201, &json!(["bob", "carol"])), "{sent:?}");
    let unread = bob.get("/api/v1/unread").await.body;
    assert_eq!((&unread["messages"], &unread["mentions"]), (&json!(2), &json!(1)), "{unread}");
    assert_eq!(unread["items"][0]["unread_mention_count"], 1, "{unread}");
    assert_eq!(bob.get("/api/v1/messages/stats").await.body["unread"]["mentions"], 1);
    let path = format!("{PATH}/{}", sent.body["id"].as_str().expect("an id"));
    let edit = json!({ "message_text": "all of you", "mentioned_everyone": true });
    let edited = answer(alice.request(Method::PATCH, &path).json(&edit)).await.body;
    assert_eq!((&edited["mentioned_everyone"], edited.get("mentioned_users")), (&json!(true), None), "{edited}");

    let calls = |mentions: Value| json!({ "conversation_id": id, "message_text": "x", "mentioned_users": mentions });
    alice.post(PATH, &calls(json!(["eve"]))).await.is_problem(404, "not_found");
    let many: Vec<_> = (0..51).map(|number| format!("u{number}")).collect();
    for wrong in [json!(["two words"]), json!(["*"]), json!("bob"), json!(many)] {
        let refused = alice.post(PATH, &calls(wrong)).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["mentioned_users"]);
    }
}

#[tokio::test]
async fn voice_messages_and_files_bring_attachments() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    for message_type in ["voice", "file"] {
        let body = json!({ "conversation_id": id, "message_text": "listen", "message_type": message_type });
        let refused = alice.post(PATH, &body).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["attachment_ids"]);
    }
    let two = [uuid::Uuid::now_v7(), uuid::Uuid::now_v7()];
    let body = json!({ "conversation_id": id, "message_type": "voice", "attachment_ids": two });
    assert_eq!(alice.post(PATH, &body).await.is_problem(400, "bad_request").blamed(), ["attachment_ids"]);
    let body = json!({ "conversation_id": id, "message_text": "x", "message_type": "smoke" });
    alice.post(PATH, &body).await.is_problem(400, "unsupported");
}

#[tokio::test]
async fn every_part_of_a_conversation_can_be_read_oldest_first() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    for n in 1..=9 {
        alice.send(&id, &format!("number {n}")).await;
    }
    let last: &[u64] = &[7, 8, 9];
    for (query, seqs, next) in [
        ("limit=3", last, Some("before.7")),
        ("limit=3&offset=3", &[4, 5, 6], Some("before.4")),
        ("limit=3&before_seq=4", &[1, 2, 3], None),
        ("limit=3&after_seq=3", &[4, 5, 6], Some("after.6")),
        ("limit=3&after_seq=6", &[7, 8, 9], None),
        ("limit=4&around_seq=5", &[3, 4, 5, 6], None),
        ("limit=3&after=before.7", &[4, 5, 6], Some("before.4")),
        ("limit=3&after=after.6", &[7, 8, 9], None),
        ("", &[1, 2, 3, 4, 5, 6, 7, 8, 9], None),
        ("after_seq=9", &[], None),
    ] {
        let (read, after) = page(&alice, &id, query).await;
        assert_eq!((read.as_slice(), after.as_deref()), (seqs, next), "{query}");
    }
}

/// The numbers on a page, and what follows it.
async fn page(user: &User<'_>, id: &str, query: &str) -> (Vec<u64>, Option<String>) {
    let page = user.get(&format!("/api/v1/messages/conversations/{id}/messages?{query}")).await;
    assert_eq!(page.status, 200, "{page:?}");
    let items = page.body["items"].as_array().expect("items");
    let seqs = items.iter().map(|item| item["seq"].as_u64().expect("a number")).collect();
    (seqs, page.body["next"].as_str().map(ToOwned::to_owned))
}

#[tokio::test]
async fn messages_are_shown_to_participants_and_staff_only() {
    let api = Api::start().await;
    let id = api.user("alice").start_group(&["bob"]).await;
    let path = format!("/api/v1/messages/conversations/{id}/messages");
    api.user("eve").get(&path).await.is_problem(404, "not_found");
    assert_eq!(api.user("bob").get(&path).await.status, 200);
    assert_eq!(api.user_as("maria", Role::Staff).get(&path).await.status, 200);
}
