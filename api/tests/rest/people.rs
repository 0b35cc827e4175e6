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
