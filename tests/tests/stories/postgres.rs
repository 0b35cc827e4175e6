//! PostgreSQL is the truth: what it acknowledged outlives its own death.

use fleet::client::{Kind, Talk};
use fleet::eventually::until;
use fleet::fleet::{Fleet, PostgresShape, Shape};
use fleet::place::Place as _;

use crate::CAUGHT_UP;

#[tokio::test(flavor = "multi_thread")]
async fn postgres_crashes_and_what_was_acknowledged_is_there_and_nobody_misses_a_word() {
    let fleet = Fleet::start(Shape { postgres: PostgresShape::Own, ..Shape::default() }).await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let phone = fleet.at_gateway(&bob, 0).device("phone").connect().await;
    let laptop = fleet.at_gateway(&bob, 1).device("laptop").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    for _ in 0..2 {
        talk.goes_on_for(30).await;
        fleet.postgres.restart_immediate().await.expect("postgres comes back");
    }
    talk.goes_on_for(30).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), laptop.connections()), (1, 1), "nobody is disconnected");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_says_what_it_made_and_the_tables_of_the_source_system_are_there() {
    let fleet = Fleet::new().await;
    let summary = fleet.runs(&["migrate"]).expect("migrating twice is no harm");
    for table in ["conversations", "conversation_participants", "messages", "message_attachments"] {
        assert!(summary.contains(table), "{summary}");
        let columns = fleet.columns(table).await;
        assert!(columns.len() > 4, "{table} has {columns:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_makes_every_device_start_over_and_go_on() {
    let fleet = Fleet::new().await;
    let (alice, bob) = (fleet.user("alice"), fleet.user("bob"));
    let phone = fleet.at_gateway(&bob, 0).device("phone").connect().await;
    let away = fleet.at_gateway(&bob, 1).device("laptop").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let mut said = vec![alice.says(&conversation, "before").await];
    conversation.is_shown_on(&[&phone, &away], &said, CAUGHT_UP).await;

    away.goes_away().await;
    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    fleet.runs(&["migrate", "--new-epoch"]).expect("the epoch can be renewed");
    until(CAUGHT_UP, "the phone is told to start over", || phone.record().resyncs > 0).await;
    away.comes_back().await;
    until(CAUGHT_UP, "the laptop is told to start over", || away.record().resyncs > 0).await;
    talk.goes_on_for(20).await;
    said.extend(talk.ends().await);

    conversation.is_shown_on(&[&phone, &away], &said, CAUGHT_UP).await;
    assert_eq!((phone.connections(), away.connections()), (1, 2), "the socket stays open");
    assert_eq!((phone.record().resyncs, away.record().resyncs), (1, 1), "each is told once");
}
