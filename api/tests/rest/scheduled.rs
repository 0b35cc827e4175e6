//! Scheduled messages over REST.

use std::time::Duration;

use api::worker::schedule::send_due;
use chrono::{SecondsFormat, TimeDelta, Utc};
use fleet::eventually::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use crate::dsl::{Api, answer};

const SCHEDULED: &str = "/api/v1/messages/scheduled";

fn moment(ahead: TimeDelta) -> String {
    (Utc::now() + ahead).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Waits until a worker has sent the one message that is due.
async fn becomes_due(api: &Api) {
    eventually(Duration::from_secs(10), async || match send_due(&*api.store, &api.publisher).await {
        Ok(1) => Ok(()),
        other => Err(format!("one message was to be due: {other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_message_is_scheduled_changed_sent_and_listed_no_more() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    let body = json!({ "conversation_id": id, "message_text": "good mornin", "send_at": moment(TimeDelta::hours(1)),
        "mentioned_users": ["bob"] });
    let post = || answer(alice.request(Method::POST, SCHEDULED).header("Idempotency-Key", "k-1").json(&body));
    let (first, again) = (post().await, post().await);
    assert_eq!((first.status, again.status), (201, 200), "{first:?}");
    assert_eq!(first.body, again.body);
    assert_eq!(alice.get(SCHEDULED).await.body, json!({ "items": [first.body], "next": null }));
    assert_eq!(bob.get(SCHEDULED).await.body["items"], json!([]));
    let path = format!("{SCHEDULED}/{}", first.body["id"].as_str().expect("an id"));
    let change = json!({ "message_text": "good morning", "send_at": moment(TimeDelta::milliseconds(200)) });
    let changed = answer(alice.request(Method::PATCH, &path).json(&change)).await;
    assert_eq!((changed.status, &changed.body["version"]), (200, &json!(2)), "{changed:?}");
    becomes_due(&api).await;
    let told = bob.feed("limit=100").await;
    let said = told["events"].as_array().expect("events").last().expect("he is told").clone();
    assert_eq!((&said["type"], &said["data"]["message_text"]), (&json!("new_message"), &json!("good morning")));
    assert_eq!((&said["data"]["message_id"], &said["data"]["mentioned_users"]), (&first.body["id"], &json!(["bob"])));
    assert_eq!(alice.get(SCHEDULED).await.body["items"], json!([]));
    answer(alice.request(Method::DELETE, &path)).await.is_problem(409, "conflict");
    let told = alice.feed("limit=100").await;
    let kinds: Vec<_> = told["events"].as_array().expect("events").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(
        kinds[1..],
        ["scheduled_message.updated", "scheduled_message.updated", "new_message", "scheduled_message.sent"]
    );
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_kept_with_the_reason() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    let body =
        json!({ "conversation_id": id, "message_text": "late", "send_at": moment(TimeDelta::milliseconds(200)) });
    let kept = bob.post(SCHEDULED, &body).await.body;
    let close = json!({ "status": "closed" });
    let conversation = format!("/api/v1/messages/conversations/{id}");
    assert_eq!(answer(alice.request(Method::PATCH, &conversation).json(&close)).await.status, 200);
    becomes_due(&api).await;
    let listed = bob.get(SCHEDULED).await.body["items"][0].clone();
    assert_eq!((&listed["status"], &listed["refusal"]["code"]), (&json!("refused"), &json!("conversation_closed")));
    let path = format!("{SCHEDULED}/{}", kept["id"].as_str().expect("an id"));
    for _ in 0..2 {
        assert_eq!(answer(bob.request(Method::DELETE, &path)).await.status, 204);
    }
    assert_eq!(bob.get(SCHEDULED).await.body["items"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused_by_name() {
    let api = Api::start().await;
    let (alice, eve) = (api.user("alice"), api.user("eve"));
    let id = alice.start_group(&["bob"]).await;
    let plan = |send_at: Value| json!({ "conversation_id": id, "message_text": "x", "send_at": send_at });
    let (past, far) = (moment(TimeDelta::hours(-1)), moment(TimeDelta::days(400)));
    for wrong in [json!(past), json!(far), json!(7), json!(null)] {
        let refused = alice.post(SCHEDULED, &plan(wrong)).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["send_at"]);
    }
    let soon = plan(json!(moment(TimeDelta::hours(1))));
    eve.post(SCHEDULED, &soon).await.is_problem(404, "not_found");
    let kept = alice.post(SCHEDULED, &soon).await.body;
    let path = format!("{SCHEDULED}/{}", kept["id"].as_str().expect("an id"));
    answer(eve.request(Method::DELETE, &path)).await.is_problem(404, "not_found");
    answer(alice.request(Method::PATCH, &path).json(&json!({}))).await.is_problem(400, "bad_request");
    let mut voice = soon;
    voice["message_type"] = json!("voice");
    assert_eq!(alice.post(SCHEDULED, &voice).await.is_problem(400, "bad_request").blamed(), ["attachment_ids"]);
}
