//! What everybody who counts turns promises, as tests that every implementation runs.
//!
//! One function per promise, and [`limits_conformance!`](crate::limits_conformance) gives an implementation all of them. The stages
//! are the broker's.

use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use super::{Deed, Doer, Rate, Turn};
use crate::broker::conformance::{Pod, Stage, promises_of};
use crate::ids::UserId;

/// Longer than any test takes: nothing is earned back meanwhile.
const LONG: Duration = Duration::from_secs(36_000);

/// Runs every promise of limits for each `name: Stage`.
#[macro_export]
macro_rules! limits_conformance {
    ($($backend:ident: $stage:ty),+ $(,)?) => {
        $(mod $backend {
            use super::*;
            $crate::promises!($stage, limits, [
                as_many_are_taken_as_the_rate_allows_and_the_next_is_told_how_long_to_wait,
                whoever_waits_as_long_as_told_has_a_turn,
                pods_count_together_however_many_ask_at_once,
                everybody_and_every_deed_is_counted_apart,
                what_is_refused_costs_nothing,
                no_more_sit_than_there_are_seats_and_whoever_goes_makes_room,
                pods_share_seats_however_many_ask_at_once,
                a_seat_is_free_again_unless_it_is_held_on,
                whoever_sits_keeps_their_seat_though_it_was_forgotten,
            ]);
        })+
    };
}

/// Fails when `listed` is not every promise of this file.
pub fn assert_complete(listed: &[&str]) {
    assert_eq!(listed, promises_of(include_str!("conformance.rs")));
}

/// As many are taken as the rate allows, and the next is told how long to wait.
pub async fn as_many_are_taken_as_the_rate_allows_and_the_next_is_told_how_long_to_wait<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    for _ in 0..5 {
        assert_eq!(pod.take("alice", Deed::Send, 5).await, Turn::Taken);
    }
    let Turn::Wait(wait) = pod.take("alice", Deed::Send, 5).await else { panic!("five are allowed") };
    assert!(wait <= LONG / 5 && wait > LONG / 6, "{wait:?}");
}

/// Whoever waits as long as told has a turn.
pub async fn whoever_waits_as_long_as_told_has_a_turn<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let (who, rate) = (user("alice"), Rate { times: 1.try_into().expect("one"), within: Duration::from_secs(1) });
    let take = async || pod.limiter.take(&who, Deed::Send, rate).await.expect("an answer");
    assert_eq!(take().await, Turn::Taken);
    for _ in 0..3 {
        if let Turn::Wait(wait) = take().await {
            assert!(wait <= rate.within, "{wait:?}");
            tokio::time::sleep(wait).await;
            assert_eq!(take().await, Turn::Taken);
        }
    }
}

/// Pods count together, however many ask at once.
pub async fn pods_count_together_however_many_ask_at_once<S: Stage>() {
    let stage = S::set().await;
    let pods = [stage.pod().await, stage.pod().await, stage.pod().await];
    let asked = (0..100).flat_map(|_| &pods).map(|pod| pod.take("alice", Deed::Publish, 70));
    let taken = join_all(asked).await.into_iter().filter(|turn| *turn == Turn::Taken).count();
    assert_eq!(taken, 70);
}

/// Everybody, and every deed of theirs, is counted apart.
pub async fn everybody_and_every_deed_is_counted_apart<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    for name in ["alice", "bob", "carol", "192.0.2.1", "2001:db8::1"] {
        for deed in Deed::ALL {
            assert_eq!(pod.take(name, deed, 1).await, Turn::Taken, "{name} {deed:?}");
            assert_ne!(pod.take(name, deed, 1).await, Turn::Taken, "{name} {deed:?}");
        }
    }
}

/// What is refused costs nothing: whoever goes on asking does not wait longer for it.
pub async fn what_is_refused_costs_nothing<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    assert_eq!(pod.take("alice", Deed::Connect, 1).await, Turn::Taken);
    let mut before = LONG;
    for _ in 0..100 {
        let Turn::Wait(wait) = pod.take("alice", Deed::Connect, 1).await else { panic!("one is allowed") };
        assert!(wait <= before, "{wait:?} after {before:?}");
        before = wait;
    }
}

/// No more sit than there are seats, each person has their own, and whoever goes makes room.
pub async fn no_more_sit_than_there_are_seats_and_whoever_goes_makes_room<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let (first, second, third) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    assert!(pod.sits("alice", first).await && pod.sits("alice", second).await);
    assert!(!pod.sits("alice", third).await && pod.sits("bob", third).await);
    pod.limiter.leave(&id("alice"), first).await.expect("an answer");
    pod.limiter.leave(&id("alice"), Uuid::now_v7()).await.expect("an answer");
    assert!(pod.sits("alice", third).await && !pod.sits("alice", first).await);
}

/// Pods share the seats, however many ask at once.
pub async fn pods_share_seats_however_many_ask_at_once<S: Stage>() {
    let stage = S::set().await;
    let pods = [stage.pod().await, stage.pod().await, stage.pod().await];
    let asked = (0..20).flat_map(|_| &pods).map(|pod| pod.sits("alice", Uuid::now_v7()));
    assert_eq!(join_all(asked).await.into_iter().filter(|sits| *sits).count(), 2);
}

/// A seat is free again after its time, unless it is held on.
pub async fn a_seat_is_free_again_unless_it_is_held_on<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let (alice, stays, goes) = (id("alice"), Uuid::now_v7(), Uuid::now_v7());
    for seat in [stays, goes] {
        assert!(pod.limiter.hold(&alice, seat, 2, Duration::from_secs(2)).await.expect("an answer"));
    }
    pod.limiter.go_on_holding(&alice, &[stays], LONG).await.expect("an answer");
    assert!(!pod.sits("alice", Uuid::now_v7()).await);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert!(pod.sits("alice", Uuid::now_v7()).await && !pod.sits("alice", Uuid::now_v7()).await);
}

/// Whoever sits keeps their seat, though it was forgotten and others have sat down meanwhile.
pub async fn whoever_sits_keeps_their_seat_though_it_was_forgotten<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let seats: Vec<_> = (0..100).map(|_| Uuid::now_v7()).collect();
    assert!(pod.sits("alice", Uuid::now_v7()).await);
    pod.limiter.go_on_holding(&id("alice"), &seats, LONG).await.expect("an answer");
    for seat in &seats {
        assert!(!pod.sits("alice", Uuid::now_v7()).await);
        pod.limiter.leave(&id("alice"), *seat).await.expect("an answer");
    }
    assert!(pod.sits("alice", Uuid::now_v7()).await);
}

impl Pod {
    /// Whether one more of the two seats that somebody has is free.
    async fn sits(&self, name: &str, seat: Uuid) -> bool {
        self.limiter.hold(&id(name), seat, 2, LONG).await.expect("an answer")
    }

    async fn take(&self, name: &str, deed: Deed, times: u32) -> Turn {
        let rate = Rate { times: times.try_into().expect("some"), within: LONG };
        let who = name.parse().map_or_else(|_| user(name), Doer::at);
        self.limiter.take(&who, deed, rate).await.expect("an answer")
    }
}

fn user(name: &str) -> Doer {
    Doer::User(id(name))
}

fn id(name: &str) -> UserId {
    name.parse().expect("an id")
}
