//! What every broker promises, as tests that every implementation runs.
//!
//! One function per promise. [`broker_conformance!`](crate::broker_conformance) gives an implementation all of them, so that
//! none can be left out. An implementation brings a [`Stage`]: a place where pods meet, and the ways it can break.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{BrokerError, Delivery, Gap, Link, LinkState};
use crate::channel::Channel;
use crate::envelope::{Content, Envelope};
use crate::event::LiveBody;
use crate::history::History;
use crate::ids::TraceId;
use crate::limits::Limiter;
use crate::presence::Presence;
use crate::tickets::Tickets;
use crate::time::Timestamp;

/// How long anything may take. Failing over is the slowest.
const DEADLINE: Duration = Duration::from_secs(30);

/// More envelopes than any queue between a broker and a pump holds.
pub const FLOOD: usize = 70_000;

/// A place where pods meet, with servers of its own, and the ways it can break.
///
/// Where something cannot break, the stage suffers what comes nearest, so that every promise is put to every broker.
#[async_trait]
pub trait Stage: Send + Sync + Sized {
    /// Sets up an empty stage.
    async fn set() -> Self;
    /// Connects one more pod.
    async fn pod(&self) -> Pod;
    /// Breaks the way to every pod and mends it: a server restarted, a failover.
    async fn lose_the_link(&self, heard: &Channel);
    /// Cuts off those who listen, and only them.
    async fn kill_the_subscribers(&self, heard: &Channel);
    /// Moves what carries `heard` to another node while every connection stays up.
    async fn move_the_slot(&self, heard: &Channel);
}

/// One pod on the stage.
pub struct Pod {
    /// Its broker and what it hears.
    pub link: Link,
    /// Its view of the rooms.
    pub history: Arc<dyn History>,
    /// Its view of who is here.
    pub presence: Arc<dyn Presence>,
    /// Where it counts turns.
    pub limiter: Arc<dyn Limiter>,
    /// Its book of tickets.
    pub tickets: Arc<dyn Tickets>,
}

/// Runs every promise of the broker for each `name: Stage`.
#[macro_export]
macro_rules! broker_conformance {
    ($($backend:ident: $stage:ty),+ $(,)?) => {
        $(mod $backend {
            use super::*;
            $crate::promises!($stage, broker, [
                what_is_published_after_subscribing_is_heard_by_every_subscribed_pod,
                publishing_on_a_channel_nobody_hears_is_no_error,
                what_one_publisher_says_on_one_channel_arrives_in_order,
                an_unsubscribed_channel_goes_silent,
                subscribing_twice_is_the_same_as_once,
                a_pod_hears_only_its_channels,
                a_body_of_any_bytes_arrives_unchanged,
                leaving_and_subscribing_at_once_loses_nothing,
                a_full_queue_is_reported_as_a_gap,
                a_lost_link_is_reported_as_a_gap,
                a_moved_slot_is_reported_as_a_gap,
                killed_subscribers_are_reported_as_a_gap,
            ]);
        })+
    };
}

/// Makes a test of each promise, and one that the list has them all.
#[macro_export]
macro_rules! promises {
    ($stage:ty, $seam:ident, [$($promise:ident),+ $(,)?]) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $promise() {
            $crate::$seam::conformance::$promise::<$stage>().await;
        })+

        #[test]
        fn every_promise_is_put_to_it() {
            let listed = [$(stringify!($promise)),+];
            $crate::$seam::conformance::assert_complete(&listed);
        }
    };
}

/// Fails when `listed` is not every promise of this file.
pub fn assert_complete(listed: &[&str]) {
    assert_eq!(listed, promises_of(include_str!("conformance.rs")));
}

/// The promises that a conformance suite's source makes, in order.
pub(crate) fn promises_of(source: &str) -> Vec<&str> {
    let promises = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
    promises.filter_map(|rest| rest.split_once("<S: Stage>")).map(|(name, _)| name).collect()
}

/// What is published after subscribing returned is heard by every subscribed pod.
pub async fn what_is_published_after_subscribing_is_heard_by_every_subscribed_pod<S: Stage>() {
    let stage = S::set().await;
    let speaker = stage.pod().await;
    let mut pods = [stage.pod().await, stage.pod().await, stage.pod().await];
    let channels = rooms(100);
    for pod in &pods {
        pod.hear(&channels).await;
    }
    speaker.say(&all(&channels, "hello")).await;
    for pod in &mut pods {
        pod.hears(&all(&channels, "hello")).await;
    }
}

/// Publishing on a channel that nobody hears is no error.
pub async fn publishing_on_a_channel_nobody_hears_is_no_error<S: Stage>() {
    let stage = S::set().await;
    let speaker = stage.pod().await;
    speaker.say(&all(&rooms(10), "is anybody there?")).await;
}

/// Envelopes of one publisher on one channel arrive in the order they were published.
pub async fn what_one_publisher_says_on_one_channel_arrives_in_order<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    let channels = rooms(4);
    listener.hear(&channels).await;
    let mut said = 0;
    for size in [1, 300, 2, 64, 65, 1, 500] {
        // Each batch has all channels in turn, so that batches are cut in the midst of them.
        let batch: Vec<_> = (said..said + size)
            .flat_map(|number| channels.iter().map(move |channel| envelope(channel, number.to_string())))
            .collect();
        speaker.say(&batch).await;
        said += size;
    }
    let mut next = vec![0; channels.len()];
    while next.iter().any(|next| *next < said) {
        let envelope = listener.next_envelope().await;
        let place = channels.iter().position(|channel| *channel == envelope.channel).expect("a subscribed channel");
        assert_eq!(envelope.body(), next[place].to_string().as_bytes());
        next[place] += 1;
    }
}

/// After unsubscribing a channel goes silent, and the others do not.
pub async fn an_unsubscribed_channel_goes_silent<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    // One bucket: what is said first on one of them is heard before what is said then on the other.
    let [left, kept] = rooms_of_one_bucket();
    listener.hear(&[left.clone(), kept.clone()]).await;
    listener.link.broker.unsubscribe(std::slice::from_ref(&left)).await.expect("an unsubscription");
    let is_silent = async |listener: &mut Pod| {
        speaker.say(&[envelope(&left, "left"), envelope(&kept, "kept")]).await;
        let first = listener.next_envelope().await;
        if first.channel == left {
            listener.next_envelope().await;
        }
        first.channel == kept
    };
    // What was under way may still arrive.
    timeout(DEADLINE, async { while !is_silent(&mut listener).await {} }).await.expect("silence");
    assert!(is_silent(&mut listener).await);
}

/// Subscribing twice is the same as once: heard once, and left once.
pub async fn subscribing_twice_is_the_same_as_once<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    let [twice, other] = rooms_of_one_bucket();
    listener.hear(&[twice.clone(), twice.clone(), other.clone()]).await;
    listener.hear(std::slice::from_ref(&twice)).await;
    speaker.say(&[envelope(&twice, "once"), envelope(&other, "end")]).await;
    assert_eq!(listener.next_envelope().await.body(), "once");
    assert_eq!(listener.next_envelope().await.body(), "end");
}

/// A pod hears its own channels and no others.
pub async fn a_pod_hears_only_its_channels<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut one, mut other) = (stage.pod().await, stage.pod().await, stage.pod().await);
    let [ones, others] = rooms_of_one_bucket();
    one.hear(std::slice::from_ref(&ones)).await;
    other.hear(std::slice::from_ref(&others)).await;
    for number in 0..10 {
        speaker.say(&[envelope(&ones, number.to_string()), envelope(&others, number.to_string())]).await;
    }
    for number in 0..10 {
        for (pod, channel) in [(&mut one, &ones), (&mut other, &others)] {
            let heard = pod.next_envelope().await;
            assert_eq!((&heard.channel, &heard.body()[..]), (channel, number.to_string().as_bytes()));
        }
    }
}

/// A body of any bytes arrives unchanged, and so does everything else of the envelope.
pub async fn a_body_of_any_bytes_arrives_unchanged<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    let [channel, _] = rooms_of_one_bucket();
    listener.hear(std::slice::from_ref(&channel)).await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    let bodies = [Vec::new(), b"\n\r\n$5\r\n".to_vec(), "häß☃".into(), b"42".to_vec(), vec![0xff, 0xfe], every_byte];
    let said: Vec<_> = bodies.into_iter().map(|body| envelope(&channel, body)).collect();
    speaker.say(&said).await;
    for envelope in said {
        assert_eq!(listener.next_envelope().await, envelope);
    }
}

/// Channels that are left and subscribed again at once, many of them and repeatedly, are heard whenever subscribing returned.
pub async fn leaving_and_subscribing_at_once_loses_nothing<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    let channels = rooms(5_000);
    listener.hear(&channels).await;
    for round in 0..3 {
        let text = format!("round {round}");
        // As many at a time as may wait.
        for at_once in channels.chunks(500) {
            join_all(at_once.iter().map(async |channel| {
                let channel = std::slice::from_ref(channel);
                listener.link.broker.unsubscribe(channel).await.expect("an unsubscription");
                listener.hear(channel).await;
                speaker.say(&[envelope(&channel[0], text.clone())]).await;
            }))
            .await;
        }
        listener.hears(&all(&channels, &text)).await;
    }
}

/// A pump that does not keep up gets a gap in place of what did not fit, and then hears again.
pub async fn a_full_queue_is_reported_as_a_gap<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    let channels = rooms(10);
    listener.hear(&channels).await;
    // A pump that takes one delivery per flood. What Redis took may still be on its way here, so that one may not do.
    let gap = async {
        loop {
            flood(&speaker, &channels[0]).await;
            if let Delivery::Gap(gap) = listener.next().await {
                return gap;
            }
        }
    };
    assert_eq!(timeout(2 * DEADLINE, gap).await.expect("a gap in time"), Gap::Everything);
    listener.hears_again(&speaker, &channels).await;
}

/// A lost link is reported as a gap, and afterwards everything is heard again.
pub async fn a_lost_link_is_reported_as_a_gap<S: Stage>() {
    gap_then_heard_again(async |stage: &S, heard| stage.lose_the_link(heard).await).await;
}

/// A moved slot is reported as a gap, and afterwards everything is heard again.
pub async fn a_moved_slot_is_reported_as_a_gap<S: Stage>() {
    gap_then_heard_again(async |stage: &S, heard| stage.move_the_slot(heard).await).await;
}

/// When the server cuts off its subscribers, they get a gap, and afterwards everything is heard again.
pub async fn killed_subscribers_are_reported_as_a_gap<S: Stage>() {
    gap_then_heard_again(async |stage: &S, heard| stage.kill_the_subscribers(heard).await).await;
}

async fn gap_then_heard_again<S: Stage>(breaking: impl AsyncFn(&S, &Channel)) {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    let channels = rooms(100);
    listener.hear(&channels).await;
    speaker.say(&all(&channels, "before")).await;
    listener.hears(&all(&channels, "before")).await;

    breaking(&stage, &channels[0]).await;
    match listener.next_gap().await {
        Gap::Everything => {}
        Gap::Buckets(buckets) => assert!(buckets.contains(&channels[0].bucket())),
    }
    listener.hears_again(&speaker, &channels).await;
    let up = timeout(DEADLINE, listener.link.state.wait_for(|state| *state == LinkState::Up)).await;
    assert!(up.expect("the link is up in time").is_ok());
}

impl Pod {
    pub(crate) async fn hear(&self, channels: &[Channel]) {
        self.link.broker.subscribe(channels).await.expect("a subscription");
    }

    pub(crate) async fn say(&self, envelopes: &[Envelope]) {
        self.link.broker.publish(envelopes).await.expect("a publish");
    }

    /// What is delivered next.
    pub(crate) async fn next(&mut self) -> Delivery {
        timeout(DEADLINE, self.link.deliveries.next()).await.expect("a delivery in time").expect("the broker is there")
    }

    /// The next envelope; a gap would be a loss that nothing explains.
    pub(crate) async fn next_envelope(&mut self) -> Envelope {
        match self.next().await {
            Delivery::Envelope(envelope) => envelope,
            Delivery::Gap(gap) => panic!("a gap without a reason: {gap:?}"),
        }
    }

    async fn next_gap(&mut self) -> Gap {
        loop {
            if let Delivery::Gap(gap) = self.next().await {
                return gap;
            }
        }
    }

    /// Waits until exactly `expected` was heard, in any order.
    async fn hears(&mut self, expected: &[Envelope]) {
        let key = |envelope: &Envelope| (envelope.channel.clone(), envelope.body().clone());
        let mut missing: BTreeSet<_> = expected.iter().map(key).collect();
        while !missing.is_empty() {
            let envelope = self.next_envelope().await;
            assert!(missing.remove(&key(&envelope)), "heard twice or never said: {envelope:?}");
        }
    }

    /// Waits until every channel is heard in one piece. Another gap may come, and then all is said again, once the queue is
    /// empty.
    async fn hears_again(&mut self, speaker: &Self, channels: &[Channel]) {
        let heard = async {
            let mut attempts = 0..;
            while !self.hears_all_of(&format!("again {:?}", attempts.next()), speaker, channels).await {}
        };
        timeout(2 * DEADLINE, heard).await.expect("everything is heard again in time");
    }

    async fn hears_all_of(&mut self, text: &str, speaker: &Self, channels: &[Channel]) -> bool {
        persist(async || speaker.link.broker.publish(&all(channels, text)).await).await;
        let mut missing: BTreeSet<_> = channels.iter().cloned().collect();
        while !missing.is_empty() {
            match self.next().await {
                Delivery::Envelope(envelope) if envelope.body() == text.as_bytes() => {
                    missing.remove(&envelope.channel);
                }
                Delivery::Envelope(_) => {}
                Delivery::Gap(_) => {
                    while self.link.deliveries.try_next().is_some() {}
                    return false;
                }
            }
        }
        true
    }
}

/// Tries until it works.
pub(crate) async fn persist<T>(attempt: impl AsyncFn() -> Result<T, BrokerError>) -> T {
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Says more on `channel` than any queue holds, as fast as it can.
pub async fn flood(speaker: &Pod, channel: &Channel) {
    let batch: Vec<_> = (0..1_000).map(|_| envelope(channel, "much")).collect();
    for _ in 0..FLOOD / batch.len() {
        speaker.say(&batch).await;
    }
}

fn rooms(count: usize) -> Vec<Channel> {
    (0..count).map(|number| format!("room:r{number}").parse().expect("a channel")).collect()
}

/// Two channels whose order is kept, because they travel together.
fn rooms_of_one_bucket() -> [Channel; 2] {
    let mut rooms = rooms(2_000).into_iter();
    let first = rooms.next().expect("a room");
    let second = rooms.find(|room| room.bucket() == first.bucket()).expect("buckets fill");
    [first, second]
}

fn all(channels: &[Channel], text: &str) -> Vec<Envelope> {
    let body = Bytes::from(text.to_owned());
    channels.iter().map(|channel| envelope(channel, body.clone())).collect()
}

fn envelope(channel: &Channel, body: impl Into<Bytes>) -> Envelope {
    Envelope {
        channel: channel.clone(),
        committed_at: Timestamp::now(),
        trace: TraceId::random(),
        content: Content::Live { body: LiveBody::from_trusted(body.into()), position: None },
    }
}
