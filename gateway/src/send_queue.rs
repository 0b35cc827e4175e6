//! The frames waiting for one connection, and the orders given to it.
//!
//! On the line it stands between the hub, which pushes, and the connection's own task, which takes. It is where a slow reader
//! is found out, and where nobody ever waits for one.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use parking_lot::{Mutex, MutexGuard};
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
    /// Events of rooms were dropped and the client was not told so yet: those that follow are dropped, too, for behind a hole they would
    /// pass for all there is.
    holds_rooms: bool,
    /// The task, since it last looked; taken by the first who has something for it.
    waker: Option<Waker>,
}

/// What a connection's task finds when it looks into its queue.
#[derive(Debug)]
pub struct Glance {
    /// The orders given since last time, if any.
    pub orders: Option<Orders>,
    /// Frames that wait.
    pub frames: usize,
    /// Bytes of answers and pages that wait: what the connection itself asked for and has not taken.
    pub own_bytes: usize,
    /// Which feeds are live.
    pub live: Live,
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
    /// Look whether its token still counts.
    pub token_doubted: bool,
    /// End the connection.
    pub close: Option<CloseCode>,
    /// Tell the client that its positions do not continue; delivery goes on after these.
    pub resync: Option<(ResyncReason, Option<Positions>)>,
    /// Events were dropped: read the rooms' histories again.
    pub rooms_dropped: bool,
    /// Something was not told of those whom it watches: read what they are.
    pub people_missed: bool,
    /// Ask anew what it may see.
    pub doubt: bool,
}

impl SendQueue {
    /// A queue for `limit` bytes of events, in which no feed is live yet.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    /// Queues an event of the live path. Answers whether the reader was too slow for it.
    pub fn push_event(&self, frame: Frame) -> bool {
        self.push_counted(frame, None)
    }

    /// Queues a passing event, if the reader keeps up: in a queue that is half full there is no place for it. Answers whether there was.
    pub fn push_sign(&self, frame: Frame) -> bool {
        let mut waiting = self.waiting.lock();
        let fits = waiting.bytes + frame.weight() <= self.limit / 2;
        if fits {
            waiting.bytes += frame.weight();
            waiting.frames.push_back(Waits { frame, is_counted: true });
            wake(waiting);
        }
        fits
    }

    /// Queues an entry if its feed is live here; while it is catching up, the position brings it later.
    /// Answers whether the reader was too slow for it.
    pub fn push_entry(&self, feed: Feed, frame: Frame) -> bool {
        self.push_counted(frame, Some(feed))
    }

    fn push_counted(&self, frame: Frame, feed: Option<Feed>) -> bool {
        let mut waiting = self.waiting.lock();
        if feed.map_or(waiting.holds_rooms, |feed| !waiting.live.has(feed)) {
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
        wake(waiting);
        overflowed
    }

    /// Queues what the connection's own task has to say: answers, and pages it asked for. They are bounded by what it asks
    /// for, and no flood of events drops them.
    pub fn push_own(&self, frame: Frame) {
        let mut waiting = self.waiting.lock();
        waiting.own_bytes += frame.weight();
        waiting.frames.push_back(Waits { frame, is_counted: false });
        wake(waiting);
    }

    /// Queues what tells the client that events of its rooms were dropped. Those that come from now on stand behind it.
    pub fn tell_rooms_dropped(&self, told: impl IntoIterator<Item = Frame>) {
        let mut waiting = self.waiting.lock();
        waiting.holds_rooms = false;
        for frame in told {
            waiting.own_bytes += frame.weight();
            waiting.frames.push_back(Waits { frame, is_counted: false });
        }
        wake(waiting);
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
        wake(waiting);
    }

    /// Gives an order and wakes the task.
    pub fn order(&self, give: impl FnOnce(&mut Orders)) {
        let mut waiting = self.waiting.lock();
        give(&mut waiting.orders);
        wake(waiting);
    }

    /// Looks at everything in one go, takes the orders, and registers to be woken by the next push or order.
    pub fn look(&self, cx: &Context<'_>) -> Glance {
        let mut waiting = self.waiting.lock();
        if !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiting.waker = Some(cx.waker().clone());
        }
        let has_orders = waiting.orders != Orders::default();
        Glance {
            orders: has_orders.then(|| std::mem::take(&mut waiting.orders)),
            frames: waiting.frames.len(),
            own_bytes: waiting.own_bytes,
            live: waiting.live,
        }
    }
}

/// Wakes the task, once for all that comes before it looks again.
fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Waiting {
    /// Drops the events that wait: the reader is better served by its position.
    fn drop_events(&mut self) {
        self.live = Live::default();
        self.orders.rooms_dropped = true;
        self.holds_rooms = true;
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

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
                redacts: false,
                revokes: false,
                closes: false,
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
    fn nothing_of_a_room_comes_between_what_was_dropped_and_being_told_so() {
        let queue = SendQueue::new(1_000);
        queue.push_event(event(900));
        assert!(queue.push_event(event(900)));
        // Not before the task has looked, nor between its look and its word.
        queue.push_event(event(10));
        let waker = Waker::from(Arc::new(Wakes::default()));
        let glance = queue.look(&Context::from_waker(&waker));
        assert!(glance.orders.is_some_and(|orders| orders.rooms_dropped));
        queue.push_event(event(11));
        assert!(queue.pop().is_none());
        queue.tell_rooms_dropped([Frame::Whole(WholeFrame::answer("{}"))]);
        queue.push_event(event(12));
        assert!(matches!(queue.pop(), Some(Frame::Whole(frame)) if frame.text() == b"{}"));
        assert!(queue.pop().is_some() && queue.pop().is_none());
    }

    #[test]
    fn an_entry_of_a_feed_that_is_catching_up_is_not_queued() {
        let queue = SendQueue::new(1_000);
        queue.go_live(Feed::All);
        assert!(!queue.push_entry(Feed::User, entry(1)));
        assert!(queue.pop().is_none());
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_is_woken_once_for_all_that_comes_before_it_looks_again() {
        let (queue, wakes) = (SendQueue::new(1_000), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = Context::from_waker(&waker);
        assert_eq!(queue.look(&cx).frames, 0);
        queue.push_event(event(10));
        queue.order(|orders| orders.ping = true);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let glance = queue.look(&cx);
        assert!(glance.frames == 1 && glance.orders.is_some_and(|orders| orders.ping));
        queue.push_own(event(10));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    }
}
