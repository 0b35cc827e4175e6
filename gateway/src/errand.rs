//! Errands: commands that take time, and what comes of them.
//!
//! A session runs one errand at a time beside its frames; the errand knows nothing of the session, and what it brings back
//! says what becomes of it.

use std::sync::Arc;

use shared::access::Caller;
use shared::cursor::Positions;
use shared::ids::{Epoch, RoomName, UserId};
use shared::limits::{TooMany, millis};
use shared::protocol::{ErrorCode, answer};

use crate::connection::Connection;
use crate::interest::Held;
use crate::rooms::Member;
use crate::watching::Watched;

/// A command that took time, done.
pub struct Done {
    /// What the client hears; empty when it was queued already.
    pub answer: String,
    /// What becomes of the session.
    pub then: Then,
}

/// What becomes of the session once a command is done.
pub enum Then {
    /// Nothing.
    Nothing,
    /// The connection is in a room, which is heard from now on.
    Joined(RoomName, Member),
    /// The connection is not in the room after all.
    NotJoined(RoomName),
    /// The connection watches people.
    Watching {
        /// Those whom it did not watch before.
        begun: Vec<Watched>,
        /// Those whom it may not see.
        hidden: Vec<UserId>,
    },
    /// Delivery goes on from somewhere else.
    Continue(Start),
    /// A newer token counts.
    Renew(Box<Caller>),
    /// The user has another role and follows other feeds.
    Become(Box<Arrived>),
}

/// A connection that is attached, heard and placed in its feeds.
pub struct Arrived {
    /// The connection, with the role it has now.
    pub connection: Arc<Connection>,
    /// Who it is.
    pub caller: Caller,
    /// Its feeds, heard.
    pub feeds: Held,
    /// Where delivery starts.
    pub start: Start,
}

impl Done {
    /// Done, with nothing but an answer.
    pub const fn say(answer: String) -> Self {
        Self { answer, then: Then::Nothing }
    }

    /// Not done, because it was done too often.
    pub fn too_often(reference: Option<&str>, error: &TooMany) -> Self {
        Self::say(answer::error(reference, ErrorCode::RateLimited, &error.to_string(), Some(millis(error.wait))))
    }

    /// Not done, and why.
    pub fn fail(reference: Option<&str>, code: ErrorCode, detail: &str) -> Self {
        Self::say(answer::error(reference, code, detail, None))
    }
}

/// Where a connection starts.
pub struct Start {
    /// The life of the numbering.
    pub epoch: Epoch,
    /// Delivery comes after these.
    pub positions: Positions,
}
