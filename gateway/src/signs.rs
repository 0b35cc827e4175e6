//! Signs: what somebody can be seen doing in a room, while they do it.
//!
//! A sign says until when it stands, so that one whose end is lost ends by itself. It is shown anew only when it changes or is
//! about to end, however often a client repeats it. It is never stored, waits for nobody, and is the first to be dropped.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use shared::broker::Broker;
use shared::channel::Channel;
use shared::envelope::{Content, Envelope};
use shared::event::{Heading, LiveBody};
use shared::ids::{RoomName, TraceId, UserId};
use shared::protocol::Sign;
use shared::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::metrics::METRICS;

/// Signs that may wait for the broker; one that finds no room is dropped.
const WAITING: usize = 4_096;
/// Signs published at once.
const BATCH: usize = 256;

/// Shows signs to the fleet. Cheap to clone.
#[derive(Clone)]
pub struct Signs {
    queue: mpsc::Sender<Envelope>,
}

/// The task behind [`Signs`].
pub struct Signaller {
    broker: Arc<dyn Broker>,
    queue: mpsc::Receiver<Envelope>,
}

/// The two ends.
#[must_use]
pub fn signs(broker: Arc<dyn Broker>) -> (Signs, Signaller) {
    let (sender, queue) = mpsc::channel(WAITING);
    (Signs { queue: sender }, Signaller { broker, queue })
}

impl Signs {
    fn offer(&self, envelope: Envelope) {
        if self.queue.try_send(envelope).is_err() {
            METRICS.signs_dropped.increment(1);
        }
    }
}

impl Signaller {
    /// Publishes until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                count = self.queue.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            if let Err(error) = self.broker.publish(&batch).await {
                METRICS.signs_dropped.increment(batch.len() as u64);
                tracing::debug!(%error, signs = batch.len(), "signs were not shown");
            }
            batch.clear();
        }
    }
}

/// How long a sign stands. Its client repeats it more often than that.
const fn lifetime(sign: Sign) -> Duration {
    match sign {
        Sign::Typing | Sign::Recording => Duration::from_secs(6),
        Sign::Viewing => Duration::from_secs(60),
    }
}

/// The event's type, and what `kind` says of it.
const fn name(sign: Sign) -> (&'static str, Option<&'static str>) {
    match sign {
        Sign::Typing => ("typing", Some("text")),
        Sign::Recording => ("typing", Some("recording")),
        Sign::Viewing => ("viewing", None),
    }
}

/// What one connection is showing.
#[derive(Default)]
pub struct Shown(Vec<Standing>);

struct Standing {
    room: RoomName,
    sign: Sign,
    /// When it ends, in milliseconds of the gateway's clock.
    ends_at: u64,
}

impl Shown {
    /// Shows a sign in `room`, or takes it back.
    pub fn show(&mut self, signs: &Signs, user: &UserId, room: &RoomName, sign: Sign, active: bool) {
        let now = clock::millis();
        let is_of = |standing: &Standing| standing.room == *room && name(standing.sign).0 == name(sign).0;
        let before = self.0.iter().position(is_of).map(|place| self.0.swap_remove(place));
        let before = before.filter(|standing| standing.ends_at > now);
        if !active {
            if before.is_some() {
                signs.offer(envelope(user, room, sign, false));
            }
            return;
        }
        let lifetime = lifetime(sign).as_millis() as u64;
        let ends_at = match &before {
            Some(before) if before.sign == sign && before.ends_at > now + lifetime / 2 => before.ends_at,
            _ => {
                signs.offer(envelope(user, room, sign, true));
                now + lifetime
            }
        };
        self.0.push(Standing { room: room.clone(), sign, ends_at });
    }

    /// Takes back what stands in `room`, which the connection leaves.
    pub fn leave(&mut self, signs: &Signs, user: &UserId, room: &RoomName) {
        let now = clock::millis();
        self.0.retain(|standing| {
            let stays = standing.room != *room;
            if !stays && standing.ends_at > now {
                signs.offer(envelope(user, room, standing.sign, false));
            }
            stays
        });
    }
}

fn envelope(user: &UserId, room: &RoomName, sign: Sign, active: bool) -> Envelope {
    #[derive(Serialize)]
    struct Data<'a> {
        user_id: &'a UserId,
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<&'static str>,
        active: bool,
        expires_at: Timestamp,
    }
    let ((event, kind), now) = (name(sign), Timestamp::now());
    let lasts = if active { lifetime(sign) } else { Duration::ZERO };
    let expires_at = Timestamp::from_micros(now.as_micros() + lasts.as_micros() as i64);
    let conversation_id = room.as_str().strip_prefix("conversation:");
    let heading = Heading { kind: event, id: uuid::Uuid::now_v7(), timestamp: now };
    let body =
        LiveBody::in_room(&heading, room, user, &Data { user_id: user, conversation_id, kind, active, expires_at });
    Envelope {
        channel: Channel::Room(room.clone()),
        committed_at: now,
        trace: TraceId::random(),
        content: Content::Sign(body.expect("a sign is always JSON")),
    }
}

#[cfg(test)]
mod tests {
    use shared::broker::memory::MemoryBroker;

    use super::*;

    fn said(signaller: &mut Signaller) -> Vec<serde_json::Value> {
        let mut said = Vec::new();
        while let Ok(envelope) = signaller.queue.try_recv() {
            let text = [envelope.body().as_ref(), b"}"].concat();
            said.push(serde_json::from_slice(&text).expect("JSON"));
        }
        said
    }

    #[test]
    fn a_sign_is_shown_when_it_changes_and_not_when_it_is_repeated() {
        let (signs, mut signaller) = signs(MemoryBroker::default().link().broker);
        let user: UserId = "alice".parse().expect("an id");
        let (room, other) = ("conversation:7".parse().expect("a room"), "tour_1".parse().expect("a room"));
        let mut shown = Shown::default();
        for _ in 0..50 {
            shown.show(&signs, &user, &room, Sign::Typing, true);
        }
        shown.show(&signs, &user, &room, Sign::Recording, true);
        shown.show(&signs, &user, &room, Sign::Viewing, true);
        shown.show(&signs, &user, &other, Sign::Viewing, true);
        shown.show(&signs, &user, &other, Sign::Typing, false);
        let events = said(&mut signaller);
        let told: Vec<_> =
            events.iter().map(|event| (event["type"].as_str(), event["data"]["kind"].as_str())).collect();
        let (typing, viewing) = (Some("typing"), (Some("viewing"), None));
        assert_eq!(told, [(typing, Some("text")), (typing, Some("recording")), viewing, viewing]);
        assert_eq!((&events[0]["sender_id"], &events[0]["data"]["conversation_id"]), (&"alice".into(), &"7".into()));
        shown.leave(&signs, &user, &room);
        let ended = said(&mut signaller);
        assert_eq!(ended.len(), 2);
        assert!(ended.iter().all(|event| event["data"]["active"] == false && event["room"] == "conversation:7"));
        shown.leave(&signs, &user, &room);
        assert!(said(&mut signaller).is_empty());
    }
}
