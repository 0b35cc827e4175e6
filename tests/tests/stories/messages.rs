//! What a message can be beside its text, on every device of everyone concerned.

use chrono::{TimeDelta, Utc};
use fleet::client::Kind;
use fleet::place::Place;
use reqwest::Method;
use serde_json::{Value, json};

use crate::changes::hears;

told_everywhere! {
    a_notice_is_scheduled_and_whom_it_calls_acknowledges_it,
    what_was_said_is_pinned_and_said_again_elsewhere,
    the_system_and_programs_speak_as_what_they_are,
    a_draft_follows_its_writer_from_device_to_device,
}

const MESSAGES: &str = "/api/v1/messages/messages";

async fn a_notice_is_scheduled_and_whom_it_calls_acknowledges_it(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let (hers, his) = (alice.device("phone").connect().await, bob.device("phone").connect().await);
    let conversation = alice.starts(Kind::Group, &[&bob]).await;
    let send_at = Utc::now() + TimeDelta::seconds(1);
    let notice = json!({
        "conversation_id": conversation.id, "message_text": "leave by the stairs", "send_at": send_at,
        "mentioned_users": [bob.name()], "priority": "urgent", "requires_acknowledgement": true,
    });
    let scheduled = alice.asks(Method::POST, "/api/v1/messages/scheduled", &notice).await;
    let id = scheduled["id"].as_str().expect("an id");
    hears(&hers, "scheduled_message.updated", |data| data["id"] == id).await;
    let said = hears(&his, "new_message", |data| data["message_id"] == id).await;
    assert_eq!((&said["data"]["priority"], &said["data"]["sender_id"]), (&json!("urgent"), &json!(alice.name())));
    assert_eq!(said["data"]["mentioned_users"], json!([bob.name()]), "{said}");
    let sent = hears(&hers, "scheduled_message.sent", |data| data["id"] == id).await;
    assert_eq!(sent["data"]["message"], Value::Null, "{sent}");
    let unread = bob.asks(Method::GET, "/api/v1/unread", &Value::Null).await;
    assert_eq!((&unread["messages"], &unread["mentions"]), (&json!(1), &json!(1)), "{unread}");

    bob.asks(Method::POST, &format!("{MESSAGES}/{id}/acknowledge"), &json!({})).await;
    for device in [&hers, &his] {
        let seen = hears(device, "message.acknowledged", |data| data["message_id"] == id).await;
        assert_eq!(seen["data"]["acknowledgements"]["items"][0]["user_id"], bob.name(), "{seen}");
        device.is_right();
    }
    let kept = bob.reads(&conversation).await;
    assert_eq!((kept.len(), kept[0].text.as_str()), (1, "leave by the stairs"), "it was sent once");
}

async fn what_was_said_is_pinned_and_said_again_elsewhere(place: &impl Place) {
    let (alice, bob, carol) = (place.user("alice"), place.user("bob"), place.user("carol"));
    let (his, hers) = (bob.device("phone").connect().await, carol.device("phone").connect().await);
    let (here, there) = (alice.starts(Kind::Group, &[&bob]).await, bob.starts(Kind::Group, &[&carol]).await);
    let said = alice.says(&here, "the code of the door is 7").await;
    let path = format!("{MESSAGES}/{}", said.id);
    alice.asks(Method::PUT, &format!("{path}/pin"), &json!({})).await;
    hears(&his, "message.pinned", |data| data["pinned_by"] == alice.name()).await;
    let pins = bob.asks(Method::GET, &format!("/api/v1/messages/conversations/{}/pins", here.id), &Value::Null).await;
    assert_eq!(pins["items"][0]["id"], said.id.as_str(), "{pins}");

    let to = json!({ "conversation_id": there.id, "client_message_id": said.id });
    let forwarded = bob.asks(Method::POST, &format!("{path}/forward"), &to).await;
    let told = hears(&hers, "new_message", |data| data["message_id"] == forwarded["id"]).await;
    assert_eq!(told["data"]["forwarded_from"]["sender_id"], alice.name(), "{told}");
    alice.asks(Method::DELETE, &path, &json!({})).await;
    let gone = hears(&his, "message.deleted", |data| data["message_id"] == said.id.as_str()).await;
    assert_eq!((&gone["data"]["message_text"], gone["data"].get("pinned_at")), (&json!(""), None), "{gone}");
    let kept = carol.reads(&there).await;
    assert_eq!((kept.len(), kept[0].text.as_str()), (1, "the code of the door is 7"), "it stays as it was");
    for device in [&his, &hers] {
        device.is_right();
    }
}

async fn the_system_and_programs_speak_as_what_they_are(place: &impl Place) {
    let (alice, sam) = (place.user("alice"), place.user_with_role("sam", "staff"));
    let hers = alice.device("phone").connect().await;
    let conversation = sam.starts(Kind::Group, &[&alice]).await;
    for message_type in ["text", "system", "automated"] {
        let body = json!({
            "conversation_id": conversation.id, "message_text": "breakfast is from seven", "message_type": message_type,
            "client_message_id": message_type,
        });
        sam.asks(Method::POST, MESSAGES, &body).await;
        hears(&hers, "new_message", |data| data["message_type"] == message_type).await;
        let mine = alice.request(Method::POST, MESSAGES).json(&body).send().await.expect("an answer");
        assert_eq!(mine.status().is_success(), message_type == "text", "{message_type}");
    }
    hers.is_right();
}

async fn a_draft_follows_its_writer_from_device_to_device(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let (phone, desk) = (alice.device("phone").connect().await, alice.device("desk").connect().await);
    let his = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::Group, &[&bob]).await;
    let path = format!("/api/v1/messages/conversations/{}/draft", conversation.id);
    alice.asks(Method::PUT, &path, &json!({ "message_text": "dear al" })).await;
    let saved = alice.asks(Method::PUT, &path, &json!({ "message_text": "dear all" })).await;
    for device in [&phone, &desk] {
        let told = hears(device, "draft.updated", |data| data["message_text"] == "dear all").await;
        assert_eq!(told["version"], saved["version"], "{told}");
    }
    let body = json!({
        "conversation_id": conversation.id, "message_text": "dear all", "client_message_id": "k-1",
        "draft_version": saved["version"],
    });
    let sent = alice.asks(Method::POST, MESSAGES, &body).await;
    for device in [&phone, &desk] {
        hears(device, "draft.deleted", |data| data["message_text"] == Value::Null).await;
        device.is_right();
    }
    hears(&his, "new_message", |data| data["message_id"] == sent["id"]).await;
    let record = his.record();
    let is_draft = |frame: &&Value| frame["type"].as_str().is_some_and(|kind| kind.starts_with("draft"));
    assert_eq!(record.frames.iter().filter(is_draft).count(), 0, "drafts are their writer's alone");
    drop(record);
    his.is_right();
}
