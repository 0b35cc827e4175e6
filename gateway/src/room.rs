//! One room at this gateway: who is in it, who is just joining, and where it stands.
//!
//! Joining and reading history meet without a hole: a member who joins is buffered for from the moment it is registered, and
//! goes live when what the history answered and what was buffered are contiguous. Pure logic; the hub holds it under a lock.

use std::collections::HashMap;
use std::sync::Arc;

use shared::envelope::Content;
use shared::event::RoomPosition;
use shared::history::Recovered;
use shared::ids::Seq;
use shared::sabotage;

use crate::connection::Connection;
use crate::frame::{Frame, WholeFrame};
use crate::metrics::METRICS;

/// Events that are buffered for one who joins; beyond that the history is read again.
const BUFFERED: usize = 256;

/// A room with local members.
#[derive(Default)]
pub struct Room {
    members: HashMap<u64, Member>,
    top: Top,
}

/// Up to where a room was delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Top {
    /// Nothing was heard and no history read, or the room keeps none.
    #[default]
    Unknown,
    /// It was empty: its first event comes next.
    Empty,
    /// Up to this event.
    At(RoomPosition),
}

enum Member {
    /// `shown` is how far its history reached, while that is ahead of what was heard here.
    Live { connection: Arc<Connection>, shown: Option<RoomPosition> },
    Joining {
        connection: Arc<Connection>,
        buffer: Vec<(Option<RoomPosition>, WholeFrame)>,
        /// Whether something that should be in the buffer is not.
        has_hole: bool,
    },
}

/// Why a join was not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// History and buffer do not meet: read the history again.
    #[error("the history does not reach what was heard")]
    Hole,
    /// The member left or was removed meanwhile.
    #[error("the member is no longer joining")]
    Gone,
}

impl Room {
    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Up to where it was delivered.
    #[must_use]
    pub const fn top(&self) -> &Top {
        &self.top
    }

    /// Goes on behind what its history does not remember: before `first`, the first of what it has that was not delivered, or else where
    /// it ends. `told` says so to whoever has missed something.
    pub fn restart(
        &mut self,
        first: Option<&RoomPosition>,
        end: Option<&RoomPosition>,
        told: impl Fn(&Top) -> WholeFrame,
    ) {
        self.top = first.map_or_else(|| Top::of(end), Top::before);
        let told = told(&self.top);
        for member in self.members.values_mut() {
            let Member::Live { connection, shown } = member else { continue };
            let misses_nothing = first.zip(shown.as_ref()).is_some_and(|(first, shown)| continues(Some(shown), first));
            if !misses_nothing && connection.queue.push_event(Frame::Whole(told.clone())) {
                METRICS.overflows.increment(1);
            }
        }
        self.doubt_joining();
    }

    /// Something may be missing in what was buffered for those who join: their history is read again.
    pub fn doubt_joining(&mut self) {
        for member in self.members.values_mut() {
            if let Member::Joining { buffer, has_hole, .. } = member {
                buffer.clear();
                *has_hole = true;
            }
        }
    }

    /// Whether an event with this position has its turn: one without always has, one with must follow the last or begin anew.
    ///
    /// A repeat is no hole, but has no turn either: [`Room::offer`] drops it.
    #[must_use]
    pub fn takes(&self, position: Option<&RoomPosition>) -> bool {
        match (position, &self.top) {
            (Some(position), Top::At(top)) => continues(Some(top), position),
            (Some(position), Top::Empty) => continues(None, position),
            (None, _) | (_, Top::Unknown) => true,
        }
    }

    /// Offers an event to every member.
    pub fn offer(&mut self, frame: &WholeFrame, position: Option<&RoomPosition>) {
        if let Some(position) = position {
            if covers(self.top.position(), Some(position)) {
                return;
            }
            self.top = Top::At(position.clone());
        }
        for member in self.members.values_mut() {
            match member {
                Member::Live { shown, .. } if covers(shown.as_ref(), position) => {}
                Member::Live { connection, shown } => {
                    // What follows is ahead of its history for good.
                    if position.is_some() {
                        *shown = None;
                    }
                    if connection.queue.push_event(Frame::Whole(frame.clone())) {
                        METRICS.overflows.increment(1);
                    }
                }
                Member::Joining { .. } if sabotage::goes_wrong("forgets_buffering") => {}
                Member::Joining { buffer, .. } if buffer.len() < BUFFERED => {
                    buffer.push((position.cloned(), frame.clone()));
                }
                Member::Joining { buffer, has_hole, .. } => {
                    buffer.clear();
                    *has_hole = true;
                }
            }
        }
    }

    /// Offers a passing event to every member who is live and keeps up.
    pub fn offer_sign(&self, frame: &WholeFrame) {
        for member in self.members.values() {
            if let Member::Live { connection, .. } = member
                && !connection.queue.push_sign(Frame::Whole(frame.clone()))
            {
                METRICS.signs_dropped.increment(1);
            }
        }
    }

    /// Registers a member and starts buffering for it. False if it is in already.
    pub fn join(&mut self, connection: &Arc<Connection>) -> bool {
        if self.members.contains_key(&connection.key) {
            return false;
        }
        let joining = Member::Joining { connection: Arc::clone(connection), buffer: Vec::new(), has_hole: false };
        self.members.insert(connection.key, joining);
        true
    }

    /// Forgets a member. Answers whether it was in.
    pub fn leave(&mut self, key: u64) -> bool {
        self.members.remove(&key).is_some()
    }

    /// Queues `answers`, what the room remembers, if it keeps history, and what was buffered behind it; the member is live then.
    ///
    /// # Errors
    ///
    /// [`JoinError::Hole`] when they do not meet; the buffer goes on.
    pub fn complete_join(
        &mut self,
        connection: &Connection,
        answers: Vec<Frame>,
        recovered: Option<&Recovered>,
    ) -> Result<(), JoinError> {
        let Some(Member::Joining { connection, buffer, has_hole }) = self.members.get_mut(&connection.key) else {
            return Err(JoinError::Gone);
        };
        if std::mem::take(has_hole) {
            buffer.clear();
            return Err(JoinError::Hole);
        }
        let top = recovered.and_then(|recovered| recovered.top.as_ref());
        let first = buffer.iter().find_map(|(position, _)| position.as_ref());
        if first.is_some_and(|first| !continues(top, first)) {
            return Err(JoinError::Hole);
        }
        answers.into_iter().for_each(|answer| connection.queue.push_own(answer));
        for envelope in recovered.iter().flat_map(|recovered| &recovered.envelopes) {
            if let Content::Live { body, position } = &envelope.content {
                let frame = WholeFrame::live(body, position.as_ref(), envelope.committed_at);
                connection.queue.push_own(Frame::Whole(frame));
            }
        }
        for (_, frame) in buffer.drain(..).filter(|(position, _)| !covers(top, position.as_ref())) {
            connection.queue.push_own(Frame::Whole(frame));
        }
        if let (Top::Unknown, Some(recovered)) = (&self.top, recovered) {
            self.top = Top::of(recovered.top.as_ref());
        }
        let connection = Arc::clone(connection);
        self.members.insert(connection.key, Member::Live { connection, shown: top.cloned() });
        Ok(())
    }
}

impl Top {
    /// At the end of a history.
    fn of(end: Option<&RoomPosition>) -> Self {
        end.cloned().map_or(Self::Empty, Self::At)
    }

    /// Where the event with this position comes next.
    pub fn before(first: &RoomPosition) -> Self {
        match first.offset.0 {
            0 | 1 => Self::Empty,
            offset => Self::At(RoomPosition { epoch: first.epoch, offset: Seq(offset - 1) }),
        }
    }

    /// The position of the last event, if there was one.
    #[must_use]
    pub const fn position(&self) -> Option<&RoomPosition> {
        match self {
            Self::At(position) => Some(position),
            Self::Unknown | Self::Empty => None,
        }
    }
}

/// Whether everything up to `top` includes `position`.
#[must_use]
pub fn covers(top: Option<&RoomPosition>, position: Option<&RoomPosition>) -> bool {
    top.zip(position).is_some_and(|(top, position)| position.epoch == top.epoch && position.offset <= top.offset)
}

/// Whether nothing lies between a history that ends at `top` and the first event heard.
fn continues(top: Option<&RoomPosition>, first: &RoomPosition) -> bool {
    match top {
        Some(top) => first.epoch == top.epoch && first.offset <= top.offset.next(),
        None => first.offset.0 <= 1,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::channel::Channel;
    use shared::envelope::Envelope;
    use shared::event::LiveBody;
    use shared::ids::{Epoch, TraceId};
    use shared::time::Timestamp;

    use super::*;
    use crate::stand_ins::connection;

    fn at(offset: u64) -> RoomPosition {
        RoomPosition { epoch: Epoch(1), offset: Seq(offset) }
    }

    fn body(offset: u64) -> LiveBody {
        LiveBody::from_trusted(Bytes::from(format!("{{\"n\":{offset}")))
    }

    fn say(room: &mut Room, offset: u64) {
        let position = at(offset);
        if room.takes(Some(&position)) {
            room.offer(&WholeFrame::live(&body(offset), Some(&position), Timestamp::now()), Some(&position));
        }
    }

    fn remembered(offsets: std::ops::RangeInclusive<u64>) -> Recovered {
        let envelope = |offset| Envelope {
            channel: Channel::Room("r".parse().expect("a room")),
            committed_at: Timestamp::now(),
            trace: TraceId(1),
            content: Content::Live { body: body(offset), position: Some(at(offset)) },
        };
        Recovered { top: Some(at(*offsets.end())), envelopes: offsets.map(envelope).collect(), complete: true }
    }

    fn shown(connection: &Connection) -> Vec<u64> {
        std::iter::from_fn(|| connection.queue.pop())
            .filter_map(|frame| match frame {
                Frame::Whole(frame) => serde_json::from_slice::<serde_json::Value>(frame.text()).ok()?["n"].as_u64(),
                Frame::Entry(_) => None,
            })
            .collect()
    }

    #[test]
    fn history_and_what_came_meanwhile_meet_without_a_hole_or_a_repeat() {
        let (mut room, alice) = (Room::default(), connection("alice"));
        assert!(room.join(&alice));
        for offset in 3..=6 {
            say(&mut room, offset);
        }
        let ack = vec![Frame::Whole(WholeFrame::answer("{}"))];
        assert_eq!(room.complete_join(&alice, ack, Some(&remembered(1..=4))), Ok(()));
        say(&mut room, 7);
        assert_eq!(shown(&alice), vec![1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_history_that_ends_before_the_buffer_begins_is_read_again() {
        let (mut room, alice) = (Room::default(), connection("alice"));
        room.join(&alice);
        say(&mut room, 6);
        let ack = || vec![Frame::Whole(WholeFrame::answer("{}"))];
        assert_eq!(room.complete_join(&alice, ack(), Some(&remembered(1..=3))), Err(JoinError::Hole));
        assert_eq!(room.complete_join(&alice, ack(), Some(&remembered(1..=5))), Ok(()));
        assert_eq!(shown(&alice), vec![1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_history_that_is_ahead_of_what_was_heard_shows_nothing_twice() {
        let (mut room, alice, bob) = (Room::default(), connection("alice"), connection("alice"));
        let ack = || vec![Frame::Whole(WholeFrame::answer("{}"))];
        room.join(&alice);
        assert_eq!(room.complete_join(&alice, ack(), Some(&remembered(1..=3))), Ok(()));
        // What bob's history has of 4 and 5 is still on its way here.
        room.join(&bob);
        assert_eq!(room.complete_join(&bob, ack(), Some(&remembered(1..=5))), Ok(()));
        for offset in 4..=7 {
            say(&mut room, offset);
        }
        assert_eq!(shown(&alice), (1..=7).collect::<Vec<_>>());
        assert_eq!(shown(&bob), (1..=7).collect::<Vec<_>>());
    }

    #[test]
    fn a_hole_in_the_room_is_noticed_and_a_repeat_is_dropped() {
        let (mut room, alice) = (Room::default(), connection("alice"));
        room.join(&alice);
        let ack = vec![Frame::Whole(WholeFrame::answer("{}"))];
        assert_eq!(room.complete_join(&alice, ack, Some(&remembered(1..=1))), Ok(()));
        assert!(room.takes(Some(&at(2))));
        say(&mut room, 2);
        say(&mut room, 2);
        assert!(!room.takes(Some(&at(4))));
        assert!(!room.takes(Some(&RoomPosition { epoch: Epoch(2), offset: Seq(1) })));
        assert_eq!(shown(&alice), vec![1, 2]);
    }

    #[test]
    fn the_first_of_an_empty_room_is_missed_when_another_one_comes() {
        let (mut room, alice) = (Room::default(), connection("alice"));
        room.join(&alice);
        let nothing = Recovered { top: None, envelopes: Vec::new(), complete: true };
        let ack = vec![Frame::Whole(WholeFrame::answer("{}"))];
        assert_eq!(room.complete_join(&alice, ack, Some(&nothing)), Ok(()));
        assert_eq!(*room.top(), Top::Empty);
        assert!(!room.takes(Some(&at(2))), "the first is missing");
        assert!(room.takes(Some(&at(1))));
    }

    #[test]
    fn whoever_has_missed_what_is_forgotten_is_told_and_nobody_else() {
        let (mut room, alice, bob, cid) =
            (Room::default(), connection("alice"), connection("alice"), connection("alice"));
        let ack = || vec![Frame::Whole(WholeFrame::answer("{}"))];
        for (who, upto) in [(&alice, 1), (&bob, 7)] {
            room.join(who);
            assert_eq!(room.complete_join(who, ack(), Some(&remembered(1..=upto))), Ok(()));
            shown(who);
        }
        room.join(&cid);
        room.restart(Some(&at(6)), Some(&at(6)), |_| WholeFrame::answer(r#"{"n":0}"#));
        assert_eq!(*room.top(), Top::At(at(5)));
        assert_eq!(room.complete_join(&cid, ack(), Some(&remembered(1..=4))), Err(JoinError::Hole), "read it again");
        assert_eq!(room.complete_join(&cid, ack(), Some(&remembered(3..=6))), Ok(()));
        for offset in 6..=8 {
            say(&mut room, offset);
        }
        assert_eq!(shown(&alice), vec![0, 6, 7, 8]);
        assert_eq!(shown(&bob), vec![8]);
        assert_eq!(shown(&cid), vec![3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn what_is_remembered_of_another_life_of_a_room_is_not_passed_over() {
        let (mut room, alice) = (Room::default(), connection("alice"));
        room.join(&alice);
        let ack = vec![Frame::Whole(WholeFrame::answer("{}"))];
        assert_eq!(room.complete_join(&alice, ack, Some(&remembered(1..=9))), Ok(()));
        let anew = |offset| RoomPosition { epoch: Epoch(2), offset: Seq(offset) };
        room.restart(Some(&anew(1)), Some(&anew(3)), |_| WholeFrame::answer(r#"{"n":0}"#));
        assert!(room.takes(Some(&anew(1))));
        // Nothing but the end is known of what was set back.
        room.restart(None, Some(&at(7)), |_| WholeFrame::answer(r#"{"n":0}"#));
        assert!(room.takes(Some(&at(8))) && !room.takes(Some(&anew(1))));
    }
}
