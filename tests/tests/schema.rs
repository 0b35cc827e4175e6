//! What `/openapi.json` says of the api is so.
//!
//! Schemathesis, which `make servers` installs below `target/servers`, reads the description and asks everything that it
//! offers: as described, at the edges of it, beyond them, and one thing after another with the ids that were answered. It is told
//! ids that exist, so that it gets past "not found". Its seed and its number of tries are fixed.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use fleet::client::{Kind, User};
use fleet::fleet::{Fleet, Shape};
use fleet::place::Place;
use fleet::servers::scratch::Scratch;
use fleet::single::Single;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

/// What need not be so of every answer. What fits the description may still be refused, since much of what must hold between
/// fields, and with what is there already, no schema can say. A message that was deleted stays as one that says nothing. And
/// what was just made is there, but what a request names beside it may not be, which is a 404 as well.
const NOT_CHECKED: &str = "positive_data_acceptance,use_after_free,ensure_resource_availability";

/// How many requests are made up for each operation, besides those at the edges.
const TRIES: &str = "8";

/// Time after which it hangs: it takes half a minute, on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(300);

/// What cannot be taken back, and would leave the caller with nothing to ask: it comes last, each alone.
const LAST: [&str; 2] = ["erase_user", "revoke"];

/// One red pixel.
const PICTURE: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\xff\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

#[tokio::test]
async fn every_answer_to_a_guest_is_as_described() {
    let single = Single::start().await;
    let alice = single.user("alice");
    answers_as_described(&single, &alice).await;
}

#[tokio::test]
async fn every_answer_to_staff_is_as_described() {
    let single = Single::start().await;
    let sam = single.user_with_role("sam", "staff");
    answers_as_described(&single, &sam).await;
}

#[tokio::test]
async fn every_answer_to_a_service_is_as_described() {
    let single = Single::start().await;
    let backend = single.user_with_role("backend", "service");
    answers_as_described(&single, &backend).await;
}

#[tokio::test]
async fn every_answer_to_an_admin_from_postgres_is_as_described() {
    let fleet = Fleet::start(Shape { api: 1, gateway: 1, worker: 1, ..Shape::default() }).await;
    let ada = fleet.user_with_role("ada", "admin");
    // What nginx answers in the pod's place is not the pod's.
    let ada = User::new(ada.name(), ada.token().to_owned(), format!("127.0.0.1:{}", fleet.api[0].port()));
    answers_as_described(&fleet, &ada).await;
}

/// Has everything asked that the description offers, as `caller`.
async fn answers_as_described(place: &impl Place, caller: &User) {
    let scratch = Scratch::new("schema");
    scratch.write("schemathesis.toml", &known_to(place, caller).await);
    asks(&scratch, caller, &LAST.map(|id| ["--exclude-operation-id", id]).concat()).await;
    for id in LAST {
        asks(&scratch, caller, &["--include-operation-id", id]).await;
    }
}

/// Runs schemathesis in a folder with its configuration, and shows what it found.
async fn asks(scratch: &Scratch, caller: &User, which: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers/schemathesis/bin/schemathesis");
    let asking = Command::new(program)
        .args(["run", &format!("http://{}/openapi.json", caller.door())])
        .args(["--header", &format!("Authorization: Bearer {}", caller.token())])
        .args(["--exclude-checks", NOT_CHECKED, "--max-examples", TRIES, "--seed", "20"])
        .args(["--generation-database", "none", "--continue-on-failure", "--no-color"])
        .args(which)
        .current_dir(scratch.path())
        .env("PYTHONUTF8", "1")
        .kill_on_drop(true)
        .output();
    let asked = tokio::time::timeout(PATIENCE, asking).await.expect("it comes to an end");
    let asked = asked.expect("schemathesis is installed; `make servers` installs it");
    let said = String::from_utf8_lossy(&asked.stdout) + String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{said}");
}

/// Makes something of everything, and says in schemathesis' configuration which id is one of what.
async fn known_to(place: &impl Place, caller: &User) -> String {
    let (bob, dora) = (place.user("bob"), place.user_with_role("dora", "staff"));
    let id = |answer: &Value| answer["id"].as_str().expect("an id").to_owned();
    let (mut conversations, mut messages, mut attachments) = (Vec::new(), Vec::new(), Vec::new());
    // Several: of some it takes part in no longer, or they are closed, once it has been at them.
    for number in 0..4 {
        let conversation = caller.starts(Kind::Group, &[&bob, &dora]).await;
        messages.push(caller.says(&conversation, "the quick brown fox").await.id);
        messages.push(bob.says(&conversation, "jumps over the lazy dog").await.id);
        attachments.push(uploads(caller, number % 2 == 0).await);
        conversations.push(conversation.id);
    }
    let tomorrow = chrono::Utc::now() + Duration::from_secs(24 * 60 * 60);
    let due = json!({ "conversation_id": conversations[0], "message_text": "later", "send_at": tomorrow });
    let scheduled = id(&caller.asks(Method::POST, "/api/v1/messages/scheduled", &due).await);
    let report = format!("/api/v1/messages/{}/report", messages[0]);
    let report = id(&bob.asks(Method::POST, &report, &json!({ "reason": "spam" })).await);
    let export = format!("/api/v1/users/{}/export", caller.name());
    let job = id(&caller.asks(Method::POST, &export, &json!({})).await);
    let people = [caller.name(), "bob", "dora", "nobody"].map(str::to_owned).to_vec();
    [
        ("conversations", conversations),
        ("messages", messages),
        ("attachments", attachments),
        ("scheduled", vec![scheduled]),
        ("reports", vec![report]),
        ("jobs", vec![job]),
        ("people", people),
    ]
    .into_iter()
    .fold(PLACES.to_owned(), |mut text, (name, values)| {
        let _ = write!(text, "\n[dictionaries.{name}]\nvalues = {}\n", json!(values));
        text
    })
}

/// Where ids of what are asked for.
const PLACES: &str = r#"
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "409", "410", "413", "415", "416", "429"]

[parameters]
"path.user_id" = { dictionary = "people", probability = 0.7 }
"query.assigned_to" = { dictionary = "people", probability = 0.7 }
"body.user_id" = { dictionary = "people", probability = 0.7 }
"body.participant_ids[*]" = { dictionary = "people", probability = 0.7 }
"body.conversation_id" = { dictionary = "conversations", probability = 0.7 }
"body.reply_to" = { dictionary = "messages", probability = 0.7 }
"body.attachment_ids[*]" = { dictionary = "attachments", probability = 0.7 }

[[operations]]
include-path-regex = '^/api/v1/messages/conversations/\{id\}'
parameters = { "path.id" = { dictionary = "conversations", probability = 0.7 } }

[[operations]]
include-path-regex = '^/api/v1/messages/messages/\{id\}|^/api/v1/messages/\{id\}/report$'
parameters = { "path.id" = { dictionary = "messages", probability = 0.7 } }

[[operations]]
include-path-regex = '^/api/v1/attachments/\{id\}'
parameters = { "path.id" = { dictionary = "attachments", probability = 0.7 } }

[[operations]]
include-path-regex = '^/api/v1/messages/scheduled/\{id\}'
parameters = { "path.id" = { dictionary = "scheduled", probability = 0.7 } }

[[operations]]
include-path-regex = '^/api/v1/moderation/reports/\{id\}'
parameters = { "path.id" = { dictionary = "reports", probability = 0.7 } }

[[operations]]
include-path-regex = '^/api/v1/jobs/\{id\}'
parameters = { "path.id" = { dictionary = "jobs", probability = 0.7 } }

[[operations]]
include-path-regex = '^/api/v1/users/\{id\}'
parameters = { "path.id" = { dictionary = "people", probability = 0.7 } }
"#;

/// Announces a picture, sends it and has it looked at, or leaves that to whoever asks next; answers its id.
async fn uploads(caller: &User, completely: bool) -> String {
    let announced = json!({ "file_name": "red.gif", "file_type": "image/gif", "file_size": PICTURE.len() });
    let place = caller.asks(Method::POST, "/api/v1/attachments", &announced).await;
    let id = place["id"].as_str().expect("an id").to_owned();
    if completely {
        let url = place["upload_url"].as_str().expect("a URL");
        let sent = caller.request(Method::PUT, url).header("Upload-Offset", 0).body(PICTURE).send().await;
        assert_eq!(sent.expect("an answer").status(), StatusCode::NO_CONTENT);
        caller.asks(Method::POST, &format!("/api/v1/attachments/{id}/complete"), &json!({})).await;
    }
    id
}
