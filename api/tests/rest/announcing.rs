//! What the fleet hears: fast through the announcer, and surely through the heads beat.

use std::sync::Arc;

use api::worker::heads;
use serde_json::json;
use shared::beat::Beat;
use shared::channel::Channel;
use shared::envelope::{Content, Entry, Envelope};
use shared::ids::Seq;
use tokio_util::sync::CancellationToken;

use super::dsl::{Api, Listener};

fn channel(name: &str) -> Channel {
    name.parse().expect("a channel")
}

fn entry(envelope: &Envelope) -> &Entry {
    match &envelope.content {
        Content::Entry(entry) => entry,
        other => panic!("an entry was due: {other:?}"),
    }
}

#[tokio::test]
async fn every_participant_is_announced_every_message_in_order() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let mut listeners = [api.listener(&[channel("user:alice")]).await, api.listener(&[channel("user:bob")]).await];
    for n in 0..20 {
        alice.send(&id, &format!("number {n}")).await;
    }
    for listener in &mut listeners {
        let mut seqs = Vec::new();
        while seqs.last() != Some(&Seq(21)) {
            seqs.push(entry(&listener.hears().await).seq);
        }
        // Whether the announcement of the conversation itself was heard depends on when listening began.
        assert!(seqs.ends_with(&(2..=21).map(Seq).collect::<Vec<_>>()), "{seqs:?}");
    }
}

#[tokio::test]
async fn a_message_carries_its_trace_to_the_fleet_and_a_repeat_is_not_announced() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = json!({ "conversation_id": id, "message_text": "hello", "client_message_id": "c-1" });
    let send = || {
        let request = alice.request(reqwest::Method::POST, "/api/v1/messages/messages");
        request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).json(&body).send()
    };
    let mut bob = api.listener(&[channel("user:bob")]).await;
    assert_eq!(send().await.expect("an answer").status(), 201);
    let heard = message(&mut bob).await;
    assert_eq!(heard.trace.to_string(), trace);
    assert_eq!(send().await.expect("an answer").status(), 200);
    alice.send(&id, "the next one").await;
    assert_eq!(entry(&message(&mut bob).await).seq, Seq(3));
}

/// The next `new_message`.
async fn message(listener: &mut Listener) -> Envelope {
    loop {
        let envelope = listener.hears().await;
        if entry(&envelope).seq > Seq(1) {
            return envelope;
        }
    }
}

/// The next beat.
async fn beat(listener: &mut Listener) -> Beat {
    match listener.hears().await.content {
        Content::Pods(body) => Beat::decode(&body).expect("a beat"),
        other => panic!("a beat was due: {other:?}"),
    }
}

#[tokio::test]
async fn a_beat_is_said_even_when_nothing_grew_and_names_what_did() {
    let api = Api::start().await;
    let mut listener = api.listener(&[Channel::Heads]).await;
    let stop = CancellationToken::new();
    let worker = tokio::spawn(heads::run(Arc::clone(&api.store), api.broker(), stop.clone()));
    let first = beat(&mut listener).await;
    assert_eq!((first.number, first.heads.len()), (1, 0));
    assert_eq!(first.epoch, api.store.epoch().await.expect("an epoch"));

    api.user("alice").start_group(&["bob"]).await;
    let mut last = first.number;
    loop {
        let beat = beat(&mut listener).await;
        assert_eq!(beat.number, last + 1);
        last = beat.number;
        if beat.heads.contains(&(channel("user:bob"), Seq(1))) {
            break;
        }
    }
    stop.cancel();
    worker.await.expect("the worker ends when it is told to");
}

#[tokio::test]
async fn one_worker_beats_at_a_time_and_another_takes_over() {
    let api = Api::start().await;
    let mut listener = api.listener(&[Channel::Heads]).await;
    let worker =
        |stop: &CancellationToken| tokio::spawn(heads::run(Arc::clone(&api.store), api.broker(), stop.clone()));
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let one = worker(&first);
    assert_eq!(beat(&mut listener).await.number, 1);
    let two = worker(&second);
    for number in 2..=6 {
        assert_eq!(beat(&mut listener).await.number, number, "a second worker kept silent");
    }
    first.cancel();
    one.await.expect("the first ends");
    while listener.heard_already().is_some() {}
    assert_eq!(beat(&mut listener).await.number, 1, "the second began its turn");
    second.cancel();
    two.await.expect("the second ends");
}
