//! People, over REST.

use reqwest::Method;
use serde_json::{Value, json};
use shared::channel::Role;

use crate::dsl::{Answer, Api, User, answer};

async fn put(user: &User<'_>, path: &str, body: &Value) -> Answer {
    answer(user.request(Method::PUT, path).json(body)).await
}

#[tokio::test]
async fn a_service_says_what_is_known_of_people_and_those_they_talk_with_see_it() {
    let api = Api::start().await;
    let (alice, bob, robot) = (api.user("alice"), api.user("bob"), api.user_as("robot", Role::Service));
    alice.start_group(&["bob"]).await;
    let profile = json!({
        "name": "Alice A.", "avatar_url": "https://example.com/a.png", "email": "alice@example.com", "locale": "de-CH",
        "time_zone": "Europe/Zurich",
    });
    let said = put(&robot, "/api/v1/users/alice", &profile).await;
    assert_eq!((said.status, &said.body["version"], &said.body["role"]), (200, &json!(1), &json!("guest")), "{said:?}");
    assert_eq!(put(&robot, "/api/v1/users/alice", &profile).await.body, said.body);
    let own = alice.get("/api/v1/users/alice").await;
    assert_eq!(own.body, said.body);
    let seen = bob.get("/api/v1/users/alice").await.body;
    assert_eq!((&seen["name"], seen.get("email")), (&json!("Alice A."), None), "{seen}");
    api.user("eve").get("/api/v1/users/alice").await.is_problem(404, "not_found");
    let told = &bob.feed("limit=50").await["events"][1];
    assert_eq!(
        (&told["type"], &told["data"]["time_zone"]),
        (&json!("user.updated"), &json!("Europe/Zurich")),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_profile_is_told_field_by_field_and_only_services_say_one() {
    let api = Api::start().await;
    let robot = api.user_as("robot", Role::Service);
    let wrong = json!({
        "name": " ", "avatar_url": "javascript:alert(1)", "email": "alice", "locale": "de_CH", "time_zone": "+02:00",
        "role": "king", "colour": "red",
    });
    let refused = put(&robot, "/api/v1/users/alice", &wrong).await;
    let mut blamed = refused.is_problem(400, "bad_request").blamed();
    blamed.sort_unstable();
    assert_eq!(blamed, ["avatar_url", "colour", "email", "locale", "name", "role", "time_zone"]);
    put(&robot, "/api/v1/users/two%20words", &json!({})).await.is_problem(400, "bad_request");
    for role in [Role::Guest, Role::Staff, Role::Admin] {
        let refused = put(&api.user_as("ada", role), "/api/v1/users/ada", &json!({ "name": "Ada" })).await;
        refused.is_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn whom_one_blocks_sends_nothing_directly_and_is_listed() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let direct = json!({ "type": "direct", "participant_ids": ["bob"] });
    let started = alice.post("/api/v1/messages/conversations", &direct).await;
    let blocked = put(&alice, "/api/v1/users/me/blocks/bob", &json!({})).await;
    assert_eq!((blocked.status, &blocked.body["user_id"]), (200, &json!("bob")), "{blocked:?}");
    assert_eq!(put(&alice, "/api/v1/users/me/blocks/bob", &json!({})).await.body, blocked.body);
    let body = json!({ "conversation_id": started.body["id"], "message_text": "hello?" });
    bob.post("/api/v1/messages/messages", &body).await.is_problem(403, "blocked");
    answer(bob.through_gateway("send").json(&body)).await.is_problem(403, "blocked");
    put(&alice, "/api/v1/users/me/blocks/carol", &json!({})).await;
    let first = alice.get("/api/v1/users/me/blocks?limit=1").await.body;
    assert_eq!(first["items"][0]["user_id"], "carol", "{first}");
    let next = first["next"].as_str().expect("there is more");
    let second = alice.get(&format!("/api/v1/users/me/blocks?limit=1&after={next}")).await.body;
    assert_eq!((&second["items"][0]["user_id"], &second["next"]), (&json!("bob"), &Value::Null), "{second}");
    assert_eq!(answer(alice.request(Method::DELETE, "/api/v1/users/me/blocks/bob")).await.status, 204);
    assert_eq!(bob.post("/api/v1/messages/messages", &body).await.status, 201);
    let events = alice.feed("limit=50").await["events"].clone();
    let kinds: Vec<_> = events.as_array().expect("events").iter().map(|event| event["type"].clone()).collect();
    let own = "blocks.updated";
    assert_eq!(kinds, ["conversation.created", own, own, own, "new_message"]);
    put(&alice, "/api/v1/users/me/blocks/alice", &json!({})).await.is_problem(400, "bad_request");
    alice.get("/api/v1/users/me/blocks?after=x").await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn a_message_is_reported_and_decided_by_staff_once() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let (sam, tina) = (api.user_as("sam", Role::Staff), api.user_as("tina", Role::Staff));
    let group = alice.start_group(&["bob"]).await;
    let sent = bob.send(&group, "your card number?").await;
    let path = format!("/api/v1/messages/{}/report", sent["id"].as_str().expect("an id"));
    let body = json!({ "reason": "fraud", "note": "he asks for my card" });
    let reported = alice.post(&path, &body).await;
    assert_eq!((reported.status, &reported.body["state"]), (201, &json!("open")), "{reported:?}");
    let again = alice.post(&path, &body).await;
    assert_eq!((again.status, &again.body), (200, &reported.body));
    let wrong = alice.post(&path, &json!({ "reason": "other" })).await;
    assert_eq!(wrong.is_problem(400, "bad_request").blamed(), ["note"]);
    alice.post(&path, &json!({ "reason": "boredom" })).await.is_problem(400, "bad_request");
    bob.post(&path, &body).await.is_problem(403, "forbidden");
    api.user("eve").post(&path, &body).await.is_problem(404, "not_found");

    alice.get("/api/v1/moderation/reports").await.is_problem(403, "forbidden");
    let listed = sam.get("/api/v1/moderation/reports?state=open").await.body;
    let item = &listed["items"][0];
    assert_eq!(
        (&item["reporter_id"], &item["message"]["message_text"]),
        (&json!("alice"), &json!("your card number?"))
    );
    let decision = format!("/api/v1/moderation/reports/{}", item["id"].as_str().expect("an id"));
    let decide = async |user: &User<'_>, state: &str| {
        answer(user.request(Method::PATCH, &decision).json(&json!({ "state": state }))).await
    };
    decide(&sam, "open").await.is_problem(400, "bad_request");
    let decided = decide(&sam, "resolved").await;
    assert_eq!((decided.status, &decided.body["decided_by"]), (200, &json!("sam")), "{decided:?}");
    assert_eq!(decide(&sam, "resolved").await.body, decided.body);
    decide(&tina, "dismissed").await.is_problem(409, "conflict");
    let told = tina.feed("limit=50").await["events"].clone();
    let kinds: Vec<_> = told.as_array().expect("events").iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, Vec::<Value>::new(), "who was never seen starts at the head of shared feeds");
    assert_eq!(sam.get("/api/v1/moderation/reports?state=open").await.body["items"], json!([]));
}

#[tokio::test]
async fn whoever_is_banned_is_told_until_when_and_reads_on() {
    let api = Api::start().await;
    let (alice, bob, sam) = (api.user("alice"), api.user("bob"), api.user_as("sam", Role::Staff));
    let group = alice.start_group(&["bob"]).await;
    let ban = json!({ "reason": "sends the same to everybody", "expires_at": "2999-01-01T00:00:00Z" });
    put(&bob, "/api/v1/users/alice/ban", &ban).await.is_problem(403, "forbidden");
    let banned = put(&sam, "/api/v1/users/bob/ban", &ban).await;
    assert_eq!((banned.status, &banned.body["ban"]["banned_by"]), (200, &json!("sam")), "{banned:?}");
    let body = json!({ "conversation_id": group, "message_text": "hello" });
    let refused = bob.post("/api/v1/messages/messages", &body).await;
    let detail = refused.is_problem(403, "banned").body["detail"].as_str().expect("a detail");
    assert!(detail.contains("2999-01-01T00:00:00"), "{detail}");
    answer(bob.through_gateway("send").json(&body)).await.is_problem(403, "banned");
    let read = answer(bob.request(Method::PATCH, &format!("/api/v1/messages/conversations/{group}/read"))).await;
    read.is_problem(403, "banned");
    put(&bob, "/api/v1/users/me/blocks/alice", &json!({})).await.is_problem(403, "banned");
    let own = bob.get("/api/v1/users/bob").await.body;
    assert_eq!((&own["ban"]["reason"], own["ban"].get("banned_by")), (&ban["reason"], None), "{own}");
    assert_eq!(answer(sam.request(Method::DELETE, "/api/v1/users/bob/ban")).await.status, 200);
    assert_eq!(bob.post("/api/v1/messages/messages", &body).await.status, 201);

    for (path, body, blamed) in [
        ("/api/v1/users/bob/ban", json!({ "expires_at": "2001-01-01T00:00:00Z" }), vec!["reason", "expires_at"]),
        ("/api/v1/users/sam/ban", json!({ "reason": "spam" }), vec!["id"]),
    ] {
        assert_eq!(put(&sam, path, &body).await.is_problem(400, "bad_request").blamed(), blamed);
    }
}

#[tokio::test]
async fn what_is_kept_of_somebody_is_handed_out_by_a_link_and_erased_for_good() {
    let api = Api::start().await;
    let (alice, bob, worker) = (api.user("alice"), api.user("bob"), api.worker());
    let group = alice.start_group(&["bob"]).await;
    bob.send(&group, "his own words").await;
    alice.send(&group, "hers").await;
    let asked = bob.post("/api/v1/users/bob/export", &Value::Null).await;
    assert_eq!((asked.status, &asked.body["state"]), (202, &json!("waiting")), "{asked:?}");
    assert_eq!(bob.post("/api/v1/users/bob/export", &Value::Null).await.body, asked.body);
    alice.post("/api/v1/users/bob/export", &Value::Null).await.is_problem(403, "forbidden");
    bob.post("/api/v1/users/bob/erase", &Value::Null).await.is_problem(409, "conflict");
    let path = format!("/api/v1/jobs/{}", asked.body["id"].as_str().expect("an id"));
    alice.get(&path).await.is_problem(404, "not_found");
    assert!(worker.next().await.expect("it works") && !worker.next().await.expect("nothing is left to do"));
    let done = bob.get(&path).await.body;
    assert_eq!((&done["state"], &done["progress"], &done["total"]), (&json!("done"), &json!(2), &json!(2)), "{done}");
    assert!(api.user_as("ada", Role::Admin).get(&path).await.body.get("file").is_none(), "only who asked has the file");
    let link = done["file"]["url"].as_str().expect("a link").to_owned();
    let file = api.request(Method::GET, &link).send().await.expect("an answer");
    assert_eq!(
        (file.status().as_u16(), &file.headers()["content-type"]),
        (200, &"application/x-ndjson".parse().expect("a type"))
    );
    let text = file.text().await.expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].clone()).collect();
    assert_eq!(kinds, ["profile", "conversation", "message"], "{text}");
    assert!(text.contains("his own words") && !text.contains("hers"));

    let mut heard = api.listener(&["user:alice".parse().expect("a channel")]).await;
    let asked = bob.post("/api/v1/users/bob/erase", &Value::Null).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    assert!(worker.next().await.expect("it works"));
    let path = format!("/api/v1/jobs/{}", asked.body["id"].as_str().expect("an id"));
    assert_eq!(bob.get(&path).await.body["state"], "done");
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(api::store::conformance::event(&heard.hears().await)["type"].clone());
    }
    assert_eq!(kinds, ["user.erased", "message.deleted", "member.removed"]);
    assert_eq!(api.request(Method::GET, &link).send().await.expect("an answer").status().as_u16(), 404);
    let messages = alice.get(&format!("/api/v1/messages/conversations/{group}/messages")).await.body;
    assert_eq!((&messages["items"][0]["message_text"], &messages["items"][1]["seq"]), (&json!(""), &json!(2)));
    let body = json!({ "type": "group", "participant_ids": ["alice"] });
    bob.post("/api/v1/messages/conversations", &body).await.is_problem(409, "conflict");
    assert!(api.user_as("ada", Role::Admin).get("/api/v1/users/bob").await.body["erased_at"].is_string());
}
