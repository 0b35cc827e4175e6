//! Links break one at a time: between pods and Redis, between gateways and apis, before nginx.

use std::time::Duration;

use fleet::client::{Device, Kind, Talk, User};
use fleet::fleet::{Fleet, Shape};
use fleet::place::Place as _;
use fleet::proxy::{Way, Weather};

use crate::CAUGHT_UP;

/// What the fleet promises for a lost publish, and as long again for a machine that runs several fleets at once.
const HEALED: Duration = Duration::from_secs(4);

struct Scene {
    fleet: Fleet,
    alice: User,
    bob: User,
    phone: Device,
    laptop: Device,
}

/// Alice, and bob with a device at each gateway.
async fn scene() -> Scene {
    let fleet = Fleet::start(Shape::default()).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let phone = fleet.at_gateway(&bob, 0).device("phone").connect().await;
    let laptop = fleet.at_gateway(&bob, 1).device("laptop").connect().await;
    Scene { fleet, alice, bob, phone, laptop }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lost_publish_is_healed_within_two_seconds_and_nobody_is_disconnected() {
    let Scene { fleet, alice, bob, phone, laptop } = scene().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    for api in ["api-1", "api-2"] {
        fleet.link(api, "redis").becomes(Weather::Gone);
    }
    let mut said = Vec::new();
    for number in 1..=5 {
        said.push(alice.says(&conversation, &format!("unheard {number}")).await);
        conversation.is_shown_on(&[&phone, &laptop], &said, HEALED).await;
    }
    assert_eq!((phone.connections(), laptop.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_alone_hears_nothing_of_redis_delivers_all_the_same() {
    let Scene { fleet, alice, bob, phone, laptop } = scene().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = Vec::new();
    for weather in [Weather::Silent, Weather::Mute(Way::Back), Weather::Mute(Way::There), Weather::Gone] {
        fleet.link("gateway-1", "redis").becomes(weather);
        for number in 1..=3 {
            said.push(alice.says(&conversation, &format!("{weather:?} {number}")).await);
            conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
        }
        fleet.link("gateway-1", "redis").becomes(Weather::Fine);
        said.push(alice.says(&conversation, &format!("after {weather:?}")).await);
        conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    }
    assert_eq!((phone.connections(), laptop.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_lose_one_api_ask_the_other() {
    let Scene { fleet, alice, bob, phone, laptop } = scene().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    // Without publishes everything has to be asked for.
    fleet.weather_towards("redis", Weather::Gone);
    let mut said = Vec::new();
    for (lost, weather) in [("api-1", Weather::Gone), ("api-2", Weather::Silent)] {
        for gateway in ["gateway-1", "gateway-2"] {
            fleet.link(gateway, lost).becomes(weather);
        }
        said.push(alice.says(&conversation, &format!("without {lost}")).await);
        conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
        for gateway in ["gateway-1", "gateway-2"] {
            fleet.link(gateway, lost).becomes(Weather::Fine);
        }
    }
    assert_eq!((phone.connections(), laptop.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_slow_or_cut_everything_to_pieces_lose_nothing() {
    let Scene { fleet, alice, bob, phone, laptop } = scene().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = Vec::new();
    for weather in [Weather::Sliced(1), Weather::Slow(Duration::from_millis(20))] {
        fleet.weather_everywhere(weather);
        let talk = Talk::begins(&conversation, &[&alice, &bob]);
        talk.goes_on_for(20).await;
        said.extend(talk.ends().await);
    }
    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_between_pods_is_cut_again_and_again_and_nobody_misses_a_word() {
    let Scene { fleet, alice, bob, phone, laptop } = scene().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    for _ in 0..10 {
        talk.goes_on_for(10).await;
        fleet.cut_everywhere();
    }
    let said = talk.ends().await;
    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_reads_its_configuration_again_and_no_socket_ends() {
    let Scene { mut fleet, alice, bob, .. } = scene().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let tablet = bob.device("tablet").connect().await;
    let talk = Talk::begins(&conversation, &[&alice]);
    talk.goes_on_for(10).await;
    let ports = |pods: &[fleet::servers::carillon::Pod]| pods.iter().map(|pod| pod.port()).collect::<Vec<_>>();
    let (api, gateway) = (ports(&fleet.api), ports(&fleet.gateway));
    fleet.nginx.reload(&api, &gateway);
    talk.goes_on_for(30).await;
    let said = talk.ends().await;
    conversation.is_shown_on(&[&tablet], &said, CAUGHT_UP).await;
    assert_eq!(tablet.connections(), 1);
}
