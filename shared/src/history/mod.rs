//! What rooms remember: recent publishes, so that a client who comes back misses nothing.
//!
//! A room's history is a courtesy of the broker and not the truth: it has a size and an age, and is gone when the broker's
//! memory is. That is why reading says whether it is complete.

use std::time::Duration;

use async_trait::async_trait;

use crate::broker::BrokerError;
use crate::envelope::Envelope;
use crate::event::{LiveBody, RoomPosition};
use crate::ids::{RoomName, TraceId};

/// How much of a room is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At most this many publishes.
    pub entries: u32,
    /// At most this long after the last publish.
    pub age: Duration,
}

/// The memory of rooms.
#[async_trait]
pub trait History: Send + Sync {
    /// Publishes `body` in `room` like [`Broker::publish`](crate::broker::Broker::publish), keeps it, and answers its position.
    ///
    /// Numbering, keeping and publishing are one step: subscribers hear positions in order, and what `read` answers
    /// covers everything that was heard before.
    async fn publish(
        &self,
        room: &RoomName,
        keep: Retention,
        trace: TraceId,
        body: LiveBody,
    ) -> Result<RoomPosition, BrokerError>;

    /// Reads what was published after `since`, contiguous up to the top, or nothing.
    async fn read(&self, room: &RoomName, since: Option<&RoomPosition>) -> Result<Recovered, BrokerError>;
}

/// What a room remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The position of the last publish; `None` for a room that remembers nothing.
    pub top: Option<RoomPosition>,
    /// What came after the asked position, oldest first; without one, all that is kept.
    pub envelopes: Vec<Envelope>,
    /// Whether `envelopes` continue the asked position without a hole. True when none was asked.
    pub complete: bool,
}
