//! People: what is known of them, whom they want to hear nothing of, and what staff do about those who abuse.

use fleet::client::{Kind, Refusal, User};
use fleet::eventually::{eventually, until};
use fleet::place::Place;
use reqwest::Method;
use serde_json::{Value, json};

use crate::CAUGHT_UP;

told_everywhere! {
    a_profile_is_shown_to_whom_one_talks_with_and_a_block_keeps_others_from_talking,
    what_is_reported_reaches_staff_and_whoever_is_banned_is_gone_from_every_gateway,
    whoever_wants_to_go_takes_what_is_theirs_along_and_is_erased_on_every_device,
}

/// The status and the code of a refusal.
async fn refused(user: &User, path: &str, body: &Value) -> (u16, Value) {
    let answer = user.request(Method::POST, path).json(body).send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json::<Value>().await.expect("a problem")["code"].clone())
}

async fn a_profile_is_shown_to_whom_one_talks_with_and_a_block_keeps_others_from_talking(place: &impl Place) {
    let (alice, bob, robot) = (place.user("alice"), place.user("bob"), place.user_with_role("robot", "service"));
    let (hers, his) = (alice.device("phone").connect().await, bob.device("phone").connect().await);
    let conversation = alice.starts(Kind::Direct, &[&bob]).await;
    let profile = json!({ "name": "Alice A.", "email": "alice@example.com", "time_zone": "Europe/Zurich" });
    robot.asks(Method::PUT, &format!("/api/v1/users/{}", alice.name()), &profile).await;
    for device in [&hers, &his] {
        let told = device.hears("user.updated", |frame| frame["type"] == "user.updated").await;
        assert_eq!((&told["data"]["name"], told["data"].get("email")), (&json!("Alice A."), None), "{told}");
    }
    let seen = bob.asks(Method::GET, &format!("/api/v1/users/{}", alice.name()), &Value::Null).await;
    assert_eq!(seen["time_zone"], "Europe/Zurich", "{seen}");

    let mut said = vec![bob.says(&conversation, "a word before").await];
    let block = format!("/api/v1/users/me/blocks/{}", bob.name());
    alice.asks(Method::PUT, &block, &json!({})).await;
    hers.hears("blocks.updated", |frame| frame["type"] == "blocks.updated").await;
    let body = json!({ "conversation_id": conversation.id, "message_text": "a word after" });
    assert_eq!(refused(&bob, "/api/v1/messages/messages", &body).await, (403, json!("blocked")));
    let answer = his.asks(json!({ "action": "message", "data": body })).await;
    assert_eq!(answer["data"]["code"], "blocked", "{answer}");
    let found = alice.asks(Method::GET, "/api/v1/messages/search?q=word", &Value::Null).await;
    assert_eq!(found["items"], json!([]), "{found}");
    let lifted = alice.request(Method::DELETE, &block).send().await.expect("an answer");
    assert_eq!(lifted.status(), 204);
    said.push(bob.says(&conversation, "a word after").await);
    conversation.is_shown_on(&[&hers, &his], &said, CAUGHT_UP).await;
    assert!(his.record().frames.iter().all(|frame| frame["type"] != "blocks.updated"), "he is never told");
}

async fn what_is_reported_reaches_staff_and_whoever_is_banned_is_gone_from_every_gateway(place: &impl Place) {
    let (alice, bob, sam) = (place.user("alice"), place.user("bob"), place.user_with_role("sam", "staff"));
    let desk = sam.device("desk").connect().await;
    let devices = [place.at_gateway(&bob, 0).device("phone"), place.at_gateway(&bob, 1).device("desk")];
    let [phone, second] = devices;
    let (phone, second) = (phone.connect().await, second.connect().await);
    let hers = alice.device("phone").connect().await;
    let conversation = alice.starts(Kind::Group, &[&bob]).await;
    let said = bob.says(&conversation, "your card number?").await;
    let report = json!({ "reason": "fraud", "note": "asks for my card" });
    let reported = alice.asks(Method::POST, &format!("/api/v1/messages/{}/report", said.id), &report).await;
    let told = desk.hears("report.created", |frame| frame["data"]["report_id"] == reported["id"]).await;
    assert_eq!(told["channel"], "role:staff", "{told}");

    let ban = json!({ "reason": "fraud", "expires_at": "2999-01-01T00:00:00Z" });
    sam.asks(Method::PUT, &format!("/api/v1/users/{}/ban", bob.name()), &ban).await;
    until(CAUGHT_UP, "both are disconnected", || !phone.is_linked() && !second.is_linked()).await;
    assert_eq!(bob.device("tablet").is_refused().await, Refusal::Close(4403));
    let body = json!({ "conversation_id": conversation.id, "message_text": "once more" });
    assert_eq!(refused(&bob, "/api/v1/messages/messages", &body).await, (403, json!("banned")));
    let decision = format!("/api/v1/moderation/reports/{}", reported["id"].as_str().expect("an id"));
    sam.asks(Method::PATCH, &decision, &json!({ "state": "resolved" })).await;
    desk.hears("report.updated", |frame| frame["data"]["state"] == "resolved").await;

    let lifted = sam.request(Method::DELETE, &format!("/api/v1/users/{}/ban", bob.name())).send().await;
    assert_eq!(lifted.expect("an answer").status(), 200);
    let back = bob.device("laptop").connect().await;
    let last = bob.says(&conversation, "sorry").await;
    // A device that comes anew is not told what its owner may have acknowledged on another one.
    back.hears("the last message", |frame| frame["data"]["message_id"] == last.id.as_str()).await;
    conversation.is_shown_on(&[&hers], &[said, last], CAUGHT_UP).await;
}

async fn whoever_wants_to_go_takes_what_is_theirs_along_and_is_erased_on_every_device(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let (hers, his) = (alice.device("phone").connect().await, bob.device("phone").connect().await);
    let conversation = alice.starts(Kind::Group, &[&bob]).await;
    for number in 0..30 {
        bob.says(&conversation, &format!("a secret {number}")).await;
    }
    alice.says(&conversation, "and an answer").await;
    let done = async |job: Value| {
        let path = format!("/api/v1/jobs/{}", job["id"].as_str().expect("a job has an id"));
        eventually(CAUGHT_UP, async || {
            let shown = bob.asks(Method::GET, &path, &Value::Null).await;
            if shown["state"] == "done" { Ok(shown) } else { Err(shown) }
        })
        .await
    };
    let path = format!("/api/v1/users/{}", bob.name());
    let exported = done(bob.asks(Method::POST, &format!("{path}/export"), &json!({})).await).await;
    let link = exported["file"]["url"].as_str().expect("a link").to_owned();
    let file = reqwest::get(format!("http://{}{link}", bob.door())).await.expect("an answer");
    let text = file.text().await.expect("text");
    assert!(text.contains("a secret 29") && !text.contains("and an answer"), "{text}");

    done(bob.asks(Method::POST, &format!("{path}/erase"), &json!({})).await).await;
    until(CAUGHT_UP, "he is disconnected", || !his.is_linked()).await;
    assert_eq!(bob.device("tablet").is_refused().await, Refusal::Close(4403));
    hers.hears("member.removed", |frame| frame["type"] == "member.removed").await;
    let told = hers.record().frames.iter().filter(|frame| frame["type"] == "message.deleted").count();
    assert_eq!(told, 30);
    hers.is_right();
    // Whoever comes anew, from the beginning and from the window alike, is told nothing of what he wrote.
    let late = alice.device("tablet").connect().await;
    late.hears("member.removed", |frame| frame["type"] == "member.removed").await;
    let heard = late.record().frames.iter().map(Value::to_string).collect::<String>();
    assert!(!heard.contains("a secret"), "{heard}");
    let read = alice.reads(&conversation).await;
    assert_eq!((read.len(), read[29].text.as_str(), read[30].text.as_str()), (31, "", "and an answer"));
    let found = alice.asks(Method::GET, "/api/v1/messages/search?q=secret", &Value::Null).await;
    assert_eq!(found["items"], json!([]), "{found}");
}
