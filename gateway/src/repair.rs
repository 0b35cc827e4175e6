//! The repairer: fetches what this gateway misses, once for all its clients, and hands it to the hub as if it had been heard.
//!
//! It asks for many feeds at once and goes before every connection that catches up. What it cannot fetch it notes again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::broker::BrokerError;
use shared::channel::Channel;
use shared::history::{History, Recovered};
use shared::ids::{RoomName, UserId};
use shared::presence::Presence;
use shared::sabotage;
use shared::upstream::{Differences, DifferencesAfter};
use tokio_util::sync::CancellationToken;

use crate::behind::{Behind, Work};
use crate::hub::Hub;
use crate::metrics::METRICS;
use crate::revocations::Revocations;
use crate::room::Top;
use crate::upstream::{Upstream, UpstreamError};

/// Feeds in one request.
const FEEDS: usize = 64;
/// Heads in one request; the api's limit.
const HEADS: usize = 1_000;
/// Bytes of bodies asked for at once.
const PAGE_BYTES: usize = 256 * 1024;
/// How long to wait before trying again what did not work.
const AGAIN: Duration = Duration::from_millis(500);

/// How long somebody of whom nothing is known any more is not said to be gone: gateways write anew whom they have.
const WRITTEN_ANEW: Duration = Duration::from_secs(10);

/// Fetches what is missing.
pub struct Repairer {
    /// Who knows what was delivered.
    pub hub: Arc<Hub>,
    /// What is missing.
    pub behind: Arc<Behind>,
    /// What was revoked.
    pub revocations: Arc<Revocations>,
    /// Who has it.
    pub upstream: Upstream,
    /// Who has it of rooms.
    pub history: Arc<dyn History>,
    /// Who knows who is here.
    pub presence: Arc<dyn Presence>,
    /// Of whom nothing was known any more, and since when.
    pub unknown: HashMap<UserId, Instant>,
}

impl Repairer {
    /// Repairs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let work = tokio::select! {
                () = stop.cancelled() => return,
                work = self.behind.next(FEEDS) => work,
            };
            let done = match &work {
                Work::Compare => self.compare().await,
                Work::Fetch(channels) => self.fetch(channels).await,
            };
            let Err(error) = done else { continue };
            tracing::debug!(%error, "not repaired yet");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
            match work {
                Work::Compare => self.behind.compare_everything(),
                Work::Fetch(channels) => {
                    channels.into_iter().for_each(|channel| self.behind.note(channel, Instant::now()));
                }
            }
        }
    }

    /// Reads what was revoked, and asks for the heads of every feed followed here; what they show to be missing is noted.
    async fn compare(&self) -> Result<(), UpstreamError> {
        self.revocations.read(&self.upstream).await?;
        if sabotage::goes_wrong("skips_comparing") {
            return Ok(());
        }
        for channels in self.hub.feeds().chunks(HEADS) {
            // First the epoch: a head read after it is of that epoch or a newer one, never of an older one.
            let before = self.hub.epoch();
            let delivered: HashMap<_, _> =
                channels.iter().map(|channel| (channel.clone(), self.hub.head(channel))).collect();
            let heads = self.upstream.heads(channels.to_vec()).await?;
            self.hub.enter(heads.epoch);
            let same_epoch = before == Some(heads.epoch);
            for (channel, head) in heads.heads {
                // What was delivered before the question was asked must be in the answer.
                match delivered.get(&channel).copied().flatten() {
                    Some(delivered) if same_epoch && head < delivered => self.hub.fall_back(&channel, head),
                    _ => self.hub.announce(&channel, heads.epoch, head, Duration::ZERO),
                }
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, channels: &[Channel]) -> Result<(), UpstreamError> {
        // Before all else: what has no leave to be said any more must not be heard.
        if channels.contains(&Channel::Fleet) {
            self.revocations.read(&self.upstream).await?;
        }
        self.fetch_feeds(channels).await?;
        let rooms = self.fetch_rooms(channels).await;
        let people = self.fetch_people(channels).await;
        rooms.and(people)
    }

    /// Reads what rooms remember behind what was delivered here. One that cannot be read holds up no other.
    async fn fetch_rooms(&self, channels: &[Channel]) -> Result<(), UpstreamError> {
        let mut all = Ok(());
        for channel in channels {
            if let Channel::Room(room) = channel
                && let Err(error) = self.fetch_room(room).await
            {
                all = Err(UpstreamError::Unavailable(Some(error.into())));
            }
        }
        all
    }

    async fn fetch_room(&self, room: &RoomName) -> Result<(), BrokerError> {
        let from = self.hub.room_top(room);
        let recovered = match &from {
            Top::Unknown => {
                self.hub.doubt_joining(room);
                return Ok(());
            }
            Top::At(top) => self.history.read(room, Some(top)).await?,
            Top::Empty => {
                let recovered = self.history.read(room, None).await?;
                let begins = recovered.first().is_none_or(|first| Top::before(first) == Top::Empty);
                Recovered { complete: begins, ..recovered }
            }
        };
        METRICS.repaired.increment(recovered.envelopes.len() as u64);
        self.hub.repair_room(room, &from, recovered);
        Ok(())
    }

    /// Says what those are now of whom changes may have been lost, if it is something else than was told. A store that lost
    /// everything is asked once more after those whom it does not know, before they are said to be gone.
    async fn fetch_people(&mut self, channels: &[Channel]) -> Result<(), UpstreamError> {
        let user_of = |channel: &Channel| match channel {
            Channel::Presence(user) => Some(user.clone()),
            _ => None,
        };
        let people: Vec<_> = channels.iter().filter_map(user_of).collect();
        let read = self.presence.read(&people).await;
        for status in read.map_err(|error| UpstreamError::Unavailable(Some(error.into())))? {
            if !self.hub.take_read(&status) {
                self.unknown.remove(&status.user_id);
                continue;
            }
            if !status.is_known() {
                let told_at = *self.unknown.entry(status.user_id.clone()).or_insert_with(Instant::now) + WRITTEN_ANEW;
                if Instant::now() < told_at {
                    self.behind.note(Channel::Presence(status.user_id), told_at);
                    continue;
                }
            }
            self.unknown.remove(&status.user_id);
            METRICS.presence_repaired.increment(1);
            self.hub.hear(status.told());
        }
        Ok(())
    }

    async fn fetch_feeds(&self, channels: &[Channel]) -> Result<(), UpstreamError> {
        let missing = |channel: &Channel| Some((channel.clone(), self.hub.missing_after(channel)?));
        let after: Vec<_> = channels.iter().filter_map(missing).collect();
        let Some(epoch) = self.hub.epoch().filter(|_| !after.is_empty()) else { return Ok(()) };
        match self.upstream.differences(&DifferencesAfter { epoch, after, page_bytes: PAGE_BYTES }).await? {
            Differences::Resync { epoch: today } if today != epoch => {
                self.hub.enter(today);
            }
            // Numbers that cannot be continued in the same epoch: a head fell back. The comparison tells.
            Differences::Resync { .. } => self.behind.compare_everything(),
            Differences::Page(page) => {
                METRICS.repaired.increment(page.entries.len() as u64);
                // What is said to exist and did not come is asked for again, but not at once.
                let again = Instant::now() + if page.entries.is_empty() { AGAIN } else { Duration::ZERO };
                page.entries.into_iter().for_each(|entry| self.hub.hear(entry));
                for reach in page.feeds {
                    if self.hub.missing_after(&reach.channel).is_some() {
                        self.behind.note(reach.channel, again);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use shared::broker::memory::MemoryBroker;
    use shared::envelope::{Content, Envelope};
    use shared::event::{LiveBody, RoomPosition};
    use shared::history::Retention;
    use shared::ids::{Epoch, Seq, TraceId};
    use shared::presence::memory::MemoryPresence;
    use shared::time::Timestamp;

    use super::*;
    use crate::connection::Connection;
    use crate::frame::Frame;
    use crate::stand_ins::{connection, repairer};

    /// Rooms that remember what `number` says was said last in them, but for one that cannot be read.
    struct Remembers {
        number: u64,
        unreadable: RoomName,
    }

    #[async_trait]
    impl History for Remembers {
        async fn publish(
            &self,
            _: &RoomName,
            _: Retention,
            _: TraceId,
            _: LiveBody,
        ) -> Result<RoomPosition, BrokerError> {
            unreachable!("nobody publishes")
        }

        async fn window(&self, _: &Channel, _: Epoch, _: Seq) -> Result<Vec<Envelope>, BrokerError> {
            unreachable!("nobody catches up")
        }

        async fn read(&self, room: &RoomName, _: Option<&RoomPosition>) -> Result<Recovered, BrokerError> {
            if *room == self.unreadable {
                return Err(BrokerError::Overloaded);
            }
            Ok(Recovered { top: Some(at(self.number)), envelopes: vec![said(room, self.number)], complete: true })
        }
    }

    fn at(offset: u64) -> RoomPosition {
        RoomPosition { epoch: Epoch(1), offset: Seq(offset) }
    }

    fn said(room: &RoomName, number: u64) -> Envelope {
        let body = LiveBody::from_trusted(Bytes::from(format!("{{\"n\":{number}")));
        let content = Content::Live { body, position: Some(at(number)) };
        Envelope { channel: Channel::Room(room.clone()), committed_at: Timestamp::now(), trace: TraceId(1), content }
    }

    /// Somebody in a room in which the first was said.
    fn member(hub: &Hub, room: &RoomName) -> Arc<Connection> {
        let connection = connection("alice");
        assert!(hub.join(room, &connection));
        let nothing = Recovered { top: None, envelopes: Vec::new(), complete: true };
        hub.complete_join(room, &connection, Vec::new(), Some(&nothing)).expect("nothing was missed");
        hub.hear(said(room, 1));
        assert_eq!(shown(&connection), [Some(1)]);
        connection
    }

    /// The numbers of what a connection was shown, and none for what is no event.
    fn shown(connection: &Connection) -> Vec<Option<u64>> {
        let number = |frame| match frame {
            Frame::Whole(frame) => serde_json::from_slice::<serde_json::Value>(frame.text()).ok()?["n"].as_u64(),
            Frame::Entry(_) => None,
        };
        std::iter::from_fn(|| connection.queue.pop()).map(number).collect()
    }

    #[tokio::test]
    async fn a_room_that_cannot_be_read_holds_up_no_other() {
        let behind: Arc<Behind> = Arc::default();
        let hub = Arc::new(Hub::new(Arc::clone(&behind)));
        let [one, two, three] = ["one", "two", "three"].map(|room| room.parse::<RoomName>().expect("a room"));
        let [first, second, third] = [&one, &two, &three].map(|room| member(&hub, room));
        let history = Arc::new(Remembers { number: 2, unreadable: two.clone() });
        let presence = Arc::new(MemoryPresence::new(MemoryBroker::default()));
        let repairer = repairer(&hub, &behind, history, presence);
        assert!(repairer.fetch_rooms(&[one, two, three].map(Channel::Room)).await.is_err());
        assert_eq!([first, second, third].map(|member| shown(&member)), [vec![Some(2)], vec![], vec![Some(2)]]);
    }

    #[tokio::test]
    async fn what_was_read_before_a_room_went_on_sets_it_back_nowhere() {
        let behind: Arc<Behind> = Arc::default();
        let hub = Arc::new(Hub::new(Arc::clone(&behind)));
        let room: RoomName = "tour_1".parse().expect("a room");
        let alice = member(&hub, &room);
        let from = hub.room_top(&room);
        hub.hear(said(&room, 2));
        assert_eq!(shown(&alice), [Some(2)]);
        // Redis was empty when it was asked, and was told the second before it answered.
        hub.repair_room(&room, &from, Recovered { top: None, envelopes: Vec::new(), complete: false });
        assert_eq!((shown(&alice), hub.room_top(&room)), (vec![], Top::At(at(2))));
        let channel = Channel::Room(room.clone());
        let noted = tokio::time::timeout(Duration::from_secs(5), behind.next(FEEDS)).await;
        assert_eq!(noted.expect("something is noted"), Work::Fetch(vec![channel]), "it is read again");
        // Had it not gone on, that it begins anew would have been told.
        hub.repair_room(&room, &Top::At(at(2)), Recovered { top: None, envelopes: Vec::new(), complete: false });
        assert_eq!((shown(&alice), hub.room_top(&room)), (vec![None], Top::Empty));
    }
}
