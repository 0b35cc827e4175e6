//! The session: one connection's own task, from its welcome to its end.
//!
//! On the line it takes frames from the send queue, writes what is this connection's own behind a shared body, and hands them
//! to the transport. It alone knows what the client was told.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::json;
use shared::access::{Caller, TokenError};
use shared::cursor::{Cursor, Feed, Positions};
use shared::envelope::{Content, Envelope};
use shared::ids::{DeviceId, RoomName, UserId};
use shared::presence::{Availability, Status};
use shared::protocol::{CloseCode, ErrorCode, answer};
use shared::sabotage;
use shared::time::Timestamp;
use shared::upstream::{Acknowledgement, Differences, Page, ResyncReason};

use crate::allowance::{Allowance, Grant};
use crate::clock;
use crate::connection::{Connection, Door};
use crate::errand::{Arrived, Done, Start, Then};
use crate::frame::{EntryFrame, Frame, WholeFrame};
use crate::hub::entry_frame;
use crate::inquiry::Inquiry;
use crate::interest::Held;
use crate::metrics::METRICS;
use crate::pod::Pod;
use crate::policy::{Namespace, Who};
use crate::rooms::{Member, RoomPermits, Seen, permits};
use crate::send_queue::{Glance, Live, Orders};
use crate::signs::Shown;
use crate::standing::{Standing, Step};
use crate::transport::{Incoming, Transport};
use crate::turnstile::Passing;
use crate::upstream::UpstreamError;
use crate::watching::{Look, Watched, Watching, look};

/// Frames are joined up to so many bytes a write.
const JOINED: usize = 64 * 1024;
/// While so many bytes of answers wait for the client, nothing more is read from it.
const READ_NO_MORE: usize = 128 * 1024;
/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long to wait before asking again for a page that did not come.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a permission for a room is believed without asking again.
const PERMITTED: Duration = Duration::from_secs(300);
/// How long to wait for the hub to learn the heads of a new count.
const HEADS_UNKNOWN: Duration = Duration::from_millis(50);

type Work<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// One connection, served.
pub struct Session<T> {
    pub(crate) pod: Arc<Pod>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) caller: Box<Caller>,
    pub(crate) device_id: Option<DeviceId>,
    pub(crate) standing: Standing,
    /// The position when the unanswered ping was sent.
    pinged: Option<Positions>,
    /// Whether the client acknowledges by itself; then pongs do not count.
    pub(crate) acknowledges: bool,
    pub(crate) rooms: HashMap<RoomName, Option<Member>>,
    /// Whom it watches, if anybody.
    pub(crate) watching: Option<Box<Watching>>,
    /// What the client is showing in them.
    pub(crate) shown: Shown,
    pub(crate) allowance: Allowance,
    /// The command under way; the next is read when it is done.
    pub(crate) work: Work<Done>,
    /// What the client may do in its rooms.
    permits: Inquiry<RoomPermits>,
    /// What those are whom it watches, as far as it may see them. Apart from its rooms, which must not wait for Redis.
    look: Inquiry<Look>,
    /// When that was last asked, in milliseconds of the gateway's clock.
    permitted_at: u64,
    /// The page under way.
    page: Work<Result<Differences, UpstreamError>>,
    /// How long to wait before the next page: a moment, if the last one brought nothing.
    page_wait: Duration,
    /// Why the client starts over, while it is not yet known where.
    starting_over: Option<ResyncReason>,
    /// Its way in, until it is live or takes nothing.
    pub(crate) passing: Option<Passing>,
    /// The connection's feeds, heard as long as this is held.
    feeds: Held,
    transport: T,
}

/// What a connection's task woke up for.
enum Turn {
    Orders(Orders),
    Incoming(Incoming),
    Done(Done),
    Page(Result<Differences, UpstreamError>),
    Permits(RoomPermits, bool),
    Look(Look, bool),
    /// Everything is written and the connection is not live.
    CatchUp,
    /// Everything is written and something was not told of those whom it watches.
    LookAgain,
    Gone,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client left.
    ByClient,
    /// We closed it.
    ByUs(CloseCode),
}

impl<T: Transport> Session<T> {
    /// A session of an attached connection whose feeds are heard.
    pub fn new(
        pod: Arc<Pod>,
        connection: Arc<Connection>,
        caller: Caller,
        device_id: Option<DeviceId>,
        start: &Start,
        feeds: Held,
        transport: T,
    ) -> Self {
        connection.choose(Availability::Online);
        pod.attendance.look(&connection.user);
        Self {
            allowance: Allowance::new(pod.settings.commands_per_second),
            pod,
            connection,
            caller: Box::new(caller),
            device_id,
            standing: Standing::at(start),
            pinged: None,
            acknowledges: false,
            rooms: HashMap::new(),
            watching: None,
            shown: Shown::default(),
            permits: Inquiry::default(),
            look: Inquiry::default(),
            permitted_at: clock::millis(),
            work: None,
            page: None,
            page_wait: Duration::ZERO,
            starting_over: None,
            passing: None,
            feeds,
            transport,
        }
    }

    /// Serves the connection from its welcome to its last frame.
    ///
    /// One loop waits for orders, for the client, for what a command or a page brings, and for the socket to take more.
    /// Whatever ends the loop ends the session, and the reason it returns is the one the client is told.
    pub async fn run(&mut self) -> Ended {
        let ended = loop {
            let end = match poll_fn(|cx| self.poll_turn(cx)).await {
                Turn::Orders(orders) => self.obey(&orders),
                Turn::Incoming(incoming) => self.hear(incoming),
                Turn::Done(done) => {
                    self.finish(done);
                    None
                }
                Turn::Page(page) => self.take_page(page),
                Turn::Permits(rooms, again) => {
                    rooms.into_iter().for_each(|(room, permit)| self.take_permit(&room, permit));
                    if again {
                        self.ask_about_rooms();
                    }
                    None
                }
                Turn::Look(look, again) => {
                    self.take_look(look);
                    if again {
                        self.ask_about_people();
                    }
                    None
                }
                Turn::CatchUp => self.catch_up(),
                Turn::LookAgain => {
                    self.ask_about_people();
                    None
                }
                Turn::Gone => Some(Ended::ByClient),
            };
            if let Some(ended) = end {
                break ended;
            }
        };
        let code = match ended {
            Ended::ByUs(code) => {
                METRICS.closed(code).increment(1);
                code
            }
            Ended::ByClient => CloseCode::Normal,
        };
        // Whoever takes nothing is not waited for any longer.
        let _ = tokio::time::timeout(FAREWELL, self.say_goodbye(code)).await;
        self.leave();
        ended
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Glance { orders, frames, own_bytes, live } = self.connection.queue.look(cx);
        if let Some(orders) = orders {
            return Poll::Ready(Turn::Orders(orders));
        }
        let listens = self.listens(own_bytes);
        if listens && let Poll::Ready(incoming) = self.transport.poll_read(cx) {
            return Poll::Ready(Turn::Incoming(incoming));
        }
        if let Some(done) = poll_work(&mut self.work, cx) {
            return Poll::Ready(Turn::Done(done));
        }
        if let Some(page) = poll_work(&mut self.page, cx) {
            return Poll::Ready(Turn::Page(page));
        }
        let written = self.poll_write(cx, frames);
        // Behind the entries, one of which may have been the reason to ask.
        if let Some((permits, again)) = self.permits.poll(cx) {
            return Poll::Ready(Turn::Permits(permits, again));
        }
        if let Some((look, again)) = self.look.poll(cx) {
            return Poll::Ready(Turn::Look(look, again));
        }
        if !listens {
            // While nobody listens to the client, its silence says nothing.
            self.connection.heard_at.store(clock::millis(), Ordering::Relaxed);
            if self.listens(self.connection.queue.own_bytes()) {
                cx.waker().wake_by_ref();
            }
        }
        match written {
            Poll::Ready(Ok(())) if self.page.is_none() && live != Live::ALL => Poll::Ready(Turn::CatchUp),
            // Not sooner: what is told again must not wait behind itself.
            Poll::Ready(Ok(())) if self.look.rests() && self.misses_people() => Poll::Ready(Turn::LookAgain),
            Poll::Ready(Err(_)) => Poll::Ready(Turn::Gone),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Whether another command is taken: not while one is under way, nor before the client has taken its answers.
    fn listens(&self, own_bytes: usize) -> bool {
        self.work.is_none() && self.transport.loaded() < READ_NO_MORE && own_bytes < READ_NO_MORE
    }

    /// Writes at once when nothing waits, joins when something does. What joins the waiting `frames` meanwhile has woken the
    /// task again.
    fn poll_write(&mut self, cx: &mut Context<'_>, mut frames: usize) -> Poll<io::Result<()>> {
        loop {
            frames -= self.load(frames);
            let before = self.transport.loaded();
            if before == 0 {
                self.connection.stalled_at.store(0, Ordering::Relaxed);
                return Poll::Ready(Ok(()));
            }
            match self.transport.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Nobody else waits for a slow reader.
                    self.passing = None;
                    let took_some = self.transport.loaded() < before;
                    if took_some || self.connection.stalled_at.load(Ordering::Relaxed) == 0 {
                        self.connection.stalled_at.store(clock::millis(), Ordering::Relaxed);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Loads some of the waiting `frames`, up to one joined write, and says how many.
    fn load(&mut self, frames: usize) -> usize {
        let mut taken = 0;
        let mut oldest: Option<Timestamp> = None;
        let mut events = 0;
        let mut passed_over = false;
        while taken < frames && self.transport.loaded() < JOINED {
            // Fewer than waited, if a flood or a new start dropped some.
            let Some(frame) = self.connection.queue.pop() else {
                taken = frames;
                break;
            };
            taken += 1;
            let committed_at = match frame {
                Frame::Whole(frame) => {
                    let committed_at = frame.committed_at;
                    self.transport.load(frame);
                    committed_at
                }
                Frame::Entry(frame) => match self.standing.step(&frame) {
                    Step::Next if sabotage::goes_wrong("swallows") => None,
                    Step::Next if self.connection.door.shows(frame.entry.topic) => Some(self.load_entry(&frame)),
                    Step::Next => {
                        passed_over = true;
                        None
                    }
                    Step::Repeat => None,
                    Step::Hole => {
                        METRICS.gaps("connection").increment(1);
                        self.connection.queue.catch_up();
                        None
                    }
                },
            };
            if let Some(at) = committed_at {
                events += 1;
                oldest.get_or_insert(at);
            }
        }
        if passed_over {
            self.load_cursor();
        }
        if let Some(at) = oldest {
            METRICS.deliveries.increment(events);
            let micros = (Timestamp::now().as_micros() - at.as_micros()).max(0);
            METRICS.latency.record(micros as f64 / 1e6);
        }
        taken
    }

    /// Loads an entry with the tail that is this client's own.
    fn load_entry(&mut self, frame: &EntryFrame) -> Timestamp {
        let EntryFrame { feed, entry, committed_at, .. } = frame;
        if entry.revokes {
            self.ask_permits();
        }
        let prev = self.standing.tell(*feed);
        let cursor = self.cursor();
        let tail = entry.body.tail(entry.unread, &self.connection.channel(*feed), entry.seq, prev, &cursor);
        self.transport.load_entry(entry.body.as_bytes(), tail.as_bytes(), &cursor);
        *committed_at
    }

    /// Moves the client over entries that its door does not show.
    fn load_cursor(&mut self) {
        self.standing.tell_all();
        let cursor = self.cursor();
        let mut event = answer::own_event("cursor", &json!({ "cursor": cursor }));
        // The cursor stands where durable events carry it.
        event.truncate(event.len() - 1);
        event.push_str(&format!(r#","cursor":"{cursor}"}}"#));
        self.transport.load(WholeFrame::answer(&event));
    }

    /// Where the client stands.
    pub(crate) fn cursor(&self) -> Cursor {
        let Connection { user, role, .. } = &*self.connection;
        let Standing { epoch, position, .. } = self.standing;
        Cursor { epoch, owner: user.clone(), role: *role, positions: position }
    }

    fn obey(&mut self, orders: &Orders) -> Option<Ended> {
        if let Some(code) = orders.close {
            return Some(Ended::ByUs(code));
        }
        if orders.token_doubted && self.pod.verifier.denylist().denies(&self.caller) {
            METRICS.revoked.increment(1);
            self.say(&revoked());
            return Some(Ended::ByUs(CloseCode::Forbidden));
        }
        // Who stands in today's count, having come with it or heard of it already, was told.
        let is_told = |reason| reason == ResyncReason::Epoch && self.pod.hub.epoch() == Some(self.standing.epoch);
        if let Some((reason, heads)) = orders.resync.filter(|(reason, _)| !is_told(*reason)) {
            self.resync(reason, heads);
        }
        if orders.rooms_dropped {
            self.tell_rooms_dropped();
        }
        if orders.rooms_dropped || orders.people_missed {
            self.miss_people();
        }
        if orders.doubt {
            self.ask_permits();
        }
        if orders.ping {
            if clock::millis() - self.permitted_at > PERMITTED.as_millis() as u64 {
                self.ask_permits();
            }
            self.pinged = Some(self.standing.position);
            self.transport.load_ping();
        }
        None
    }

    fn hear(&mut self, incoming: Incoming) -> Option<Ended> {
        self.connection.heard_at.store(clock::millis(), Ordering::Relaxed);
        match incoming {
            Incoming::Text(text) => return self.take_command(&text),
            Incoming::Binary => {
                return self.complain(None, ErrorCode::Unsupported, "binary frames are not understood, send text");
            }
            Incoming::Pong => return self.take_pong(),
            Incoming::Ping => return self.take_idle_frame(),
            Incoming::Alive => {}
            Incoming::Closed => return Some(Ended::ByClient),
            Incoming::Broken(code) => return Some(Ended::ByUs(code)),
        }
        None
    }

    /// For a client that never acknowledges, answering a ping that was sent after a frame says that the frame came.
    fn take_pong(&mut self) -> Option<Ended> {
        let Some(positions) = self.pinged.take() else { return self.take_idle_frame() };
        if !self.acknowledges {
            self.acknowledge(positions);
        }
        None
    }

    /// A frame that wants nothing costs as much as a command, and comes out of the same allowance.
    fn take_idle_frame(&mut self) -> Option<Ended> {
        (self.allowance.take() == Grant::Abusive).then_some(Ended::ByUs(CloseCode::Abusive))
    }

    /// Notes what the client has received.
    pub(crate) fn acknowledge(&self, positions: Positions) {
        self.pod.acks.note(Acknowledgement {
            user: self.connection.user.clone(),
            role: self.connection.role,
            device_id: self.device_id.clone(),
            epoch: self.standing.epoch,
            positions,
            unfiltered: self.connection.door == Door::Main,
        });
    }

    /// Says something to this client alone.
    pub(crate) fn say(&self, text: &str) {
        self.connection.queue.push_own(Frame::Whole(WholeFrame::answer(text)));
    }

    fn finish(&mut self, done: Done) {
        match done.then {
            Then::Nothing => {}
            Then::Joined(room, member) => {
                self.rooms.insert(room, Some(member));
            }
            Then::NotJoined(room) => self.forget_room(&room),
            Then::Watching { begun, hidden } => self.take_watched(begun, &hidden),
            Then::Continue(start) => self.rewind(&start),
            Then::Renew(caller) => {
                self.connection.expires_at.store(caller.expires_at.as_micros(), Ordering::Relaxed);
                self.caller = caller;
                self.doubt_token();
            }
            Then::Become(arrived) => {
                self.become_anew(*arrived);
                self.doubt_token();
            }
        }
        if !done.answer.is_empty() {
            self.say(&done.answer);
        }
    }

    /// Goes on as somebody with another role, who follows other feeds. The rooms are joined again by the client, whose new
    /// role may not be welcome in them.
    fn become_anew(&mut self, arrived: Arrived) {
        for room in self.leave_rooms() {
            let told = json!({ "reason": ResyncReason::Owner, "room": room });
            arrived
                .connection
                .queue
                .push_own(Frame::Whole(WholeFrame::answer(&answer::own_event("resync_required", &told))));
        }
        arrived.connection.choose(self.connection.availability());
        for watched in self.watching.iter_mut().flat_map(|watching| watching.people.values_mut()) {
            watched.pass_to(&arrived.connection);
        }
        self.miss_people();
        self.pod.hub.detach(&self.connection);
        self.connection = arrived.connection;
        *self.caller = arrived.caller;
        // What was asked for the role before is nothing to this one.
        self.permits = Inquiry::default();
        self.look = Inquiry::default();
        self.feeds = arrived.feeds;
        self.standing.epoch = arrived.start.epoch;
        self.resync(ResyncReason::Owner, Some(arrived.start.positions));
    }

    /// Has the token looked at that was taken last: it may have been revoked between its verification and now.
    fn doubt_token(&self) {
        self.connection.queue.order(|orders| orders.token_doubted = true);
    }

    fn leave_rooms(&mut self) -> Vec<RoomName> {
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        rooms.iter().for_each(|room| self.forget_room(room));
        rooms
    }

    fn rewind(&mut self, start: &Start) {
        self.page = None;
        self.page_wait = Duration::ZERO;
        self.starting_over = None;
        // What a ping stood for was another count.
        self.pinged = None;
        self.connection.queue.catch_up();
        self.standing = Standing::at(start);
        // What was passed over may have been the end of a permission.
        self.ask_permits();
    }

    /// Goes live if nothing is missing, else asks for the next page.
    fn catch_up(&mut self) -> Option<Ended> {
        if let Some(reason) = self.starting_over {
            self.resync(reason, None);
            return None;
        }
        let Standing { epoch, position, .. } = &self.standing;
        if self.pod.hub.epoch() == Some(*epoch) && self.pod.hub.go_live(&self.connection, position) {
            if let Some(passing) = self.passing.take() {
                passing.is_in();
            }
            return None;
        }
        self.ask_page();
        None
    }

    fn take_page(&mut self, page: Result<Differences, UpstreamError>) -> Option<Ended> {
        match page {
            Ok(Differences::Page(page)) => self.queue_page(page),
            Ok(Differences::Resync { epoch }) => {
                self.pod.hub.enter(epoch);
                let reason = if epoch == self.standing.epoch { ResyncReason::Ahead } else { ResyncReason::Epoch };
                // Whatever this position is beyond, the hub may be too.
                self.pod.hub.doubt();
                self.standing.epoch = epoch;
                self.resync(reason, None);
            }
            Err(error) => {
                tracing::debug!(%error, "no page yet");
                self.page_wait = AGAIN;
            }
        }
        None
    }

    fn ask_page(&mut self) {
        let wait = self.page_wait;
        let (pod, connection) = (Arc::clone(&self.pod), Arc::clone(&self.connection));
        let Standing { epoch, position, .. } = self.standing;
        self.page = Some(Box::pin(async move {
            tokio::time::sleep(wait).await;
            pod.pages.next(&connection, epoch, position).await
        }));
    }

    fn queue_page(&mut self, page: Page) {
        if page.epoch != self.standing.epoch {
            self.pod.hub.enter(page.epoch);
            return self.resync(ResyncReason::Epoch, None);
        }
        self.page_wait = if page.entries.is_empty() { AGAIN } else { Duration::ZERO };
        for reach in &page.feeds {
            // What the api knows and the hub does not yet is missing here for everyone.
            self.pod.hub.announce_known(&reach.channel, reach.head, crate::feed::ANNOUNCED);
        }
        for entry in page.entries.into_iter().filter_map(entry_frame) {
            self.connection.queue.push_own(Frame::Entry(Arc::new(entry)));
        }
    }

    /// Tells the client that its positions do not continue. Delivery goes on at `heads`, or where the hub stands; the
    /// client loads a snapshot and resumes from there. While the hub does not know where it stands, nothing is delivered:
    /// positions of another count would hide what is new in this one.
    pub(crate) fn resync(&mut self, reason: ResyncReason, heads: Option<Positions>) {
        let epoch = self.pod.hub.epoch().unwrap_or(self.standing.epoch);
        let Some(positions) = heads.or_else(|| self.heads_of_hub()) else {
            self.rewind(&Start { epoch, positions: self.standing.position });
            self.starting_over = Some(reason);
            self.page = Some(Box::pin(async {
                tokio::time::sleep(HEADS_UNKNOWN).await;
                Err(UpstreamError::Unavailable(None))
            }));
            return;
        };
        self.rewind(&Start { epoch, positions });
        self.say(&answer::own_event("resync_required", &json!({ "reason": reason, "cursor": self.cursor() })));
    }

    /// The heads of the three feeds, if the hub knows them all.
    fn heads_of_hub(&self) -> Option<Positions> {
        let mut heads = Positions::default();
        for feed in Feed::ALL {
            heads.set(feed, self.pod.hub.head(&self.connection.channel(feed))?);
        }
        Some(heads)
    }

    /// The heads of the three feeds, as far as the hub knows them.
    pub(crate) fn heads(&self) -> Positions {
        let mut heads = Positions::default();
        for feed in Feed::ALL {
            let head = self.pod.hub.head(&self.connection.channel(feed)).unwrap_or_default();
            heads.set(feed, head.max(self.standing.position.get(feed)));
        }
        heads
    }

    /// The client was too slow for its rooms: it subscribes again with its last position.
    fn tell_rooms_dropped(&self) {
        let told = |room| {
            let data = json!({ "reason": ResyncReason::History, "room": room });
            Frame::Whole(WholeFrame::answer(&answer::own_event("resync_required", &data)))
        };
        self.connection.queue.tell_rooms_dropped(self.rooms.keys().map(told));
    }

    /// Asks anew whether the client may hear the rooms that the api judges, and see those whom it watches.
    fn ask_permits(&mut self) {
        self.permitted_at = clock::millis();
        self.ask_about_rooms();
        self.ask_about_people();
    }

    fn ask_about_rooms(&mut self) {
        let is_judged = |room: &&RoomName| {
            Namespace::of(&self.pod.settings.rooms, room).is_some_and(|namespace| namespace.join == Who::Participants)
        };
        let rooms: Vec<_> = self.rooms.keys().filter(is_judged).cloned().collect();
        if !rooms.is_empty() && self.permits.may_begin() {
            let (pod, caller) = (Arc::clone(&self.pod), (*self.caller).clone());
            self.permits.begin(async move { permits(&pod, &caller, rooms).await });
        }
    }

    fn ask_about_people(&mut self) {
        let Some(watching) = self.watching.as_mut().filter(|_| self.look.may_begin()) else { return };
        let (people, reads) = watching.begin_look();
        let (pod, caller) = (Arc::clone(&self.pod), (*self.caller).clone());
        self.look.begin(async move { look(&pod, &caller, people, reads).await });
    }

    /// Takes the client out of a room that it may no longer hear, and says so; or shows the others no more than they may see.
    fn take_permit(&mut self, room: &RoomName, permit: Result<Seen, ErrorCode>) {
        let Some(member) = self.rooms.get_mut(room) else { return };
        match (permit, member) {
            (Err(code), _) => {
                self.forget_room(room);
                self.say(&answer::own_event("unsubscribed", &json!({ "room": room, "reason": code })));
            }
            (Ok(seen), Some(member)) => {
                member.seen = seen;
                if seen == Seen::No {
                    self.shown.leave(&self.pod.signs, &self.connection.user, room);
                }
            }
            (Ok(_), None) => {}
        }
    }

    /// Watches those whom the client may see, and no longer those whom it may not.
    fn take_watched(&mut self, begun: Vec<Watched>, hidden: &[UserId]) {
        let watching = self.watching.get_or_insert_default();
        hidden.iter().for_each(|user| watching.hide(user));
        let stirred = begun.iter().filter(|watched| watched.show()).count();
        begun.into_iter().for_each(|watched| watching.take(watched));
        if stirred > 0 {
            self.miss_people();
        }
        self.forget_watching_nobody();
    }

    /// Tells what was missed of those whom the client watches, and ends watching those whom it may not see any more.
    fn take_look(&mut self, look: Look) {
        let told = self.watching.as_mut().map(|watching| watching.end_look(look)).unwrap_or_default();
        told.iter().for_each(|status| self.tell(status));
        self.forget_watching_nobody();
    }

    fn tell(&self, status: &Status) {
        let Envelope { content, committed_at, .. } = status.told();
        if let Content::Sign(body) = content {
            self.connection.queue.push_own(Frame::Whole(WholeFrame::live(&body, None, committed_at)));
        }
    }

    fn miss_people(&mut self) {
        if let Some(watching) = &mut self.watching {
            watching.missed = true;
        }
    }

    fn misses_people(&self) -> bool {
        self.watching.as_ref().is_some_and(|watching| watching.missed)
    }

    /// Most connections watch nobody, and have no memory of it.
    pub(crate) fn forget_watching_nobody(&mut self) {
        self.watching.take_if(|watching| watching.count() == 0);
    }

    /// Answers with an error. Too many of them end the connection.
    pub(crate) fn complain(&mut self, reference: Option<&str>, code: ErrorCode, detail: &str) -> Option<Ended> {
        self.say(&answer::error(reference, code, detail, None));
        self.allowance.count_error().then_some(Ended::ByUs(CloseCode::Abusive))
    }

    /// Forgets a room and everything kept for it.
    pub(crate) fn forget_room(&mut self, room: &RoomName) {
        self.shown.leave(&self.pod.signs, &self.connection.user, room);
        self.pod.hub.leave(room, &self.connection);
        if self.rooms.remove(room).is_some() {
            METRICS.subscriptions.decrement(1);
        }
    }

    async fn say_goodbye(&mut self, code: CloseCode) {
        // The answer that says why is among what waits.
        self.load(usize::MAX);
        self.transport.load_close(code);
        let written = poll_fn(|cx| self.transport.poll_write(cx)).await;
        while written.is_ok() && !matches!(poll_fn(|cx| self.transport.poll_read(cx)).await, Incoming::Closed) {}
    }

    fn leave(&mut self) {
        self.leave_rooms();
        self.watching = None;
        self.pod.hub.detach(&self.connection);
        self.pod.attendance.look(&self.connection.user);
    }
}

/// What a client hears whose token was revoked.
pub(crate) fn revoked() -> String {
    let why = TokenError::Revoked;
    answer::error(None, why.code(), &why.to_string(), None)
}

/// Polls work that may be under way, and forgets it when it is done.
fn poll_work<T>(work: &mut Work<T>, cx: &mut Context<'_>) -> Option<T> {
    match work.as_mut()?.as_mut().poll(cx) {
        Poll::Ready(done) => {
            *work = None;
            Some(done)
        }
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use shared::access::{AccessSettings, Verifier};
    use shared::broker::memory::MemoryBroker;
    use shared::config::Secret;
    use shared::history::memory::MemoryHistory;
    use shared::ids::{Epoch, Seq};
    use shared::limits::memory::MemoryLimiter;
    use shared::limits::{LimitSettings, Limits};
    use shared::presence::memory::MemoryPresence;
    use shared::tickets::memory::MemoryTickets;

    use super::*;
    use crate::config::GatewaySettings;
    use crate::stand_ins::{guest, silent_api};

    /// A client that says nothing and takes everything.
    struct Silent;

    impl Transport for Silent {
        fn load(&mut self, _: WholeFrame) {}
        fn load_entry(&mut self, _: &[u8], _: &[u8], _: &Cursor) {}
        fn load_ping(&mut self) {}
        fn load_close(&mut self, _: CloseCode) {}
        fn loaded(&self) -> usize {
            0
        }
        fn poll_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_read(&mut self, _: &mut Context<'_>) -> Poll<Incoming> {
            Poll::Pending
        }
    }

    fn pod() -> Arc<Pod> {
        let settings = GatewaySettings::default();
        let access = AccessSettings { jwt_secret: Some(Secret::new("secret")), ..AccessSettings::default() };
        let place = MemoryBroker::default();
        let upstream = silent_api();
        let broker = place.link().broker;
        let (interest, _) = crate::interest::interest(Arc::clone(&broker));
        let presence = Arc::new(MemoryPresence::new(place.clone()));
        let (hub, history) = (Arc::new(crate::hub::Hub::new(Arc::default())), Arc::new(MemoryHistory::new(place)));
        Arc::new(Pod {
            pages: crate::catch_up::Pages::new(upstream.clone(), Arc::clone(&hub), history.clone()),
            wheel: crate::wheel::Wheel::new(&settings),
            turnstile: Arc::new(crate::turnstile::Turnstile::new(settings.max_arrivals)),
            settings,
            node: "node".into(),
            verifier: Verifier::new(&access).expect("a key"),
            hub,
            interest,
            signs: crate::signs::signs(Arc::clone(&broker)).0,
            attendance: crate::attendance::attendance(presence.clone(), Arc::new(crate::hub::Hub::new(Arc::default())))
                .0,
            presence,
            limits: Limits::new(LimitSettings::none(), Arc::new(MemoryLimiter::default())),
            tickets: Arc::new(MemoryTickets::default()),
            broker,
            history,
            questions: crate::questions::questions(upstream.clone()).0,
            watches: crate::questions::questions(upstream.clone()).0,
            upstream,
            acks: Arc::default(),
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        })
    }

    fn all(seq: u64) -> Positions {
        Positions { user: Seq(seq), role: Seq(seq), all: Seq(seq) }
    }

    async fn session_at(pod: &Arc<Pod>, epoch: Epoch, positions: Positions) -> Session<Silent> {
        let caller = guest("alice");
        let (connection, feeds) = crate::arrival::attach(pod, &caller, Door::Main).await;
        pod.hub.enter(epoch);
        Session::new(Arc::clone(pod), connection, caller, None, &Start { epoch, positions }, feeds, Silent)
    }

    fn announce(session: &Session<Silent>, head: u64) {
        let epoch = session.pod.hub.epoch().expect("an epoch");
        for feed in Feed::ALL {
            session.pod.hub.announce(&session.connection.channel(feed), epoch, Seq(head), Duration::ZERO);
        }
    }

    #[tokio::test]
    async fn who_starts_over_stands_where_the_new_count_stands() {
        let pod = pod();
        let mut session = session_at(&pod, Epoch(1), all(500)).await;
        announce(&session, 500);
        pod.hub.enter(Epoch(2));
        session.pinged = Some(all(500));
        // Before the api was asked, nobody knows where.
        session.resync(ResyncReason::Epoch, None);
        assert!(session.connection.queue.pop().is_none(), "nothing is told yet");
        announce(&session, 3);
        session.catch_up();
        assert_eq!((session.standing.epoch, session.standing.position), (Epoch(2), all(3)));
        assert_eq!(session.pinged, None, "a pong acknowledges nothing of the old count");
        assert!(session.connection.queue.pop().is_some(), "now it is told");
        pod.hub.fall_back(&session.connection.channel(Feed::User), Seq(1));
        session.resync(ResyncReason::Ahead, None);
        assert_eq!(session.standing.position, Positions { user: Seq(1), ..all(3) });
    }
}
