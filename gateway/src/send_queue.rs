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

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
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
        let mut waiting = self.waiting.lock();
        let overflowed = waiting.bytes + frame.weight() > self.limit;
        if overflowed {
            waiting.drop_events();
        } else {
            waiting.push(frame);
        }
        drop(waiting);
        self.waker.wake();
        overflowed
    }

    /// Queues an entry if its feed is live here; while it is catching up, the position brings it later.
    /// Answers whether the reader was too slow for it.
    pub fn push_entry(&self, feed: Feed, frame: Frame) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.live.has(feed) {
            return false;
        }
        let overflowed = waiting.bytes + frame.weight() > self.limit;
        if overflowed {
            waiting.drop_events();
        } else {
            waiting.push(frame);
        }
        drop(waiting);
        self.waker.wake();
        overflowed
    }

    /// Queues what the connection's own task has to say: answers, and pages it asked for. Bounded by what it asks for.
    pub fn push_own(&self, frame: Frame) {
        self.waiting.lock().push(frame);
        self.waker.wake();
    }

    /// Takes the next frame.
    pub fn pop(&self) -> Option<Frame> {
        let mut waiting = self.waiting.lock();
        let frame = waiting.frames.pop_front()?;
        waiting.bytes -= frame.weight();
        // A connection that had a burst should not keep its memory: most are idle.
        if waiting.frames.is_empty() && waiting.frames.capacity() > 8 {
            waiting.frames = VecDeque::new();
        }
        Some(frame)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.waiting.lock().bytes
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
        waiting.drop_frames(|frame| matches!(frame, Frame::Entry(_)));
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
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.weight();
        self.frames.push_back(frame);
    }

    fn drop_events(&mut self) {
        self.live = Live::default();
        self.orders.rooms_dropped = true;
        self.drop_frames(Frame::is_event);
    }

    fn drop_frames(&mut self, drop: impl Fn(&Frame) -> bool) {
        self.frames.retain(|frame| !drop(frame));
        self.frames.shrink_to_fit();
        self.bytes = self.frames.iter().map(Frame::weight).sum();
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
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn an_entry_of_a_feed_that_is_catching_up_is_not_queued() {
        let queue = SendQueue::new(1_000);
        queue.go_live(Feed::All);
        assert!(!queue.push_entry(Feed::User, entry(1)));
        assert!(queue.pop().is_none());
    }
}
