//! Channels: the addresses of the pub/sub system, and the buckets they hash into.
//!
//! A channel is what a publisher names and a gateway hears. Channels that carry a feed (`user:`, `role:`, `all`,
//! `fleet`) have durable, numbered entries; `room:` and `presence:` channels are live only; `heads` and `pod:` are for the pods
//! themselves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{PodId, RoomName, UserId};

/// Buckets that channels hash into. All channels of a bucket share one slot of a Redis Cluster.
pub const BUCKETS: u16 = 512;

/// What a token says its bearer is. `admin` includes `staff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A customer.
    Guest,
    /// Someone who works here.
    Staff,
    /// Staff who may also manage.
    Admin,
    /// A back-end service.
    Service,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 4] = [Self::Guest, Self::Staff, Self::Admin, Self::Service];

    /// The role's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Staff => "staff",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }

    /// Whether the role sees what staff see.
    #[must_use]
    pub const fn is_staff(self) -> bool {
        matches!(self, Self::Staff | Self::Admin)
    }

    /// Whether the role may do what only staff and services may.
    #[must_use]
    pub const fn is_trusted(self) -> bool {
        matches!(self, Self::Staff | Self::Admin | Self::Service)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidChannel;

    fn from_str(text: &str) -> Result<Self, InvalidChannel> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(InvalidChannel)
    }
}

/// The address of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Channel {
    /// The feed of one user: `user:alice`.
    User(UserId),
    /// The feed of everyone with a role: `role:staff`.
    Role(Role),
    /// The feed of everyone: `all`.
    All,
    /// The feed of the pods: revocations.
    Fleet,
    /// A room: live, with recent history by policy.
    Room(RoomName),
    /// Whether one user is here, and what they are: `presence:alice`.
    Presence(UserId),
    /// The heads beat that every gateway hears.
    Heads,
    /// One pod's own address, by which it probes its link.
    Pod(PodId),
}

impl Channel {
    /// Which of the [`BUCKETS`] the channel belongs to.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        Bucket::of(self)
    }

    /// Whether the channel carries a durable, numbered feed.
    #[must_use]
    pub const fn is_feed(&self) -> bool {
        matches!(self, Self::User(_) | Self::Role(_) | Self::All | Self::Fleet)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::All => f.write_str("all"),
            Self::Fleet => f.write_str("fleet"),
            Self::Room(room) => write!(f, "room:{room}"),
            Self::Presence(user) => write!(f, "presence:{user}"),
            Self::Heads => f.write_str("heads"),
            Self::Pod(pod) => write!(f, "pod:{pod}"),
        }
    }
}

/// A text that names no channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a channel: one of user:<id>, role:<name>, all, fleet, room:<name>, presence:<id>")]
pub struct InvalidChannel;

impl FromStr for Channel {
    type Err = InvalidChannel;

    fn from_str(text: &str) -> Result<Self, InvalidChannel> {
        let parsed = match text.split_once(':') {
            None => match text {
                "all" => Some(Self::All),
                "fleet" => Some(Self::Fleet),
                "heads" => Some(Self::Heads),
                _ => None,
            },
            Some(("user", id)) => id.parse().ok().map(Self::User),
            Some(("role", name)) => name.parse().ok().map(Self::Role),
            Some(("room", name)) => name.parse().ok().map(Self::Room),
            Some(("presence", id)) => id.parse().ok().map(Self::Presence),
            Some(("pod", id)) => id.parse().ok().map(Self::Pod),
            Some(_) => None,
        };
        parsed.ok_or(InvalidChannel)
    }
}

impl TryFrom<String> for Channel {
    type Error = InvalidChannel;

    fn try_from(text: String) -> Result<Self, InvalidChannel> {
        text.parse()
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> Self {
        channel.to_string()
    }
}

/// FNV-1a of what is written to it.
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// One of the [`BUCKETS`]; written `b042`, and used as the hash tag `{b042}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of whatever has this name. Stable across versions: FNV-1a of the name.
    #[must_use]
    pub fn of(name: &impl fmt::Display) -> Self {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        fmt::write(&mut hash, format_args!("{name}")).expect("hashing a name cannot fail");
        Self((hash.0 % u64::from(BUCKETS)) as u16)
    }

    /// Every bucket.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS).map(Self)
    }

    /// The bucket's number.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{:03}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_written_as_it_is_read() {
        for text in [
            "user:alice",
            "role:staff",
            "all",
            "fleet",
            "room:tour_456",
            "room:conversation:7",
            "presence:alice",
            "heads",
        ] {
            let channel: Channel = text.parse().expect("a channel");
            assert_eq!(channel.to_string(), text);
        }
        for text in ["", "user:", "user:two words", "role:king", "everyone", "room:", "ROOM:x", "presence:"] {
            assert_eq!(text.parse::<Channel>(), Err(InvalidChannel), "{text}");
        }
    }

    #[test]
    fn buckets_are_stable_and_spread() {
        let bucket = |name: &str| name.parse::<Channel>().expect("a channel").bucket();
        assert_eq!(bucket("user:alice").to_string(), bucket("user:alice").to_string());
        let used: std::collections::HashSet<_> = (0..10_000).map(|n| bucket(&format!("user:u{n}"))).collect();
        assert_eq!(used.len(), usize::from(BUCKETS));
    }
}
