//! The ids that travel through the fleet, each its own type.
//!
//! They are parsed at the edge and trusted inside. A text id is at most 128 bytes of a small alphabet, so that it can
//! stand in a channel name, a log line, a URL or a key of Redis without escaping.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The reason a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {longest} characters of {alphabet}")]
pub struct InvalidId {
    what: &'static str,
    longest: usize,
    alphabet: &'static str,
}

/// Defines a text id: its alphabet, its longest length, and the conversions every id has.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal, $alphabet:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let allowed: fn(u8) -> bool = $allowed;
                if !text.is_empty() && text.len() <= $longest && text.bytes().all(allowed) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, longest: $longest, alphabet: $alphabet })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

text_id!(
    /// A person or a service, as the token's `sub` names them.
    UserId, "a user id", 128, "A-Z a-z 0-9 _ . @ -",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'-')
);

text_id!(
    /// One device of a user. Acknowledged positions are kept per device.
    DeviceId, "a device id", 128, "A-Z a-z 0-9 _ . : @ -",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'@' | b'-')
);

text_id!(
    /// The name of a room, such as `tour_456` or `conversation:<id>`.
    RoomName, "a room name", 128, "A-Z a-z 0-9 _ . : @ -",
    |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'@' | b'-')
);

text_id!(
    /// The key a client gives a message so that sending it again makes no second one. Scoped to sender and conversation.
    ClientMessageId, "a client_message_id", 128, "visible ASCII",
    |byte| byte.is_ascii_graphic()
);

text_id!(
    /// The `Idempotency-Key` of a creating request. Scoped to caller and path.
    IdempotencyKey, "an idempotency key", 128, "visible ASCII",
    |byte| byte.is_ascii_graphic()
);

/// Defines an id that Carillon gives: a UUIDv7, so that ids sort by the time they were made.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes an id that no other has.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a default would hide that each call differs")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// A conversation.
    ConversationId
);
uuid_id!(
    /// A file that goes along with a message.
    AttachmentId
);
uuid_id!(
    /// A message.
    MessageId
);
uuid_id!(
    /// What somebody has against a message.
    ReportId
);
uuid_id!(
    /// That tokens of somebody do not count any more.
    RevocationId
);
uuid_id!(
    /// Work that takes longer than a request.
    JobId
);
uuid_id!(
    /// One live socket.
    ConnectionId
);
uuid_id!(
    /// One running process; a restarted pod is another one.
    PodId
);

/// The number of an entry in its feed, or of a message in its conversation: 1, 2, 3 … without holes. 0 is "before all".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first.
    pub const ZERO: Self = Self(0);

    /// The one that must come after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seq {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Names one life of the numbering. Another epoch means that numbers may have been given a second time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// A random epoch.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// A text that is not an epoch: sixteen lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is sixteen lower-case hexadecimal digits")]
pub struct InvalidEpoch;

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(lower_hex) {
            return Err(InvalidEpoch);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidEpoch)
    }
}

impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Follows one message through every hop: the trace-id of W3C Trace Context, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

impl TraceId {
    /// A random trace id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The trace id of a `traceparent` header, if it is one.
    #[must_use]
    pub fn from_traceparent(header: &str) -> Option<Self> {
        header.split('-').nth(1)?.parse().ok()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// A text that is not a trace id: 32 hexadecimal digits, not all zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a trace id is 32 hexadecimal digits")]
pub struct InvalidTraceId;

impl FromStr for TraceId {
    type Err = InvalidTraceId;

    fn from_str(text: &str) -> Result<Self, InvalidTraceId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidTraceId);
        }
        match u128::from_str_radix(text, 16) {
            Ok(0) | Err(_) => Err(InvalidTraceId),
            Ok(id) => Ok(Self(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_a_short_text_of_a_small_alphabet() {
        for good in ["alice", "a.b@example.com", "user-1_2", &"x".repeat(128)] {
            assert!(good.parse::<UserId>().is_ok(), "{good}");
        }
        for bad in ["", "two words", "semi;colon", "colon:inside", "ümlaut", &"x".repeat(129)] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
    }

    /// Names of rooms become names in Redis, where each of these means something.
    #[test]
    fn a_room_name_has_nothing_in_it_that_means_something_elsewhere() {
        for good in ["tour_456", "conversation:7", "a.b@example.com-1_2", &"x".repeat(128)] {
            assert!(good.parse::<RoomName>().is_ok(), "{good}");
        }
        for byte in
            (0..=255_u8).map(char::from).filter(|byte| !byte.is_ascii_alphanumeric() && !"_.:@-".contains(*byte))
        {
            assert!(format!("tour{byte}1").parse::<RoomName>().is_err(), "{byte:?}");
        }
        for bad in ["", "tour_*", "{b042}", "../user", "t\u{43e}ur", "tour\u{200b}", "tour\u{202e}", &"x".repeat(129)] {
            assert!(bad.parse::<RoomName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_epoch_has_one_spelling() {
        let epoch = Epoch(0x00ab_cdef_0123_4567);
        assert_eq!(epoch.to_string(), "00abcdef01234567");
        assert_eq!("00abcdef01234567".parse(), Ok(epoch));
        assert_eq!("00ABCDEF01234567".parse::<Epoch>(), Err(InvalidEpoch));
        assert_eq!("+0abcdef01234567".parse::<Epoch>(), Err(InvalidEpoch));
    }

    #[test]
    fn a_trace_id_comes_from_a_traceparent() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceId::from_traceparent(header).expect("the example of the specification");
        assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceId::from_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), None);
    }
}
