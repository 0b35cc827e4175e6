//! What a client wants, done.
//!
//! One command at a time: the next is read when the last is answered, so that answers come in order and a client cannot have
//! more under way than one. What takes time runs as [`Done`]-to-be beside the frames, which go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use serde_json::value::RawValue;
use shared::access::{Caller, TokenError, Verifier};
use shared::channel::Channel;
use shared::envelope::{Content, Envelope};
use shared::event::{Heading, LiveBody, RoomPosition};
use shared::history::Recovered;
use shared::ids::{RoomName, TraceId};
use shared::protocol::{Action, CloseCode, Command, ErrorCode, Since, answer};
use shared::time::Timestamp;
use shared::upstream::{Arrival, Question, Verdict};

use crate::clock;
use crate::connection::{Connection, Door};
use crate::frame::{Frame, WholeFrame};
use crate::interest::Held;
use crate::metrics::METRICS;
use crate::pod::Pod;
use crate::policy::{Namespace, Ruling, Who};
use crate::room::JoinError;
use crate::session::{Ended, Session, Start};
use crate::transport::Transport;
use crate::welcome::{attach, place_in_feeds};

/// How often a history is read again for one join before the client is asked to try later.
const JOIN_ATTEMPTS: usize = 5;

/// A command that took time, done.
pub struct Done {
    /// What the client hears; empty when it was queued already.
    pub answer: String,
    /// What becomes of the session.
    pub then: Then,
}

/// What becomes of the session once a command is done.
pub enum Then {
    /// Nothing.
    Nothing,
    /// The connection is in a room, which is heard from now on.
    Joined(RoomName, Held),
    /// The connection is not in the room after all.
    NotJoined(RoomName),
    /// Delivery goes on from somewhere else.
    Continue(Start),
    /// A newer token counts.
    Renew(Box<Caller>),
    /// The user has another role and follows other feeds.
    Become(Box<Arrived>),
}

/// A connection that is attached, heard and placed in its feeds.
pub struct Arrived {
    /// The connection, with the role it has now.
    pub connection: Arc<Connection>,
    /// Who it is.
    pub caller: Caller,
    /// Its feeds, heard.
    pub feeds: Held,
    /// Where delivery starts.
    pub start: Start,
}

impl Done {
    fn say(answer: String) -> Self {
        Self { answer, then: Then::Nothing }
    }

    fn fail(reference: Option<&str>, code: ErrorCode, detail: &str) -> Self {
        Self::say(answer::error(reference, code, detail, None))
    }
}

impl<T: Transport> Session<T> {
    /// Takes a text frame and does what it says, or answers what is wrong with it.
    pub(crate) fn take_command(&mut self, text: &str) -> Option<Ended> {
        self.connection.active_at.store(clock::millis(), Ordering::Relaxed);
        match self.allowance.take() {
            Grant::Granted => {}
            Grant::TooFast(wait) => {
                self.say(&answer::error(None, ErrorCode::RateLimited, "too many commands", Some(wait)));
                return None;
            }
            Grant::Abusive => return Some(Ended::ByUs(CloseCode::Abusive)),
        }
        match Command::parse(text) {
            Ok(command) => self.obey_command(command),
            Err(error) => self.complain(error.reference.as_deref(), error.code, &error.detail),
        }
    }

    fn obey_command(&mut self, Command { reference, action }: Command) -> Option<Ended> {
        METRICS.commands(name_of(&action)).increment(1);
        let is_allowed = match action {
            Action::Ping | Action::Auth { .. } | Action::Ack { .. } | Action::Resume { .. } => true,
            _ => self.connection.door == Door::Main,
        };
        if !is_allowed {
            return self.complain(reference.as_deref(), ErrorCode::Forbidden, "this door only shows notifications");
        }
        match action {
            Action::Ping => {
                let mut head = self.cursor();
                head.positions = self.heads();
                self.say(&answer::pong(reference.as_deref(), &head));
            }
            Action::Ack { cursor } => {
                if cursor.owner != self.connection.user || cursor.role != self.connection.role {
                    return self.complain(reference.as_deref(), ErrorCode::BadRequest, "the cursor is not yours");
                }
                if cursor.epoch == self.epoch {
                    self.acknowledges = true;
                    self.acknowledge(cursor.positions.min(&self.position));
                }
            }
            Action::Auth { token } => {
                self.work = self.start(renew(Arc::clone(&self.pod), Arc::clone(&self.connection), token, reference))
            }
            Action::Resume { since } => return self.resume(since, reference),
            Action::Subscribe { room, since, token } => return self.subscribe(room, since, token, reference),
            Action::Unsubscribe { room } => {
                self.forget_room(&room);
                self.say(&answer::ack(reference.as_deref(), &json!({ "room": room })));
            }
            Action::Publish { room, data } => return self.publish(room, data, reference),
            Action::Send { data } => {
                self.work = self.start(send(Arc::clone(&self.pod), self.caller.clone(), data, reference))
            }
        }
        None
    }

    #[expect(clippy::unused_self, reason = "reads as what it does to the session")]
    fn start(
        &self,
        work: impl Future<Output = Done> + Send + 'static,
    ) -> Option<std::pin::Pin<Box<dyn Future<Output = Done> + Send>>> {
        Some(Box::pin(work))
    }

    fn resume(&mut self, since: Since, reference: Option<String>) -> Option<Ended> {
        let since = match since {
            Since::Now => "now".to_owned(),
            Since::Cursor(cursor) => cursor.to_string(),
        };
        let arrival = Arrival { caller: (*self.caller).clone(), device_id: self.device_id.clone(), since: Some(since) };
        self.work = self.start(resume(Arc::clone(&self.pod), arrival, reference));
        None
    }

    fn subscribe(
        &mut self,
        room: RoomName,
        since: Option<RoomPosition>,
        token: Option<String>,
        reference: Option<String>,
    ) -> Option<Ended> {
        let Some(namespace) = Namespace::of(&self.pod.settings.rooms, &room).cloned() else {
            return self.complain(reference.as_deref(), ErrorCode::Forbidden, "there is no such room for you");
        };
        // Subscribing again asks for what was missed: a fresh join with its position.
        self.forget_room(&room);
        if self.rooms.len() >= self.pod.settings.max_subscriptions {
            let detail = format!("at most {} rooms at once", self.pod.settings.max_subscriptions);
            return self.complain(reference.as_deref(), ErrorCode::LimitExceeded, &detail);
        }
        // Registered before anything is asked: from here on what is heard is buffered.
        self.pod.hub.join(&room, &self.connection);
        self.rooms.insert(room.clone(), None);
        METRICS.subscriptions.increment(1);
        let join = Join {
            pod: Arc::clone(&self.pod),
            connection: Arc::clone(&self.connection),
            caller: self.caller.clone(),
            namespace,
            room,
            since,
            token,
            reference,
        };
        self.work = self.start(join.run());
        None
    }

    fn publish(&mut self, room: RoomName, data: Box<RawValue>, reference: Option<String>) -> Option<Ended> {
        let Some(namespace) = Namespace::of(&self.pod.settings.rooms, &room).cloned() else {
            return self.complain(reference.as_deref(), ErrorCode::Forbidden, "there is no such room for you");
        };
        self.work = self.start(publish(Arc::clone(&self.pod), self.caller.clone(), namespace, room, data, reference));
        None
    }
}

const fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Subscribe { .. } => "subscribe",
        Action::Unsubscribe { .. } => "unsubscribe",
        Action::Publish { .. } | Action::Send { .. } => "message",
        Action::Ping => "ping",
        Action::Auth { .. } => "auth",
        Action::Ack { .. } => "ack",
        Action::Resume { .. } => "resume",
    }
}

/// What the client is told about a token that does not count.
#[must_use]
pub const fn token_error(error: &TokenError) -> (ErrorCode, &'static str) {
    match error {
        TokenError::Invalid => (ErrorCode::Unauthorized, "the token is not valid here"),
        TokenError::Expired => (ErrorCode::TokenExpired, "the token has expired"),
        TokenError::Unavailable => (ErrorCode::Unavailable, "the keys to check the token cannot be had"),
    }
}

/// A newer token over the open socket. It must be the same user's.
async fn renew(pod: Arc<Pod>, connection: Arc<Connection>, token: String, reference: Option<String>) -> Done {
    let reference = reference.as_deref();
    match pod.verifier.verify(&token).await {
        Err(error) => {
            let (code, detail) = token_error(&error);
            Done::fail(reference, code, detail)
        }
        Ok(caller) if caller.user != connection.user => {
            Done::fail(reference, ErrorCode::Forbidden, "the token is another user's")
        }
        Ok(caller) if caller.role != connection.role => change_role(&pod, &connection, caller, reference).await,
        Ok(caller) => Done {
            answer: answer::ack(reference, &json!({ "expires_at": caller.expires_at })),
            then: Then::Renew(Box::new(caller)),
        },
    }
}

/// Another role follows other feeds: the connection arrives a second time, without leaving.
async fn change_role(pod: &Arc<Pod>, before: &Connection, caller: Caller, reference: Option<&str>) -> Done {
    let arrival = Arrival { caller: caller.clone(), device_id: None, since: Some("now".to_owned()) };
    let (connection, feeds) = attach(pod, &caller, before.door).await;
    let verdict = pod.questions.ask(Question::Arrive(arrival)).await;
    let placed = verdict.as_ref().and_then(|verdict| place_in_feeds(pod, &connection, verdict));
    let Some((start, ..)) = placed else {
        pod.hub.detach(&connection);
        return Done::fail(reference, ErrorCode::Unavailable, "no api pod answered in time");
    };
    pod.wheel.add(&connection);
    let answer = answer::ack(reference, &json!({ "expires_at": caller.expires_at }));
    Done { answer, then: Then::Become(Box::new(Arrived { connection, caller, feeds, start })) }
}

async fn resume(pod: Arc<Pod>, arrival: Arrival, reference: Option<String>) -> Done {
    let reference = reference.as_deref();
    match pod.questions.ask(Question::Arrive(arrival)).await {
        None => Done::fail(reference, ErrorCode::Unavailable, "no api pod answered in time"),
        Some(Verdict::Arrived { epoch, start, .. }) => {
            pod.hub.enter(epoch);
            let then = Then::Continue(Start { epoch, positions: start });
            Done { answer: answer::ack(reference, &json!({ "resumed": true })), then }
        }
        Some(Verdict::Resync { reason, .. }) => {
            let detail = format!("delivery cannot continue there: {}", json!(reason).as_str().unwrap_or_default());
            Done::fail(reference, ErrorCode::ResyncRequired, &detail)
        }
        Some(Verdict::Denied { code }) => Done::fail(reference, code, "not allowed"),
        Some(Verdict::Allowed) => Done::fail(reference, ErrorCode::Internal, "the api answered something else"),
    }
}

async fn send(pod: Arc<Pod>, caller: Box<Caller>, data: Box<RawValue>, reference: Option<String>) -> Done {
    let reference = reference.as_deref();
    match pod.upstream.send(&caller, TraceId::random(), &data).await {
        Ok(message) => Done::say(answer::ack(reference, &message)),
        Err(refusal) => Done::say(answer::error(reference, refusal.code, &refusal.detail, refusal.retry_after_ms)),
    }
}

async fn publish(
    pod: Arc<Pod>,
    caller: Box<Caller>,
    namespace: Namespace,
    room: RoomName,
    data: Box<RawValue>,
    reference: Option<String>,
) -> Done {
    let reference = reference.as_deref();
    if let Err(code) = permit(&pod, &caller, namespace.publish, &room, None).await {
        return Done::fail(reference, code, "you may not publish in this room");
    }
    let heading = Heading { kind: "message", id: uuid::Uuid::now_v7(), timestamp: Timestamp::now() };
    let Ok(body) = LiveBody::in_room(&heading, &room, &caller.user, &data) else {
        return Done::fail(reference, ErrorCode::BadRequest, "data cannot be an event");
    };
    let trace = TraceId::random();
    let published = match namespace.history {
        Some(keep) => pod.history.publish(&room, keep, trace, body).await.map(Some),
        None => {
            let content = Content::Live { body, position: None };
            let channel = Channel::Room(room.clone());
            let envelope = Envelope { channel, committed_at: heading.timestamp, trace, content };
            pod.broker.publish(&[envelope]).await.map(|()| None)
        }
    };
    match published {
        Ok(position) => {
            let position = position.as_ref().map(ToString::to_string);
            Done::say(answer::ack(reference, &json!({ "id": heading.id, "room": room, "position": position })))
        }
        Err(_) => Done::fail(reference, ErrorCode::Unavailable, "the rooms cannot be reached"),
    }
}

/// Whether `caller` may do in `room` what `rule` guards.
async fn permit(pod: &Pod, caller: &Caller, rule: Who, room: &RoomName, token: Option<&str>) -> Result<(), ErrorCode> {
    match rule.rule(caller) {
        Ruling::Allowed => Ok(()),
        Ruling::Denied => Err(ErrorCode::Forbidden),
        Ruling::NeedsInvitation => is_invited(&pod.verifier, caller, room, token).await,
        Ruling::AskApi => {
            let question = Question::Join { caller: caller.clone(), room: room.clone() };
            match pod.questions.ask(question).await {
                Some(Verdict::Allowed) => Ok(()),
                Some(Verdict::Denied { code }) => Err(code),
                Some(_) => Err(ErrorCode::Internal),
                None => Err(ErrorCode::Unavailable),
            }
        }
    }
}

async fn is_invited(
    verifier: &Verifier,
    caller: &Caller,
    room: &RoomName,
    token: Option<&str>,
) -> Result<(), ErrorCode> {
    let invitation = verifier.verify_invitation(token.ok_or(ErrorCode::Forbidden)?).await;
    let invitation = invitation.map_err(|error| token_error(&error).0)?;
    if invitation == (caller.user.clone(), room.clone()) { Ok(()) } else { Err(ErrorCode::Forbidden) }
}

/// A join under way: heard, permitted, recovered, live — in this order, so that nothing falls between.
struct Join {
    pod: Arc<Pod>,
    connection: Arc<Connection>,
    caller: Box<Caller>,
    namespace: Namespace,
    room: RoomName,
    since: Option<RoomPosition>,
    token: Option<String>,
    reference: Option<String>,
}

impl Join {
    async fn run(self) -> Done {
        match self.try_join().await {
            // The answer was queued before the history, under the hub's lock.
            Ok(held) => Done { answer: String::new(), then: Then::Joined(self.room, held) },
            Err((code, detail)) => Done {
                answer: answer::error(self.reference.as_deref(), code, detail, None),
                then: Then::NotJoined(self.room),
            },
        }
    }

    async fn try_join(&self) -> Result<Held, (ErrorCode, &'static str)> {
        let Self { pod, caller, namespace, room, token, .. } = self;
        let held = pod.interest.acquire(vec![Channel::Room(room.clone())]).await;
        if !held.confirmed {
            return Err((ErrorCode::Unavailable, "the rooms cannot be reached"));
        }
        permit(pod, caller, namespace.join, room, token.as_deref())
            .await
            .map_err(|code| (code, "you may not join this room"))?;
        for _ in 0..JOIN_ATTEMPTS {
            let recovered =
                self.recover().await.map_err(|_| (ErrorCode::Unavailable, "the rooms cannot be reached"))?;
            match self.pod.hub.complete_join(room, &self.connection, self.ack(&recovered), &recovered) {
                Ok(()) => {
                    self.tell_if_incomplete(&recovered);
                    return Ok(held);
                }
                Err(JoinError::Hole) => {}
                Err(JoinError::Gone) => break,
            }
        }
        Err((ErrorCode::Unavailable, "the room is too busy to join just now"))
    }

    async fn recover(&self) -> Result<Recovered, shared::broker::BrokerError> {
        match self.namespace.history {
            Some(_) => self.pod.history.read(&self.room, self.since.as_ref()).await,
            None => Ok(Recovered { top: None, envelopes: Vec::new(), complete: self.since.is_none() }),
        }
    }

    fn ack(&self, recovered: &Recovered) -> Frame {
        let position = recovered.top.as_ref().map(ToString::to_string);
        let data = json!({ "room": self.room, "position": position, "recovered": recovered.complete });
        Frame::Whole(WholeFrame::answer(&answer::ack(self.reference.as_deref(), &data)))
    }

    fn tell_if_incomplete(&self, recovered: &Recovered) {
        if !recovered.complete {
            let data = json!({ "reason": shared::upstream::ResyncReason::History, "room": self.room });
            let told = answer::own_event("resync_required", &data);
            self.connection.queue.push_own(Frame::Whole(WholeFrame::answer(&told)));
        }
    }
}

/// How many commands, and how many mistakes, a connection may still make.
#[derive(Debug)]
pub struct Allowance {
    per_second: u32,
    left: f32,
    counted_at: u64,
    errors: u16,
    refused: u16,
}

/// What the allowance says to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Do it.
    Granted,
    /// Not now; again in so many milliseconds.
    TooFast(u64),
    /// The client does not listen.
    Abusive,
}

/// Mistakes, and commands refused in a row, after which a connection is closed.
const TOLERATED: u16 = 200;

impl Allowance {
    /// So many commands a second over time, and twice that at once.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, left: 2.0 * per_second as f32, counted_at: clock::millis(), errors: 0, refused: 0 }
    }

    /// Takes one command from the allowance.
    pub fn take(&mut self) -> Grant {
        let now = clock::millis();
        let rate = self.per_second as f32 / 1_000.0;
        let earned = (now - self.counted_at) as f32 * rate;
        self.left = (self.left + earned).min(2.0 * self.per_second as f32);
        self.counted_at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            self.refused = 0;
            return Grant::Granted;
        }
        self.refused += 1;
        if self.refused > TOLERATED {
            return Grant::Abusive;
        }
        Grant::TooFast(((1.0 - self.left) / rate).ceil() as u64)
    }

    /// Counts a mistake. True when there were too many.
    pub const fn count_error(&mut self) -> bool {
        self.errors = self.errors.saturating_add(1);
        self.errors > TOLERATED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_too_fast_is_told_so_and_one_that_does_not_listen_is_cut() {
        let mut allowance = Allowance::new(1);
        assert_eq!((allowance.take(), allowance.take()), (Grant::Granted, Grant::Granted));
        assert!(matches!(allowance.take(), Grant::TooFast(wait) if (1..=1_000).contains(&wait)));
        assert!((0..=TOLERATED).any(|_| allowance.take() == Grant::Abusive));
    }
}
