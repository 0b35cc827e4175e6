//! What rooms remember: recent publishes, so that a client who comes back misses nothing.
//!
//! A room's history is a courtesy of the broker and not the truth: it has a size and an age, and is gone when the broker's
//! memory is. That is why reading says whether it is complete.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod memory;
pub mod redis;
pub mod windows;

use std::time::Duration;

use async_trait::async_trait;

use crate::broker::BrokerError;
use crate::channel::Channel;
use crate::envelope::{Content, Envelope};
use crate::event::{LiveBody, RoomPosition};
use crate::ids::{Epoch, RoomName, Seq, TraceId};

/// How much of a room is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At most this many publishes, and at least the last one.
    pub entries: u32,
    /// At most this long after the last publish.
    pub age: Duration,
}

/// The memory of rooms, and of the last entries of feeds.
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

    /// Reads the entries of a user's feed that follow `after` without a hole, as they were announced; none where the window does
    /// not reach back so far. What was announced to somebody listening within the last five minutes is there, up to 64
    /// entries. A window never tells where the feed ends.
    async fn window(&self, feed: &Channel, epoch: Epoch, after: Seq) -> Result<Vec<Envelope>, BrokerError>;

    /// Reads what was published after `since`, contiguous up to the top. Where that is not remembered, or belongs to
    /// another life of the room, it answers what is kept and says that it is not complete.
    async fn read(&self, room: &RoomName, since: Option<&RoomPosition>) -> Result<Recovered, BrokerError>;
}

/// What a room remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The position of the last publish; `None` for a room that remembers nothing.
    pub top: Option<RoomPosition>,
    /// What came after the asked position, oldest first; without one, or without a complete answer, all that is kept.
    pub envelopes: Vec<Envelope>,
    /// Whether `envelopes` continue the asked position without a hole. True when none was asked.
    pub complete: bool,
}

impl Recovered {
    /// The position of the first of `envelopes`.
    #[must_use]
    pub fn first(&self) -> Option<&RoomPosition> {
        self.envelopes.first().and_then(position)
    }

    /// Judges whether `kept`, which reaches the top, continues `since`.
    fn new(mut kept: Vec<Envelope>, since: Option<&RoomPosition>) -> Self {
        let top = kept.last().and_then(position).cloned();
        let complete = match (since, &top) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(since), Some(top)) => {
                let begins = kept.first().and_then(position).map_or(top.offset, |first| first.offset);
                since.epoch == top.epoch && since.offset <= top.offset && begins <= since.offset.next()
            }
        };
        if let (Some(since), true) = (since, complete) {
            kept.retain(|envelope| position(envelope).is_some_and(|position| position.offset > since.offset));
        }
        Self { top, envelopes: kept, complete }
    }
}

/// Where an envelope stands in its room.
#[must_use]
pub const fn position(envelope: &Envelope) -> Option<&RoomPosition> {
    match &envelope.content {
        Content::Live { position, .. } => position.as_ref(),
        Content::Entry(_) | Content::Sign(_) | Content::Pods(_) => None,
    }
}
