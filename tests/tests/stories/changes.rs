//! What becomes of conversations and messages, on every device of everyone concerned.

use fleet::client::{Device, Kind};
use fleet::eventually::until;
use fleet::place::Place;
use reqwest::Method;
use serde_json::{Value, json};

use crate::CAUGHT_UP;

told_everywhere! {
    reading_on_one_device_clears_it_on_the_others,
    a_thread_is_told_to_all_and_unread_to_those_who_follow_it_until_one_device_reads_it,
    what_becomes_of_a_message_is_shown_on_every_device,
    people_come_and_go_and_a_conversation_is_closed,
    figures_are_exact_and_staff_see_those_over_all,
    who_writes_and_who_has_read_is_shown_while_it_happens,
    a_guest_asks_nobody_in_particular_and_one_of_the_staff_answers,
}

const CONVERSATIONS: &str = "/api/v1/messages/conversations";

/// Waits until the device was told of something of this kind that fits, and answers the last of those.
pub(crate) async fn hears(device: &Device, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let find = || {
        let record = device.record();
        record.frames.iter().rev().find(|frame| frame["type"] == kind && fits(&frame["data"])).cloned()
    };
    until(CAUGHT_UP, kind, || find().is_some()).await;
    find().expect("it was there a moment ago")
}

async fn reading_on_one_device_clears_it_on_the_others(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let (phone, desk) = (bob.device("phone").connect().await, bob.device("desk").connect().await);
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = Vec::new();
    for text in ["one", "two", "three"] {
        said.push(alice.says(&conversation, text).await);
    }
    let counted = hears(&phone, "new_message", |data| data["seq"] == 3).await;
    assert_eq!(counted["data"]["unread_count"], 3, "{counted}");
    let path = format!("{CONVERSATIONS}/{}", conversation.id);
    let read = bob.asks(Method::PATCH, &format!("{path}/read"), &json!({ "up_to_seq": 2 })).await;
    assert_eq!((&read["last_read_seq"], &read["unread_count"]), (&json!(2), &json!(1)), "{read}");
    for device in [&phone, &desk] {
        let told = hears(device, "message.read", |data| data["last_read_seq"] == 2).await;
        assert_eq!(
            (&told["data"]["unread_count"], &told["data"]["unread_version"]),
            (&json!(1), &read["unread_version"])
        );
    }
    bob.asks(Method::POST, &format!("{path}/unread"), &json!({ "from_seq": 1 })).await;
    let told = hears(&desk, "message.read", |data| data["last_read_seq"] == 0).await;
    assert_eq!(told["data"]["unread_count"], 3, "{told}");
    let read = phone.asks(json!({ "action": "read", "data": { "conversation_id": conversation.id } })).await;
    assert_eq!((&read["type"], &read["data"]["unread_count"]), (&json!("ack"), &json!(0)), "{read}");
    let told = hears(&desk, "message.read", |data| data["last_read_seq"] == 3).await;
    assert_eq!(told["data"]["unread_version"], read["data"]["unread_version"], "{told}");
    // Whoever wrote sees how far the other has read, and since when.
    let shown = alice.asks(Method::GET, &path, &Value::Null).await;
    let others = shown["participants"].as_array().expect("people").iter().find(|one| one["user_id"] == bob.name());
    let other = others.expect("he is in it");
    assert!(other["last_read_seq"] == 3 && other["last_read_at"].is_string(), "{other}");
    conversation.is_shown_on(&[&phone, &desk], &said, CAUGHT_UP).await;
}

async fn a_thread_is_told_to_all_and_unread_to_those_who_follow_it_until_one_device_reads_it(place: &impl Place) {
    let (alice, bob, carol) = (place.user("alice"), place.user("bob"), place.user("carol"));
    let (phone, desk) = (alice.device("phone").connect().await, alice.device("desk").connect().await);
    let (his, hers) = (bob.device("phone").connect().await, carol.device("phone").connect().await);
    let conversation = alice.starts(Kind::Group, &[&bob, &carol]).await;
    let root = alice.says(&conversation, "who knows?").await;
    hears(&his, "new_message", |data| data["message_id"] == root.id.as_str()).await;
    let reply = json!({
        "conversation_id": conversation.id, "message_text": "I do", "thread_root_id": root.id, "client_message_id": "t-1",
    });
    let answer = his.asks(json!({ "action": "message", "ref": "r", "data": reply })).await;
    let is_reply = |data: &Value| data["message_id"] == answer["data"]["id"];
    for (device, count) in [(&phone, Some(1)), (&desk, Some(1)), (&his, Some(0)), (&hers, None)] {
        let told = hears(device, "new_message", is_reply).await;
        let data = &told["data"];
        assert_eq!(data.get("thread_unread_count").and_then(Value::as_u64), count, "{told}");
        assert_eq!((data.get("unread_count"), &data["thread"]["reply_count"]), (None, &json!(1)), "{told}");
        assert_eq!(data["thread_root_id"], root.id.as_str(), "{told}");
    }
    let path = format!("/api/v1/messages/messages/{}/thread", root.id);
    alice.asks(Method::PATCH, &format!("{path}/read"), &json!({})).await;
    for device in [&phone, &desk] {
        let told = hears(device, "thread.updated", |data| data["thread_root_id"] == root.id.as_str()).await;
        assert_eq!(told["data"]["thread_unread_count"], 0, "{told}");
    }
    // Whoever comes later is told the same of what is past.
    let late = bob.device("tablet").connect().await;
    let told = hears(&late, "new_message", is_reply).await;
    assert_eq!((&told["data"]["thread_unread_count"], &told["data"]["message_text"]), (&json!(0), &json!("I do")));
    let thread = carol.asks(Method::GET, &path, &Value::Null).await;
    assert_eq!((&thread["marker"]["following"], &thread["items"][0]["message_text"]), (&json!(false), &json!("I do")));
    assert_eq!(carol.reads(&conversation).await.len(), 1);
    assert!(hers.record().frames.iter().all(|frame| frame["type"] != "thread.updated"), "she follows nothing");
}

async fn what_becomes_of_a_message_is_shown_on_every_device(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let (hers, his) = (alice.device("phone").connect().await, bob.device("phone").connect().await);
    let conversation = alice.starts(Kind::Group, &[&bob]).await;
    let said = alice.says(&conversation, "see you at nien").await;
    let path = format!("/api/v1/messages/messages/{}", said.id);
    alice.asks(Method::PATCH, &path, &json!({ "message_text": "see you at nine" })).await;
    bob.asks(Method::PUT, &format!("{path}/reactions/%F0%9F%91%8D"), &json!({})).await;
    for device in [&hers, &his] {
        let edited = hears(device, "message.updated", |data| data["message_id"] == said.id.as_str()).await;
        assert_eq!((&edited["data"]["message_text"], &edited["version"]), (&json!("see you at nine"), &json!(2)));
        let reacted = hears(device, "reaction.new", |data| data["user_id"] == bob.name()).await;
        assert_eq!(reacted["data"]["reactions"][0]["count"], 1, "{reacted}");
    }
    // A device that was away is told of it in today's words.
    his.goes_away().await;
    alice.asks(Method::DELETE, &path, &json!({})).await;
    his.comes_back().await;
    let late = bob.device("tablet").connect().await;
    for device in [&hers, &his, &late] {
        let deleted = hears(device, "message.deleted", |data| data["message_id"] == said.id.as_str()).await;
        assert_eq!(deleted["data"]["message_text"], "", "{deleted}");
        assert_eq!(deleted["data"]["unread_count"], 0, "{deleted}");
        device.is_right();
    }
    let everything = late.record().frames.iter().map(Value::to_string).collect::<String>();
    assert!(!everything.contains("see you at"), "a device that never saw it is not told what it said");
    let read = bob.reads(&conversation).await;
    assert_eq!((read.len(), read[0].text.as_str()), (1, ""), "it keeps its place");
}

async fn people_come_and_go_and_a_conversation_is_closed(place: &impl Place) {
    let (alice, bob, carol) = (place.user("alice"), place.user("bob"), place.user("carol"));
    let (his, hers) = (bob.device("phone").connect().await, carol.device("phone").connect().await);
    let conversation = alice.starts(Kind::Group, &[&bob]).await;
    alice.says(&conversation, "before carol").await;
    let path = format!("{CONVERSATIONS}/{}", conversation.id);
    let added = bob.asks(Method::POST, &format!("{path}/participants"), &json!({ "user_id": carol.name() })).await;
    let roles: Vec<_> =
        added["participants"].as_array().expect("people").iter().map(|one| one["role"].clone()).collect();
    assert_eq!(roles, ["owner", "participant", "participant"], "{added}");
    hears(&hers, "member.added", |data| data["user_id"] == carol.name()).await;
    alice.says(&conversation, "welcome").await;
    hears(&hers, "new_message", |data| data["message_text"] == "welcome").await;

    alice.asks(Method::PATCH, &path, &json!({ "subject": "Late checkout" })).await;
    let renamed = hears(&his, "conversation.updated", |data| data["subject"] == "Late checkout").await;
    assert_eq!(renamed["data"]["status"], "active", "{renamed}");
    let muted = json!({ "muted_until": "2999-01-01T00:00:00Z" });
    bob.asks(Method::PATCH, &format!("{path}/settings"), &muted).await;
    hears(&his, "settings.updated", |data| data["muted_until"] == "2999-01-01T00:00:00.000000Z").await;

    let removal = alice.request(Method::DELETE, &format!("{path}/participants/{}", carol.name()));
    assert_eq!(removal.send().await.expect("an answer").status(), 204);
    hears(&hers, "member.removed", |data| data["user_id"] == carol.name()).await;
    alice.says(&conversation, "without carol").await;
    hears(&his, "new_message", |data| data["message_text"] == "without carol").await;
    hers.asks(json!({ "action": "ping" })).await;
    let heard = hers.record().frames.iter().map(Value::to_string).collect::<String>();
    assert!(!heard.contains("without carol"));

    alice.asks(Method::PATCH, &path, &json!({ "status": "closed" })).await;
    hears(&his, "conversation.updated", |data| data["status"] == "closed").await;
    let body = json!({ "conversation_id": conversation.id, "message_text": "too late" });
    let refused = bob.request(Method::POST, "/api/v1/messages/messages").json(&body).send().await.expect("an answer");
    assert_eq!(refused.status(), 409);
    for device in [&his, &hers] {
        device.is_right();
    }
}

async fn figures_are_exact_and_staff_see_those_over_all(place: &impl Place) {
    let (alice, bob, staff) = (place.user("alice"), place.user("bob"), place.user_with_role("sam", "staff"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    for number in 0..5 {
        alice.says(&conversation, &format!("message {number}")).await;
    }
    let own = bob.asks(Method::GET, "/api/v1/messages/stats", &Value::Null).await;
    assert_eq!((&own["unread"]["messages"], &own["conversations"]), (&json!(5), &json!(1)), "{own}");
    assert!(own.get("all").is_none(), "{own}");
    let all = staff.asks(Method::GET, "/api/v1/messages/stats", &Value::Null).await;
    assert!(all["all"]["messages"].as_u64() >= Some(5), "{all}");
    let unread = bob.asks(Method::GET, "/api/v1/unread", &Value::Null).await;
    assert_eq!((&unread["messages"], &unread["conversations"]), (&json!(5), &json!(1)), "{unread}");
    let verified = bob.asks(Method::GET, "/api/v1/unread/verify", &Value::Null).await;
    assert_eq!((&verified["is_exact"], &verified["messages"]), (&json!(true), &json!(5)), "{verified}");
}

async fn a_guest_asks_nobody_in_particular_and_one_of_the_staff_answers(place: &impl Place) {
    let (alice, sam, mary) =
        (place.user("alice"), place.user_with_role("sam", "staff"), place.user_with_role("mary", "staff"));
    let (hers, his, marys) = (
        alice.device("phone").connect().await,
        sam.device("desk").connect().await,
        mary.device("desk").connect().await,
    );
    let asked = alice.starts(Kind::GuestStaff, &[]).await;
    let question = alice.says(&asked, "Is breakfast included?").await;
    let path = format!("{CONVERSATIONS}/{}", asked.id);
    for device in [&his, &marys] {
        let told = hears(device, "conversation.created", |data| data["id"] == asked.id.as_str()).await;
        assert!(told["data"]["queued_at"].is_string(), "{told}");
    }
    let waiting =
        mary.asks(Method::GET, &format!("{CONVERSATIONS}?scope=all&queued=true&limit=100"), &Value::Null).await;
    let listed = waiting["items"].as_array().expect("conversations").iter().any(|one| one["id"] == asked.id.as_str());
    assert!(listed, "{waiting}");

    sam.asks(Method::POST, &format!("{path}/claim"), &json!({})).await;
    let late = mary.request(Method::POST, &format!("{path}/claim")).send().await.expect("an answer");
    assert_eq!(late.status(), 409);
    let refusal: Value = late.json().await.expect("a problem");
    assert!(refusal["detail"].as_str().is_some_and(|detail| detail.contains(sam.name())), "{refusal}");
    for device in [&hers, &his, &marys] {
        hears(device, "conversation.assigned", |data| {
            data["id"] == asked.id.as_str() && data["assigned_to"] == sam.name()
        })
        .await;
    }
    let answer = sam.says(&asked, "It is, from seven to ten.").await;
    asked.is_shown_on(&[&hers], &[question, answer], CAUGHT_UP).await;
    let notice =
        json!({ "conversation_id": asked.id, "message_text": "We are closing at ten.", "message_type": "system" });
    sam.asks(Method::POST, "/api/v1/messages/messages", &notice).await;
    hears(&hers, "new_message", |data| data["message_type"] == "system").await;

    sam.asks(Method::PUT, &format!("{path}/assignment"), &json!({ "user_id": mary.name() })).await;
    hears(&marys, "conversation.assigned", |data| data["assigned_to"] == mary.name()).await;
    mary.asks(Method::PATCH, &path, &json!({ "status": "closed" })).await;
    let closed = format!("{CONVERSATIONS}?scope=all&status=closed&assigned_to={}", mary.name());
    let closed = sam.asks(Method::GET, &closed, &Value::Null).await;
    assert_eq!(closed["items"].as_array().map(Vec::len), Some(1), "{closed}");
    for device in [&hers, &his, &marys] {
        device.is_right();
    }
}

async fn who_writes_and_who_has_read_is_shown_while_it_happens(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let hers = place.at_gateway(&alice, 0).device("phone").connect().await;
    let his = place.at_gateway(&bob, 1).device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let room = format!("conversation:{}", conversation.id);
    for device in [&hers, &his] {
        let joined = device.asks(json!({ "action": "subscribe", "room": room })).await;
        assert_eq!(joined["type"], "ack", "{joined}");
    }
    let typing = json!({ "action": "typing", "data": { "conversation_id": conversation.id } });
    his.asks(typing.clone()).await;
    let shown = hears(&hers, "typing", |data| data["user_id"] == bob.name()).await;
    assert_eq!((&shown["data"]["kind"], &shown["data"]["active"]), (&json!("text"), &json!(true)), "{shown}");

    let said = alice.says(&conversation, "hello").await;
    conversation.is_shown_on(&[&his], &[said], CAUGHT_UP).await;
    his.acknowledges().await;
    let received = hears(&hers, "receipt.updated", |data| data["last_delivered_seq"] == 1).await;
    assert_eq!((&received["data"]["user_id"], &received["data"]["last_read_seq"]), (&json!(bob.name()), &json!(0)));
    let path = format!("{CONVERSATIONS}/{}", conversation.id);
    bob.asks(Method::PATCH, &format!("{path}/read"), &json!({})).await;
    hears(&hers, "receipt.updated", |data| data["last_read_seq"] == 1).await;

    // Who is gone writes no more; who withholds it is not seen to.
    his.goes_away().await;
    hears(&hers, "typing", |data| data["user_id"] == bob.name() && data["active"] == false).await;
    bob.asks(Method::PATCH, "/api/v1/users/me/privacy", &json!({ "receipts": false, "signs": false })).await;
    his.comes_back().await;
    his.asks(json!({ "action": "subscribe", "room": room })).await;
    let before = hers.record().frames.len();
    his.asks(typing).await;
    alice.says(&conversation, "are you there?").await;
    bob.asks(Method::PATCH, &format!("{path}/read"), &json!({})).await;
    let seen = alice.asks(Method::GET, &path, &Value::Null).await;
    let him = seen["participants"].as_array().expect("people").iter().find(|one| one["user_id"] == bob.name());
    assert_eq!(him.expect("in it")["last_read_seq"], 0, "{seen}");
    hers.asks(json!({ "action": "ping" })).await;
    let record = hers.record();
    let signs =
        record.frames[before..].iter().filter(|frame| frame["type"] == "typing" || frame["type"] == "receipt.updated");
    assert_eq!(signs.count(), 0);
}
