//! Changing messages over REST.

use reqwest::Method;
use serde_json::{Value, json};

use crate::dsl::{Api, answer};

const MESSAGES: &str = "/api/v1/messages/messages";

#[tokio::test]
async fn a_message_is_edited_reacted_to_hidden_and_deleted() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let conversation = alice.start_group(&["bob"]).await;
    let sent = alice.send(&conversation, "helo").await;
    let path = format!("{MESSAGES}/{}", sent["id"].as_str().expect("an id"));

    let edited = answer(alice.request(Method::PATCH, &path).json(&json!({ "message_text": "hello" }))).await;
    assert_eq!(
        (edited.status, &edited.body["message_text"], &edited.body["version"]),
        (200, &json!("hello"), &json!(2))
    );
    let history = bob.get(&format!("{path}/history")).await.body;
    assert_eq!(history["items"][0]["message_text"], "helo", "{history}");

    let reaction = format!("{path}/reactions/%F0%9F%91%8D");
    let reacted = answer(bob.request(Method::PUT, &reaction)).await;
    assert_eq!(reacted.body["reactions"], json!([{ "reaction": "\u{1f44d}", "count": 1, "user_ids": ["bob"] }]));
    let back = answer(bob.request(Method::DELETE, &reaction)).await;
    assert_eq!((back.status, back.body.get("reactions")), (200, None), "{back:?}");

    let hidden = answer(bob.request(Method::DELETE, &format!("{path}?for=me"))).await;
    assert_eq!((&hidden.body["hidden"], &hidden.body["message_text"]), (&json!(true), &json!("")), "{hidden:?}");
    assert_eq!(bob.get(&path).await.body["hidden"], true);
    assert_eq!(alice.get(&path).await.body["message_text"], "hello");

    let deleted = answer(alice.request(Method::DELETE, &path)).await;
    assert_eq!((deleted.status, &deleted.body["message_text"]), (200, &json!("")), "{deleted:?}");
    assert!(deleted.body["deleted_at"].is_string(), "{deleted:?}");
    let told = bob.feed("limit=100").await;
    let kinds: Vec<_> =
        told["events"].as_array().expect("events").iter().filter_map(|event| event["type"].as_str()).collect();
    let expected = [
        "conversation.created",
        "new_message",
        "message.updated",
        "reaction.new",
        "reaction.deleted",
        "message.hidden",
        "message.deleted",
    ];
    assert_eq!(kinds, expected);
    assert!(!told.to_string().contains("helo"), "{told}");
}

#[tokio::test]
async fn changes_that_cannot_be_are_refused_by_name() {
    let api = Api::start().await;
    let (alice, bob, eve) = (api.user("alice"), api.user("bob"), api.user("eve"));
    let conversation = alice.start_group(&["bob"]).await;
    let sent = alice.send(&conversation, "mine").await;
    let path = format!("{MESSAGES}/{}", sent["id"].as_str().expect("an id"));
    let edit = |text: Value| json!({ "message_text": text });
    answer(bob.request(Method::PATCH, &path).json(&edit("his".into()))).await.is_problem(403, "forbidden");
    answer(bob.request(Method::DELETE, &path)).await.is_problem(403, "forbidden");
    for method in [Method::GET, Method::DELETE] {
        answer(eve.request(method, &path)).await.is_problem(404, "not_found");
    }
    for body in [json!({}), edit("".into()), edit(7.into()), json!({ "message_text": "x", "seq": 3 })] {
        answer(alice.request(Method::PATCH, &path).json(&body)).await.is_problem(400, "bad_request");
    }
    for reaction in ["a%20b", "%00", &"x".repeat(33)] {
        let refused = answer(alice.request(Method::PUT, &format!("{path}/reactions/{reaction}"))).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["reaction"], "{reaction}");
    }
    let refused = answer(alice.request(Method::DELETE, &format!("{path}?for=them"))).await;
    assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["for"]);
    let nobody = answer(alice.request(Method::GET, &format!("{MESSAGES}/no-id"))).await;
    assert_eq!(nobody.is_problem(400, "bad_request").blamed(), ["id"]);
    answer(alice.request(Method::DELETE, &path)).await;
    answer(alice.request(Method::PATCH, &path).json(&edit("again".into()))).await.is_problem(409, "conflict");
}

#[tokio::test]
async fn what_is_pinned_is_at_hand_for_everybody() {
    let api = Api::start().await;
    let (alice, bob, eve) = (api.user("alice"), api.user("bob"), api.user("eve"));
    let conversation = alice.start_group(&["bob"]).await;
    let sent = alice.send(&conversation, "the code of the door is 7").await;
    let path = format!("{MESSAGES}/{}/pin", sent["id"].as_str().expect("an id"));
    let pinned = answer(bob.request(Method::PUT, &path)).await;
    assert_eq!((pinned.status, &pinned.body["pinned_by"]), (200, &json!("bob")), "{pinned:?}");
    let pins = format!("/api/v1/messages/conversations/{conversation}/pins");
    let listed = alice.get(&pins).await.body;
    assert_eq!((&listed["items"][0], &listed["next"]), (&pinned.body, &Value::Null), "{listed}");
    for method in [Method::PUT, Method::DELETE] {
        answer(eve.request(method, &path)).await.is_problem(404, "not_found");
    }
    eve.get(&pins).await.is_problem(404, "not_found");
    let unpinned = answer(alice.request(Method::DELETE, &path)).await;
    assert_eq!((unpinned.status, unpinned.body.get("pinned_at")), (200, None), "{unpinned:?}");
    assert_eq!(bob.get(&pins).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_message_is_said_again_elsewhere() {
    let api = Api::start().await;
    let (alice, bob, carol) = (api.user("alice"), api.user("bob"), api.user("carol"));
    let (here, there) = (alice.start_group(&["bob"]).await, bob.start_group(&["carol"]).await);
    let sent = alice.send(&here, "dinner is at eight").await;
    let path = format!("{MESSAGES}/{}/forward", sent["id"].as_str().expect("an id"));
    let body = json!({ "conversation_id": there, "client_message_id": "f-1" });
    let (first, again) = (bob.post(&path, &body).await, bob.post(&path, &body).await);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body, again.body);
    let from = json!({ "message_id": sent["id"], "sender_id": "alice", "created_at": sent["created_at"] });
    assert_eq!((&first.body["message_text"], &first.body["forwarded_from"]), (&json!("dinner is at eight"), &from));
    let found = carol.get("/api/v1/messages/search?q=dinner").await.body;
    assert_eq!(found["items"][0]["id"], first.body["id"], "{found}");
    let edit = json!({ "message_text": "dinner is at nine" });
    let own = format!("{MESSAGES}/{}", first.body["id"].as_str().expect("an id"));
    answer(bob.request(Method::PATCH, &own).json(&edit)).await.is_problem(403, "forbidden");
    carol.post(&path, &json!({ "conversation_id": there })).await.is_problem(404, "not_found");
    bob.post(&path, &json!({ "conversation_id": uuid::Uuid::now_v7() })).await.is_problem(404, "not_found");
    let refused = bob.post(&path, &json!({ "message_text": "x" })).await;
    assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["conversation_id", "message_text"]);
}

#[tokio::test]
async fn a_message_that_asks_for_it_is_acknowledged() {
    let api = Api::start().await;
    let (alice, bob, carol) = (api.user("alice"), api.user("bob"), api.user("carol"));
    let conversation = alice.start_group(&["bob", "carol"]).await;
    let body = json!({ "conversation_id": conversation, "message_text": "leave by the stairs", "priority": "urgent",
        "requires_acknowledgement": true });
    let asked = alice.post(MESSAGES, &body).await.body;
    assert_eq!((&asked["priority"], &asked["acknowledgements"]["count"]), (&json!("urgent"), &json!(0)), "{asked}");
    let path = format!("{MESSAGES}/{}", asked["id"].as_str().expect("an id"));
    for (person, count) in [(&bob, 1), (&carol, 2), (&carol, 2)] {
        let seen = answer(person.request(Method::POST, &format!("{path}/acknowledge"))).await;
        assert_eq!((seen.status, &seen.body["acknowledgements"]["count"]), (200, &json!(count)), "{seen:?}");
    }
    answer(alice.request(Method::POST, &format!("{path}/acknowledge"))).await.is_problem(403, "forbidden");
    let first = alice.get(&format!("{path}/acknowledgements?limit=1")).await.body;
    assert_eq!(first["items"][0]["user_id"], "bob", "{first}");
    let next = first["next"].as_str().expect("there is another");
    let second = alice.get(&format!("{path}/acknowledgements?limit=1&after={next}")).await.body;
    assert_eq!((&second["items"][0]["user_id"], &second["next"]), (&json!("carol"), &Value::Null), "{second}");
    let wrong = alice.get(&format!("{path}/acknowledgements?after=x")).await;
    assert_eq!(wrong.is_problem(400, "bad_request").blamed(), ["after"]);
    let body = json!({ "conversation_id": conversation, "message_text": "x", "priority": "yesterday" });
    assert_eq!(alice.post(MESSAGES, &body).await.is_problem(400, "bad_request").blamed(), ["priority"]);
}
