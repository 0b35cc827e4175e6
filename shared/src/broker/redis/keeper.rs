//! The keeper of the subscriptions: what this pod wants to hear, and whether it surely hears it.
//!
//! One task owns the wanted channels and is the only one to subscribe. Whatever casts doubt on a subscription (a lost or new
//! connection, a slot that moved, a probe unanswered, a subscribing that failed) makes its buckets doubtful. Doubtful channels
//! are subscribed again until Redis confirms, and then a gap is told: not before, so that nothing falls between.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fred::clients::SubscriberClient;
use fred::prelude::{Error, EventInterface, Server};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::commands::unavailable;
use super::metrics::{Cause, Metrics};
use super::names::Names;
use super::owners::Owners;
use super::probe::{Probes, probe};
use super::publisher::Publisher;
use super::subscriptions::{Subscriptions, by_bucket};
use crate::broker::{BrokerError, Delivering, Delivery, Gap, LinkState};
use crate::channel::{BUCKETS, Bucket, Channel};
use crate::ids::PodId;

/// How often owners are compared, silence is looked for and doubts are tried again.
const WATCH: Duration = Duration::from_secs(1);

/// Orders taken together.
const ORDERS: usize = 1_024;

/// Whom to tell when an order is done.
pub(super) type Done = oneshot::Sender<Result<(), BrokerError>>;

/// What the broker is asked.
pub(super) enum Order {
    /// Subscribe.
    Hear(Vec<Channel>, Done),
    /// Unsubscribe.
    Leave(Vec<Channel>, Done),
}

/// Owns this pod's subscriptions.
pub(super) struct Keeper {
    subscriptions: Subscriptions,
    errors: Receiver<(Error, Option<Server>)>,
    connections: Receiver<Server>,
    wanted: Vec<HashSet<Channel>>,
    doubt: Option<(Gap, Cause)>,
    owners: Owners,
    probes: Probes,
    tools: Tools,
}

/// What the keeper works with and tells.
pub(super) struct Tools {
    pub(super) publisher: Arc<Publisher>,
    pub(super) names: Names,
    pub(super) pod: PodId,
    pub(super) delivering: Delivering,
    pub(super) state: watch::Sender<LinkState>,
    pub(super) metrics: Metrics,
}

impl Keeper {
    /// Listens to what happens to `subscriber`, which is not connected yet.
    pub(super) fn new(subscriber: &SubscriberClient, probes: Probes, tools: Tools) -> Self {
        Self {
            subscriptions: Subscriptions::new(subscriber),
            errors: subscriber.error_rx(),
            connections: subscriber.reconnect_rx(),
            wanted: vec![HashSet::new(); usize::from(BUCKETS)],
            doubt: Some((Gap::Everything, Cause::Link)),
            owners: Owners::default(),
            probes,
            tools,
        }
    }

    /// Keeps the subscriptions until the broker is gone.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut watch = interval(WATCH);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                // A loss is noted before the connection that ends it, or it would cast a second doubt.
                biased;
                error = self.errors.recv() => match error {
                    Err(RecvError::Closed) => return,
                    Ok(_) | Err(RecvError::Lagged(_)) => self.doubt(Gap::Everything, Cause::Link),
                },
                connection = self.connections.recv() => match connection {
                    Err(RecvError::Closed) => return,
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        while self.connections.try_recv().is_ok() {}
                        self.doubt(Gap::Everything, Cause::Link);
                        self.repair().await;
                    }
                },
                _ = watch.tick() => {
                    self.watch().await;
                    self.repair().await;
                }
                count = orders.recv_many(&mut taken, ORDERS) => {
                    if count == 0 {
                        return;
                    }
                    self.obey(taken.drain(..)).await;
                }
            }
            self.tell_state();
        }
    }

    /// Does what is asked, all orders in one go: of several about one channel the last counts.
    async fn obey(&mut self, orders: impl Iterator<Item = Order>) {
        let (mut join, mut leave) = (HashSet::new(), HashSet::new());
        let (mut joining, mut leaving) = (Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Hear(channels, done) => {
                    for channel in channels {
                        leave.remove(&channel);
                        let bucket = channel.bucket();
                        if self.wanted[bucket.index()].insert(channel.clone()) || self.is_doubtful(bucket) {
                            join.insert(channel);
                        }
                    }
                    joining.push(done);
                }
                Order::Leave(channels, done) => {
                    for channel in channels {
                        join.remove(&channel);
                        if self.wanted[channel.bucket().index()].remove(&channel) {
                            leave.insert(channel);
                        }
                    }
                    leaving.push(done);
                }
            }
        }
        self.subscriptions.leave(by_bucket(&self.tools.names, &leave)).await;
        leaving.into_iter().for_each(|done| drop(done.send(Ok(()))));

        let names: Vec<_> = join.iter().map(|channel| self.tools.names.channel(channel)).collect();
        let heard = self.subscriptions.hear(&names).await;
        if heard.is_err() {
            let buckets: BTreeSet<_> = join.iter().map(Channel::bucket).collect();
            self.doubt(Gap::Buckets(buckets.into_iter().collect()), Cause::Refused);
        }
        for done in joining {
            // Who asked may have stopped waiting; the channel is wanted all the same.
            let _ = done.send(heard.clone().map_err(unavailable));
        }
    }

    /// Looks for what nobody tells: slots that moved, and silence.
    async fn watch(&mut self) {
        if let Some(routing) = self.subscriptions.look().await {
            self.compare(Owners::new(&routing));
        }
        if self.doubt.is_some() || !self.subscriptions.is_connected() {
            return;
        }
        let findings = self.probes.examine(Instant::now());
        for bucket in findings.due {
            let name = self.tools.names.probe(bucket, self.tools.pod);
            if self.tools.publisher.publish_as(name, &probe(self.tools.pod)).await.is_err() {
                self.doubt(Gap::Everything, Cause::Probe);
            }
        }
        if findings.lost {
            tracing::warn!("redis looks well but carries nothing; connecting again");
            self.doubt(Gap::Everything, Cause::Probe);
            self.subscriptions.restart().await;
        }
    }

    /// Casts doubt on the buckets that have another owner.
    fn compare(&mut self, newer: Owners) {
        let moved = self.owners.moved(&newer);
        self.owners = newer;
        if !moved.is_empty() {
            self.doubt(Gap::Buckets(moved), Cause::Slot);
        }
    }

    fn doubt(&mut self, about: Gap, cause: Cause) {
        self.doubt = Some(match self.doubt.take() {
            None => (about, cause),
            Some((before, cause)) => (before.and(about), cause),
        });
    }

    fn is_doubtful(&self, bucket: Bucket) -> bool {
        self.doubt.as_ref().is_some_and(|(gap, _)| gap.concerns(bucket))
    }

    /// Subscribes what is doubtful again. When Redis has confirmed it all, the gap is told.
    async fn repair(&mut self) {
        if self.doubt.is_none() || !self.subscriptions.is_connected() {
            return;
        }
        let nodes = match self.subscriptions.routing() {
            Some(routing) => {
                self.compare(Owners::new(&routing));
                self.owners.samples()
            }
            None => self.subscriptions.server().into_iter().zip(Bucket::all()).collect(),
        };
        self.probes.follow(nodes);
        let Some((gap, cause)) = self.doubt.clone() else { return };

        let Tools { names, pod, metrics, delivering, .. } = &self.tools;
        let doubtful = Bucket::all().filter(|bucket| self.is_doubtful(*bucket));
        let channels: Vec<_> = doubtful.flat_map(|bucket| &self.wanted[bucket.index()]).collect();
        let probed = self.probes.buckets().map(|bucket| names.probe(bucket, *pod));
        let again: Vec<_> = channels.iter().map(|channel| names.channel(channel)).chain(probed).collect();
        if let Err(error) = self.subscriptions.hear(&again).await {
            tracing::warn!(%error, "cannot subscribe again; trying on");
            return;
        }
        if !channels.is_empty() {
            tracing::warn!(?cause, channels = channels.len(), "subscribed again after a possible loss");
            metrics.resubscribed.increment(channels.len() as u64);
            metrics.gap(cause);
            delivering.offer(Delivery::Gap(gap));
        }
        self.doubt = None;
    }

    fn tell_state(&self) {
        let up = self.doubt.is_none() && self.subscriptions.is_connected();
        self.tools.metrics.up.set(if up { 1.0 } else { 0.0 });
        self.tools.state.send_if_modified(|state| match (up, *state) {
            (true, LinkState::Up) | (false, LinkState::Down { .. }) => false,
            (true, LinkState::Down { .. }) => {
                *state = LinkState::Up;
                true
            }
            (false, LinkState::Up) => {
                *state = LinkState::Down { since: Instant::now() };
                true
            }
        });
    }
}
