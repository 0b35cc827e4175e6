//! What a client wants, done.
//!
//! One command at a time: the next is read when the last is answered, so that answers come in order and a client cannot have
//! more under way than one. What takes time is an errand beside the frames, which go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use serde_json::value::RawValue;
use shared::access::Caller;
use shared::event::RoomPosition;
use shared::ids::{DeviceId, RoomName, TraceId, UserId};
use shared::presence::Availability;
use shared::protocol::{Action, CloseCode, Command, ErrorCode, Sign, Since, answer};
use shared::upstream::{Arrival, MOST_WATCHED, Question, Verdict};

use crate::allowance::Grant;
use crate::arrival::{attach, place_in_feeds};
use crate::clock;
use crate::connection::{Connection, Door};
use crate::errand::{Arrived, Done, Start, Then};
use crate::metrics::METRICS;
use crate::pod::Pod;
use crate::policy::{Namespace, Who};
use crate::rooms::{Join, Seen, publish};
use crate::session::{Ended, Session};
use crate::transport::Transport;
use crate::upstream::Refusal;
use crate::watching::Watch;

/// Bytes of the longest command, whatever frames may have: what is published in a room is kept for it as it came.
const LONGEST: usize = 1 << 20;

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
        if text.len() > LONGEST {
            return self.complain(None, ErrorCode::TooLarge, "a command has 1 MiB at most");
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
                if cursor.epoch == self.standing.epoch {
                    self.acknowledges = true;
                    self.acknowledge(cursor.positions.min(&self.standing.position));
                }
            }
            Action::Auth { token } => {
                self.work = self.start(renew(
                    Arc::clone(&self.pod),
                    Arc::clone(&self.connection),
                    self.device_id.clone(),
                    token,
                    reference,
                ))
            }
            Action::Resume { since } => return self.resume(since, reference),
            Action::Subscribe { room, since, token } => return self.subscribe(room, since, token, reference),
            Action::Unsubscribe { room } => {
                self.forget_room(&room);
                self.say(&answer::ack(reference.as_deref(), &json!({ "room": room })));
            }
            Action::Show { room, sign, active } => return self.show(&room, sign, active, reference.as_deref()),
            Action::Presence { watch, unwatch, state } => {
                return self.mind_presence(watch, &unwatch, state, reference);
            }
            Action::Publish { room, data } => return self.publish(room, data, reference),
            Action::Send { data } => {
                self.work = self.start(send(Arc::clone(&self.pod), self.caller.clone(), data, reference))
            }
            Action::Read { data } => {
                self.work = self.start(read(Arc::clone(&self.pod), self.caller.clone(), data, reference))
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

    /// Shows the others what the client is doing. Only in a room that it is in: whether it may was asked when it joined.
    fn show(&mut self, room: &RoomName, sign: Sign, active: bool, reference: Option<&str>) -> Option<Ended> {
        let Some(Some(member)) = self.rooms.get(room) else {
            return self.complain(reference, ErrorCode::Forbidden, "subscribe to the room first");
        };
        if member.seen == Seen::Yes {
            self.shown.show(&self.pod.signs, &self.connection.user, room, sign, active);
        }
        self.say(&answer::ack(reference, &json!({ "room": room })));
        None
    }

    /// Takes what the client says of itself, and whom it wants to watch.
    fn mind_presence(
        &mut self,
        mut people: Vec<UserId>,
        unwatch: &[UserId],
        state: Option<Availability>,
        reference: Option<String>,
    ) -> Option<Ended> {
        if let Some(watching) = &mut self.watching {
            unwatch.iter().for_each(|user| watching.forget(user));
        }
        self.forget_watching_nobody();
        if let Some(state) = state {
            self.connection.choose(state);
            self.pod.attendance.look(&self.connection.user);
        }
        let mut seen = HashSet::new();
        people.retain(|user| seen.insert(user.clone()));
        if people.is_empty() {
            self.say(&answer::ack(reference.as_deref(), &json!({ "presence": [] })));
            return None;
        }
        let watching = self.watching.get_or_insert_default();
        if watching.count() + watching.count_new(&people) > MOST_WATCHED {
            let detail = format!("at most {MOST_WATCHED} people are watched at once");
            self.forget_watching_nobody();
            return self.complain(reference.as_deref(), ErrorCode::LimitExceeded, &detail);
        }
        let known = people.iter().filter(|user| watching.people.contains_key(*user)).cloned().collect();
        let watch = Watch {
            pod: Arc::clone(&self.pod),
            connection: Arc::clone(&self.connection),
            caller: self.caller.clone(),
            people,
            known,
            reference,
        };
        self.work = self.start(watch.run());
        None
    }

    fn publish(&mut self, room: RoomName, data: Box<RawValue>, reference: Option<String>) -> Option<Ended> {
        let Some(namespace) = Namespace::of(&self.pod.settings.rooms, &room).cloned() else {
            return self.complain(reference.as_deref(), ErrorCode::Forbidden, "there is no such room for you");
        };
        // An invitation is shown on joining: whoever is in has shown it.
        let is_in = self.rooms.get(&room).is_some_and(Option::is_some);
        if namespace.publish == Who::Invited && !is_in {
            return self.complain(
                reference.as_deref(),
                ErrorCode::Forbidden,
                "join the room with your invitation first",
            );
        }
        self.work = self.start(publish(Arc::clone(&self.pod), self.caller.clone(), namespace, room, data, reference));
        None
    }
}

const fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Subscribe { .. } => "subscribe",
        Action::Unsubscribe { .. } => "unsubscribe",
        Action::Publish { .. } | Action::Send { .. } => "message",
        Action::Read { .. } => "read",
        Action::Show { sign: Sign::Viewing, .. } => "viewing",
        Action::Show { .. } => "typing",
        Action::Presence { .. } => "presence",
        Action::Ping => "ping",
        Action::Auth { .. } => "auth",
        Action::Ack { .. } => "ack",
        Action::Resume { .. } => "resume",
    }
}

/// A newer token over the open socket. It must be the same user's.
async fn renew(
    pod: Arc<Pod>,
    connection: Arc<Connection>,
    device_id: Option<DeviceId>,
    token: String,
    reference: Option<String>,
) -> Done {
    let reference = reference.as_deref();
    match pod.verifier.verify(&token).await {
        Err(error) => Done::fail(reference, error.code(), &error.to_string()),
        Ok(caller) if caller.user != connection.user => {
            Done::fail(reference, ErrorCode::Forbidden, "the token is another user's")
        }
        Ok(caller) if caller.role != connection.role => {
            change_role(&pod, &connection, caller, device_id, reference).await
        }
        Ok(caller) => Done {
            answer: answer::ack(reference, &json!({ "expires_at": caller.expires_at })),
            then: Then::Renew(Box::new(caller)),
        },
    }
}

/// Another role follows other feeds: the connection arrives a second time, without leaving.
async fn change_role(
    pod: &Arc<Pod>,
    before: &Connection,
    caller: Caller,
    device_id: Option<DeviceId>,
    reference: Option<&str>,
) -> Done {
    let arrival = Arrival { caller: caller.clone(), device_id, since: Some("now".to_owned()) };
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
        Some(Verdict::Allowed | Verdict::AllowedUnseen | Verdict::Visible { .. }) => {
            Done::fail(reference, ErrorCode::Internal, "the api answered something else")
        }
    }
}

async fn send(pod: Arc<Pod>, caller: Box<Caller>, data: Box<RawValue>, reference: Option<String>) -> Done {
    answered(pod.upstream.send(&caller, TraceId::random(), &data).await, reference.as_deref())
}

async fn read(pod: Arc<Pod>, caller: Box<Caller>, data: Box<RawValue>, reference: Option<String>) -> Done {
    answered(pod.upstream.read(&caller, TraceId::random(), &data).await, reference.as_deref())
}

/// Hands on what the api said.
fn answered(answer: Result<Box<RawValue>, Refusal>, reference: Option<&str>) -> Done {
    match answer {
        Ok(data) => Done::say(answer::ack(reference, &data)),
        Err(refusal) => Done::say(answer::error(reference, refusal.code, &refusal.detail, refusal.retry_after_ms)),
    }
}
