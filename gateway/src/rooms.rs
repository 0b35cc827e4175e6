//! What clients do in rooms: join, and publish.
//!
//! The room's namespace decides who may; what it cannot decide is asked of the api.

use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;
use shared::access::{Caller, TokenError, Verifier};
use shared::channel::Channel;
use shared::envelope::{Content, Envelope};
use shared::event::{Heading, LiveBody, RoomPosition};
use shared::history::Recovered;
use shared::ids::{RoomName, TraceId};
use shared::limits::Deed;
use shared::protocol::{ErrorCode, answer};
use shared::time::Timestamp;
use shared::upstream::{Question, ResyncReason, Verdict};

use crate::connection::Connection;
use crate::errand::{Done, Then};
use crate::frame::{Frame, WholeFrame};
use crate::inquiry::Patience;
use crate::interest::Held;
use crate::pod::Pod;
use crate::policy::{Namespace, Ruling, Who};
use crate::room::{JoinError, Top};

/// How often a history is read again for one join before the client is asked to try later.
const JOIN_ATTEMPTS: usize = 5;

/// Says `data` in a room, if its namespace lets the caller.
pub async fn publish(
    pod: Arc<Pod>,
    caller: Box<Caller>,
    namespace: Namespace,
    room: RoomName,
    data: Box<RawValue>,
    reference: Option<String>,
) -> Done {
    let reference = reference.as_deref();
    if let Err(error) = pod.limits.check(Deed::Publish, &caller).await {
        return Done::too_often(reference, &error);
    }
    let permitted = match namespace.publish {
        // Only members come this far.
        Who::Invited => Ok(Seen::Yes),
        rule => permit(&pod, &caller, rule, &room, None).await,
    };
    if let Err(code) = permitted {
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

/// Whether the others see signs of somebody who is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// They do.
    Yes,
    /// They do not.
    No,
}

/// A room that the connection is in.
pub struct Member {
    /// The room is heard as long as this is held.
    _held: Held,
    /// Whether the others see signs of it there.
    pub seen: Seen,
}

/// Whether `caller` may do in `room` what `rule` guards.
async fn permit(
    pod: &Pod,
    caller: &Caller,
    rule: Who,
    room: &RoomName,
    token: Option<&str>,
) -> Result<Seen, ErrorCode> {
    match rule.rule(caller) {
        Ruling::Allowed => Ok(Seen::Yes),
        Ruling::Denied => Err(ErrorCode::Forbidden),
        Ruling::NeedsInvitation => is_invited(&pod.verifier, caller, room, token).await.map(|()| Seen::Yes),
        Ruling::AskApi => {
            let question = Question::Join { caller: caller.clone(), room: room.clone() };
            match pod.questions.ask(question).await {
                Some(Verdict::Allowed) => Ok(Seen::Yes),
                Some(Verdict::AllowedUnseen) => Ok(Seen::No),
                Some(Verdict::Denied { code }) => Err(code),
                Some(_) => Err(ErrorCode::Internal),
                None => Err(ErrorCode::Unavailable),
            }
        }
    }
}

/// Whether `caller` may still hear each of `rooms`, and is seen there. While no api pod answers, nothing is taken away: it is
/// asked again.
pub async fn permits(pod: &Pod, caller: &Caller, rooms: Vec<RoomName>) -> RoomPermits {
    let asked = rooms.into_iter().map(|room| async move {
        let mut patience = Patience::default();
        loop {
            match permit(pod, caller, Who::Participants, &room, None).await {
                Err(ErrorCode::Unavailable) => patience.wait().await,
                permit => return (room, permit),
            }
        }
    });
    futures_util::future::join_all(asked).await
}

/// Rooms, and what may be done there now.
pub type RoomPermits = Vec<(RoomName, Result<Seen, ErrorCode>)>;

async fn is_invited(
    verifier: &Verifier,
    caller: &Caller,
    room: &RoomName,
    token: Option<&str>,
) -> Result<(), ErrorCode> {
    let invitation = verifier.verify_invitation(token.ok_or(ErrorCode::Forbidden)?).await;
    let invitation = invitation.map_err(TokenError::code)?;
    if invitation == (caller.user.clone(), room.clone()) { Ok(()) } else { Err(ErrorCode::Forbidden) }
}

/// A join under way: heard, permitted, recovered, live — in this order, so that nothing falls between.
pub struct Join {
    /// The gateway.
    pub pod: Arc<Pod>,
    /// Who joins, registered in the room already.
    pub connection: Arc<Connection>,
    /// Whose it is.
    pub caller: Box<Caller>,
    /// The room's rules.
    pub namespace: Namespace,
    /// The room.
    pub room: RoomName,
    /// Where the client stood.
    pub since: Option<RoomPosition>,
    /// Its invitation to a private room.
    pub token: Option<String>,
    /// The command's `ref`.
    pub reference: Option<String>,
}

impl Join {
    /// Joins, or says why not.
    pub async fn run(self) -> Done {
        // Before anything else: subscribing costs the broker something.
        if let Err(error) = self.pod.limits.check(Deed::Subscribe, &self.caller).await {
            let Done { answer, .. } = Done::too_often(self.reference.as_deref(), &error);
            return Done { answer, then: Then::NotJoined(self.room) };
        }
        match self.try_join().await {
            // The answer was queued before the history, under the hub's lock.
            Ok(held) => Done { answer: String::new(), then: Then::Joined(self.room, held) },
            Err((code, detail)) => Done {
                answer: answer::error(self.reference.as_deref(), code, detail, None),
                then: Then::NotJoined(self.room),
            },
        }
    }

    async fn try_join(&self) -> Result<Member, (ErrorCode, &'static str)> {
        let Self { pod, caller, namespace, room, token, .. } = self;
        let held = pod.interest.acquire([Channel::Room(room.clone())]).await;
        if !held.confirmed {
            return Err((ErrorCode::Unavailable, "the rooms cannot be reached"));
        }
        let seen = permit(pod, caller, namespace.join, room, token.as_deref())
            .await
            .map_err(|code| (code, "you may not join this room"))?;
        for _ in 0..JOIN_ATTEMPTS {
            let recovered =
                self.recover().await.map_err(|_| (ErrorCode::Unavailable, "the rooms cannot be reached"))?;
            let answers = self.answers(&recovered);
            let kept = namespace.history.map(|_| &recovered);
            match self.pod.hub.complete_join(room, &self.connection, answers, kept) {
                Ok(()) => return Ok(Member { _held: held, seen }),
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

    /// What is said before what the room remembers: where it stands, and where it goes on if it does not remember all.
    fn answers(&self, recovered: &Recovered) -> Vec<Frame> {
        let position = recovered.top.as_ref().map(ToString::to_string);
        let data = json!({ "room": self.room, "position": position, "recovered": recovered.complete });
        let ack = WholeFrame::answer(&answer::ack(self.reference.as_deref(), &data));
        let goes_on = recovered.first().map_or(Top::Empty, Top::before);
        let forgotten = (!recovered.complete).then(|| forgotten(&self.room, &goes_on));
        [ack].into_iter().chain(forgotten).map(Frame::Whole).collect()
    }
}

/// What is said of a room that does not remember all that lies before the place where it goes on.
pub(crate) fn forgotten(room: &RoomName, goes_on: &Top) -> WholeFrame {
    let position = goes_on.position().map(ToString::to_string);
    let data = json!({ "reason": ResyncReason::History, "room": room, "position": position });
    WholeFrame::answer(&answer::own_event("resync_required", &data))
}
