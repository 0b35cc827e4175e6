//! Bad input: the named error, nothing lost, nobody else disturbed.

use api::health::readiness;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::json;
use shared::channel::Role;

use super::dsl::{Api, answer, token};

const CONVERSATIONS: &str = "/api/v1/messages/conversations";
const MESSAGES: &str = "/api/v1/messages/messages";
const ATTACHMENTS: &str = "/api/v1/attachments";

#[tokio::test]
async fn every_route_needs_a_valid_token_in_the_header() {
    let api = Api::start().await;
    let good = token("alice", Role::Guest, 600);
    let id = uuid::Uuid::now_v7();
    let routes = [
        (Method::GET, CONVERSATIONS.to_owned()),
        (Method::POST, CONVERSATIONS.to_owned()),
        (Method::GET, format!("{CONVERSATIONS}/{id}")),
        (Method::GET, format!("{CONVERSATIONS}/{id}/messages")),
        (Method::POST, MESSAGES.to_owned()),
        (Method::POST, ATTACHMENTS.to_owned()),
        (Method::GET, format!("{ATTACHMENTS}/{id}")),
        (Method::POST, format!("{ATTACHMENTS}/{id}/complete")),
        (Method::GET, format!("{ATTACHMENTS}/{id}/content")),
        (Method::PUT, format!("{ATTACHMENTS}/{id}/content")),
        (Method::GET, format!("{ATTACHMENTS}/{id}/thumbnail")),
        (Method::GET, "/api/v1/feed".to_owned()),
        (Method::GET, "/api/v1/snapshot".to_owned()),
    ];
    for (method, path) in routes {
        let anonymous = answer(api.request(method.clone(), &path)).await;
        assert_eq!(anonymous.is_problem(401, "unauthorized").header("www-authenticate"), "Bearer");
        answer(api.request(method.clone(), &format!("{path}?token={good}"))).await.is_problem(401, "unauthorized");
        let forged = format!("{}x", good);
        let request = api.request(method.clone(), &path).bearer_auth(forged);
        answer(request).await.is_problem(401, "unauthorized");
        let expired = api.request(method, &path).bearer_auth(token("alice", Role::Guest, -600));
        answer(expired).await.is_problem(401, "token_expired");
    }
    for header in ["", "Basic YTpi", "Bearer", "Bearer  ", good.as_str()] {
        let request = api.request(Method::GET, "/api/v1/snapshot").header(AUTHORIZATION, header);
        answer(request).await.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn everything_wrong_with_a_message_is_told_at_once() {
    let api = Api::start().await;
    let body = json!({
        "conversation_id": "7", "message_text": " ", "client_message_id": "two words", "reply_to": 7, "colour": "red",
    });
    let refused = api.user("alice").post(MESSAGES, &body).await;
    let mut blamed = refused.is_problem(400, "bad_request").blamed();
    blamed.sort_unstable();
    assert_eq!(blamed, ["client_message_id", "colour", "conversation_id", "message_text", "reply_to"]);
}

#[tokio::test]
async fn the_limits_of_a_message_are_characters_and_not_bytes() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let body = |text: String| json!({ "conversation_id": id, "message_text": text });
    assert_eq!(alice.post(MESSAGES, &body("ü".repeat(16_384))).await.status, 201);
    for text in ["ü".repeat(16_385), String::new(), " \n".to_owned(), "nul \0".to_owned()] {
        let refused = alice.post(MESSAGES, &body(text)).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["message_text"]);
    }
}

#[tokio::test]
async fn everything_wrong_with_a_conversation_is_told_at_once() {
    let api = Api::start().await;
    let alice = api.user("alice");
    for (body, fields) in [
        (json!({}), vec!["type", "participant_ids"]),
        (json!({"type": "party", "participant_ids": "bob"}), vec!["type", "participant_ids"]),
        (
            json!({"type": "group", "participant_ids": ["bob", "two words", 7]}),
            vec!["participant_ids[1]", "participant_ids[2]"],
        ),
        (json!({"type": "group", "participant_ids": []}), vec!["participant_ids"]),
        (json!({"type": "group", "participant_ids": ["alice"]}), vec!["participant_ids"]),
        (json!({"type": "direct", "participant_ids": ["bob", "carol"]}), vec!["participant_ids"]),
        (json!({"type": "group", "participant_ids": ["bob"], "subject": "x".repeat(201)}), vec!["subject"]),
        (json!({"type": "group", "participant_ids": ["bob"], "metadata": []}), vec!["metadata"]),
        (json!({"type": "group", "participant_ids": ["bob"], "metadata": {"a": "x".repeat(8_192)}}), vec!["metadata"]),
        (json!({"type": "group", "participant_ids": ["bob"], "status": "closed"}), vec!["status"]),
    ] {
        let refused = alice.post(CONVERSATIONS, &body).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), fields);
    }
    assert_eq!(alice.get(CONVERSATIONS).await.body["items"], json!([]), "nothing was made");
}

#[tokio::test]
async fn what_is_not_offered_yet_is_named_unsupported() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let mut body = json!({ "conversation_id": id, "message_text": "see this" });
    body["message_type"] = json!("image");
    let refused = alice.post(MESSAGES, &body).await;
    assert_eq!(refused.is_problem(400, "unsupported").blamed(), ["message_type"]);
    let film = json!({ "file_name": "a.mkv", "file_type": "video/x-matroska", "file_size": 7 });
    let refused = alice.post(ATTACHMENTS, &film).await;
    assert_eq!(refused.is_problem(400, "unsupported").blamed(), ["file_type"]);
}

#[tokio::test]
async fn a_body_that_is_no_json_object_or_too_large_is_refused() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let send = |body: String| {
        let request = alice.request(Method::POST, MESSAGES).header(CONTENT_TYPE, "application/json");
        answer(request.body(body))
    };
    for body in ["", "{", "[]", "7", "null", "{\"a\":1}}", "\u{feff}{}"] {
        send(body.to_owned()).await.is_problem(400, "bad_request");
    }
    send("[".repeat(10_000)).await.is_problem(400, "bad_request");
    send(format!("{{\"message_text\":\"{}\"}}", "x".repeat(65_536))).await.is_problem(413, "too_large");
    let form = alice.request(Method::POST, MESSAGES).header(CONTENT_TYPE, "text/plain").body("{}");
    answer(form).await.is_problem(415, "unsupported");
    let invalid = alice.request(Method::POST, MESSAGES).header(CONTENT_TYPE, "application/json");
    answer(invalid.body(b"{\"message_text\":\"\xff\"}".to_vec())).await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let messages = format!("{CONVERSATIONS}/{id}/messages");
    for (path, fields) in [
        (format!("{CONVERSATIONS}?limit=0"), vec!["limit"]),
        (format!("{CONVERSATIONS}?limit=101&offset=-1"), vec!["limit", "offset"]),
        (format!("{CONVERSATIONS}?type=party&status=asleep"), vec!["type", "status"]),
        (format!("{CONVERSATIONS}?after=yesterday"), vec!["after"]),
        (format!("{CONVERSATIONS}?limit=1&limit=2"), vec!["limit"]),
        (format!("{messages}?before_seq=x&colour=red"), vec!["before_seq", "colour"]),
        (format!("{messages}?before_seq=-1"), vec!["before_seq"]),
        (format!("{messages}?after=sideways.7"), vec!["after"]),
        (format!("{messages}?before_seq=18446744073709551615"), vec!["before_seq"]),
        (format!("{messages}?before_seq=3&after_seq=1"), vec!["before_seq"]),
        (format!("{CONVERSATIONS}/seven"), vec!["id"]),
        (format!("{CONVERSATIONS}/%ff/messages"), vec!["id"]),
        ("/api/v1/feed?after=somewhere".to_owned(), vec!["after"]),
        ("/api/v1/snapshot?fresh=1".to_owned(), vec!["fresh"]),
    ] {
        let refused = alice.get(&path).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), fields, "{path}");
    }
}

#[tokio::test]
async fn a_key_of_other_characters_is_refused() {
    let api = Api::start().await;
    let alice = api.user("alice");
    for key in ["", "two words", &"k".repeat(129)] {
        let request = alice.request(Method::POST, MESSAGES).header("Idempotency-Key", key);
        let refused = answer(request.json(&json!({}))).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["Idempotency-Key"]);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let api = Api::start().await;
    let alice = api.user("alice");
    for path in ["/api/v1/nothing", "/api/v2/feed", "/internal/v1/heads", "/metrics"] {
        alice.get(path).await.is_problem(404, "not_found");
    }
    let refused = answer(alice.request(Method::DELETE, CONVERSATIONS)).await;
    assert_eq!(refused.is_problem(405, "unsupported").header("allow"), "GET,HEAD,POST");
}

#[tokio::test]
async fn an_answer_names_the_request_and_its_trace() {
    let api = Api::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = api.request(Method::GET, "/nowhere").header("X-Request-Id", "req-7");
    let answer_ = answer(request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))).await;
    assert_eq!(answer_.is_problem(404, "not_found").header("x-request-id"), "req-7");
    assert!(answer_.header("traceparent").starts_with(&format!("00-{trace}-")));
    let unnamed = answer(api.request(Method::GET, "/docs")).await;
    assert!(!unnamed.header("x-request-id").is_empty());
}

#[tokio::test]
async fn a_pod_without_its_schema_is_unready_and_says_come_back_later() {
    let api = Api::without_schema().await;
    let reasons = readiness(&api.store)().await;
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let refused = api.user("alice").get("/api/v1/snapshot").await;
    assert_eq!(refused.is_problem(503, "unavailable").header("retry-after"), "1");
    assert!(readiness(&Api::start().await.store)().await.is_empty());
}
