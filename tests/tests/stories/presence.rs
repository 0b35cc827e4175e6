//! Who is here: told to those who watch, wherever they are connected, and right again after whatever happens to pods and Redis.

use std::time::{Duration, Instant};

use fleet::client::{Device, Kind, User};
use fleet::eventually::eventually;
use fleet::fleet::{Fleet, RedisShape, Shape};
use fleet::place::Place;
use fleet::proxy::Weather;
use fleet::servers::process::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::CAUGHT_UP;

told_everywhere! {
    whoever_watches_at_another_gateway_sees_somebody_come_change_and_leave,
    a_page_loaded_anew_is_not_seen_to_leave,
    whoever_hides_or_blocks_is_seen_to_leave_and_no_more,
}

/// Watches people, and answers what they are.
async fn watches(device: &Device, people: &[&User]) -> Vec<String> {
    let people: Vec<_> = people.iter().map(|person| person.name()).collect();
    let answer = device.asks(json!({ "action": "presence", "data": { "watch": people } })).await;
    let statuses = answer["data"]["presence"].as_array().unwrap_or_else(|| panic!("{answer}"));
    statuses.iter().map(|status| status["state"].as_str().expect("a state").to_owned()).collect()
}

/// Says what somebody is on this device.
async fn is(device: &Device, state: &str) {
    let answer = device.asks(json!({ "action": "presence", "data": { "state": state } })).await;
    assert_eq!(answer["type"], "ack", "{answer}");
}

/// What a device was told that somebody is after it was answered, in order. Of two the higher version counts, so that what is
/// told again is told once.
fn told(device: &Device, of: &User) -> Vec<String> {
    let record = device.record();
    let (mut version, mut told) = (None, Vec::new());
    for frame in &record.frames {
        let answered = frame["data"]["presence"].as_array().into_iter().flatten();
        let answered = answered.filter(|status| status["user_id"] == of.name());
        version = answered.filter_map(|status| status["version"].as_u64()).chain(version).max();
        let is_change = frame["type"] == "presence.changed" && frame["data"]["user_id"] == of.name();
        if is_change && frame["version"].as_u64() > version {
            version = frame["version"].as_u64();
            told.push(frame["data"]["state"].as_str().expect("a state").to_owned());
        }
    }
    told
}

/// Waits until a device was told exactly this of somebody.
async fn was_told(device: &Device, of: &User, states: &[&str]) {
    let same = async || {
        let told = told(device, of);
        if told == states { Ok(()) } else { Err(format!("{told:?} was told, not {states:?}")) }
    };
    eventually(CAUGHT_UP, same).await;
}

/// Waits until this is the last that a device was told of somebody.
async fn was_told_at_last(device: &Device, of: &User, state: &str) {
    let last = async || match told(device, of) {
        told if told.last().is_some_and(|last| last == state) => Ok(()),
        told => Err(format!("{told:?} was told, and not {state} at last")),
    };
    eventually(CAUGHT_UP, last).await;
}

/// Waits until REST says that somebody is this.
async fn is_seen(by: &User, of: &User, state: &str) -> Value {
    let path = format!("/api/v1/presence?user_ids={}", of.name());
    let seen = async || {
        let answer = by.asks(Method::GET, &path, &Value::Null).await;
        let status = answer["items"][0].clone();
        if status["state"] == state { Ok(status) } else { Err(format!("{status}, not {state}")) }
    };
    eventually(CAUGHT_UP, seen).await
}

async fn whoever_watches_at_another_gateway_sees_somebody_come_change_and_leave(place: &impl Place) {
    let (alice, bob, eve) = (place.user("alice"), place.user("bob"), place.user("eve"));
    alice.starts(Kind::Group, &[&bob]).await;
    let his = place.at_gateway(&bob, 1).device("phone").connect().await;
    let outside = place.at_gateway(&eve, 1).device("phone").connect().await;
    assert_eq!(watches(&his, &[&alice, &bob]).await[0], "offline");
    assert_eq!(watches(&outside, &[&alice]).await, ["offline"]);

    let hers = place.at_gateway(&alice, 0).device("phone").connect().await;
    was_told(&his, &alice, &["online"]).await;
    is(&hers, "idle").await;
    was_told(&his, &alice, &["online", "idle"]).await;
    let desk = place.at_gateway(&alice, 1).device("desk").connect().await;
    was_told(&his, &alice, &["online", "idle", "online"]).await;
    is(&desk, "dnd").await;
    was_told(&his, &alice, &["online", "idle", "online", "dnd"]).await;
    let seen = is_seen(&bob, &alice, "dnd").await;
    assert_eq!(seen["last_seen"], Value::Null, "{seen}");
    drop((hers, desk));
    was_told_at_last(&his, &alice, "offline").await;
    let seen = is_seen(&bob, &alice, "offline").await;
    assert!(seen["last_seen"].is_string() && seen["version"].as_u64() > Some(0), "{seen}");
    let hidden = is_seen(&eve, &alice, "offline").await;
    assert_eq!(hidden["last_seen"], Value::Null, "{hidden}");
    outside.asks(json!({ "action": "ping" })).await;
    assert!(told(&outside, &alice).is_empty());
}

async fn a_page_loaded_anew_is_not_seen_to_leave(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    alice.starts(Kind::Group, &[&bob]).await;
    let his = place.at_gateway(&bob, 1).device("phone").connect().await;
    let mut page = place.at_gateway(&alice, 0).device("page").connect().await;
    is_seen(&bob, &alice, "online").await;
    watches(&his, &[&alice]).await;
    let mut slowest = Duration::ZERO;
    for gateway in [1, 0, 1] {
        let begun = Instant::now();
        page.goes_away().await;
        page = place.at_gateway(&alice, gateway).device("page").connect().await;
        slowest = slowest.max(begun.elapsed());
    }
    is(&page, "dnd").await;
    was_told_at_last(&his, &alice, "dnd").await;
    // On a machine so busy that a page took as long as that, she was gone.
    if slowest < Duration::from_secs(2) {
        assert_eq!(told(&his, &alice), ["dnd"]);
    }
}

async fn whoever_hides_or_blocks_is_seen_to_leave_and_no_more(place: &impl Place) {
    let (alice, bob) = (place.user("alice"), place.user("bob"));
    alice.starts(Kind::Group, &[&bob]).await;
    let hers = place.at_gateway(&alice, 0).device("phone").connect().await;
    let his = place.at_gateway(&bob, 1).device("phone").connect().await;
    is_seen(&bob, &alice, "online").await;
    assert_eq!(watches(&his, &[&alice]).await, ["online"]);
    let gone = async |times: usize| {
        let told = async || {
            let record = his.record();
            let changes = record.frames.iter().filter(|frame| frame["type"] == "presence.changed");
            let states: Vec<_> = changes.map(|frame| frame["data"]["state"].clone()).collect();
            if states == vec![json!("offline"); times] { Ok(()) } else { Err(format!("{states:?}")) }
        };
        eventually(CAUGHT_UP, told).await;
    };
    let privacy = "/api/v1/users/me/privacy";
    alice.asks(Method::PATCH, privacy, &json!({ "presence": false })).await;
    gone(1).await;
    is(&hers, "idle").await;
    assert_eq!(watches(&his, &[&alice]).await, ["offline"]);

    alice.asks(Method::PATCH, privacy, &json!({ "presence": true })).await;
    is_seen(&bob, &alice, "idle").await;
    assert_eq!(watches(&his, &[&alice]).await, ["idle"]);
    alice.asks(Method::PUT, &format!("/api/v1/users/me/blocks/{}", bob.name()), &json!({})).await;
    gone(2).await;
    is(&hers, "dnd").await;
    is_seen(&alice, &alice, "dnd").await;
    assert_eq!(watches(&his, &[&alice]).await, ["offline"]);
    gone(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_killed_and_its_people_are_told_to_be_gone_exactly_once() {
    let mut fleet = Fleet::start(Shape { gateway: 3, ..Shape::default() }).await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    alice.starts(Kind::Group, &[&bob, &carol]).await;
    let his = fleet.at_gateway(&bob, 1).device("phone").connect().await;
    let hers = fleet.at_gateway(&alice, 0).device("phone").connect().await;
    let phone = fleet.at_gateway(&carol, 0).device("phone").connect().await;
    let desk = fleet.at_gateway(&carol, 2).device("desk").connect().await;
    is(&desk, "idle").await;
    is_seen(&bob, &alice, "online").await;
    is_seen(&bob, &carol, "online").await;
    watches(&his, &[&alice, &carol]).await;

    fleet.gateway[0].kill();
    was_told(&his, &alice, &["offline"]).await;
    was_told(&his, &carol, &["idle"]).await;
    assert!(!hers.is_linked() && !phone.is_linked());
    is(&desk, "dnd").await;
    was_told(&his, &carol, &["idle", "dnd"]).await;
    assert_eq!(told(&his, &alice), ["offline"], "once, though two gateways could have told it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_freezes_and_its_people_are_here_again_when_it_thaws() {
    let mut fleet = Fleet::new().await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    alice.starts(Kind::Group, &[&bob]).await;
    let his = fleet.at_gateway(&bob, 1).device("phone").connect().await;
    let hers = fleet.at_gateway(&alice, 0).device("phone").connect().await;
    is_seen(&bob, &alice, "online").await;
    watches(&his, &[&alice]).await;

    fleet.gateway[0].signal(Signal::Stop);
    was_told(&his, &alice, &["offline"]).await;
    fleet.gateway[0].signal(Signal::Cont);
    was_told(&his, &alice, &["offline", "online"]).await;
    hers.is_connected().await;
    is(&hers, "dnd").await;
    was_told(&his, &alice, &["offline", "online", "dnd"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgets_everything_and_everybody_is_here_again() {
    let fleet = Fleet::start(Shape { redis: RedisShape::Standalone, ..Shape::default() }).await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    alice.starts(Kind::Group, &[&bob, &carol]).await;
    let his = fleet.at_gateway(&bob, 1).device("phone").connect().await;
    let hers = fleet.at_gateway(&alice, 0).device("phone").connect().await;
    let other = fleet.at_gateway(&carol, 0).device("phone").connect().await;
    is(&hers, "dnd").await;
    is_seen(&bob, &alice, "dnd").await;
    is_seen(&bob, &carol, "online").await;
    watches(&his, &[&alice, &carol]).await;

    fleet.redis.flush().await.expect("redis is there");
    is_seen(&bob, &alice, "dnd").await;
    is_seen(&bob, &carol, "online").await;
    fleet.redis.kill();
    // Whoever leaves while nobody can write it down is gone all the same.
    drop(other);
    fleet.redis.restart_empty().await.expect("redis comes back");
    is_seen(&bob, &alice, "dnd").await;
    is(&hers, "idle").await;
    was_told_at_last(&his, &alice, "idle").await;
    was_told_at_last(&his, &carol, "offline").await;
    assert!(!told(&his, &alice).contains(&"offline".to_owned()), "she was never seen to leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_comes_back_with_what_was_so_before_and_says_what_is_so_now() {
    let fleet = Fleet::start(Shape { redis: RedisShape::Standalone, ..Shape::default() }).await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    alice.starts(Kind::Group, &[&bob, &carol]).await;
    let hers = fleet.at_gateway(&alice, 0).device("phone").connect().await;
    is_seen(&bob, &alice, "online").await;
    fleet.redis.save().await.expect("redis is there");
    drop(hers);
    let _here = fleet.at_gateway(&carol, 1).device("phone").connect().await;
    is_seen(&bob, &alice, "offline").await;
    is_seen(&bob, &carol, "online").await;

    // Long before the leases end under which it was so.
    fleet.redis.set_back().await.expect("redis comes back");
    is_seen(&bob, &alice, "offline").await;
    is_seen(&bob, &carol, "online").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_connect_without_redis_and_are_here_once_it_is_back() {
    let fleet = Fleet::new().await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    alice.starts(Kind::Group, &[&bob]).await;
    let his = fleet.at_gateway(&bob, 1).device("phone").connect().await;
    assert_eq!(watches(&his, &[&alice]).await, ["offline"]);

    fleet.weather_towards("redis", Weather::Gone);
    let hers = fleet.at_gateway(&alice, 0).device("phone").connect().await;
    is(&hers, "idle").await;
    let refused = his.asks(json!({ "action": "presence", "data": { "watch": ["carol"] } })).await;
    assert_eq!(refused["data"]["code"], "unavailable", "{refused}");
    fleet.weather_towards("redis", Weather::Fine);
    is_seen(&bob, &alice, "idle").await;
    was_told_at_last(&his, &alice, "idle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_and_everybody_is_still_here() {
    let fleet = Fleet::start(Shape { redis: RedisShape::Sentinel, ..Shape::default() }).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    alice.starts(Kind::Group, &[&bob]).await;
    let his = fleet.at_gateway(&bob, 1).device("phone").connect().await;
    let hers = fleet.at_gateway(&alice, 0).device("phone").connect().await;
    is_seen(&bob, &alice, "online").await;
    watches(&his, &[&alice]).await;

    fleet.redis.fail_over().await.expect("the sentinel fails over");
    is_seen(&bob, &alice, "online").await;
    is(&hers, "dnd").await;
    is_seen(&bob, &alice, "dnd").await;
    was_told(&his, &alice, &["dnd"]).await;
}
