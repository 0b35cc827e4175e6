//! The fleet's loudspeaker, and how a pod hears it.
//!
//! On the line it stands twice: the api publishes envelopes into it, a gateway's pump takes deliveries out of it. It keeps
//! nothing. What it loses it reports: see [`Delivery::Gap`].

#[cfg(feature = "testing")]
pub mod conformance;
pub mod memory;
pub mod redis;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::channel::{Bucket, Channel};
use crate::envelope::Envelope;
use crate::history::History;
use crate::limits::Limiter;
use crate::presence::Presence;
use crate::tickets::Tickets;

/// The fleet's loudspeaker: what one pod publishes, every subscribed pod hears.
///
/// A broker carries envelopes; it does not keep them. Delivery is **at most once**: while the link to the broker is
/// down, envelopes are lost. The loss is not silent, because the [`Deliveries`] then yield a
/// [`Delivery::Gap`], and readers repair it with their cursor. Envelopes of one publisher on one channel arrive in the order
/// they were published.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Announces `envelopes`, each to every pod subscribed to its channel. Returns as soon as the broker has taken
    /// them, whether or not anyone is listening.
    ///
    /// # Errors
    ///
    /// Some of the envelopes may have been announced. The caller goes on: readers repair what is missing.
    async fn publish(&self, envelopes: &[Envelope]) -> Result<(), BrokerError>;

    /// Starts hearing `channels`. Subscribing twice is the same as once.
    ///
    /// When this returns, every later publish will be heard. The hub relies on it: a client is told "subscribed" only
    /// after this returns, so that what it reads from history and what it hears live overlap, and never leave a hole.
    ///
    /// # Errors
    ///
    /// After [`BrokerError::Unavailable`] the channels are wanted all the same: they are heard as soon as the link is up
    /// again, and a [`Delivery::Gap`] says when. After [`BrokerError::Overloaded`] nothing has changed.
    async fn subscribe(&self, channels: &[Channel]) -> Result<(), BrokerError>;

    /// Stops hearing `channels`. Envelopes already under way may still arrive.
    ///
    /// # Errors
    ///
    /// After [`BrokerError::Overloaded`] nothing has changed; otherwise the channels are no longer wanted.
    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), BrokerError>;
}

/// Why the broker did not do it. Each is temporary: the caller goes on and relies on repair.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The link is down, or the answer did not come in time. Whether it was done is unknown.
    #[error("the broker cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More is waiting than the link's queue may hold; nothing was sent.
    #[error("the broker is behind, its queue is full")]
    Overloaded,
}

/// What a subscribed pod hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// An envelope of a subscribed channel.
    Envelope(Envelope),
    /// Envelopes may have been lost on these channels' way: a lost link, a moved slot, a full queue.
    Gap(Gap),
}

/// Which channels a loss may concern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// Any subscribed channel.
    Everything,
    /// Only channels of these buckets.
    Buckets(Vec<Bucket>),
}

impl Gap {
    /// The gap that covers both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Buckets(one), Self::Buckets(other)) => {
                let union: BTreeSet<_> = one.into_iter().chain(other).collect();
                Self::Buckets(union.into_iter().collect())
            }
            _ => Self::Everything,
        }
    }

    /// Whether it may concern channels of this bucket.
    #[must_use]
    pub fn concerns(&self, bucket: Bucket) -> bool {
        match self {
            Self::Everything => true,
            Self::Buckets(buckets) => buckets.contains(&bucket),
        }
    }
}

/// A broker and what is heard through it.
pub struct Link {
    /// Where to publish and subscribe.
    pub broker: Arc<dyn Broker>,
    /// What is heard. One pump owns it.
    pub deliveries: Deliveries,
    /// Whether everything subscribed is heard at present.
    pub state: tokio::sync::watch::Receiver<LinkState>,
}

/// A pod's broker, and what lives beside it.
pub struct Linked {
    /// The broker.
    pub link: Link,
    /// What rooms remember.
    pub history: Arc<dyn History>,
    /// Who is here.
    pub presence: Arc<dyn Presence>,
    /// Where turns are counted.
    pub limiter: Arc<dyn Limiter>,
    /// Where tickets are kept.
    pub tickets: Arc<dyn Tickets>,
}

/// Whether a link carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Every subscribed channel is heard.
    Up,
    /// Some subscribed channel may not be heard.
    Down {
        /// When that began.
        since: std::time::Instant,
    },
}

impl LinkState {
    /// Whether the link has been down for `patience` or longer.
    #[must_use]
    pub fn is_down_for(self, patience: std::time::Duration) -> bool {
        matches!(self, Self::Down { since } if since.elapsed() >= patience)
    }
}

/// The stream of what one pod hears, in a bounded queue.
///
/// A pump that falls behind loses envelopes rather than memory: what does not fit is dropped, and a [`Gap`] over
/// everything is delivered in its place.
pub struct Deliveries {
    queue: tokio::sync::mpsc::Receiver<Delivery>,
    lost: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

/// The broker's end of [`Deliveries`].
#[derive(Clone)]
pub struct Delivering {
    queue: tokio::sync::mpsc::Sender<Delivery>,
    lost: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

/// Makes the queue between a broker and a pump; it holds `capacity` deliveries.
#[must_use]
pub fn deliveries(capacity: usize) -> (Delivering, Deliveries) {
    let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
    let lost = std::sync::Arc::default();
    (Delivering { queue: sender, lost: std::sync::Arc::clone(&lost) }, Deliveries { queue: receiver, lost })
}

impl Delivering {
    /// Hands over a delivery without waiting, and says whether there was room. When there was none the loss is remembered
    /// and told.
    pub fn offer(&self, delivery: Delivery) -> bool {
        let taken = self.queue.try_send(delivery).is_ok();
        if !taken {
            self.lost.store(true, std::sync::atomic::Ordering::Release);
        }
        taken
    }

    /// Whether nobody listens any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

impl Deliveries {
    /// The next delivery; `None` when the broker is gone for good. Cancel-safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        // A loss is told before what follows it. The queue was full when it happened, so the pump is sure to come by.
        if self.lost.swap(false, std::sync::atomic::Ordering::Acquire) {
            return Some(Delivery::Gap(Gap::Everything));
        }
        self.queue.recv().await
    }

    /// A delivery that is there already, if any.
    pub fn try_next(&mut self) -> Option<Delivery> {
        if self.lost.swap(false, std::sync::atomic::Ordering::Acquire) {
            return Some(Delivery::Gap(Gap::Everything));
        }
        self.queue.try_recv().ok()
    }
}
