//! What somebody learns of what is not theirs: nothing, by any route that the description names.

use chrono::{TimeDelta, Utc};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use shared::channel::Role;
use uuid::Uuid;

use super::dsl::{Answer, Api, User, answer};

/// Every operation, as the api describes itself: its method and its path.
async fn operations(api: &Api) -> Vec<(Method, String)> {
    let description = answer(api.request(Method::GET, "/openapi.json")).await.body;
    let paths = description["paths"].as_object().expect("paths");
    let methods = |(path, methods): (&String, &Value)| {
        let names = methods.as_object().expect("methods").keys().map(|name| name.to_uppercase()).collect::<Vec<_>>();
        names.into_iter().map(|name| (name.parse().expect("a method"), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(methods).collect()
}

/// A body that an operation takes, where it takes one.
fn body(method: &Method, path: &str) -> Value {
    match (method.as_str(), path.rsplit('/').next().expect("rsplit always yields")) {
        ("POST", "participants") => json!({ "participant_ids": ["eve"] }),
        ("PATCH", "{user_id}") => json!({ "role": "admin" }),
        ("PUT", "assignment") => json!({ "user_id": "eve" }),
        ("PUT", "draft") => json!({ "message_text": "x" }),
        ("PATCH", "settings") => json!({ "muted": true }),
        ("POST", "forward") => json!({ "conversation_id": Uuid::nil() }),
        ("POST", "report") => json!({ "reason": "spam" }),
        ("POST", "unread") => json!({ "from_seq": 1 }),
        ("PUT", "ban") => json!({ "reason": "x" }),
        ("PATCH", "{id}") if path.contains("conversations") => json!({ "subject": "x" }),
        ("PATCH", "{id}") if path.contains("reports") => json!({ "state": "dismissed" }),
        ("PATCH", "{id}") => json!({ "message_text": "x" }),
        _ => json!({}),
    }
}

fn asks(user: &User<'_>, method: &Method, path: &str, body: &Value) -> RequestBuilder {
    let request = user.request(method.clone(), path);
    if path.ends_with("/content") { request.header("Upload-Offset", 0).body("x") } else { request.json(body) }
}

/// What an answer tells, without what is another every time.
fn told(answer: &Answer, id: &str) -> (u16, String) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        ["request_id", "blocked_at"].iter().for_each(|field| drop(body.remove(*field)));
    }
    (answer.status, body.to_string().replace(id, "ID"))
}

#[tokio::test]
async fn nobody_without_a_token_is_answered_by_any_route() {
    let api = Api::start().await;
    let all = operations(&api).await;
    assert!(all.len() > 50, "{all:?}");
    for (method, path) in all {
        let path =
            path.replace("{id}", &Uuid::nil().to_string()).replace("{user_id}", "bob").replace("{reaction}", "x");
        let asked = answer(api.request(method.clone(), &path).json(&json!({}))).await;
        assert_eq!(asked.status, 401, "{method} {path}: {asked:?}");
    }
}

/// The answers of every route to somebody who names what exists and is not theirs, and what does not exist.
#[tokio::test]
async fn what_is_not_ones_own_is_answered_by_every_route_like_what_does_not_exist() {
    let api = Api::start().await;
    let (alice, eve) = (api.user("alice"), api.user("eve"));
    let conversation = alice.start_group(&["bob"]).await;
    let message = alice.send(&conversation, "between us").await["id"].as_str().expect("an id").to_owned();
    let text = |answer: Answer| answer.body["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    let file = json!({ "file_name": "a.txt", "file_type": "text/plain", "file_size": 1 });
    let send_at = (Utc::now() + TimeDelta::hours(1)).to_rfc3339();
    let later = json!({ "conversation_id": conversation, "message_text": "later", "send_at": send_at });
    let theirs = [
        conversation.clone(),
        message.clone(),
        text(alice.post("/api/v1/attachments", &file).await),
        text(alice.post("/api/v1/messages/scheduled", &later).await),
        text(alice.post("/api/v1/users/alice/export", &json!({})).await),
        "alice".to_owned(),
    ];
    let mut refused = 0;
    for (method, path) in operations(&api).await {
        let Some(name) = ["{id}", "{user_id}"].into_iter().find(|name| path.contains(name)) else { continue };
        let at = |id: &str| path.replace(name, id).replace("{user_id}", "bob").replace("{reaction}", "%F0%9F%91%8D");
        for id in &theirs {
            let nothing = if *id == "alice" { "alfred".to_owned() } else { Uuid::now_v7().to_string() };
            let body = body(&method, &path);
            let real = answer(asks(&eve, &method, &at(id), &body)).await;
            let unreal = answer(asks(&eve, &method, &at(&nothing), &body)).await;
            assert_eq!(told(&real, id), told(&unreal, &nothing), "{method} {} {body}", at(id));
            refused += u32::from(matches!(real.status, 403 | 404));
        }
    }
    assert!(refused > 150, "only {refused} were refused for what they named");

    // Where the id stands in the body, or in a query.
    let messages = "/api/v1/messages/messages";
    for (what, id) in [("a conversation", &conversation), ("a message", &message)] {
        let nothing = Uuid::now_v7().to_string();
        let ask = async |id: &str| {
            let text = json!({ "conversation_id": id, "message_text": "x", "send_at": send_at });
            let said = json!({ "conversation_id": id, "message_text": "x" });
            let search = format!("/api/v1/messages/search?q=in:{id}%20us");
            [
                told(&eve.post(messages, &said).await, id),
                told(&eve.post("/api/v1/messages/scheduled", &text).await, id),
                told(&eve.get(&search).await, id),
            ]
        };
        assert_eq!(ask(id).await, ask(&nothing).await, "{what}");
    }
    let own = eve.start_group(&["mallory"]).await;
    for reply_to in [&message, &Uuid::now_v7().to_string()] {
        let reply = json!({ "conversation_id": own, "message_text": "x", "reply_to": reply_to });
        eve.post(messages, &reply).await.is_problem(404, "not_found");
    }
    assert_eq!(alice.get(&format!("{messages}/{message}")).await.body["message_text"], "between us");
}

/// A key is its sender's, in one conversation.
#[tokio::test]
async fn the_key_of_somebody_else_brings_nothing_of_theirs() {
    let api = Api::start().await;
    let (alice, bob, eve) = (api.user("alice"), api.user("bob"), api.user("eve"));
    let (ours, theirs) = (alice.start_group(&["bob"]).await, eve.start_group(&["bob"]).await);
    let say = async |user: &User<'_>, conversation: &str, text: &str| {
        let body = json!({ "conversation_id": conversation, "message_text": text, "client_message_id": "k1" });
        user.request(Method::POST, "/api/v1/messages/messages").header("Idempotency-Key", "k1").json(&body)
    };
    let first = answer(say(&alice, &ours, "mine").await).await;
    for (user, conversation) in [(&bob, &ours), (&eve, &theirs), (&bob, &theirs)] {
        let other = answer(say(user, conversation, "mine").await).await;
        // The request's key is of the caller: another conversation under it is another request.
        if user.name == "bob" && *conversation == theirs {
            other.is_problem(409, "key_reused");
            continue;
        }
        assert_eq!(other.status, 201, "{other:?}");
        assert_ne!(other.body["id"], first.body["id"]);
        assert_eq!(other.body["sender_id"], user.name);
    }
    let staff = api.user_as("sam", Role::Staff);
    answer(say(&staff, &ours, "mine").await).await.is_problem(403, "not_a_participant");
}
