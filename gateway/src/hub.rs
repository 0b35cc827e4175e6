//! The hub: channel → connections.
//!
//! On the line it stands between the pump, which hands it what the broker said, and the send queues. It puts each feed in
//! order, encodes once, and offers the frame to every connection that is live. It never waits: what is missing is noted in
//! [`Behind`], and someone else fetches it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};
use shared::channel::Channel;
use shared::cursor::{Feed, Positions};
use shared::envelope::{Content, Envelope};
use shared::event::{LiveBody, RoomPosition};
use shared::history::{Recovered, position};
use shared::ids::{Epoch, RoomName, Seq, UserId};
use shared::presence::{Availability, Status};
use shared::protocol::CloseCode;
use shared::sabotage;
use shared::time::Timestamp;
use shared::upstream::ResyncReason;

use crate::behind::Behind;
use crate::connection::Connection;
use crate::feed::{FollowedFeed, Heard};
use crate::frame::{EntryFrame, Frame, WholeFrame};
use crate::metrics::METRICS;
use crate::room::{JoinError, Room, Top, covers};
use crate::rooms::forgotten;

/// Locks are spread over this many parts, so that connecting does not wait for delivering.
pub const SHARDS: usize = 64;

/// Channel → connections, for one gateway.
pub struct Hub {
    shards: Box<[Mutex<Shard>]>,
    hasher: std::hash::RandomState,
    epoch: RwLock<Option<Epoch>>,
    behind: Arc<Behind>,
}

#[derive(Default)]
struct Shard {
    feeds: HashMap<Channel, LocalFeed>,
    rooms: HashMap<RoomName, Room>,
    watched: HashMap<UserId, Watched>,
}

/// Somebody who is watched here.
#[derive(Default)]
struct Watched {
    /// What was told of them last, and its version.
    told: Option<(u64, Availability)>,
    watchers: HashMap<u64, Watcher>,
}

/// A connection that watches somebody.
struct Watcher {
    connection: Arc<Connection>,
    /// Whether it is told; before, it is only noted that something happened.
    is_shown: bool,
    missed: bool,
}

#[derive(Default)]
struct LocalFeed {
    order: FollowedFeed,
    connections: HashMap<u64, Arc<Connection>>,
}

impl Hub {
    /// An empty hub that notes in `behind` what has to be fetched.
    #[must_use]
    pub fn new(behind: Arc<Behind>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: std::hash::RandomState::new(),
            epoch: RwLock::default(),
            behind,
        }
    }

    /// Takes what the broker said, or what a repair brought.
    pub fn hear(&self, envelope: Envelope) {
        let Envelope { channel, committed_at, trace, content } = envelope;
        match (content, channel) {
            (Content::Entry(entry), channel) => {
                let Some(feed) = feed_of(&channel) else { return };
                if self.epoch().is_some_and(|epoch| epoch != entry.epoch) {
                    // Late or early: only the api says which numbering is today's.
                    self.behind.compare_everything();
                    return;
                }
                let frame = Arc::new(EntryFrame { feed, entry, committed_at, trace });
                self.deliver_entry(&channel, frame);
            }
            (Content::Live { body, position }, Channel::Room(room)) => {
                self.deliver_live(&room, &body, position.as_ref(), committed_at);
            }
            (Content::Sign(body), Channel::Room(room)) => {
                if let Some(local) = self.room_shard(&room).rooms.get(&room) {
                    local.offer_sign(&WholeFrame::live(&body, None, committed_at));
                }
            }
            (Content::Sign(body), Channel::Presence(user)) => {
                let frame = WholeFrame::live(&body, None, committed_at);
                if let Some(watched) = self.user_shard(&user).watched.get_mut(&user) {
                    if let Some(status) = Status::heard(&body).filter(|status| !watched.has_heard(status)) {
                        watched.told = Some((status.version, status.state));
                    }
                    watched.watchers.values_mut().for_each(|watcher| watcher.offer(&frame));
                }
            }
            (Content::Pods(watcher), Channel::Presence(user)) => {
                let watched = &mut self.user_shard(&user).watched;
                let watchers = watched.get_mut(&user).into_iter().flat_map(|watched| watched.watchers.values_mut());
                let concerns = |one: &Watcher| watcher.is_empty() || one.connection.user.as_str().as_bytes() == watcher;
                watchers.filter(|one| concerns(one)).for_each(Watcher::doubt);
            }
            (Content::Live { .. } | Content::Sign(_) | Content::Pods(_), _) => {}
        }
    }

    /// Registers a connection that watches somebody. It is not told anything yet.
    pub fn watch(&self, user: &UserId, connection: &Arc<Connection>) {
        let watcher = Watcher { connection: Arc::clone(connection), is_shown: false, missed: false };
        let mut shard = self.user_shard(user);
        shard.watched.entry(user.clone()).or_default().watchers.insert(connection.key, watcher);
    }

    /// Tells a connection what happens to somebody from now on. Answers whether something happened since it was registered.
    pub fn show(&self, user: &UserId, connection: &Connection) -> bool {
        let mut shard = self.user_shard(user);
        let watcher = shard.watched.get_mut(user).and_then(|watched| watched.watchers.get_mut(&connection.key));
        watcher.is_some_and(|watcher| {
            watcher.is_shown = true;
            watcher.missed
        })
    }

    /// Forgets a connection that watched somebody.
    pub fn unwatch(&self, user: &UserId, connection: &Connection) {
        let mut shard = self.user_shard(user);
        if let Some(watched) = shard.watched.get_mut(user) {
            watched.watchers.remove(&connection.key);
            if watched.watchers.is_empty() {
                shard.watched.remove(user);
            }
        }
    }

    /// Takes what was read of people to tell it to one who watches them. Of whom the others were told something else, it is
    /// fetched and told to all.
    pub fn compare_people(&self, read: &[Status]) {
        for status in read.iter().filter(|status| self.take_read(status)) {
            self.behind.note(Channel::Presence(status.user_id.clone()), Instant::now());
        }
    }

    /// Takes what was read of somebody, and answers whether those who watch them here were told something else before. If nobody
    /// was told anything, whoever has read it tells it.
    pub fn take_read(&self, status: &Status) -> bool {
        let mut shard = self.user_shard(&status.user_id);
        let Some(watched) = shard.watched.get_mut(&status.user_id) else { return false };
        let is_other = watched.told.is_some_and(|(_, state)| state != status.state);
        if !is_other && !watched.has_heard(status) {
            watched.told = Some((status.version, status.state));
        }
        is_other && !watched.has_heard(status)
    }

    /// Everybody who is watched here, in [`SHARDS`] parts.
    pub fn watched(&self) -> impl Iterator<Item = Vec<UserId>> {
        self.shards.iter().map(|shard| shard.lock().watched.keys().cloned().collect())
    }

    /// What somebody is here, over all their connections.
    #[must_use]
    pub fn availability(&self, user: &UserId) -> Availability {
        let channel = Channel::User(user.clone());
        let shard = self.shard(&channel);
        let connections = shard.feeds.get(&channel).map(|local| local.connections.values());
        let states = connections.into_iter().flatten().map(|connection| connection.availability());
        states.max().unwrap_or_default()
    }

    /// Has every connection of somebody look whether its token still counts.
    pub fn doubt_tokens(&self, user: &UserId) {
        let channel = Channel::User(user.clone());
        let shard = self.shard(&channel);
        let connections = shard.feeds.get(&channel).map(|local| local.connections.values());
        for connection in connections.into_iter().flatten() {
            connection.queue.order(|orders| orders.token_doubted = true);
        }
    }

    /// Everybody who has a connection here.
    #[must_use]
    pub fn people(&self) -> Vec<UserId> {
        let user_of = |channel: &Channel| match channel {
            Channel::User(user) => Some(user.clone()),
            _ => None,
        };
        self.shards.iter().flat_map(|shard| shard.lock().feeds.keys().filter_map(user_of).collect::<Vec<_>>()).collect()
    }

    /// The life of the numbering, once anything told it.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        *self.epoch.read()
    }

    /// Takes from the api which numbering is today's. When it is another one than before, every connection starts over, and
    /// the heads of all feeds are unknown until the api is asked.
    pub fn enter(&self, epoch: Epoch) {
        if *self.epoch.read() == Some(epoch) {
            return;
        }
        let before = self.epoch.write().replace(epoch);
        if before.is_some_and(|before| before != epoch) {
            METRICS.gaps("epoch").increment(1);
            tracing::warn!(%epoch, "the numbering began anew: every client loads a snapshot");
            for shard in &self.shards {
                for feed in shard.lock().feeds.values_mut() {
                    feed.order.reset();
                    for connection in feed.connections.values() {
                        connection.queue.catch_up();
                        connection.queue.order(|orders| orders.resync = Some((ResyncReason::Epoch, None)));
                    }
                }
            }
            self.behind.compare_everything();
        }
    }

    /// Asks the repairer to compare every head: a client was found to stand where no feed does.
    pub fn doubt(&self) {
        self.behind.compare_everything();
    }

    fn deliver_entry(&self, channel: &Channel, frame: Arc<EntryFrame>) {
        tracing::debug!(%channel, seq = %frame.entry.seq, trace = %frame.trace, "entry heard");
        let mut shard = self.shard(channel);
        if self.epoch().is_some_and(|epoch| epoch != frame.entry.epoch) {
            return;
        }
        let Some(local) = shard.feeds.get_mut(channel) else { return };
        match local.order.hear(frame) {
            Heard::Old => {}
            Heard::Ahead(None) => {}
            Heard::Ahead(Some(due)) => self.behind.note(channel.clone(), due),
            Heard::Next(frame) => {
                local.offer(&frame);
                while let Some(frame) = local.order.next_ready() {
                    local.offer(&frame);
                }
            }
        }
    }

    fn deliver_live(&self, room: &RoomName, body: &LiveBody, position: Option<&RoomPosition>, committed_at: Timestamp) {
        let mut shard = self.room_shard(room);
        let Some(local) = shard.rooms.get_mut(room) else { return };
        if !local.takes(position) {
            // A hole: the history has this one too, and everyone gets it in order from there.
            self.behind.note(Channel::Room(room.clone()), Instant::now());
            return;
        }
        let frame = WholeFrame::live(body, position, committed_at);
        local.offer(&frame, position);
    }

    /// Registers a connection in its three feeds. No feed of it is live yet.
    pub fn attach(&self, connection: &Arc<Connection>) {
        for channel in connection.channels() {
            let mut shard = self.shard(&channel);
            let local = shard.feeds.entry(channel).or_default();
            local.connections.insert(connection.key, Arc::clone(connection));
        }
    }

    /// Forgets a connection and every feed that nobody here follows any more.
    pub fn detach(&self, connection: &Connection) {
        for channel in connection.channels() {
            let mut shard = self.shard(&channel);
            if let Slot::Occupied(mut slot) = shard.feeds.entry(channel) {
                slot.get_mut().connections.remove(&connection.key);
                if slot.get().connections.is_empty() {
                    slot.remove();
                }
            }
        }
    }

    /// Takes what the api says a feed's head is; if entries are missing here, they are fetched `patience` from now.
    pub fn announce(&self, channel: &Channel, epoch: Epoch, head: Seq, patience: Duration) {
        let mut shard = self.shard(channel);
        // Looked at under the lock that beginning anew takes: a late answer of the old count must not become a head.
        if self.epoch() != Some(epoch) {
            return;
        }
        let Some(local) = shard.feeds.get_mut(channel) else { return };
        if let Some(due) = local.order.announce(head, patience) {
            self.behind.note(channel.clone(), due);
        }
        // Entries heard before the head was known can have their turn with it.
        while let Some(frame) = local.order.next_ready() {
            local.offer(&frame);
        }
    }

    /// Takes what a beat says a feed's head is.
    pub fn announce_known(&self, channel: &Channel, head: Seq, patience: Duration) {
        let mut shard = self.shard(channel);
        let Some(local) = shard.feeds.get_mut(channel) else { return };
        if let Some(due) = local.order.announce_known(head, patience) {
            self.behind.note(channel.clone(), due);
        }
    }

    /// Where a feed stands here.
    #[must_use]
    pub fn head(&self, channel: &Channel) -> Option<Seq> {
        self.shard(channel).feeds.get(channel).and_then(|local| local.order.head())
    }

    /// Goes on from `head`, which lies before what was delivered: the numbering fell back. Its connections start over.
    pub fn fall_back(&self, channel: &Channel, head: Seq) {
        let mut shard = self.shard(channel);
        let Some(local) = shard.feeds.get_mut(channel) else { return };
        tracing::error!(%channel, %head, "a head fell back: was the database restored without --new-epoch?");
        METRICS.gaps("fallen_head").increment(1);
        local.order.reset();
        local.order.announce(head, Duration::ZERO);
        for connection in local.connections.values() {
            connection.queue.catch_up();
            connection.queue.order(|orders| orders.resync = Some((ResyncReason::Ahead, None)));
        }
    }

    /// Makes every feed live in which `told` is everything delivered here. Answers whether all are.
    pub fn go_live(&self, connection: &Connection, told: &Positions) -> bool {
        let mut all = true;
        for feed in Feed::ALL {
            let channel = connection.channel(feed);
            let shard = self.shard(&channel);
            let head = shard.feeds.get(&channel).and_then(|local| local.order.head());
            match head {
                Some(head) if told.get(feed) >= head || sabotage::goes_wrong("goes_live_early") => {
                    connection.queue.go_live(feed)
                }
                _ => all = false,
            }
        }
        all
    }

    /// The number after which a feed has to be fetched, if entries are missing.
    #[must_use]
    pub fn missing_after(&self, channel: &Channel) -> Option<Seq> {
        let shard = self.shard(channel);
        let order = &shard.feeds.get(channel)?.order;
        if order.is_behind() { order.head() } else { None }
    }

    /// Every feed followed here.
    #[must_use]
    pub fn feeds(&self) -> Vec<Channel> {
        self.shards.iter().flat_map(|shard| shard.lock().feeds.keys().cloned().collect::<Vec<_>>()).collect()
    }

    /// Every room heard here.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomName> {
        self.shards.iter().flat_map(|shard| shard.lock().rooms.keys().cloned().collect::<Vec<_>>()).collect()
    }

    /// Registers a connection in a room and starts buffering for it. False if it is in already.
    pub fn join(&self, room: &RoomName, connection: &Arc<Connection>) -> bool {
        self.room_shard(room).rooms.entry(room.clone()).or_default().join(connection)
    }

    /// Ends a join: queues `answers`, what the room remembers, and what came meanwhile; from here on the connection is live.
    ///
    /// # Errors
    ///
    /// When history and buffer do not meet; the caller reads the history again.
    pub fn complete_join(
        &self,
        room: &RoomName,
        connection: &Connection,
        answers: Vec<Frame>,
        recovered: Option<&Recovered>,
    ) -> Result<(), JoinError> {
        let mut shard = self.room_shard(room);
        let local = shard.rooms.get_mut(room).ok_or(JoinError::Gone)?;
        local.complete_join(connection, answers, recovered)
    }

    /// Forgets a connection in a room. Answers whether it was in.
    pub fn leave(&self, room: &RoomName, connection: &Connection) -> bool {
        let mut shard = self.room_shard(room);
        let Slot::Occupied(mut slot) = shard.rooms.entry(room.clone()) else { return false };
        let was_in = slot.get_mut().leave(connection.key);
        if slot.get().is_empty() {
            slot.remove();
        }
        was_in
    }

    /// Up to where a room was delivered here.
    #[must_use]
    pub fn room_top(&self, room: &RoomName) -> Top {
        self.room_shard(room).rooms.get(room).map(|local| local.top().clone()).unwrap_or_default()
    }

    /// Those who are joining a room may have missed something.
    pub fn doubt_joining(&self, room: &RoomName) {
        if let Some(local) = self.room_shard(room).rooms.get_mut(room) {
            local.doubt_joining();
        }
    }

    /// Delivers what a room's history has that was read when the room stood at `from`; what it no longer covers is told.
    pub fn repair_room(&self, room: &RoomName, from: &Top, mut recovered: Recovered) {
        if !recovered.complete {
            recovered.envelopes.retain(|envelope| !covers(from.position(), position(envelope)));
            let mut shard = self.room_shard(room);
            let Some(local) = shard.rooms.get_mut(room) else { return };
            if local.top() != from {
                // It went on meanwhile: what was read says nothing of that.
                self.behind.note(Channel::Room(room.clone()), Instant::now());
                return;
            }
            local.restart(recovered.first(), recovered.top.as_ref(), |top| forgotten(room, top));
        }
        for envelope in recovered.envelopes {
            self.hear(envelope);
        }
    }

    fn shard(&self, channel: &Channel) -> MutexGuard<'_, Shard> {
        self.shards[self.hasher.hash_one(channel) as usize % SHARDS].lock()
    }

    fn user_shard(&self, user: &UserId) -> MutexGuard<'_, Shard> {
        self.shards[self.hasher.hash_one(user) as usize % SHARDS].lock()
    }

    fn room_shard(&self, room: &RoomName) -> MutexGuard<'_, Shard> {
        self.shards[self.hasher.hash_one(room) as usize % SHARDS].lock()
    }
}

impl Watched {
    /// Whether something as new was told already.
    fn has_heard(&self, status: &Status) -> bool {
        self.told.is_some_and(|(version, _)| version >= status.version)
    }
}

impl Watcher {
    fn offer(&mut self, frame: &WholeFrame) {
        if !self.is_shown {
            self.missed = true;
        } else if !self.connection.queue.push_sign(Frame::Whole(frame.clone())) {
            METRICS.signs_dropped.increment(1);
            self.connection.queue.order(|orders| orders.people_missed = true);
        }
    }

    fn doubt(&mut self) {
        self.missed = true;
        if self.is_shown {
            self.connection.queue.order(|orders| orders.doubt = true);
        }
    }
}

impl LocalFeed {
    fn offer(&self, frame: &Arc<EntryFrame>) {
        for connection in self.connections.values() {
            if connection.queue.push_entry(frame.feed, Frame::Entry(Arc::clone(frame))) {
                METRICS.overflows.increment(1);
            }
            if frame.entry.closes {
                connection.queue.order(|orders| orders.close = Some(CloseCode::Forbidden));
            }
        }
    }
}

/// Which of a person's feeds a channel is.
const fn feed_of(channel: &Channel) -> Option<Feed> {
    match channel {
        Channel::User(_) => Some(Feed::User),
        Channel::Role(_) => Some(Feed::Role),
        Channel::All => Some(Feed::All),
        Channel::Fleet | Channel::Room(_) | Channel::Presence(_) | Channel::Heads | Channel::Pod(_) => None,
    }
}

/// An entry of a page, as a frame for one connection that is catching up.
#[must_use]
pub fn entry_frame(envelope: Envelope) -> Option<EntryFrame> {
    let Envelope { channel, committed_at, trace, content } = envelope;
    let feed = feed_of(&channel)?;
    let Content::Entry(entry) = content else { return None };
    Some(EntryFrame { feed, entry, committed_at, trace })
}
