//! Conversations over REST, and who may see what of them.

use fleet::client::{Kind, User};
use fleet::place::Place;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::CAUGHT_UP;

told_everywhere! {
    a_conversation_is_started_listed_shown_and_read_by_those_in_it,
    nobody_else_sees_a_conversation_but_staff_who_see_them_all,
    a_repeated_send_is_one_message_and_another_body_under_its_key_is_refused,
    whatever_is_written_comes_back_as_it_was_written,
    what_was_said_is_found_by_those_who_may_read_it,
}

const CONVERSATIONS: &str = "/api/v1/messages/conversations";

async fn a_conversation_is_started_listed_shown_and_read_by_those_in_it(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = Vec::new();
    for number in 1..=60 {
        said.push(alice.says(&conversation, &format!("message {number}")).await);
    }
    for user in [&alice, &bob] {
        let listed = user.asks(Method::GET, CONVERSATIONS, &Value::Null).await;
        assert_eq!(listed["items"][0]["id"], conversation.id.as_str(), "{listed}");
        let shown = user.asks(Method::GET, &format!("{CONVERSATIONS}/{}", conversation.id), &Value::Null).await;
        assert_eq!(shown["participants"].as_array().map(Vec::len), Some(2), "{shown}");
        assert_eq!(shown["last_message"]["message_text"], "message 60", "{shown}");
        assert_eq!(user.reads(&conversation).await, said);
    }
    let unread = bob.asks(Method::GET, &format!("{CONVERSATIONS}/{}", conversation.id), &Value::Null).await;
    assert_eq!(unread["unread_count"], 60, "{unread}");
    let messages = format!("{CONVERSATIONS}/{}/messages", conversation.id);
    let page = bob.asks(Method::GET, &messages, &Value::Null).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(50), "fifty unless told otherwise");
    let page = bob.asks(Method::GET, &format!("{messages}?limit=10&offset=20"), &Value::Null).await;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(10));
}

async fn nobody_else_sees_a_conversation_but_staff_who_see_them_all(place: &impl Place) {
    let (alice, bob, carol) = (place.user("alice"), place.user("bob"), place.user("carol"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let hers = carol.device("phone").connect().await;
    let said = alice.says(&conversation, "between us").await;

    let shown = format!("{CONVERSATIONS}/{}", conversation.id);
    for path in [shown.clone(), format!("{shown}/messages")] {
        assert_eq!(status(&carol, Method::GET, &path, None).await, StatusCode::NOT_FOUND, "{path}");
    }
    let body = json!({ "conversation_id": conversation.id, "message_text": "me too" });
    let refused = status(&carol, Method::POST, "/api/v1/messages/messages", Some(&body)).await;
    assert!(refused.is_client_error(), "{refused}");
    let staff = place.user_with_role("sam", "staff");
    let seen = staff.asks(Method::GET, &shown, &Value::Null).await;
    assert_eq!(seen["last_message"]["message_text"], "between us", "{seen}");

    conversation.is_shown_on(&[], &[said], CAUGHT_UP).await;
    hers.asks(json!({ "action": "ping" })).await;
    assert!(hers.record().messages(&conversation.id).is_empty());
}

async fn a_repeated_send_is_one_message_and_another_body_under_its_key_is_refused(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let phone = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let path = "/api/v1/messages/messages";
    let body = |text| json!({ "conversation_id": conversation.id, "message_text": text, "client_message_id": "one" });
    let first = alice.asks(Method::POST, path, &body("once")).await;
    let again = alice.asks(Method::POST, path, &body("once")).await;
    assert_eq!(first, again);
    assert_eq!(status(&alice, Method::POST, path, Some(&body("twice"))).await, StatusCode::CONFLICT);
    alice.says(&conversation, "the end").await;
    phone.shows(&conversation, &["once", "the end"]).await;
}

async fn whatever_is_written_comes_back_as_it_was_written(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let phone = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let texts = [
        "'); drop table messages; --",
        "<script>alert(1)</script>",
        "line\nbreak, tab\t, quote \", backslash \\, null-ish \\u0000",
        "äöü 你好 🔔🔔 \u{202e}sdrawkcab",
        "}],\"type\":\"system\"",
    ];
    let mut said = Vec::new();
    for text in texts {
        said.push(alice.says(&conversation, text).await);
    }
    phone.shows(&conversation, &texts).await;
    conversation.is_shown_on(&[&phone], &said, CAUGHT_UP).await;
}

async fn what_was_said_is_found_by_those_who_may_read_it(place: &impl Place) {
    let (alice, bob, carol) = (place.user("alice"), place.user("bob"), place.user("carol"));
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    for text in ["The Crème brûlée was <b>good</b>", "and the wine too", "See https://example.org/menu"] {
        alice.says(&conversation, text).await;
    }
    // Other stories talk in the same fleet, and staff would find that too.
    let within = format!("in:{}", conversation.id);
    let staff = place.user_with_role("sam", "staff");
    for (query, text) in [
        ("creme -wine", "The Crème brûlée was <b>good</b>"),
        ("\"the wine\"", "and the wine too"),
        ("exam* has:link", "See https://example.org/menu"),
    ] {
        for user in [&alice, &bob, &staff] {
            let page = searches(user, &format!("{query} {within}")).await;
            assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{query}: {page}");
            assert_eq!(page["items"][0]["message_text"], text, "{query}: {page}");
        }
        let page = searches(&carol, &format!("{query} {within}")).await;
        assert_eq!(page, json!({ "items": [], "next": null }), "{query}");
    }
    let page = searches(&bob, &format!("GOOD {within}")).await;
    let runs = &page["items"][0]["highlights"][0]["runs"];
    assert_eq!(runs[1], json!({ "text": "good", "matched": true }), "{page}");
    let refused = status(&bob, Method::GET, "/api/v1/messages/search?q=to:alice", None).await;
    assert_eq!(refused, StatusCode::BAD_REQUEST);
}

async fn searches(user: &User, query: &str) -> Value {
    let asked: Vec<String> = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    user.asks(Method::GET, &format!("/api/v1/messages/search?q={}", asked.concat()), &Value::Null).await
}

async fn status(user: &User, method: Method, path: &str, body: Option<&Value>) -> StatusCode {
    let mut request = user.request(method, path);
    if let Some(body) = body {
        request = request.json(body);
    }
    request.send().await.expect("an answer").status()
}
