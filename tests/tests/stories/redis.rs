//! Redis is a loudspeaker: it may forget, fall silent or move, and nothing is lost.

use std::time::{Duration, Instant};

use fleet::client::{Device, Kind, Talk};
use fleet::fleet::{Fleet, RedisShape, Shape};
use fleet::place::Place as _;
use fleet::proxy::Weather;

use crate::CAUGHT_UP;

async fn fleet_on(redis: RedisShape) -> Fleet {
    Fleet::start(Shape { redis, ..Shape::default() }).await
}

/// A device of bob's at each gateway.
async fn devices(fleet: &Fleet) -> [Device; 2] {
    let bob = fleet.user("bob");
    let phone = fleet.at_gateway(&bob, 0).device("phone").connect().await;
    let laptop = fleet.at_gateway(&bob, 1).device("laptop").connect().await;
    [phone, laptop]
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_forgets_everything_and_nobody_misses_a_word() {
    let fleet = fleet_on(RedisShape::Standalone).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let [phone, laptop] = devices(&fleet).await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    talk.goes_on_for(20).await;
    fleet.redis.flush().await.expect("redis is there");
    talk.goes_on_for(20).await;
    fleet.redis.kill();
    talk.goes_on_for(20).await;
    fleet.redis.restart_empty().await.expect("redis comes back");
    talk.goes_on_for(20).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1), "nobody is disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_gone_for_twenty_seconds_and_words_are_acknowledged_and_delivered_all_the_while() {
    let fleet = Fleet::new().await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let [phone, laptop] = devices(&fleet).await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = vec![alice.says(&conversation, "before").await];

    fleet.weather_towards("redis", Weather::Gone);
    let gone = Instant::now();
    while gone.elapsed() < Duration::from_secs(20) {
        said.push(alice.says(&conversation, &format!("{} s without redis", gone.elapsed().as_secs())).await);
        // Shown while redis is still gone: each word waits for the one before it.
        conversation.is_shown_on(&[&phone, &laptop], &said, Duration::from_secs(5)).await;
    }
    assert!(said.len() > 8, "{} words in twenty seconds", said.len());
    fleet.weather_towards("redis", Weather::Fine);
    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    talk.goes_on_for(50).await;
    said.extend(talk.ends().await);

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1), "nobody is disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_in_a_cluster_and_nobody_misses_a_word() {
    let fleet = fleet_on(RedisShape::Cluster).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let [phone, laptop] = devices(&fleet).await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = vec![alice.says(&conversation, "before").await];
    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;

    let slot = slot_of(&fleet, "user:bob").await;
    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    talk.goes_on_for(20).await;
    fleet.redis.move_slot(slot).await.expect("the cluster moves it");
    talk.goes_on_for(50).await;
    said.extend(talk.ends().await);

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1), "nobody is disconnected");
}

/// The slot in which somebody listens to a channel.
async fn slot_of(fleet: &Fleet, channel: &str) -> u16 {
    for node in 0..fleet.redis.nodes() {
        let channels = fleet.redis.cli(node, &["PUBSUB", "SHARDCHANNELS"]).await.expect("the node answers");
        if let Some(full) = channels.lines().find(|name| name.ends_with(channel)) {
            let slot = fleet.redis.cli(node, &["CLUSTER", "KEYSLOT", full]).await.expect("the node answers");
            return slot.trim().parse().expect("a number");
        }
    }
    panic!("nobody listens to {channel}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_and_nobody_misses_a_word() {
    let fleet = fleet_on(RedisShape::Sentinel).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let [phone, laptop] = devices(&fleet).await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    talk.goes_on_for(20).await;
    fleet.redis.fail_over().await.expect("the sentinel fails over");
    talk.goes_on_for(50).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1), "nobody is disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_freezes_and_nobody_misses_a_word() {
    let fleet = fleet_on(RedisShape::Standalone).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let [phone, laptop] = devices(&fleet).await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = vec![alice.says(&conversation, "before").await];

    fleet.redis.pause();
    for number in 1..=5 {
        said.push(alice.says(&conversation, &format!("into the frozen {number}")).await);
        conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    }
    fleet.redis.resume();
    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    talk.goes_on_for(30).await;
    said.extend(talk.ends().await);

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1), "nobody is disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_drops_its_subscribers_and_nobody_misses_a_word() {
    let fleet = fleet_on(RedisShape::Standalone).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let [phone, laptop] = devices(&fleet).await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    for _ in 0..5 {
        talk.goes_on_for(10).await;
        fleet.redis.kill_subscribers().await.expect("redis answers");
    }
    let said = talk.ends().await;

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1), "nobody is disconnected");
}
