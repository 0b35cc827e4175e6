//! Pods die, and pods are replaced, while people talk.

use fleet::client::{Device, Kind, Talk};
use fleet::fleet::{Fleet, GRACE};
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
