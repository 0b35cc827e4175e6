//! Announcing: the fast way from a commit to the gateways, and the disposable one.
//!
//! On the line it stands between the publisher and the broker. What it drops the heads beat makes up for, so it never lets
//! anybody wait.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use shared::broker::{Broker, LinkState};
use shared::channel::Channel;
use shared::envelope::Envelope;
use shared::sabotage;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Ways to the broker side by side. A channel always takes the same one, which is what keeps its order.
const LANES: usize = 8;
/// Envelopes that may wait in one lane.
const WAITING: usize = 8_192;
/// Envelopes that are handed to the broker at once.
const BATCH: usize = 512;
/// How long the broker may take for a batch before the next one is tried.
const DEADLINE: Duration = Duration::from_secs(2);

/// Tells the fleet what was committed.
///
/// Envelopes of one channel are published in the order in which they were offered. Those that find 8,192 others waiting in
/// their lane are dropped and counted, and so are those that the broker does not take within two seconds.
#[derive(Clone)]
pub struct Announcer {
    lanes: Arc<[mpsc::Sender<Envelope>]>,
    link: watch::Receiver<LinkState>,
    waiting: Gauge,
    dropped: Counter,
}

impl Announcer {
    /// Starts announcing through `broker`, whose state is `link`. Once `stop` is cancelled, the lanes publish what waits and end.
    #[must_use]
    pub fn start(
        broker: &Arc<dyn Broker>,
        link: watch::Receiver<LinkState>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let waiting = metrics::gauge!("carillon_announce_waiting");
        let lane = |_| {
            let (sender, envelopes) = mpsc::channel(WAITING);
            let lane = Lane { broker: Arc::clone(broker), envelopes, waiting: waiting.clone() };
            tasks.spawn(lane.run(stop.clone()));
            sender
        };
        let lanes = (0..LANES).map(lane).collect();
        let dropped = metrics::counter!("carillon_announce_dropped_total", "reason" => "queue_full");
        Self { lanes, link, waiting, dropped }
    }

    /// Whether the broker is reached at present.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        *self.link.borrow() == LinkState::Up
    }

    /// Hands over envelopes. Never waits; what does not fit is dropped.
    pub fn offer(&self, envelopes: &[Envelope]) {
        for envelope in envelopes {
            if sabotage::goes_wrong("drops_publishes") {
                continue;
            }
            if sabotage::goes_wrong("publishes_twice") {
                let _ = self.lanes[lane_of(&envelope.channel)].try_send(envelope.clone());
            }
            match self.lanes[lane_of(&envelope.channel)].try_send(envelope.clone()) {
                Ok(()) => self.waiting.increment(1.0),
                Err(_) => self.dropped.increment(1),
            }
        }
    }
}

fn lane_of(channel: &Channel) -> usize {
    channel.bucket().index() % LANES
}

/// One way to the broker, owned by one task.
struct Lane {
    broker: Arc<dyn Broker>,
    envelopes: mpsc::Receiver<Envelope>,
    waiting: Gauge,
}

impl Lane {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = self.envelopes.recv_many(&mut batch, BATCH) => match taken {
                    0 => return,
                    taken => self.waiting.decrement(taken as f64),
                },
                // A closed queue still gives what waits in it.
                () = stop.cancelled(), if !self.envelopes.is_closed() => self.envelopes.close(),
            }
            self.publish(&batch).await;
            batch.clear();
        }
    }

    async fn publish(&self, batch: &[Envelope]) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        match tokio::time::timeout(DEADLINE, self.broker.publish(batch)).await {
            Ok(Ok(())) => metrics::counter!("carillon_announce_published_total").increment(count),
            Ok(Err(error)) => {
                tracing::debug!(%error, count, "not announced");
                metrics::counter!("carillon_announce_dropped_total", "reason" => "broker").increment(count);
            }
            Err(_) => metrics::counter!("carillon_announce_dropped_total", "reason" => "late").increment(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;
    use shared::broker::BrokerError;
    use shared::envelope::Content;
    use shared::ids::TraceId;
    use shared::time::Timestamp;
    use tokio::sync::Semaphore;

    use super::*;

    /// A broker that takes a batch for every permit, and remembers.
    struct Slow {
        permits: Semaphore,
        heard: Mutex<Vec<Envelope>>,
    }

    #[async_trait]
    impl Broker for Slow {
        async fn publish(&self, envelopes: &[Envelope]) -> Result<(), BrokerError> {
            self.permits.acquire().await.expect("never closed").forget();
            self.heard.lock().expect("no holder panics").extend_from_slice(envelopes);
            Ok(())
        }

        async fn subscribe(&self, _: &[Channel]) -> Result<(), BrokerError> {
            Ok(())
        }

        async fn unsubscribe(&self, _: &[Channel]) -> Result<(), BrokerError> {
            Ok(())
        }
    }

    fn said(user: &str, n: usize) -> Envelope {
        Envelope {
            channel: format!("user:{user}").parse().expect("a channel"),
            committed_at: Timestamp::from_micros(0),
            trace: TraceId(1),
            content: Content::Pods(Bytes::from(n.to_string())),
        }
    }

    fn announcer(permits: usize) -> (Announcer, Arc<Slow>, TaskTracker, CancellationToken) {
        let slow = Arc::new(Slow { permits: Semaphore::new(permits), heard: Mutex::default() });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let broker: Arc<dyn Broker> = Arc::clone(&slow) as _;
        let (_, link) = watch::channel(LinkState::Up);
        (Announcer::start(&broker, link, &tasks, &stop), slow, tasks, stop)
    }

    async fn drain(tasks: TaskTracker, stop: CancellationToken) {
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_channel_keeps_its_order_and_a_drain_publishes_what_waits() {
        let (announcer, slow, tasks, stop) = announcer(10_000);
        let users = ["alice", "bob", "carol", "dave"];
        for n in 0..2_000 {
            announcer.offer(&users.map(|user| said(user, n)));
        }
        drain(tasks, stop).await;
        let heard = slow.heard.lock().expect("no holder panics");
        for user in users {
            let own: Vec<_> = heard.iter().filter(|envelope| envelope.channel == said(user, 0).channel).collect();
            assert!(own.iter().enumerate().all(|(n, envelope)| **envelope == said(user, n)), "{user}");
            assert_eq!(own.len(), 2_000);
        }
    }

    #[tokio::test]
    async fn offering_never_waits_and_drops_what_does_not_fit() {
        let (announcer, slow, tasks, stop) = announcer(0);
        let all: Vec<_> = (0..3 * WAITING).map(|n| said("alice", n)).collect();
        announcer.offer(&all);
        slow.permits.add_permits(10_000);
        drain(tasks, stop).await;
        let heard = slow.heard.lock().expect("no holder panics").len();
        assert!((WAITING..=WAITING + BATCH).contains(&heard), "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_hangs_delays_the_next_batch_by_two_seconds_at_most() {
        let (announcer, slow, tasks, stop) = announcer(0);
        announcer.offer(&[said("alice", 0)]);
        tokio::time::sleep(DEADLINE + Duration::from_millis(1)).await;
        announcer.offer(&[said("alice", 1)]);
        slow.permits.add_permits(1);
        drain(tasks, stop).await;
        assert_eq!(*slow.heard.lock().expect("no holder panics"), [said("alice", 1)]);
    }
}
