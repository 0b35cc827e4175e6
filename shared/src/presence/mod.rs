//! Who is here: what people are over all their devices, and when they were last seen.
//!
//! Gateways say who is connected to them, each under a lease of its own. It stands beside the broker: what changes is told on
//! `presence:<user>`. Nobody has to say goodbye: what a gateway said that is not heard of any more is taken back by another
//! one, once.

#[cfg(feature = "testing")]
pub mod conformance;
mod leases;
pub mod memory;
pub mod redis;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker::BrokerError;
use crate::channel::Channel;
use crate::envelope::{Content, Envelope};
use crate::event::LiveBody;
use crate::ids::{PodId, TraceId, UserId};
use crate::time::Timestamp;

/// The `type` of the event that tells of a change.
pub const CHANGED: &str = "presence.changed";

/// How long it is remembered when somebody was last seen.
pub const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How long somebody is held to be here whom nobody has written again. Gateways write everybody they have once a minute, and keep in
/// mind for as long who has left: a server may hold them still.
pub const HELD: Duration = Duration::from_secs(300);

/// What somebody is. Over several devices the highest counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// Not connected.
    #[default]
    Offline,
    /// Connected, and not looking.
    Idle,
    /// Here.
    Online,
    /// Here, and not to be disturbed.
    Dnd,
}

impl Availability {
    /// Every one there is, the lowest first.
    pub const ALL: [Self; 4] = [Self::Offline, Self::Idle, Self::Online, Self::Dnd];

    /// The state as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Idle => "idle",
            Self::Online => "online",
            Self::Dnd => "dnd",
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody is, over all their devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Who.
    pub user_id: UserId,
    /// What they are.
    pub state: Availability,
    /// When they were last here; of those who are here, nothing.
    pub last_seen: Option<Timestamp>,
    /// Rises with every change: whoever has two of them goes by the higher one. 0 of somebody never seen.
    pub version: u64,
}

impl Status {
    /// What is known of somebody of whom nothing is known, or may be told. It is as new as can be: whoever knew more before must
    /// not go by that.
    #[must_use]
    pub fn unknown(user_id: UserId) -> Self {
        let version = Timestamp::now().as_micros().unsigned_abs();
        Self { user_id, state: Availability::Offline, last_seen: None, version }
    }

    /// Whether anything is known of them: that they are here, or when they were.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.state != Availability::Offline || self.last_seen.is_some()
    }

    /// What an event of a change tells.
    #[must_use]
    pub fn heard(body: &LiveBody) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            version: u64,
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            user_id: UserId,
            state: Availability,
            last_seen: Option<Timestamp>,
        }
        let text = [body.as_bytes(), LiveBody::tail(None).as_bytes()].concat();
        let Event { version, data: Data { user_id, state, last_seen } } = serde_json::from_slice(&text).ok()?;
        Some(Self { user_id, state, last_seen, version })
    }

    /// The event that tells it.
    #[must_use]
    pub fn told(&self) -> Envelope {
        Words::of(&self.user_id, Timestamp::now()).tell(self)
    }
}

/// What a gateway that has just begun, or goes on, may write under, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The incarnation of the gateway. One that has lost its lease begins as another.
    pub holder: PodId,
    /// Until when it writes, in milliseconds of the store's clock: sooner than anybody takes the lease for ended.
    ends_at: u64,
}

impl Lease {
    /// A lease that lasts from `now` on. Its holder stops before others may take it for ended, because the servers of a
    /// cluster have a clock each.
    const fn from(holder: PodId, now: u64, lasts: Duration) -> Self {
        Self { holder, ends_at: now + lasts.as_millis() as u64 * 7 / 10 }
    }
}

/// Why it was not written.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// The lease is over, and what was written under it is or will be taken back: begin another and write everything again.
    #[error("the lease has ended")]
    Ended,
    /// It may have been written; writing it again does no harm.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Where gateways write who is connected to them.
#[async_trait]
pub trait Presence: Send + Sync {
    /// Begins a lease under which nobody is written yet.
    async fn begin(&self, lasts: Duration) -> Result<Lease, BrokerError>;

    /// Makes a lease last from now on.
    async fn renew(&self, lease: &mut Lease, lasts: Duration) -> Result<(), PresenceError>;

    /// Writes what people are at the holder, instead of what was written under this lease and under that of `former`, which the
    /// holder had before. Whoever is offline there is written no longer.
    ///
    /// Writing and telling are one step: what changes somebody over all gateways is told on their channel, once and in order, and
    /// can be read once it is heard. What changes nothing is told to nobody.
    async fn put(
        &self,
        lease: &Lease,
        former: Option<PodId>,
        people: &[(UserId, Availability)],
    ) -> Result<(), PresenceError>;

    /// What people are, in the order asked.
    async fn read(&self, people: &[UserId]) -> Result<Vec<Status>, BrokerError>;

    /// Takes back what stands under a lease that has ended, of at most `most` people, and answers of how many; of nobody once
    /// nothing is left. Of all who try, `sweeper` has the work to itself for as long as `lasts`, which every step renews.
    async fn sweep(&self, sweeper: PodId, lasts: Duration, most: usize) -> Result<usize, BrokerError>;
}

/// Has gateways ask anew whether `watcher`, or everybody who watches, may see whether `user` is here: what is said to pods only, on
/// that person's channel. Nobody else is asked after: whom many watch must not cost all of them a question.
#[must_use]
pub fn doubt(user: &UserId, watcher: Option<&UserId>) -> Envelope {
    let watcher = watcher.map_or("", |watcher| watcher.as_str());
    Envelope {
        channel: Channel::Presence(user.clone()),
        committed_at: Timestamp::now(),
        trace: TraceId::random(),
        content: Content::Pods(Bytes::copy_from_slice(watcher.as_bytes())),
    }
}

/// The event about one person, without what only the store knows.
struct Words {
    channel: Channel,
    at: Timestamp,
    trace: TraceId,
    /// Up to the version.
    opening: String,
    /// From there up to the state.
    naming: String,
}

impl Words {
    fn of(user: &UserId, at: Timestamp) -> Self {
        let (channel, id) = (Channel::Presence(user.clone()), Uuid::now_v7());
        let opening = format!(r#"{{"type":"{CHANGED}","id":"{id}","timestamp":"{at}","version":"#);
        let naming = format!(r#","channel":"{channel}","data":{{"user_id":"{user}","state":""#);
        Self { channel, at, trace: TraceId::random(), opening, naming }
    }

    fn tell(&self, status: &Status) -> Envelope {
        let (Self { opening, naming, .. }, Status { state, version, .. }) = (self, status);
        let seen = status.last_seen.map_or_else(|| "null".to_owned(), |at| format!("\"{at}\""));
        self.envelope(format!(r#"{opening}{version}{naming}{state}","last_seen":{seen}}}"#))
    }

    /// The first line of the envelope.
    fn head(&self) -> String {
        self.envelope(String::new()).head()
    }

    fn envelope(&self, body: String) -> Envelope {
        Envelope {
            channel: self.channel.clone(),
            committed_at: self.at,
            trace: self.trace,
            content: Content::Sign(LiveBody::from_trusted(body.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn over_several_devices_the_highest_counts() {
        use Availability::{Dnd, Idle, Offline, Online};
        let merged = |devices: &[Availability]| devices.iter().copied().max().unwrap_or_default();
        assert_eq!(merged(&[]), Offline);
        assert_eq!(merged(&[Idle, Offline]), Idle);
        assert_eq!(merged(&[Idle, Online, Idle]), Online);
        assert_eq!(merged(&[Online, Dnd, Idle]), Dnd);
    }

    #[test]
    fn a_state_is_written_as_serde_writes_it() {
        for state in Availability::ALL {
            assert_eq!(serde_json::to_value(state).expect("a name"), state.as_str());
        }
    }

    #[test]
    fn a_change_is_told_as_an_event_with_a_version() {
        let at = Timestamp::from_micros(0);
        let told = |status: &Status| {
            let envelope = status.told();
            let text = [envelope.body().as_ref(), LiveBody::tail(None).as_bytes()].concat();
            serde_json::from_slice::<Value>(&text).expect("JSON")
        };
        let gone = Status { last_seen: Some(at), version: 7, ..Status::unknown("alice".parse().expect("an id")) };
        let event = told(&gone);
        assert_eq!((&event["type"], &event["version"]), (&json!(CHANGED), &json!(7)));
        assert_eq!(event["channel"], "presence:alice");
        assert_eq!(event["data"], json!({ "user_id": "alice", "state": "offline", "last_seen": at }));
        let Content::Sign(body) = gone.told().content else { panic!("a sign") };
        assert_eq!(Status::heard(&body).as_ref(), Some(&gone));
        let here = Status { state: Availability::Dnd, last_seen: None, ..gone };
        assert_eq!(told(&here)["data"], json!({ "user_id": "alice", "state": "dnd", "last_seen": null }));
    }
}
