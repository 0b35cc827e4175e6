//! The broker of a single process: a table of who listens.
//!
//! For the program that plays every role at once, and for tests. Publishing hands the envelopes straight into the bounded
//! queues of the listeners; nothing can be lost but by a full queue, which is reported like any loss.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use tokio::sync::watch;

use super::{Broker, BrokerError, Delivering, Delivery, Link, LinkState, deliveries};
use crate::channel::Channel;
use crate::envelope::Envelope;
use crate::history::windows::Windows;
use crate::ids::{Epoch, Seq};

/// Deliveries that may wait for one pump.
const QUEUE: usize = 65_536;

/// The meeting place of all pods of this process. Clones are the same place.
#[derive(Clone, Default)]
pub struct MemoryBroker {
    pods: Arc<Mutex<Vec<Arc<Pod>>>>,
    windows: Arc<Mutex<Windows>>,
}

struct Pod {
    hears: Mutex<HashSet<Channel>>,
    delivering: Delivering,
}

/// One pod's side of a [`MemoryBroker`].
struct MemoryLink {
    place: MemoryBroker,
    pod: Arc<Pod>,
}

impl MemoryBroker {
    /// Connects one more pod.
    #[must_use]
    pub fn link(&self) -> Link {
        let (delivering, deliveries) = deliveries(QUEUE);
        let pod = Arc::new(Pod { hears: Mutex::default(), delivering });
        let mut pods = self.pods.lock().expect("no holder panics");
        pods.retain(|pod| !pod.delivering.is_closed());
        pods.push(Arc::clone(&pod));
        // Nothing can break here: the state never changes.
        let (_, state) = watch::channel(LinkState::Up);
        Link { broker: Arc::new(MemoryLink { place: self.clone(), pod }), deliveries, state }
    }

    /// Hands `envelopes` to every pod that hears their channels.
    pub(crate) fn announce(&self, envelopes: &[Envelope]) {
        let pods = self.pods.lock().expect("no holder panics");
        let mut windows = self.windows.lock().expect("no holder panics");
        for envelope in envelopes {
            let mut is_heard = false;
            for pod in pods.iter() {
                if pod.hears.lock().expect("no holder panics").contains(&envelope.channel) {
                    pod.delivering.offer(Delivery::Envelope(envelope.clone()));
                    is_heard = true;
                }
            }
            windows.keep(envelope, is_heard);
        }
    }

    /// The entries of a user's feed that follow `after` without a hole.
    pub(crate) fn window(&self, feed: &Channel, epoch: Epoch, after: Seq) -> Vec<Envelope> {
        self.windows.lock().expect("no holder panics").read(feed, epoch, after)
    }
}

#[async_trait]
impl Broker for MemoryLink {
    async fn publish(&self, envelopes: &[Envelope]) -> Result<(), BrokerError> {
        self.place.announce(envelopes);
        Ok(())
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
        self.pod.hears.lock().expect("no holder panics").extend(channels.iter().cloned());
        Ok(())
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
        let mut hears = self.pod.hears.lock().expect("no holder panics");
        for channel in channels {
            hears.remove(channel);
        }
        Ok(())
    }
}
