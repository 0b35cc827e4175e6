//! Tokens that do not count any more, on every pod, whatever breaks.

use std::time::Duration;

use fleet::client::{Device, Refusal, User};
use fleet::eventually::{eventually, until};
use fleet::fleet::Fleet;
use fleet::place::Place;
use fleet::proxy::Weather;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::CAUGHT_UP;

/// Within what everybody is cut off, on a machine that runs several fleets at once; 2 s is what is promised.
const CUT_OFF: Duration = Duration::from_secs(10);
/// And while Redis is away.
const WITHOUT_REDIS: Duration = Duration::from_secs(15);

told_everywhere! {
    whoever_logs_out_everywhere_is_gone_from_every_gateway_and_comes_back_with_a_newer_token,
}

/// A device of somebody at each gateway.
async fn devices(place: &impl Place, user: &User) -> [Device; 2] {
    let at = async |gateway, name| place.at_gateway(user, gateway).device(name).connect().await;
    [at(0, "phone").await, at(1, "desk").await]
}

async fn are_cut_off(devices: &[Device; 2], limit: Duration) {
    until(limit, "every socket is closed", || devices.iter().all(|device| !device.is_linked())).await;
}

/// Revokes every token that `whose` has got so far, in `who`'s name.
async fn revoke(who: &User, whose: &User) {
    // A token says in which second it was issued; the next one is a newer token's.
    let body = json!({ "user_id": whose.name(), "issued_until": chrono::Utc::now() });
    who.asks(Method::POST, "/api/v1/revocations", &body).await;
}

/// Checks that the api at a door believes a token no more.
async fn is_unknown_to(door: String, user: &User) {
    let user = User::new(user.name(), user.token().to_owned(), door);
    eventually(CUT_OFF, async || {
        let answer = user.request(Method::GET, "/api/v1/unread").send().await.expect("an answer");
        if answer.status() == StatusCode::UNAUTHORIZED { Ok(()) } else { Err(answer.status()) }
    })
    .await;
}

async fn whoever_logs_out_everywhere_is_gone_from_every_gateway_and_comes_back_with_a_newer_token(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    let hers = alice.device("phone").connect().await;
    let devices = devices(place, &bob).await;
    revoke(&bob, &bob).await;
    are_cut_off(&devices, CUT_OFF).await;
    for gateway in [0, 1] {
        let refused = place.at_gateway(&bob, gateway).device("tablet").is_refused().await;
        assert_eq!(refused, Refusal::Close(4403));
    }
    is_unknown_to(bob.door().to_owned(), &bob).await;
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let back = place.user("bob");
    for gateway in [0, 1] {
        place.at_gateway(&back, gateway).device("phone").connect().await;
    }
    assert_eq!(hers.connections(), 1, "nobody else is concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_while_redis_is_away_or_the_publish_is_lost_is_cut_off_all_the_same() {
    let fleet = Fleet::new().await;
    let (bob, carol, robot) = (fleet.user("bob"), fleet.user("carol"), fleet.user_with_role("robot", "service"));
    let (his, hers) = (devices(&fleet, &bob).await, devices(&fleet, &carol).await);
    // Only the workers reach the gateways.
    for api in ["api-1", "api-2"] {
        fleet.link(api, "redis").becomes(Weather::Gone);
    }
    revoke(&robot, &bob).await;
    are_cut_off(&his, CUT_OFF).await;
    fleet.weather_towards("redis", Weather::Gone);
    revoke(&robot, &carol).await;
    are_cut_off(&hers, WITHOUT_REDIS).await;
    for pod in &fleet.api {
        is_unknown_to(format!("127.0.0.1:{}", pod.port()), &carol).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_starts_after_a_revocation_believes_no_revoked_token() {
    let mut fleet = Fleet::new().await;
    let (bob, robot) = (fleet.user("bob"), fleet.user_with_role("robot", "service"));
    let devices = devices(&fleet, &bob).await;
    fleet.gateway[1].kill();
    fleet.api[1].kill();
    revoke(&robot, &bob).await;
    for pod in [&mut fleet.gateway[1], &mut fleet.api[1]] {
        pod.start();
        pod.is_ready().await;
    }
    let late = User::new(bob.name(), bob.token().to_owned(), format!("127.0.0.1:{}", fleet.api[1].port()));
    let answer = late.request(Method::GET, "/api/v1/unread").send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(fleet.at_gateway(&bob, 1).device("tablet").is_refused().await, Refusal::Close(4403));
    are_cut_off(&devices, CAUGHT_UP).await;
}
