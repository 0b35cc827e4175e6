//! Threads over REST.

use reqwest::Method;
use serde_json::json;

use crate::dsl::{Api, answer};

const MESSAGES: &str = "/api/v1/messages/messages";

#[tokio::test]
async fn a_thread_is_answered_followed_read_and_left() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    let root = alice.send(&id, "who knows?").await["id"].as_str().expect("an id").to_owned();
    let mut seqs = Vec::new();
    for text in ["one", "two", "three"] {
        let body = json!({ "conversation_id": id, "message_text": text, "thread_root_id": root });
        let sent = bob.post(MESSAGES, &body).await;
        assert_eq!((sent.status, &sent.body["thread_root_id"]), (201, &json!(root)), "{sent:?}");
        seqs.push(sent.body["seq"].clone());
    }
    let thread = alice.get(&format!("{MESSAGES}/{root}/thread?limit=2")).await.body;
    assert_eq!(
        (&thread["root"]["id"], &thread["root"]["thread"]["reply_count"]),
        (&json!(root), &json!(3)),
        "{thread}"
    );
    assert_eq!((&thread["marker"]["following"], &thread["marker"]["thread_unread_count"]), (&json!(true), &json!(3)));
    assert_eq!((&thread["items"][1]["seq"], thread["items"].as_array().map(Vec::len)), (&seqs[2], Some(2)), "{thread}");
    let next = thread["next"].as_str().expect("there are older ones");
    let older = alice.get(&format!("{MESSAGES}/{root}/thread?limit=2&after={next}")).await.body;
    assert_eq!((&older["items"][0]["seq"], &older["next"]), (&seqs[0], &json!(null)), "{older}");
    let listed = alice.get(&format!("/api/v1/messages/conversations/{id}/messages")).await.body;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");

    let unread = alice.get("/api/v1/unread").await.body;
    assert_eq!(
        (&unread["messages"], &unread["thread_replies"], &unread["thread_items"][0]["thread_root_id"]),
        (&json!(0), &json!(3), &json!(root)),
        "{unread}"
    );
    let path = format!("{MESSAGES}/{root}/thread/read");
    let read = answer(alice.request(Method::PATCH, &path).json(&json!({ "up_to_seq": seqs[0] }))).await;
    assert_eq!((read.status, &read.body["thread_unread_count"]), (200, &json!(2)), "{read:?}");
    let read = answer(alice.request(Method::PATCH, &path)).await;
    assert_eq!(read.body["thread_unread_count"], 0, "{read:?}");
    let verified = alice.get("/api/v1/unread/verify").await.body;
    assert_eq!((&verified["is_exact"], &verified["thread_replies"]), (&json!(true), &json!(0)), "{verified}");

    let follow = format!("{MESSAGES}/{root}/thread/follow");
    let left = answer(alice.request(Method::DELETE, &follow)).await;
    assert_eq!((left.status, &left.body["following"]), (200, &json!(false)), "{left:?}");
    let threads = format!("/api/v1/messages/conversations/{id}/threads");
    assert_eq!(alice.get(&format!("{threads}?following=true")).await.body["items"], json!([]));
    let back = answer(alice.request(Method::PUT, &follow)).await;
    assert_eq!(back.body["following"], true, "{back:?}");
    let listed = alice.get(&format!("{threads}?following=true&limit=1")).await.body;
    assert_eq!((&listed["items"][0]["root"]["id"], &listed["next"]), (&json!(root), &json!(null)), "{listed}");
}

#[tokio::test]
async fn what_cannot_begin_a_thread_is_refused_with_what_can_be_done() {
    let api = Api::start().await;
    let (alice, eve) = (api.user("alice"), api.user("eve"));
    let id = alice.start_group(&["bob"]).await;
    let root = alice.send(&id, "who knows?").await["id"].as_str().expect("an id").to_owned();
    let body = json!({ "conversation_id": id, "message_text": "so", "thread_root_id": root });
    let reply = alice.post(MESSAGES, &body).await.body["id"].as_str().expect("an id").to_owned();

    let deeper = json!({ "conversation_id": id, "message_text": "so", "thread_root_id": reply });
    let refused = alice.post(MESSAGES, &deeper).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("bad_request")), "{refused:?}");
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains("name the message that began it")));
    let alone = json!({ "conversation_id": id, "message_text": "so", "also_in_conversation": true });
    let refused = alice.post(MESSAGES, &alone).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (400, &json!("also_in_conversation")));
    assert_eq!(eve.get(&format!("{MESSAGES}/{root}/thread")).await.status, 404);
    assert_eq!(alice.get(&format!("{MESSAGES}/{root}/thread?offset=1")).await.status, 400);
    answer(alice.request(Method::DELETE, &format!("{MESSAGES}/{root}"))).await;
    let refused = alice.post(MESSAGES, &body).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("conflict")), "{refused:?}");
}
