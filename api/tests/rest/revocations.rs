//! Tokens that do not count any more, over HTTP.

use std::time::Duration;

use api::revocations::Follower;
use fleet::eventually::eventually;
use reqwest::Method;
use serde_json::{Value, json};
use shared::access::TokenError;
use shared::channel::{Channel, Role};
use shared::envelope::Content;
use shared::time::Timestamp;

use super::dsl::{Answer, Api, User, answer, now, signed, verifier};

const REVOCATIONS: &str = "/api/v1/revocations";
/// How long a fact may take to come true.
const DEADLINE: Duration = Duration::from_secs(10);

/// A token of alice's, issued so many seconds ago.
fn issued(seconds: i64, id: &str) -> String {
    signed(&json!({ "sub": "alice", "jti": id, "iat": now() - seconds, "exp": now() + 600 }))
}

/// What a token is answered.
async fn shown(api: &Api, token: &str) -> Answer {
    answer(api.request(Method::GET, "/api/v1/unread").bearer_auth(token)).await
}

async fn revoke(api: &Api, token: &str, body: &Value) -> Answer {
    answer(api.request(Method::POST, REVOCATIONS).bearer_auth(token).json(body)).await
}

#[tokio::test]
async fn whoever_logs_out_everywhere_is_out_at_once_and_comes_back_with_a_newer_token() {
    let api = Api::start().await;
    let (old, other) = (issued(120, "old"), issued(60, "other"));
    assert_eq!(shown(&api, &old).await.status, 200);
    let body = json!({ "issued_until": Timestamp::from_micros((now() - 30) * 1_000_000), "reason": "a lost phone" });
    let revoked = revoke(&api, &old, &body).await;
    assert_eq!(
        (revoked.status, &revoked.body["user_id"], &revoked.body["reason"]),
        (201, &json!("alice"), &body["reason"])
    );
    assert_eq!((&revoked.body["token_id"], &revoked.body["issued_until"]), (&Value::Null, &body["issued_until"]));
    for token in [&old, &other, &api.user("alice").token] {
        let refused = shown(&api, token).await;
        assert_eq!(refused.is_problem(401, "unauthorized").body["detail"], "the token was revoked");
    }
    let new = issued(0, "new");
    assert_eq!(shown(&api, &new).await.status, 200);
    assert_eq!(api.user("bob").get("/api/v1/unread").await.status, 200, "others are not concerned");
    // Nothing said is everything until now.
    assert_eq!(revoke(&api, &new, &json!({})).await.status, 201);
    assert_eq!(shown(&api, &new).await.status, 401);
}

#[tokio::test]
async fn one_token_is_revoked_once_and_the_others_of_the_user_count() {
    let api = Api::start().await;
    let mut pods = api.listener(&[Channel::Fleet]).await;
    let (phone, desk) = (issued(60, "phone"), issued(60, "desk"));
    let first = revoke(&api, &desk, &json!({ "token_id": "phone" })).await;
    assert_eq!((first.status, &first.body["token_id"]), (201, &json!("phone")));
    let told = pods.hears().await;
    assert!(matches!(told.content, Content::Entry(entry) if entry.seq.0 == 1), "pods are told");
    let again = revoke(&api, &desk, &json!({ "token_id": "phone", "reason": "again" })).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!((shown(&api, &phone).await.status, shown(&api, &desk).await.status), (401, 200));
    // One's own is over when it would have been.
    let own = revoke(&api, &desk, &json!({ "token_id": "desk" })).await;
    let end: Timestamp = serde_json::from_value(own.body["expires_at"].clone()).expect("a time");
    assert!((655..=665).contains(&(end.as_micros() / 1_000_000 - now())), "{own:?}");
    assert_eq!(shown(&api, &desk).await.status, 401);
}

#[tokio::test]
async fn a_repeat_with_the_key_moves_no_moment() {
    let api = Api::start().await;
    let robot = api.user_as("robot", Role::Service);
    let send = async |body: Value| {
        answer(robot.request(Method::POST, REVOCATIONS).header("Idempotency-Key", "k").json(&body)).await
    };
    let first = send(json!({ "user_id": "alice" })).await;
    let again = send(json!({ "user_id": "alice" })).await;
    assert_eq!((first.status, again.status, &again.body), (201, 200, &first.body));
    send(json!({ "user_id": "bob" })).await.is_problem(409, "key_reused");
}

#[tokio::test]
async fn only_admins_and_services_revoke_what_is_not_theirs_and_see_what_was_revoked() {
    let api = Api::start().await;
    let (alice, sam) = (api.user("alice"), api.user_as("sam", Role::Staff));
    let (ada, robot) = (api.user_as("ada", Role::Admin), api.user_as("robot", Role::Service));
    for other in [&alice, &sam] {
        other.post(REVOCATIONS, &json!({ "user_id": "bob" })).await.is_problem(403, "forbidden");
        other.get(REVOCATIONS).await.is_problem(403, "forbidden");
    }
    for number in 0..3 {
        let body = json!({ "user_id": "bob", "token_id": format!("t{number}") });
        assert_eq!(ada.post(REVOCATIONS, &body).await.status, 201);
    }
    robot.post(REVOCATIONS, &json!({ "user_id": "carol" })).await;
    let page = async |who: &User<'_>, query: &str| who.get(&format!("{REVOCATIONS}?{query}")).await.body;
    let ids = |page: &Value| {
        let items = page["items"].as_array().expect("a list").clone();
        items.iter().map(|item| item["token_id"].as_str().unwrap_or("all").to_owned()).collect::<Vec<_>>()
    };
    let first = page(&robot, "limit=2").await;
    assert_eq!(ids(&first), ["all", "t2"]);
    let rest = page(&robot, &format!("limit=2&after={}", first["next"].as_str().expect("more"))).await;
    assert_eq!((ids(&rest), &rest["next"]), (vec!["t1".to_owned(), "t0".to_owned()], &Value::Null));
    assert_eq!(ids(&page(&ada, "user_id=bob").await), ["t2", "t1", "t0"]);
    ada.get(&format!("{REVOCATIONS}?user_id=no%20id")).await.is_problem(400, "bad_request");
    let wrong = json!({ "user_id": "", "token_id": "", "issued_until": "soon", "reason": " ", "until": 1 });
    let refused = ada.post(REVOCATIONS, &wrong).await;
    let blamed = refused.is_problem(400, "bad_request").blamed();
    assert_eq!(blamed, ["user_id", "token_id", "issued_until", "reason", "until"]);
}

#[tokio::test]
async fn another_pod_follows_and_one_that_starts_later_knows_before_it_believes_anybody() {
    let api = Api::start().await;
    let (token, other_pod) = (issued(60, "phone"), verifier());
    let mut follower = Follower::new(api.store.clone(), other_pod.clone());
    assert_eq!(other_pod.verify(&token).await, Err(TokenError::TooEarly));
    follower.read().await.expect("the store answers");
    assert!(other_pod.verify(&token).await.is_ok());
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(follower.run(stop.clone()));
    assert_eq!(revoke(&api, &token, &json!({ "token_id": "phone" })).await.status, 201);
    eventually(DEADLINE, async || match other_pod.verify(&token).await {
        Err(TokenError::Revoked) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    stop.cancel();
    let late = verifier();
    Follower::new(api.store.clone(), late.clone()).read().await.expect("the store answers");
    assert_eq!(late.verify(&token).await, Err(TokenError::Revoked));
}

#[tokio::test]
async fn gateways_read_what_was_revoked_from_where_they_are() {
    let api = Api::start().await;
    let robot = api.user_as("robot", Role::Service);
    for user in ["alice", "bob"] {
        robot.post(REVOCATIONS, &json!({ "user_id": user })).await;
    }
    let read = async |asked: &Value| answer(api.gateway(Method::POST, "revocations").json(asked)).await;
    let all = read(&json!({ "epoch": null, "after": 0 })).await;
    assert_eq!((all.status, all.body["revoked"].as_array().map(Vec::len)), (200, Some(2)), "{all:?}");
    let mut one = all.body["next"].clone();
    assert_eq!(read(&one).await.body, json!({ "revoked": [], "next": one, "more": false }));
    one["after"] = json!(1);
    let rest = read(&one).await.body;
    assert_eq!((rest["revoked"][0]["user"].as_str(), &rest["next"]), (Some("bob"), &all.body["next"]));
    read(&json!({ "after": "x" })).await.is_problem(400, "bad_request");
}
