//! The order of one feed at this gateway: what was delivered, what is ahead of its turn, what is known to be missing.
//!
//! Entries come from the broker in any condition: late, twice, with holes. They leave here in order and once. Pure logic; the
//! hub holds it under a lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::ids::Seq;
use shared::sabotage;

use crate::frame::EntryFrame;

/// How long an entry waits for the one before it, before the gateway fetches.
pub const REORDERING: Duration = Duration::from_millis(50);
/// How long an announced head may be ahead, before the gateway fetches.
pub const ANNOUNCED: Duration = Duration::from_millis(400);
/// Entries that may wait for one before them; more are dropped, for they will be fetched.
const AHEAD: usize = 256;

/// One feed that local connections follow.
#[derive(Debug, Default)]
pub struct FollowedFeed {
    /// The last number delivered; `None` until the api was asked.
    head: Option<Seq>,
    /// Entries ahead of their turn.
    ahead: BTreeMap<Seq, Arc<EntryFrame>>,
    /// The highest number known to exist.
    announced: Seq,
}

/// What becomes of an entry that was heard.
#[derive(Debug)]
pub enum Heard {
    /// It is next: deliver it, then ask [`FollowedFeed::next_ready`] for more.
    Next(Arc<EntryFrame>),
    /// One before it is missing; fetch at this time if it still is.
    Ahead(Option<Instant>),
    /// It was delivered before.
    Old,
}

impl FollowedFeed {
    /// The last number delivered.
    #[must_use]
    pub const fn head(&self) -> Option<Seq> {
        self.head
    }

    /// Whether numbers are known to be missing.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.head.is_some_and(|head| self.announced > head)
    }

    /// Takes an entry from the broker or from a repair.
    pub fn hear(&mut self, frame: Arc<EntryFrame>) -> Heard {
        let seq = frame.entry.seq;
        match self.head {
            Some(head) if seq <= head && sabotage::goes_wrong("shows_twice") => Heard::Next(frame),
            Some(head) if seq <= head => Heard::Old,
            Some(head) if seq == head.next() => {
                self.head = Some(seq);
                self.announced = self.announced.max(seq);
                Heard::Next(frame)
            }
            head => {
                let first = self.ahead.is_empty();
                if self.ahead.len() < AHEAD {
                    self.ahead.insert(seq, frame);
                }
                self.announced = self.announced.max(seq);
                Heard::Ahead((first && head.is_some()).then(|| Instant::now() + REORDERING))
            }
        }
    }

    /// The next entry whose turn has come.
    pub fn next_ready(&mut self) -> Option<Arc<EntryFrame>> {
        let head = self.head?;
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() <= head {
                entry.remove();
            } else if *entry.key() == head.next() {
                self.head = Some(head.next());
                return Some(entry.remove());
            } else {
                return None;
            }
        }
        None
    }

    /// Takes what the api says the head is. A feed just followed starts there; of one that is followed it shows what is
    /// missing. Answers when to fetch, `patience` from now, if it is behind.
    pub fn announce(&mut self, head: Seq, patience: Duration) -> Option<Instant> {
        self.announced = self.announced.max(head);
        if self.head.is_none() {
            self.head = Some(head);
        }
        self.is_behind().then(|| Instant::now() + patience)
    }

    /// Takes what a beat says the head is. Only the api, asked after the broker confirmed the subscription, says where a feed
    /// just followed starts.
    pub fn announce_known(&mut self, head: Seq, patience: Duration) -> Option<Instant> {
        self.head?;
        self.announce(head, patience)
    }

    /// Forgets everything: the numbering began anew.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use shared::cursor::Feed;
    use shared::envelope::Entry;
    use shared::event::{DurableBody, Topic};
    use shared::ids::{Epoch, TraceId};
    use shared::time::Timestamp;

    use super::*;

    fn frame(seq: u64) -> Arc<EntryFrame> {
        Arc::new(EntryFrame {
            feed: Feed::User,
            entry: Entry {
                epoch: Epoch(1),
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
        })
    }

    fn deliver(feed: &mut FollowedFeed, seq: u64, out: &mut Vec<u64>) {
        if let Heard::Next(frame) = feed.hear(frame(seq)) {
            out.push(frame.entry.seq.0);
            while let Some(frame) = feed.next_ready() {
                out.push(frame.entry.seq.0);
            }
        }
    }

    proptest! {
        #[test]
        fn entries_leave_in_order_and_once_however_they_come(mut order in Just((1..=40_u64).collect::<Vec<_>>()).prop_shuffle(), twice in proptest::collection::vec(1..=40_u64, 0..20)) {
            let mut feed = FollowedFeed::default();
            feed.announce(Seq::ZERO, ANNOUNCED);
            order.extend(twice);
            let mut out = Vec::new();
            for seq in order {
                deliver(&mut feed, seq, &mut out);
            }
            prop_assert_eq!(out, (1..=40).collect::<Vec<_>>());
            prop_assert!(!feed.is_behind());
        }
    }

    #[test]
    fn an_entry_heard_before_the_head_is_known_waits_for_it() {
        let mut feed = FollowedFeed::default();
        assert!(matches!(feed.hear(frame(6)), Heard::Ahead(None)));
        assert!(matches!(feed.hear(frame(5)), Heard::Ahead(None)));
        assert!(feed.announce(Seq(4), ANNOUNCED).is_some());
        assert_eq!(feed.next_ready().map(|frame| frame.entry.seq), Some(Seq(5)));
        assert_eq!(feed.next_ready().map(|frame| frame.entry.seq), Some(Seq(6)));
        assert!(!feed.is_behind());
    }

    #[test]
    fn an_announced_head_shows_that_the_feed_is_behind() {
        let mut feed = FollowedFeed::default();
        assert_eq!(feed.announce(Seq(3), ANNOUNCED), None);
        assert!(feed.announce(Seq(5), ANNOUNCED).is_some());
        assert!(feed.is_behind());
    }
}
