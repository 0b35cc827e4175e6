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
