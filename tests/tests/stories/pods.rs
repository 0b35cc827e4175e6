//! Pods die, and pods are replaced, while people talk.

use fleet::client::{Device, Kind, Talk};
use fleet::eventually::until;
use fleet::fleet::{Fleet, GRACE, PostgresShape, RedisShape, Shape};
use fleet::place::Place as _;
use fleet::proxy::Weather;
use fleet::servers::carillon::Pod;
use fleet::servers::process::Signal;
use rand::RngExt as _;

use crate::CAUGHT_UP;

/// Bob's and carol's devices, spread over both gateways by nginx.
async fn devices(fleet: &Fleet) -> Vec<Device> {
    let mut devices = Vec::new();
    for name in ["bob", "carol"] {
        for device in ["phone", "laptop", "tablet"] {
            devices.push(fleet.user(name).device(device).connect().await);
        }
    }
    devices
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_killed_and_nobody_misses_a_word() {
    let mut fleet = Fleet::new().await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    let devices = devices(&fleet).await;
    let devices: Vec<_> = devices.iter().collect();
    let conversation = alice.starts(Kind::Group, &[&bob, &carol]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob, &carol]);
    for victim in [0, 1] {
        talk.goes_on_for(30).await;
        fleet.gateway[victim].kill();
        talk.goes_on_for(30).await;
        fleet.gateway[victim].start();
        fleet.gateway[victim].is_ready().await;
    }
    talk.goes_on_for(30).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&devices, &said, CAUGHT_UP).await;
    assert!(devices.iter().all(|device| device.connections() > 1), "everybody was on a gateway that died");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_is_killed_between_commit_and_announcing_and_nobody_misses_a_word() {
    let mut fleet = Fleet::new().await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    let devices = devices(&fleet).await;
    let devices: Vec<_> = devices.iter().collect();
    let conversation = alice.starts(Kind::Group, &[&bob, &carol]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob, &carol, &alice, &bob, &carol]);
    for round in 0..6 {
        // Some word or other is just being committed, or acknowledged, or announced.
        let words = rand::rng().random_range(5..20);
        talk.goes_on_for(words).await;
        fleet.api[round % 2].kill();
        fleet.api[round % 2].start();
        fleet.api[round % 2].is_ready().await;
    }
    let said = talk.ends().await;

    conversation.is_shown_on(&devices, &said, CAUGHT_UP).await;
    assert!(devices.iter().all(|device| device.connections() == 1), "an api that dies disconnects nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_replaced_one_after_the_other_and_nobody_misses_a_word() {
    let mut fleet = Fleet::new().await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    let devices = devices(&fleet).await;
    let devices: Vec<_> = devices.iter().collect();
    let conversation = alice.starts(Kind::Group, &[&bob, &carol]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob, &carol]);
    for pod in fleet.pods() {
        talk.goes_on_for(10).await;
        pod.stop(GRACE).await;
        pod.start();
        pod.is_ready().await;
    }
    talk.goes_on_for(10).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&devices, &said, CAUGHT_UP).await;
    let advised = |device: &&&Device| device.record().frames.iter().any(|frame| frame["type"] == "reconnect");
    assert_eq!(devices.iter().filter(advised).count(), devices.len(), "everybody was told when to come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_let_in_elsewhere_at_once_however_often_its_gateways_are_replaced() {
    let mut fleet = Fleet::new().await;
    let alice = fleet.user("alice");
    let mut devices = Vec::new();
    for number in 0..100 {
        devices.push(alice.device(&format!("d{number}")).connect().await);
    }
    for _ in 0..2 {
        for gateway in &mut fleet.gateway {
            gateway.stop(GRACE).await;
            for device in &devices {
                device.is_connected().await;
            }
            gateway.start();
            gateway.is_ready().await;
        }
    }
    let closed = |device: &Device| device.record().closed.as_ref().map(|(code, _)| *code);
    assert!(devices.iter().filter_map(closed).all(|code| code == 1012));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_freezes_until_its_devices_have_left_and_nobody_misses_a_word() {
    let mut fleet = Fleet::new().await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    let devices = devices(&fleet).await;
    let devices: Vec<_> = devices.iter().collect();
    let conversation = alice.starts(Kind::Group, &[&bob, &carol]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob, &carol]);
    talk.goes_on_for(20).await;
    fleet.gateway[0].signal(Signal::Stop);
    let left = || devices.iter().filter(|device| !device.is_linked()).count() >= 3;
    until(CAUGHT_UP, "half of the devices leave", left).await;
    talk.goes_on_for(20).await;
    fleet.gateway[0].signal(Signal::Cont);
    talk.goes_on_for(20).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&devices, &said, CAUGHT_UP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_working_worker_freezes_and_the_other_beats_in_its_place() {
    let mut fleet = Fleet::new().await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let phone = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    // Without publishes of the apis, and without apis to poll, only beats tell what is new.
    for api in ["api-1", "api-2"] {
        fleet.link(api, "redis").becomes(Weather::Gone);
    }

    let mut said = Vec::new();
    for frozen in [0, 1] {
        fleet.worker[frozen].signal(Signal::Stop);
        for number in 1..=3 {
            said.push(alice.says(&conversation, &format!("worker {frozen} is frozen, {number}")).await);
            conversation.is_shown_on(&[&phone], &said, CAUGHT_UP).await;
        }
        fleet.worker[frozen].signal(Signal::Cont);
    }
    fleet.worker[0].kill();
    said.push(alice.says(&conversation, "one worker is dead").await);
    conversation.is_shown_on(&[&phone], &said, CAUGHT_UP).await;
    assert_eq!(phone.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_loses_power_at_once_and_what_was_acknowledged_is_there() {
    let shape = Shape { redis: RedisShape::Standalone, postgres: PostgresShape::Own, ..Shape::default() };
    let mut fleet = Fleet::start(shape).await;
    let (alice, bob, carol) = (fleet.user("alice"), fleet.user("bob"), fleet.user("carol"));
    let devices = devices(&fleet).await;
    let devices: Vec<_> = devices.iter().collect();
    let conversation = alice.starts(Kind::Group, &[&bob, &carol]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob, &carol]);
    talk.goes_on_for(50).await;
    fleet.postgres.kill_all().await.expect("postgres ran");
    fleet.redis.kill();
    fleet.pods().for_each(Pod::kill);
    fleet.postgres.start_again().await.expect("postgres comes back");
    fleet.redis.restart_empty().await.expect("redis comes back");
    fleet.pods().for_each(Pod::start);
    talk.goes_on_for(50).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&devices, &said, CAUGHT_UP).await;
}
