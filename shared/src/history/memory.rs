//! The memory of rooms of a single process. Windows are kept where envelopes are announced, at the broker.
//!
//! Numbering, keeping and publishing happen under one lock, so that positions are heard in order and are readable once heard.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{History, Recovered, Retention};
use crate::broker::BrokerError;
use crate::broker::memory::MemoryBroker;
use crate::channel::Channel;
use crate::envelope::{Content, Envelope};
use crate::event::{LiveBody, RoomPosition};
use crate::ids::{Epoch, RoomName, Seq, TraceId};
use crate::time::Timestamp;

/// How often rooms that nobody used are cleared away.
const SWEEP: Duration = Duration::from_secs(10);

/// Rooms that this process remembers.
pub struct MemoryHistory {
    place: MemoryBroker,
    rooms: Mutex<Rooms>,
}

struct Rooms {
    rooms: HashMap<RoomName, Room>,
    swept: Instant,
}

struct Room {
    top: RoomPosition,
    kept: VecDeque<Envelope>,
    forgotten_at: Instant,
}

impl MemoryHistory {
    /// Rooms whose publishes are heard at `place`.
    #[must_use]
    pub fn new(place: MemoryBroker) -> Self {
        Self { place, rooms: Mutex::new(Rooms { rooms: HashMap::new(), swept: Instant::now() }) }
    }
}

#[async_trait]
impl History for MemoryHistory {
    async fn publish(
        &self,
        room: &RoomName,
        keep: Retention,
        trace: TraceId,
        body: LiveBody,
    ) -> Result<RoomPosition, BrokerError> {
        let mut rooms = self.rooms.lock().expect("no holder panics");
        let now = Instant::now();
        rooms.sweep(now);
        let Room { top, kept, forgotten_at } = rooms.remembered(room, now);
        top.offset = top.offset.next();
        let position = top.clone();
        let envelope = Envelope {
            channel: Channel::Room(room.clone()),
            committed_at: Timestamp::now(),
            trace,
            content: Content::Live { body, position: Some(position.clone()) },
        };
        kept.push_back(envelope.clone());
        while kept.len() > keep.entries.max(1) as usize {
            kept.pop_front();
        }
        *forgotten_at = now + keep.age;
        self.place.announce(&[envelope]);
        Ok(position)
    }

    async fn window(&self, feed: &Channel, epoch: Epoch, after: Seq) -> Result<Vec<Envelope>, BrokerError> {
        Ok(self.place.window(feed, epoch, after))
    }

    async fn read(&self, room: &RoomName, since: Option<&RoomPosition>) -> Result<Recovered, BrokerError> {
        let rooms = self.rooms.lock().expect("no holder panics");
        let remembered = rooms.rooms.get(room).filter(|room| room.forgotten_at > Instant::now());
        Ok(Recovered::new(remembered.map(|room| room.kept.iter().cloned().collect()).unwrap_or_default(), since))
    }
}

impl Rooms {
    /// The room, newly begun if nobody used it for as long as it was to be kept.
    fn remembered(&mut self, room: &RoomName, now: Instant) -> &mut Room {
        if self.rooms.get(room).is_none_or(|room| room.forgotten_at <= now) {
            let top = RoomPosition { epoch: Epoch::random(), offset: Seq::ZERO };
            self.rooms.insert(room.clone(), Room { top, kept: VecDeque::new(), forgotten_at: now });
        }
        self.rooms.get_mut(room).expect("it was made if it was missing")
    }

    fn sweep(&mut self, now: Instant) {
        if now.duration_since(self.swept) >= SWEEP {
            self.rooms.retain(|_, room| room.forgotten_at > now);
            self.swept = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rooms_that_nobody_uses_cost_nothing() {
        let history = MemoryHistory::new(MemoryBroker::default());
        let keep = Retention { entries: 10, age: Duration::from_secs(60) };
        let say = async |room: &str| {
            let body = LiveBody::from_trusted(Bytes::from_static(b"{\"a\":1"));
            history.publish(&room.parse().expect("a room"), keep, TraceId(1), body).await.expect("a position")
        };
        for room in 0..100 {
            say(&format!("room_{room}")).await;
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        say("room_0").await;
        assert_eq!(history.rooms.lock().expect("no holder panics").rooms.len(), 1);
    }
}
