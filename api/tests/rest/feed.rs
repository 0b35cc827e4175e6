//! Reading one's events, and starting from a snapshot.

use serde_json::{Value, json};
use shared::channel::Role;
use shared::cursor::Cursor;
use shared::ids::{Epoch, Seq};

use super::dsl::Api;

fn texts(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().expect("events");
    let messages = events.iter().filter(|event| event["type"] == "new_message");
    messages.map(|event| event["data"]["message_text"].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn a_feed_gives_every_event_once_in_order_whatever_the_page() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    let sent: Vec<String> = (1..=7).map(|n| format!("number {n}")).collect();
    for text in &sent {
        alice.send(&id, text).await;
    }
    let (mut read, mut own, mut query) = (Vec::new(), 0, "limit=3".to_owned());
    loop {
        let page = bob.feed(&query).await;
        read.extend(texts(&page).into_iter().map(ToOwned::to_owned));
        for event in page["events"].as_array().expect("events") {
            assert_eq!(event["channel"], "user:bob");
            assert_eq!(event["prev"], own);
            own += 1;
            assert_eq!(event["seq"], own);
        }
        query = format!("limit=3&after={}", page["cursor"].as_str().expect("a cursor"));
        if page["more"] == false {
            assert_eq!(page["events"].as_array().expect("events").last().expect("one")["cursor"], page["cursor"]);
            break;
        }
    }
    assert_eq!(read, sent);
    let rest = bob.feed(&query).await;
    assert_eq!((&rest["events"], &rest["more"]), (&json!([]), &json!(false)));
}

#[tokio::test]
async fn an_event_of_the_feed_is_what_a_socket_shows() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    let message = alice.send(&id, "hello \"you\"").await;
    let page = bob.feed("").await;
    let event = &page["events"][1];
    assert_eq!(event["type"], "new_message");
    assert_eq!(event["data"]["message_id"], message["id"]);
    assert_eq!(event["data"]["seq"], message["seq"]);
    assert_eq!(event["data"]["message_text"], "hello \"you\"");
    assert_eq!(event["data"]["unread_count"], 1);
    assert_eq!(event["version"], 1);
    assert_eq!(page["events"][0]["type"], "conversation.created");
}

#[tokio::test]
async fn any_event_is_a_place_to_go_on_from() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    for text in ["one", "two", "three"] {
        alice.send(&id, text).await;
    }
    let page = alice.feed("").await;
    let after = page["events"][1]["cursor"].as_str().expect("a cursor");
    assert_eq!(texts(&alice.feed(&format!("after={after}")).await), ["two", "three"]);
    assert_eq!(texts(&alice.feed("after=now").await), [""; 0]);
}

#[tokio::test]
async fn a_cursor_that_cannot_be_continued_is_refused_with_410() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    alice.start_group(&["bob"]).await;
    let page = alice.feed("").await;
    let cursor: Cursor = page["cursor"].as_str().expect("a cursor").parse().expect("a cursor");
    let mut ahead = cursor.clone();
    ahead.positions.user = Seq(ahead.positions.user.0 + 1);
    let staff = Cursor { role: Role::Staff, ..cursor.clone() };
    let elsewhen = Cursor { epoch: Epoch(!cursor.epoch.0), ..cursor.clone() };
    for foreign in [ahead, staff, elsewhen] {
        let answer = alice.get(&format!("/api/v1/feed?after={foreign}")).await;
        assert!(answer.is_problem(410, "resync_required").body["remedy"].to_string().contains("/api/v1/snapshot"));
    }
    bob.get(&format!("/api/v1/feed?after={cursor}")).await.is_problem(410, "resync_required");
}

#[tokio::test]
async fn a_snapshot_leads_into_the_feed_without_a_hole() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    alice.send(&id, "before").await;
    let snapshot = bob.get("/api/v1/snapshot").await;
    assert_eq!(snapshot.status, 200, "{snapshot:?}");
    assert_eq!(snapshot.body["conversations"][0]["id"], id.as_str());
    assert_eq!(snapshot.body["unread"]["messages"], 1);
    assert_eq!(snapshot.body["notifications"], json!([]));
    alice.send(&id, "after").await;
    let cursor = snapshot.body["cursor"].as_str().expect("a cursor");
    assert_eq!(texts(&bob.feed(&format!("after={cursor}")).await), ["after"]);
}
