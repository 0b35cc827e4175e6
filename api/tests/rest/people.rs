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
