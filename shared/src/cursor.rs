//! Cursors: where a device stands in every feed it follows.
//!
//! A cursor travels on each durable frame and comes back as `since`. It has one spelling: base64url of
//! `1 <epoch> <owner> <role> <user> <role> <all>`. It grants nothing: whoever shows it still needs the owner's token.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Role};
use crate::ids::{Epoch, Seq, UserId};

/// Longest cursor that is looked at, in bytes.
const LONGEST: usize = 512;

/// One of the three feeds that a person follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    /// `user:<id>`
    User,
    /// `role:<role>`
    Role,
    /// `all`
    All,
}

impl Feed {
    /// The feeds in the order in which positions are written.
    pub const ALL: [Self; 3] = [Self::User, Self::Role, Self::All];
}

/// A position in each feed that a person follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Positions {
    /// In `user:<id>`.
    pub user: Seq,
    /// In `role:<role>`.
    pub role: Seq,
    /// In `all`.
    pub all: Seq,
}

impl Positions {
    /// The position in `feed`.
    #[must_use]
    pub const fn get(&self, feed: Feed) -> Seq {
        match feed {
            Feed::User => self.user,
            Feed::Role => self.role,
            Feed::All => self.all,
        }
    }

    /// Moves the position in `feed` to `seq`.
    pub const fn set(&mut self, feed: Feed, seq: Seq) {
        match feed {
            Feed::User => self.user = seq,
            Feed::Role => self.role = seq,
            Feed::All => self.all = seq,
        }
    }

    /// Whether every position is at or before the one in `other`.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        Feed::ALL.into_iter().all(|feed| self.get(feed) <= other.get(feed))
    }

    /// The lower position of each feed.
    #[must_use]
    pub fn min(&self, other: &Self) -> Self {
        Self { user: self.user.min(other.user), role: self.role.min(other.role), all: self.all.min(other.all) }
    }
}

/// Where a device stands in every feed it follows.
///
/// Each position counts the entries of its feed from 1, without holes. `epoch` changes when numbers may be given a
/// second time, as after a restored backup: entry 90 of the new count is not the entry 90 the device knew. A cursor of
/// another epoch, owner or role is therefore refused, and the device starts from a snapshot. It grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The life of the numbering that the positions belong to.
    pub epoch: Epoch,
    /// Whose feeds they are.
    pub owner: UserId,
    /// Which role feed the second position counts in.
    pub role: Role,
    /// The positions.
    pub positions: Positions,
}

impl Cursor {
    /// The channel that `feed` stands for.
    #[must_use]
    pub fn channel(&self, feed: Feed) -> Channel {
        channel_of(feed, &self.owner, self.role)
    }
}

/// The channel that `feed` is, for a user with a role.
#[must_use]
pub fn channel_of(feed: Feed, user: &UserId, role: Role) -> Channel {
    match feed {
        Feed::User => Channel::User(user.clone()),
        Feed::Role => Channel::Role(role),
        Feed::All => Channel::All,
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Positions { user, role, all } = self.positions;
        let plain = format!("1 {} {} {} {user} {role} {all}", self.epoch, self.owner, self.role);
        f.write_str(&URL_SAFE_NO_PAD.encode(plain))
    }
}

/// A text that is not a cursor this fleet wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: hand back one that an event, a feed page or a snapshot carried")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() > LONGEST {
            return Err(InvalidCursor);
        }
        let plain = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let plain = std::str::from_utf8(&plain).map_err(|_| InvalidCursor)?;
        let fields: Vec<&str> = plain.split(' ').collect();
        let ["1", epoch, owner, role, positions @ ..] = fields.as_slice() else { return Err(InvalidCursor) };
        let [user, role_seq, all] = positions else { return Err(InvalidCursor) };
        // A number that no database column can hold was never given.
        let seq =
            |text: &str| text.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok()).map(Seq).ok_or(InvalidCursor);
        let cursor = Self {
            epoch: epoch.parse().map_err(|_| InvalidCursor)?,
            owner: owner.parse().map_err(|_| InvalidCursor)?,
            role: role.parse().map_err(|_| InvalidCursor)?,
            positions: Positions { user: seq(user)?, role: seq(role_seq)?, all: seq(all)? },
        };
        // Only the canonical spelling is a cursor: "+7" and "007" also parse as numbers.
        if cursor.to_string() == text { Ok(cursor) } else { Err(InvalidCursor) }
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(
            epoch: u64,
            owner in "[A-Za-z0-9_.@-]{1,128}",
            user in 0..=i64::MAX as u64,
            role_seq in 0..=i64::MAX as u64,
            all in 0..=i64::MAX as u64,
        ) {
            let cursor = Cursor {
                epoch: Epoch(epoch),
                owner: owner.parse().expect("drawn from the alphabet"),
                role: Role::Staff,
                positions: Positions { user: Seq(user), role: Seq(role_seq), all: Seq(all) },
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn whatever_parses_has_that_one_spelling(text in ".{0,200}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn a_second_spelling_is_refused() {
        for plain in ["1 0000000000000001 alice guest +7 0 0", "1 0000000000000001 alice guest 07 0 0"] {
            let text = URL_SAFE_NO_PAD.encode(plain);
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{plain}");
        }
    }
}
