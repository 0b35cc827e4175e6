//! What the client hears beside its feeds: the rooms it has joined, and whom it watches; what of both it may hear is asked again and
//! again.

use std::sync::Arc;

use serde_json::json;
use shared::envelope::{Content, Envelope};
use shared::ids::{RoomName, UserId};
use shared::presence::Status;
use shared::protocol::{ErrorCode, answer};
use shared::upstream::ResyncReason;

use super::Session;
use crate::clock;
use crate::frame::{Frame, WholeFrame};
use crate::metrics::METRICS;
use crate::policy::{Namespace, Who};
use crate::rooms::{Seen, permits};
use crate::transport::Transport;
use crate::watching::{Look, Watched, look};

impl<T: Transport> Session<T> {
    pub(super) fn leave_rooms(&mut self) -> Vec<RoomName> {
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        rooms.iter().for_each(|room| self.forget_room(room));
        rooms
    }

    /// The client was too slow for its rooms: it subscribes again with its last position.
    pub(super) fn tell_rooms_dropped(&self) {
        let told = |room| {
            let data = json!({ "reason": ResyncReason::History, "room": room });
            Frame::Whole(WholeFrame::answer(&answer::own_event("resync_required", &data)))
        };
        self.connection.queue.tell_rooms_dropped(self.rooms.keys().map(told));
    }

    /// Asks anew whether the client may hear the rooms that the api judges, and see those whom it watches.
    pub(super) fn ask_permits(&mut self) {
        self.permitted_at = clock::millis();
        self.ask_about_rooms();
        self.ask_about_people();
    }

    pub(super) fn ask_about_rooms(&mut self) {
        let is_judged = |room: &&RoomName| {
            Namespace::of(&self.pod.settings.rooms, room).is_some_and(|namespace| namespace.join == Who::Participants)
        };
        let rooms: Vec<_> = self.rooms.keys().filter(is_judged).cloned().collect();
        if !rooms.is_empty() && self.permits.may_begin() {
            let (pod, caller) = (Arc::clone(&self.pod), (*self.caller).clone());
            self.permits.begin(async move { permits(&pod, &caller, rooms).await });
        }
    }

    pub(super) fn ask_about_people(&mut self) {
        let Some(watching) = self.watching.as_mut().filter(|_| self.look.may_begin()) else { return };
        let (people, reads) = watching.begin_look();
        let (pod, caller) = (Arc::clone(&self.pod), (*self.caller).clone());
        self.look.begin(async move { look(&pod, &caller, people, reads).await });
    }

    /// Takes the client out of a room that it may no longer hear, and says so; or shows the others no more than they may see.
    pub(super) fn take_permit(&mut self, room: &RoomName, permit: Result<Seen, ErrorCode>) {
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
    pub(super) fn take_watched(&mut self, begun: Vec<Watched>, hidden: &[UserId]) {
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
    pub(super) fn take_look(&mut self, look: Look) {
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

    pub(super) fn miss_people(&mut self) {
        if let Some(watching) = &mut self.watching {
            watching.missed = true;
        }
    }

    pub(super) fn misses_people(&self) -> bool {
        self.watching.as_ref().is_some_and(|watching| watching.missed)
    }

    /// Most connections watch nobody, and have no memory of it.
    pub(crate) fn forget_watching_nobody(&mut self) {
        self.watching.take_if(|watching| watching.count() == 0);
    }

    /// Forgets a room and everything kept for it.
    pub(crate) fn forget_room(&mut self, room: &RoomName) {
        self.shown.leave(&self.pod.signs, &self.connection.user, room);
        self.pod.hub.leave(room, &self.connection);
        if self.rooms.remove(room).is_some() {
            METRICS.subscriptions.decrement(1);
        }
    }
}
