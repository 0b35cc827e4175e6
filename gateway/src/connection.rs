//! One live socket, as the rest of the gateway sees it.
//!
//! The hub holds connections, the timer wheel visits them, their own task serves them. What only that task needs lives in
//! its session.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use shared::channel::{Channel, Role};
use shared::cursor::{Feed, channel_of};
use shared::event::Topic;
use shared::ids::{ConnectionId, DeviceId, UserId};
use shared::presence::Availability;
use shared::time::Timestamp;

use crate::clock;
use crate::send_queue::SendQueue;

/// Which door a client came through, and so what it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// Everything.
    Main,
    /// Notifications only; nothing can be sent.
    Notifications,
}

impl Door {
    /// Whether the door shows events of `topic`.
    #[must_use]
    pub const fn shows(self, topic: Topic) -> bool {
        match self {
            Self::Main => true,
            Self::Notifications => matches!(topic, Topic::Notifications),
        }
    }
}

/// What a client said of itself when it connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Which device; acknowledgements are kept per device.
    pub device_id: Option<DeviceId>,
    /// `mobile`, `desktop` or `tablet`.
    pub device_type: Option<DeviceType>,
    /// The app's version, at most 64 characters.
    pub app_version: Option<Box<str>>,
}

/// The kinds of device that the source systems know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceType {
    /// A telephone.
    Mobile,
    /// A computer.
    Desktop,
    /// A tablet.
    Tablet,
}

/// One live socket of one device of one user.
pub struct Connection {
    /// Its id, as the client knows it.
    pub id: ConnectionId,
    /// Its key in this gateway's tables.
    pub key: u64,
    /// Whose it is.
    pub user: UserId,
    /// What they are.
    pub role: Role,
    /// What they are shown.
    pub door: Door,
    /// What its user is there: its place among all there are.
    availability: AtomicU8,
    /// What waits for it.
    pub queue: SendQueue,
    /// When the token ends, in microseconds since 1970. A newer token moves it.
    pub expires_at: AtomicI64,
    /// When something was last heard from the client, in milliseconds of the gateway's clock.
    pub heard_at: AtomicU64,
    /// Since when the client takes nothing, in milliseconds of the gateway's clock; 0 when it does.
    pub stalled_at: AtomicU64,
    /// When the client last did something of its own, in milliseconds of the gateway's clock: a pong is not.
    pub active_at: AtomicU64,
    /// When the client was last asked whether it is still there, in milliseconds of the gateway's clock.
    pub pinged_at: AtomicU64,
}

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

impl Connection {
    /// A connection of a caller through a door; no feed of it is live yet.
    #[must_use]
    pub fn new(caller: &shared::access::Caller, door: Door, send_queue_bytes: usize) -> Self {
        Self {
            id: ConnectionId::new(),
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            user: caller.user.clone(),
            role: caller.role,
            door,
            availability: AtomicU8::new(0),
            queue: SendQueue::new(send_queue_bytes),
            expires_at: AtomicI64::new(caller.expires_at.as_micros()),
            heard_at: AtomicU64::new(clock::millis()),
            stalled_at: AtomicU64::new(0),
            active_at: AtomicU64::new(clock::millis()),
            pinged_at: AtomicU64::new(clock::millis()),
        }
    }

    /// What its user is there: nothing before the connection was welcomed, then what the client says.
    #[must_use]
    pub fn availability(&self) -> Availability {
        Availability::ALL[usize::from(self.availability.load(Ordering::Relaxed))]
    }

    /// Notes what the client says that its user is there.
    pub fn choose(&self, availability: Availability) {
        self.availability.store(availability as u8, Ordering::Relaxed);
    }

    /// The channel of one of its feeds.
    #[must_use]
    pub fn channel(&self, feed: Feed) -> Channel {
        channel_of(feed, &self.user, self.role)
    }

    /// The channels of all its feeds.
    #[must_use]
    pub fn channels(&self) -> [Channel; 3] {
        Feed::ALL.map(|feed| self.channel(feed))
    }

    /// When its token ends.
    #[must_use]
    pub fn token_ends(&self) -> Timestamp {
        Timestamp::from_micros(self.expires_at.load(Ordering::Relaxed))
    }
}
