//! What the pod says of itself: OpenAPI, AsyncAPI and the page.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use shared::protocol::{Action, CloseCode, ErrorCode, event};

use super::dsl::{Api, answer};

async fn document(api: &Api, path: &str) -> Value {
    let document = answer(api.request(Method::GET, path)).await;
    assert_eq!((document.status, document.header("content-type")), (200, "application/json"));
    document.body
}

#[tokio::test]
async fn openapi_describes_every_route_with_its_problems() {
    let api = Api::start().await;
    let description = document(&api, "/openapi.json").await;
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(description["security"], json!([{ "bearer": [] }]));
    let (mut operations, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            operations.insert(format!("{method} {path}"));
            assert!(names.insert(operation["operationId"].as_str()), "{method} {path} has another's name");
            for status in ["400", "401", "403", "404", "409", "413", "429", "500", "503"] {
                let content = &operation["responses"][status]["content"];
                let schema = &content["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
        }
    }
    let expected = [
        "delete /api/v1/messages/conversations/{id}/assignment",
        "delete /api/v1/messages/conversations/{id}/draft",
        "delete /api/v1/messages/conversations/{id}/participants/{user_id}",
        "delete /api/v1/messages/messages/{id}",
        "delete /api/v1/messages/messages/{id}/pin",
        "delete /api/v1/messages/messages/{id}/reactions/{reaction}",
        "delete /api/v1/messages/messages/{id}/thread/follow",
        "get /api/v1/messages/conversations/{id}/threads",
        "get /api/v1/messages/messages/{id}/thread",
        "patch /api/v1/messages/messages/{id}/thread/read",
        "put /api/v1/messages/messages/{id}/thread/follow",
        "delete /api/v1/users/me/blocks/{user_id}",
        "delete /api/v1/users/{id}/ban",
        "delete /api/v1/messages/scheduled/{id}",
        "get /api/v1/attachments/{id}",
        "get /api/v1/attachments/{id}/content",
        "get /api/v1/attachments/{id}/thumbnail",
        "head /api/v1/attachments/{id}/content",
        "post /api/v1/attachments",
        "post /api/v1/attachments/{id}/complete",
        "put /api/v1/attachments/{id}/content",
        "get /api/v1/drafts",
        "get /api/v1/feed",
        "get /api/v1/messages/conversations",
        "get /api/v1/messages/conversations/{id}",
        "get /api/v1/messages/conversations/{id}/draft",
        "get /api/v1/messages/conversations/{id}/messages",
        "get /api/v1/messages/conversations/{id}/pins",
        "get /api/v1/messages/messages/{id}",
        "get /api/v1/messages/messages/{id}/acknowledgements",
        "get /api/v1/messages/messages/{id}/history",
        "get /api/v1/messages/scheduled",
        "get /api/v1/messages/stats",
        "get /api/v1/messages/search",
        "get /api/v1/presence",
        "get /api/v1/revocations",
        "get /api/v1/snapshot",
        "get /api/v1/unread",
        "get /api/v1/users/me/privacy",
        "get /api/v1/unread/verify",
        "get /api/v1/jobs/{id}",
        "get /api/v1/moderation/reports",
        "get /api/v1/users/{id}",
        "get /api/v1/users/me/blocks",
        "patch /api/v1/messages/conversations/{id}",
        "patch /api/v1/messages/conversations/{id}/participants/{user_id}",
        "patch /api/v1/messages/conversations/{id}/read",
        "patch /api/v1/messages/conversations/{id}/settings",
        "patch /api/v1/messages/messages/{id}",
        "patch /api/v1/users/me/privacy",
        "patch /api/v1/moderation/reports/{id}",
        "patch /api/v1/messages/scheduled/{id}",
        "post /api/v1/messages/conversations",
        "post /api/v1/messages/conversations/{id}/claim",
        "post /api/v1/messages/conversations/{id}/participants",
        "post /api/v1/messages/conversations/{id}/unread",
        "post /api/v1/messages/messages",
        "post /api/v1/messages/messages/{id}/acknowledge",
        "post /api/v1/messages/scheduled",
        "post /api/v1/messages/messages/{id}/forward",
        "put /api/v1/messages/conversations/{id}/assignment",
        "post /api/v1/messages/{id}/report",
        "put /api/v1/messages/conversations/{id}/draft",
        "put /api/v1/messages/messages/{id}/pin",
        "post /api/v1/revocations",
        "post /api/v1/tickets",
        "post /api/v1/users/{id}/erase",
        "post /api/v1/users/{id}/export",
        "put /api/v1/messages/messages/{id}/reactions/{reaction}",
        "put /api/v1/users/{id}",
        "put /api/v1/users/{id}/ban",
        "put /api/v1/users/me/blocks/{user_id}",
    ];
    assert_eq!(operations, expected.map(ToOwned::to_owned).into());
}

#[tokio::test]
async fn openapi_says_which_bodies_may_be_left_out_and_how_large_numbers_may_be() {
    let api = Api::start().await;
    let description = document(&api, "/openapi.json").await;
    let (messages, id) = ("/api/v1/messages/messages", "/api/v1/messages/conversations/{id}");
    for (method, path, is_needed) in [("post", messages, true), ("patch", &format!("{id}/read"), false)] {
        let operation = &description["paths"][path][method];
        assert_eq!(operation["requestBody"]["required"], is_needed, "{method} {path}");
        assert_eq!(
            operation["responses"]["415"]["content"], operation["responses"]["400"]["content"],
            "{method} {path}"
        );
    }
    let parameters = description["paths"][format!("{id}/messages")]["get"]["parameters"].as_array().expect("a list");
    let schema = |name: &str| &parameters.iter().find(|parameter| parameter["name"] == name).expect(name)["schema"];
    assert_eq!((&schema("limit")["minimum"], &schema("limit")["maximum"]), (&json!(1), &json!(100)));
    assert_eq!(schema("offset")["maximum"], 10_000);
}

#[tokio::test]
async fn openapi_refers_only_to_what_it_holds_and_its_examples_are_taken() {
    let api = Api::start().await;
    let description = document(&api, "/openapi.json").await;
    assert_references(&description);
    let example = &description["components"]["schemas"]["NewConversation"]["example"];
    assert_eq!(api.user("alice").post("/api/v1/messages/conversations", example).await.status, 201);
    let example = &description["components"]["schemas"]["NewMessage"]["example"];
    api.user("alice").post("/api/v1/messages/messages", example).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn asyncapi_says_every_command_frame_error_and_close_and_no_other() {
    let api = Api::start().await;
    let description = document(&api, "/asyncapi.json").await;
    assert_eq!(description["asyncapi"], "3.0.0");
    assert_references(&description);

    let (mut actions, mut types) = (BTreeSet::new(), BTreeSet::new());
    for (name, message) in description["components"]["messages"].as_object().expect("messages") {
        let properties = &message["payload"]["properties"];
        let (said, constant) = match name.split_once('.').expect("command.… or event.…").0 {
            "command" => (&mut actions, &properties["action"]["const"]),
            _ => (&mut types, &properties["type"]["const"]),
        };
        said.insert(constant.as_str().expect("a constant"));
    }
    assert_eq!(actions, Action::NAMES.into());
    assert_eq!(types, event::TYPES.into());
    assert!(types.contains(api::render::NEW_MESSAGE) && types.contains(api::render::CONVERSATION_CREATED));

    let codes = ErrorCode::ALL.map(ErrorCode::as_str);
    assert_eq!(description["components"]["schemas"]["ErrorCode"]["enum"], json!(codes));
    let closes = CloseCode::ALL
        .map(|close| json!({ "code": close.code(), "reason": close.reason(), "comes_back": close.comes_back() }));
    assert_eq!(description["channels"]["socket"]["x-close-codes"], json!(closes));
}

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let api = Api::start().await;
    for path in ["/", "/docs"] {
        let response = api.request(Method::GET, path).send().await.expect("the page");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let policy = response.headers()["content-security-policy"].to_str().expect("a policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        let page = response.text().await.expect("text");
        for outside in ["http://", "https://", "src=", "@import", " url("] {
            assert!(!page.contains(outside), "{path}: {outside}");
        }
    }
}

/// Checks that every `$ref` leads to something.
fn assert_references(document: &Value) {
    let mut open = vec![document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a reference within the document");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                open.extend(fields.values());
            }
            Value::Array(values) => open.extend(values),
            _ => {}
        }
    }
}
