//! Promises about the outbox and about being fit.

#![expect(missing_docs, reason = "the names are the promises")]

use std::time::{Duration, Instant};

use shared::ids::Seq;

use super::{Bed, feed_of, guest};
use crate::store::{StoreError, Turn};

/// Takes the turn, once whoever had it is gone.
async fn turn(bed: &Bed) -> Box<dyn Turn> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(turn) = bed.store.take_turn().await.expect("an answer") {
            return turn;
        }
        assert!(Instant::now() < deadline, "the turn is never free");
        tokio::task::yield_now().await;
    }
}

pub async fn one_worker_at_a_time_has_the_turn(bed: &Bed) {
    let first = turn(bed).await;
    assert!(bed.store.take_turn().await.expect("an answer").is_none());
    drop(first);
    turn(bed).await.read().await.expect("the next one reads");
}

pub async fn the_outbox_names_the_heads_of_what_was_written(bed: &Bed) {
    let mut turn = turn(bed).await;
    assert_eq!(turn.read().await.expect("read").heads, []);
    let group = bed.group(&guest("alice"), &["bob"]).await;
    bed.send(&guest("alice"), &group, "one").await;
    bed.group(&guest("carol"), &["bob"]).await;
    let expected = [(feed_of("alice"), Seq(2)), (feed_of("bob"), Seq(3)), (feed_of("carol"), Seq(1))];
    for mut heads in [turn.read().await.expect("read"), bed.store.recent_heads().await.expect("read")] {
        heads.heads.sort();
        assert_eq!(heads.heads, expected);
        assert_eq!(heads.epoch, bed.epoch().await);
    }
}

pub async fn outbox_rows_go_after_ten_seconds_and_twenty_reads(bed: &Bed) {
    let mut turn = turn(bed).await;
    let group = bed.group(&guest("alice"), &["bob"]).await;
    for _ in 0..30 {
        turn.read().await.expect("read");
    }
    assert_eq!(bed.number("select count(*) from outbox").await, 1, "read often, but not ten seconds ago");
    bed.send(&guest("alice"), &group, "the second row").await;
    turn.read().await.expect("read");
    bed.age_outbox().await;
    turn.read().await.expect("read");
    assert_eq!(bed.number("select count(*) from outbox").await, 1, "the second was not read twenty times");
    for _ in 0..19 {
        assert_eq!(turn.read().await.expect("read").heads.len(), 2);
    }
    assert_eq!(turn.read().await.expect("read").heads, []);
}

pub async fn the_age_of_the_outbox_is_that_of_its_oldest_row(bed: &Bed) {
    assert_eq!(bed.store.outbox_age().await.expect("an age"), Duration::ZERO);
    bed.group(&guest("alice"), &["bob"]).await;
    bed.age_outbox().await;
    bed.group(&guest("alice"), &["bob"]).await;
    let age = bed.store.outbox_age().await.expect("an age");
    assert!((11..60).contains(&age.as_secs()), "{age:?}");
}

pub async fn another_schema_is_not_used(bed: &Bed) {
    bed.execute("update _sqlx_migrations set version = version + 1000").await;
    let unfit = bed.store.check().await;
    assert!(matches!(&unfit, Err(StoreError::Unfit(text)) if text.contains("carillon migrate")), "{unfit:?}");
}
