//! Which channels this gateway hears: the first local subscriber subscribes at the broker, the last one leaving unsubscribes.
//!
//! One task owns the table and talks to the broker, so that subscribing and unsubscribing never cross. What is asked while it
//! waits for the broker goes into the next batch. A channel that nobody wants rests a while before it is given up: a page
//! reload costs nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::broker::Broker;
use shared::channel::Channel;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long a channel is heard after its last subscriber left.
const REST: Duration = Duration::from_secs(5);
/// Most requests taken into one batch.
const BATCH: usize = 4_096;

/// Asks for channels to be heard. Cheap to clone.
#[derive(Clone)]
pub struct Interest {
    requests: mpsc::UnboundedSender<Request>,
}

enum Request {
    Acquire { channels: Arc<[Channel]>, done: oneshot::Sender<bool> },
    Release { channels: Arc<[Channel]> },
}

/// The task behind [`Interest`]; run it until the gateway stops.
pub struct InterestKeeper {
    broker: Arc<dyn Broker>,
    requests: mpsc::UnboundedReceiver<Request>,
    wanted: HashMap<Channel, Want>,
}

#[derive(Default)]
struct Want {
    count: usize,
    confirmed: bool,
    /// Since when nobody wants it.
    rests_since: Option<Instant>,
}

/// The two ends of a new table.
#[must_use]
pub fn interest(broker: Arc<dyn Broker>) -> (Interest, InterestKeeper) {
    // Unbounded, but each connection has at most one request in it: it waits for the answer.
    let (sender, requests) = mpsc::unbounded_channel();
    (Interest { requests: sender }, InterestKeeper { broker, requests, wanted: HashMap::new() })
}

impl Interest {
    /// Hears `channels` as long as the answer lives. When [`Held::confirmed`], every later publish is heard; else they are
    /// heard as soon as the broker is back, which is reported as a gap.
    pub async fn acquire(&self, channels: impl Into<Arc<[Channel]>>) -> Held {
        let channels = channels.into();
        let (done, confirmed) = oneshot::channel();
        // Made before anything is awaited: whoever gives up waiting drops it, and so releases.
        let mut held = Held { requests: self.requests.clone(), channels: channels.clone(), confirmed: false };
        if self.requests.send(Request::Acquire { channels, done }).is_ok() {
            held.confirmed = confirmed.await.unwrap_or(false);
        }
        held
    }
}

/// Channels that are heard until this is dropped.
#[must_use]
pub struct Held {
    requests: mpsc::UnboundedSender<Request>,
    channels: Arc<[Channel]>,
    /// Whether the broker confirmed.
    pub confirmed: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        // A gateway that has stopped hears nothing anyway.
        let _ = self.requests.send(Request::Release { channels: Arc::clone(&self.channels) });
    }
}

impl InterestKeeper {
    /// Keeps the table until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(REST / 5);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = sweep.tick() => self.give_up_rested().await,
                count = self.requests.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.serve(&mut batch).await;
                }
            }
        }
    }

    async fn serve(&mut self, batch: &mut Vec<Request>) {
        let mut waiting = Vec::new();
        let mut unheard = Vec::new();
        for request in batch.drain(..) {
            match request {
                Request::Acquire { channels, done } => {
                    for channel in &*channels {
                        let want = self.wanted.entry(channel.clone()).or_default();
                        want.count += 1;
                        want.rests_since = None;
                        if !want.confirmed {
                            unheard.push(channel.clone());
                        }
                    }
                    waiting.push((channels, done));
                }
                Request::Release { channels } => self.release(&channels),
            }
        }
        self.subscribe(unheard).await;
        for (channels, done) in waiting {
            let confirmed = channels.iter().all(|channel| self.wanted.get(channel).is_some_and(|want| want.confirmed));
            // Whoever is gone has released already.
            let _ = done.send(confirmed);
        }
    }

    fn release(&mut self, channels: &[Channel]) {
        for channel in channels {
            if let Some(want) = self.wanted.get_mut(channel) {
                want.count = want.count.saturating_sub(1);
                if want.count == 0 {
                    want.rests_since = Some(Instant::now());
                }
            }
        }
    }

    async fn subscribe(&mut self, mut channels: Vec<Channel>) {
        channels.sort_unstable();
        channels.dedup();
        if channels.is_empty() {
            return;
        }
        match self.broker.subscribe(&channels).await {
            Ok(()) => {
                for channel in &channels {
                    if let Some(want) = self.wanted.get_mut(channel) {
                        want.confirmed = true;
                    }
                }
            }
            Err(error) => tracing::warn!(channels = channels.len(), %error, "not subscribed yet"),
        }
    }

    async fn give_up_rested(&mut self) {
        let rested = |want: &Want| want.rests_since.is_some_and(|since| since.elapsed() >= REST);
        let channels: Vec<_> =
            self.wanted.iter().filter(|(_, want)| rested(want)).map(|(channel, _)| channel.clone()).collect();
        if channels.is_empty() {
            return;
        }
        for channel in &channels {
            self.wanted.remove(channel);
        }
        if let Err(error) = self.broker.unsubscribe(&channels).await {
            // Hearing too much costs a little and breaks nothing: the hub drops what nobody wants.
            tracing::debug!(channels = channels.len(), %error, "not unsubscribed");
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use shared::broker::BrokerError;
    use shared::envelope::Envelope;

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    #[async_trait::async_trait]
    impl Broker for Recorder {
        async fn publish(&self, _: &[Envelope]) -> Result<(), BrokerError> {
            Ok(())
        }
        async fn subscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
            self.0.lock().extend(channels.iter().map(|channel| format!("+{channel}")));
            Ok(())
        }
        async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
            self.0.lock().extend(channels.iter().map(|channel| format!("-{channel}")));
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_subscribed_once_and_given_up_after_a_rest() {
        let broker = Arc::new(Recorder::default());
        let (interest, keeper) = interest(broker.clone());
        let stop = CancellationToken::new();
        let task = tokio::spawn(keeper.run(stop.clone()));
        let first = interest.acquire([Channel::All]).await;
        let second = interest.acquire([Channel::All]).await;
        assert!(first.confirmed && second.confirmed);
        drop((first, second));
        // Coming back within the rest costs nothing.
        drop(interest.acquire([Channel::All]).await);
        assert_eq!(*broker.0.lock(), ["+all"]);
        stop.cancel();
        task.await.expect("the keeper ends");
    }
}
