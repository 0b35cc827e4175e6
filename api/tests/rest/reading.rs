//! Reading over REST: markers, counts, figures.

use reqwest::Method;
use serde_json::json;
use shared::channel::Role;

use crate::dsl::{Api, answer};

const CONVERSATIONS: &str = "/api/v1/messages/conversations";

#[tokio::test]
async fn reading_clears_what_is_unread_and_marking_unread_brings_it_back() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    for text in ["one", "two", "three"] {
        alice.send(&id, text).await;
    }
    let unread = bob.get("/api/v1/unread").await.body;
    assert_eq!((&unread["messages"], &unread["conversations"]), (&json!(3), &json!(1)), "{unread}");
    assert_eq!(unread["items"][0]["conversation_id"], id.as_str(), "{unread}");

    let path = format!("{CONVERSATIONS}/{id}/read");
    let read = answer(bob.request(Method::PATCH, &path).json(&json!({ "up_to_seq": 2 }))).await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!((&read.body["last_read_seq"], &read.body["unread_count"]), (&json!(2), &json!(1)), "{read:?}");
    // As the source system calls it: with nothing in the body.
    let read = answer(bob.request(Method::PATCH, &path)).await;
    assert_eq!((&read.body["last_read_seq"], &read.body["unread_count"]), (&json!(3), &json!(0)), "{read:?}");
    let shown = bob.get(&format!("{CONVERSATIONS}/{id}")).await.body;
    assert_eq!(shown["unread_count"], 0, "{shown}");

    let back = bob.post(&format!("{CONVERSATIONS}/{id}/unread"), &json!({ "from_seq": 3 })).await;
    assert_eq!((&back.body["last_read_seq"], &back.body["unread_count"]), (&json!(2), &json!(1)), "{back:?}");
    let told = bob.feed("limit=100").await;
    let kinds: Vec<_> = told["events"].as_array().expect("events").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds[kinds.len() - 3..], ["message.read", "message.read", "message.read"], "{told}");
    let verified = bob.get("/api/v1/unread/verify").await.body;
    let mut item = back.body;
    item["counted"] = json!(1);
    item["threads_kept"] = json!(0);
    item["threads_counted"] = json!(0);
    item["threads_wrong"] = json!(0);
    item["unread_version"] = verified["items"][0]["unread_version"].clone();
    let whole = json!({
        "is_exact": true, "conversations": 1, "messages": 1, "thread_replies": 0, "drifts": [], "items": [item],
        "next": null,
    });
    assert_eq!(verified, whole);
}

#[tokio::test]
async fn unread_counts_are_compared_page_by_page_or_all_at_once() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = alice.start_group(&["bob"]).await;
        alice.send(&id, "hello").await;
        ids.push(id);
    }
    ids.sort();
    let (mut seen, mut path) = (Vec::new(), "/api/v1/unread/verify?limit=2".to_owned());
    loop {
        let page = bob.get(&path).await.body;
        let items = page["items"].as_array().expect("items").clone();
        let counts = (&page["conversations"], &page["messages"], &page["is_exact"]);
        assert_eq!(counts, (&json!(items.len()), &json!(items.len()), &json!(true)), "{page}");
        seen.extend(items.iter().map(|item| item["conversation_id"].as_str().expect("an id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(items.len(), 2);
        path = format!("/api/v1/unread/verify?limit=2&after={next}");
    }
    assert_eq!(seen, ids);
    let all = bob.get("/api/v1/unread/verify").await.body;
    assert_eq!((&all["conversations"], &all["messages"], &all["next"]), (&json!(5), &json!(5), &json!(null)), "{all}");
    for (query, field) in [("limit=0", "limit"), ("limit=101", "limit"), ("after=x", "after"), ("offset=1", "offset")] {
        let refused = bob.get(&format!("/api/v1/unread/verify?{query}")).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), [field]);
    }
}

#[tokio::test]
async fn markers_are_refused_that_are_no_numbers_or_not_ones_own() {
    let api = Api::start().await;
    let (alice, eve) = (api.user("alice"), api.user("eve"));
    let id = alice.start_group(&["bob"]).await;
    let path = format!("{CONVERSATIONS}/{id}/read");
    for body in
        [json!({ "up_to_seq": -1 }), json!({ "up_to_seq": "3" }), json!({ "up_to": 3 }), json!({ "up_to_seq": 1.5 })]
    {
        answer(alice.request(Method::PATCH, &path).json(&body)).await.is_problem(400, "bad_request");
    }
    for body in [json!({}), json!({ "from_seq": 0 }), json!({ "from_seq": u64::MAX })] {
        let refused = alice.post(&format!("{CONVERSATIONS}/{id}/unread"), &body).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["from_seq"]);
    }
    answer(eve.request(Method::PATCH, &path).json(&json!({}))).await.is_problem(404, "not_found");
    let maria = api.user_as("maria", Role::Staff);
    answer(maria.request(Method::PATCH, &path).json(&json!({}))).await.is_problem(403, "not_a_participant");
}

#[tokio::test]
async fn figures_are_ones_own_and_staff_see_those_over_all() {
    let api = Api::start().await;
    let (alice, maria) = (api.user("alice"), api.user_as("maria", Role::Staff));
    let id = alice.start_group(&["bob"]).await;
    api.user("carol").start_group(&["dave"]).await;
    alice.send(&id, "hello").await;
    let own = alice.get("/api/v1/messages/stats").await.body;
    assert_eq!((&own["conversations"], &own["active_conversations"]), (&json!(1), &json!(1)), "{own}");
    assert!(own.get("all").is_none(), "{own}");
    let all = maria.get("/api/v1/messages/stats").await.body;
    assert_eq!(all["conversations"], 0, "{all}");
    assert_eq!((&all["all"]["conversations"], &all["all"]["messages_last_day"]), (&json!(2), &json!(1)), "{all}");
}
