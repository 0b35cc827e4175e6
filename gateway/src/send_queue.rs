//! The frames waiting for one connection, and the orders given to it.
//!
//! On the line it stands between the hub, which pushes, and the connection's own task, which takes. It is where a slow reader
//! is found out, and where nobody ever waits for one.

use std::collections::VecDeque;
use std::task::Context;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use shared::cursor::{Feed, Positions};
use shared::protocol::CloseCode;
use shared::upstream::ResyncReason;

use crate::frame::Frame;

/// The frames waiting for one connection, and the rule for a reader who does not keep up.
///
/// Holds at most `limit` bytes of events. When one does not fit, the queue drops the events it holds and the connection is
/// *catching up*: a reader this far behind is served better by its position than by us. Pushing never waits.
/// That is the whole point.
pub struct SendQueue {
    limit: usize,
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
}

/// A frame in its place.
struct Waits {
    frame: Frame,
    /// Whether it counts against the limit, and is dropped when that is passed.
    is_counted: bool,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Waits>,
    /// Bytes of the counted frames.
    bytes: usize,
    /// Bytes of the others.
    own_bytes: usize,
    live: Live,
    orders: Orders,
}

/// Which feeds of a connection are live; the others are catching up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Live(u8);

impl Live {
    /// Every feed is live.
    pub const ALL: Self = Self(0b111);

    const fn bit(feed: Feed) -> u8 {
        match feed {
            Feed::User => 0b001,
            Feed::Role => 0b010,
            Feed::All => 0b100,
        }
    }

    /// Whether `feed` is live.
    #[must_use]
    pub const fn has(self, feed: Feed) -> bool {
        self.0 & Self::bit(feed) != 0
    }
}

/// What a connection's task is told to do besides writing frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Ask the client whether it is still there.
    pub ping: bool,
    /// End the connection.
    pub close: Option<CloseCode>,
    /// Tell the client that its positions do not continue; delivery goes on after these.
    pub resync: Option<(ResyncReason, Option<Positions>)>,
    /// Events were dropped: read the rooms' histories again.
    pub rooms_dropped: bool,
}

impl SendQueue {
    /// A queue for `limit` bytes of events, in which no feed is live yet.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, waiting: Mutex::default(), waker: AtomicWaker::new() }
    }

    /// Queues an event of the live path. Answers whether the reader was too slow for it.
    pub fn push_event(&self, frame: Frame) -> bool {
        self.push_counted(frame, None)
    }

    /// Queues an entry if its feed is live here; while it is catching up, the position brings it later.
    /// Answers whether the reader was too slow for it.
    pub fn push_entry(&self, feed: Feed, frame: Frame) -> bool {
        self.push_counted(frame, Some(feed))
    }

    fn push_counted(&self, frame: Frame, feed: Option<Feed>) -> bool {
        let mut waiting = self.waiting.lock();
        if feed.is_some_and(|feed| !waiting.live.has(feed)) {
            return false;
        }
        // A frame larger than the limit still has its turn when nothing else waits.
        let overflowed = waiting.bytes > 0 && waiting.bytes + frame.weight() > self.limit;
        if overflowed {
            waiting.drop_events();
        } else {
            waiting.bytes += frame.weight();
            waiting.frames.push_back(Waits { frame, is_counted: true });
        }
        drop(waiting);
        self.waker.wake();
        overflowed
    }

    /// Queues what the connection's own task has to say: answers, and pages it asked for. They are bounded by what it asks
    /// for, and no flood of events drops them.
    pub fn push_own(&self, frame: Frame) {
        let mut waiting = self.waiting.lock();
        waiting.own_bytes += frame.weight();
        waiting.frames.push_back(Waits { frame, is_counted: false });
        drop(waiting);
        self.waker.wake();
    }

    /// Takes the next frame.
    pub fn pop(&self) -> Option<Frame> {
        let mut waiting = self.waiting.lock();
        let Waits { frame, is_counted } = waiting.frames.pop_front()?;
        let bytes = if is_counted { &mut waiting.bytes } else { &mut waiting.own_bytes };
        *bytes -= frame.weight();
        // A connection that had a burst should not keep its memory: most are idle.
        if waiting.frames.is_empty() && waiting.frames.capacity() > 8 {
            waiting.frames = VecDeque::new();
        }
        Some(frame)
    }

    /// Bytes of answers and pages that wait: what the connection itself asked for and has not taken.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.waiting.lock().own_bytes
    }

    /// Which feeds are live.
    #[must_use]
    pub fn live(&self) -> Live {
        self.waiting.lock().live
    }

    /// Makes `feed` live. Called under the hub's lock of that feed, so that no entry falls between.
    pub fn go_live(&self, feed: Feed) {
        self.waiting.lock().live.0 |= Live::bit(feed);
    }

    /// Turns every feed to catching up and forgets the entries that wait.
    pub fn catch_up(&self) {
        let mut waiting = self.waiting.lock();
        waiting.live = Live::default();
        waiting.retain(|waits| !matches!(waits.frame, Frame::Entry(_)));
        drop(waiting);
        self.waker.wake();
    }

    /// Gives an order and wakes the task.
    pub fn order(&self, give: impl FnOnce(&mut Orders)) {
        give(&mut self.waiting.lock().orders);
        self.waker.wake();
    }

    /// Takes the orders given since last time, if any, and registers to be woken by the next push or order.
    pub fn take_orders(&self, cx: &Context<'_>) -> Option<Orders> {
        self.waker.register(cx.waker());
        let mut waiting = self.waiting.lock();
        if waiting.orders == Orders::default() { None } else { Some(std::mem::take(&mut waiting.orders)) }
    }
}

impl Waiting {
    /// Drops the events that wait: the reader is better served by its position.
    fn drop_events(&mut self) {
        self.live = Live::default();
        self.orders.rooms_dropped = true;
        self.retain(|waits| !waits.is_counted);
    }

    fn retain(&mut self, keep: impl Fn(&Waits) -> bool) {
        self.frames.retain(keep);
        self.frames.shrink_to_fit();
        let (counted, own): (Vec<_>, Vec<_>) = self.frames.iter().partition(|waits| waits.is_counted);
        let weight = |frames: Vec<&Waits>| frames.into_iter().map(|waits| waits.frame.weight()).sum();
        (self.bytes, self.own_bytes) = (weight(counted), weight(own));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use shared::envelope::Entry;
    use shared::event::{DurableBody, LiveBody, Topic};
    use shared::ids::{Epoch, Seq, TraceId};
    use shared::time::Timestamp;

    use super::*;
    use crate::frame::{EntryFrame, WholeFrame};

    fn event(bytes: usize) -> Frame {
        let body = LiveBody::from_trusted(Bytes::from("x".repeat(bytes)));
        Frame::Whole(WholeFrame::live(&body, None, Timestamp::now()))
    }

    fn entry(seq: u64) -> Frame {
        Frame::Entry(Arc::new(EntryFrame {
            feed: Feed::User,
            entry: Entry {
                epoch: Epoch(1),
                seq: Seq(seq),
                topic: Topic::Messaging,
                unread: None,
                body: DurableBody::from_trusted(Bytes::from_static(b"{")),
            },
            committed_at: Timestamp::now(),
            trace: TraceId(1),
        }))
    }

    #[test]
    fn a_reader_too_slow_for_its_queue_is_catching_up_and_keeps_its_answers() {
        let queue = SendQueue::new(1_000);
        queue.go_live(Feed::User);
        assert!(!queue.push_entry(Feed::User, entry(1)));
        queue.push_own(Frame::Whole(WholeFrame::answer("{}")));
        assert!(!queue.push_event(event(100)));
        assert!(queue.push_event(event(1_000)));
        assert!(!queue.live().has(Feed::User));
        assert!(matches!(queue.pop(), Some(Frame::Whole(frame)) if frame.text() == b"{}"));
        assert!(queue.pop().is_none());
    }

    #[test]
    fn a_page_that_was_asked_for_survives_a_flood_and_a_large_frame_has_its_turn() {
        let queue = SendQueue::new(1_000);
        queue.push_own(entry(1));
        assert!(!queue.push_event(event(5_000)));
        assert!(queue.push_event(event(10)));
        assert!(matches!(queue.pop(), Some(Frame::Entry(_))));
        assert!(queue.pop().is_none());
    }

    #[test]
    fn an_entry_of_a_feed_that_is_catching_up_is_not_queued() {
        let queue = SendQueue::new(1_000);
        queue.go_live(Feed::All);
        assert!(!queue.push_entry(Feed::User, entry(1)));
        assert!(queue.pop().is_none());
    }
}
