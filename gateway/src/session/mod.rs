//! The session: one connection's own task, from its welcome to its end.
//!
//! On the line it takes frames from the send queue, writes what is this connection's own behind a shared body, and hands them
//! to the transport. It alone knows what the client was told. Its loop is here; what goes out, how it catches up, and what it hears of
//! rooms and people are in the files beside.

mod resume;
mod rooms_and_people;
mod writing;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::json;
use shared::access::{Caller, TokenError};
use shared::cursor::{Cursor, Positions};
use shared::ids::{DeviceId, RoomName};
use shared::presence::Availability;
use shared::protocol::{CloseCode, ErrorCode, answer};
use shared::upstream::{Acknowledgement, Differences, ResyncReason};

use crate::allowance::{Allowance, Grant};
use crate::clock;
use crate::connection::{Connection, Door};
use crate::errand::{Arrived, Done, Start, Then};
use crate::frame::{Frame, WholeFrame};
use crate::inquiry::Inquiry;
use crate::interest::Held;
use crate::metrics::METRICS;
use crate::pod::Pod;
use crate::rooms::{Member, RoomPermits};
use crate::send_queue::{Glance, Live, Orders};
use crate::signs::Shown;
use crate::standing::Standing;
use crate::transport::{self, Incoming, Transport};
use crate::turnstile::Passing;
use crate::upstream::UpstreamError;
use crate::watching::{Look, Watching};

/// While so many bytes of answers wait for the client, nothing more is read from it.
const READ_NO_MORE: usize = 128 * 1024;
/// How long a permission for a room is believed without asking again.
const PERMITTED: Duration = Duration::from_secs(300);

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
                Turn::Page(page) => {
                    self.take_page(page);
                    None
                }
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
                Turn::CatchUp => {
                    self.catch_up();
                    None
                }
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
        // The answer that says why is among what waits.
        self.load(usize::MAX);
        transport::close(&mut self.transport, code).await;
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
                let complaint = "binary frames are not understood, send text";
                return self.take_idle_frame().or_else(|| self.complain(None, ErrorCode::Unsupported, complaint));
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

    /// Answers with an error. Too many of them end the connection.
    pub(crate) fn complain(&mut self, reference: Option<&str>, code: ErrorCode, detail: &str) -> Option<Ended> {
        self.say(&answer::error(reference, code, detail, None));
        self.allowance.count_error().then_some(Ended::ByUs(CloseCode::Abusive))
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
