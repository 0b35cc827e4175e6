//! Where one client stands in its feeds: what it was told, and what may be told next.
//!
//! Pure bookkeeping of one session. It is where a repeat is dropped and a hole is found before a client could see it.

use shared::cursor::{Feed, Positions};
use shared::ids::{Epoch, Seq};
use shared::sabotage;

use crate::errand::Start;
use crate::frame::EntryFrame;

/// The positions of one client.
#[derive(Debug)]
pub struct Standing {
    /// The life of the numbering.
    pub epoch: Epoch,
    /// Up to where everything was handed to the client or passed over for its door.
    pub position: Positions,
    /// The numbers last named to the client.
    told: Positions,
}

/// What an entry is to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It comes next.
    Next,
    /// The client has it.
    Repeat,
    /// Something before it is missing.
    Hole,
}

impl Standing {
    /// Before the first entry after `start`.
    #[must_use]
    pub const fn at(start: &Start) -> Self {
        Self { epoch: start.epoch, position: start.positions, told: start.positions }
    }

    /// Moves over an entry if it comes next.
    pub fn step(&mut self, frame: &EntryFrame) -> Step {
        let (position, seq) = (self.position.get(frame.feed), frame.entry.seq);
        if frame.entry.epoch != self.epoch || seq > position.next() {
            return Step::Hole;
        }
        if seq <= position {
            return if sabotage::goes_wrong("shows_twice") { Step::Next } else { Step::Repeat };
        }
        self.position.set(frame.feed, seq);
        Step::Next
    }

    /// Names the position in `feed` to the client and answers the number named before: its `prev`.
    pub const fn tell(&mut self, feed: Feed) -> Seq {
        let prev = self.told.get(feed);
        self.told.set(feed, self.position.get(feed));
        prev
    }

    /// Names every position to the client.
    pub const fn tell_all(&mut self) {
        self.told = self.position;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::envelope::Entry;
    use shared::event::{DurableBody, Topic};
    use shared::ids::TraceId;
    use shared::time::Timestamp;

    use super::*;

    fn entry(epoch: u64, seq: u64) -> EntryFrame {
        EntryFrame {
            feed: Feed::User,
            entry: Entry {
                epoch: Epoch(epoch),
                seq: Seq(seq),
                topic: Topic::Messaging,
                unread: None,
                redacts: false,
                revokes: false,
                closes: false,
                body: DurableBody::from_trusted(Bytes::new()),
            },
            committed_at: Timestamp::from_micros(0),
            trace: TraceId(1),
        }
    }

    #[test]
    fn a_client_is_told_each_number_once_and_never_over_a_hole() {
        let positions = Positions { user: Seq(4), ..Positions::default() };
        let mut standing = Standing::at(&Start { epoch: Epoch(1), positions });
        assert_eq!(standing.step(&entry(1, 4)), Step::Repeat);
        assert_eq!(standing.step(&entry(1, 6)), Step::Hole);
        assert_eq!(standing.step(&entry(2, 5)), Step::Hole);
        // 5 is passed over for the client's door, so that 6 follows 4 in its eyes.
        assert_eq!(standing.step(&entry(1, 5)), Step::Next);
        assert_eq!(standing.step(&entry(1, 6)), Step::Next);
        assert_eq!(standing.tell(Feed::User), Seq(4));
        assert_eq!(standing.tell(Feed::User), Seq(6));
    }
}
