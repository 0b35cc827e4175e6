//! Who is here, in Redis: a hash for each person, beside their channel, with a field for each gateway that has them.
//!
//! A gateway's lease, and the list of whom it has, live in a slot of their own; a set names every gateway there is. Whom a gateway
//! is about to write is listed first, so that nobody stands anywhere who is not found when it is dead. A server of a cluster may lose
//! a list and another one keep the people on it: whoever reads somebody who was written under a lease that has ended lists them again.
//! Nothing stays for ever that is not written again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fred::prelude::Value;
use fred::types::scripts::Script;
use futures_util::future::{join_all, try_join_all};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as InvalidText, StrDeserializer};

use super::leases::Leases;
use super::{Availability, HELD, Lease, Presence, PresenceError, REMEMBERED, Status, Words};
use crate::broker::BrokerError;
use crate::broker::redis::{Call, Commands, Names, garbled};
use crate::channel::{Bucket, Channel};
use crate::ids::{PodId, UserId};
use crate::time::Timestamp;

/// People in one call. Redis does nothing else while a call runs.
const BATCH: usize = 64;
/// People in one call that only lists them.
const LISTED: usize = 1_000;

/// Who is here, as Redis knows it.
pub(crate) struct RedisPresence {
    commands: Arc<Commands>,
    names: Names,
    scripts: Scripts,
    leases: Mutex<Leases>,
}

struct Scripts {
    renew: Script,
    enrol: Script,
    enrolled: Script,
    strike: Script,
    note: Script,
    lives: Script,
    list: Script,
    forget: Script,
    put: Script,
    read: Script,
    claim: Script,
}

impl Scripts {
    fn new() -> Self {
        let with_merge = |script: &str| Script::from_lua([include_str!("merge.lua"), script].concat());
        Self {
            renew: Script::from_lua(include_str!("renew.lua")),
            enrol: Script::from_lua("return redis.call('SADD', KEYS[1], ARGV[1])"),
            enrolled: Script::from_lua("return redis.call('SMEMBERS', KEYS[1])"),
            strike: Script::from_lua("return redis.call('SREM', KEYS[1], ARGV[1])"),
            note: Script::from_lua(include_str!("note.lua")),
            lives: Script::from_lua("return redis.call('EXISTS', KEYS[1])"),
            list: Script::from_lua(
                "redis.call('SADD', KEYS[1], unpack(ARGV, 2)) return redis.call('PEXPIRE', KEYS[1], ARGV[1])",
            ),
            forget: Script::from_lua("return redis.call('SREM', KEYS[1], unpack(ARGV))"),
            put: with_merge(include_str!("put.lua")),
            read: with_merge(include_str!("read.lua")),
            claim: Script::from_lua(include_str!("claim.lua")),
        }
    }
}

/// Whose fields are written: those of a gateway that lives, or of one that is dead.
struct Holder {
    id: PodId,
    former: Option<PodId>,
    /// When it stops writing; 0 for one that is dead, of which only is taken back.
    ends_at: u64,
}

impl RedisPresence {
    pub(crate) fn new(commands: Arc<Commands>, names: Names) -> Self {
        Self { commands, names, scripts: Scripts::new(), leases: Mutex::default() }
    }

    /// Makes a lease last, or a first one begin, and lists the holder among the gateways; `None` for a lease that has ended.
    async fn lease(&self, holder: PodId, lasts: Duration, begins: bool) -> Result<Option<Lease>, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.lease(holder));
        call.key(self.names.people(holder));
        call.text(lasts.as_millis().max(1).to_string());
        call.text(HELD.as_millis().to_string());
        call.text(if begins { "begin" } else { "" }.to_owned());
        let now: String = self.commands.run(&self.scripts.renew, call).await?.convert().map_err(garbled)?;
        let now: u64 = now.parse().map_err(garbled)?;
        if now == 0 {
            return Ok(None);
        }
        // Every time: the list may have been lost.
        self.on_list(&self.scripts.enrol, holder).await?;
        Ok(Some(Lease::from(holder, now, lasts)))
    }

    async fn on_list(&self, script: &Script, holder: PodId) -> Result<(), BrokerError> {
        let mut call = Call::default();
        call.key(self.names.gateways());
        call.text(holder.to_string());
        self.commands.run(script, call).await.map(drop)
    }

    async fn gateways(&self) -> Result<Vec<PodId>, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.gateways());
        let listed: Vec<String> = self.commands.run(&self.scripts.enrolled, call).await?.convert().map_err(garbled)?;
        listed.iter().map(|id| id.parse()).collect::<Result<_, _>>().map_err(garbled)
    }

    async fn note(&self, holder: PodId, people: &[&UserId]) -> Result<(), PresenceError> {
        for people in people.chunks(LISTED) {
            let mut call = Call::default();
            call.key(self.names.lease(holder));
            call.key(self.names.people(holder));
            call.text(HELD.as_millis().to_string());
            people.iter().for_each(|user| call.text(user.to_string()));
            if self.is_refused(&self.scripts.note, call).await? {
                return Err(PresenceError::Ended);
            }
        }
        Ok(())
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().expect("nobody panics while holding it")
    }

    /// Lists those anew who were written by gateways that are dead and on no list: then they are taken back.
    async fn find_forgotten(&self, written: BTreeMap<PodId, Vec<UserId>>) -> Result<(), BrokerError> {
        let due = self.leases().due(written.keys().copied(), Instant::now());
        for holder in due {
            let mut call = Call::default();
            call.key(self.names.lease(holder));
            let lives: i64 = self.commands.run(&self.scripts.lives, call).await?.convert().map_err(garbled)?;
            if !self.leases().is_dead(holder, lives != 0, Instant::now()) {
                continue;
            }
            for people in written[&holder].chunks(LISTED) {
                let mut call = Call::default();
                call.key(self.names.people(holder));
                call.text(HELD.as_millis().to_string());
                people.iter().for_each(|user| call.text(user.to_string()));
                self.commands.run(&self.scripts.list, call).await?;
            }
            // Behind the people: a gateway that has nobody is struck off.
            self.on_list(&self.scripts.enrol, holder).await?;
        }
        Ok(())
    }

    async fn forget(&self, list: &str, people: &[&UserId]) -> Result<(), BrokerError> {
        for people in people.chunks(LISTED) {
            let mut call = Call::default();
            call.key(list.to_owned());
            people.iter().for_each(|user| call.text(user.to_string()));
            self.commands.run(&self.scripts.forget, call).await?;
        }
        Ok(())
    }

    /// Writes people, those of different slots side by side. A server that does not answer keeps none from being written elsewhere; who
    /// may not have been written is written again by whoever hears of the error, and once more does no harm.
    async fn write(&self, holder: &Holder, people: &[(UserId, Availability)]) -> Result<(), PresenceError> {
        let groups = self.by_slot(people.iter(), |(user, _)| user).into_values();
        let groups = groups.map(async |group: Vec<&(UserId, Availability)>| {
            for batch in group.chunks(BATCH) {
                if self.is_refused(&self.scripts.put, self.put_call(holder, batch)).await? {
                    return Err(PresenceError::Ended);
                }
            }
            Ok(())
        });
        join_all(groups).await.into_iter().collect()
    }

    fn put_call(&self, holder: &Holder, people: &[&(UserId, Availability)]) -> Call {
        let (mut call, at) = (Call::default(), Timestamp::now());
        call.text(holder.id.to_string());
        call.text(holder.former.map(|former| former.to_string()).unwrap_or_default());
        call.text(holder.ends_at.to_string());
        call.text(HELD.as_millis().to_string());
        call.text(REMEMBERED.as_millis().to_string());
        call.text(at.to_string());
        for (user, state) in people {
            let words = Words::of(user, at);
            call.key(self.names.person(user));
            call.key(self.names.channel(&words.channel));
            call.text(state.to_string());
            call.text(words.head());
            call.text(words.opening);
            call.text(words.naming);
        }
        call
    }

    async fn is_refused(&self, script: &Script, call: Call) -> Result<bool, BrokerError> {
        let done: i64 = self.commands.run(script, call).await?.convert().map_err(garbled)?;
        Ok(done == 0)
    }

    /// `items` in groups that one call may touch together.
    fn by_slot<'a, T>(
        &self,
        items: impl Iterator<Item = &'a T>,
        user: impl Fn(&T) -> &UserId,
    ) -> BTreeMap<Option<Bucket>, Vec<&'a T>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for item in items {
            let bucket = || Channel::Presence(user(item).clone()).bucket();
            groups.entry(self.commands.is_clustered().then(bucket)).or_default().push(item);
        }
        groups
    }

    /// Takes back some of what stands under the lease of one gateway, if it has ended, and answers of how many people.
    async fn take_back(&self, dead: PodId, sweeper: PodId, lasts: Duration, most: usize) -> Result<usize, BrokerError> {
        let Some(claimed) = self.claim(dead, sweeper, lasts, most).await? else { return Ok(0) };
        if claimed.is_empty() {
            return self.on_list(&self.scripts.strike, dead).await.map(|()| 0);
        }
        let gone: Vec<_> = claimed.iter().map(|user| (user.clone(), Availability::Offline)).collect();
        let written = self.write(&Holder { id: dead, former: None, ends_at: 0 }, &gone).await;
        written.map_err(|error| match error {
            PresenceError::Broker(error) => error,
            ended @ PresenceError::Ended => garbled(ended),
        })?;
        self.forget(&self.names.claimed(dead), &claimed.iter().collect::<Vec<_>>()).await?;
        Ok(claimed.len())
    }

    /// Claims whom a dead gateway had; `None` while it lives, or somebody else has them.
    async fn claim(
        &self,
        dead: PodId,
        sweeper: PodId,
        lasts: Duration,
        most: usize,
    ) -> Result<Option<Vec<UserId>>, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.lease(dead));
        call.key(self.names.people(dead));
        call.key(self.names.claim(dead));
        call.key(self.names.claimed(dead));
        call.text(sweeper.to_string());
        call.text(lasts.as_millis().max(1).to_string());
        call.text(most.to_string());
        call.text(HELD.as_millis().to_string());
        let claimed = self.commands.run(&self.scripts.claim, call).await?;
        if matches!(claimed, Value::Null) {
            return Ok(None);
        }
        let claimed: Vec<String> = claimed.convert().map_err(garbled)?;
        claimed.iter().map(|id| id.parse()).collect::<Result<_, _>>().map(Some).map_err(garbled)
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn begin(&self, lasts: Duration) -> Result<Lease, BrokerError> {
        let begun = self.lease(PodId::new(), lasts, true).await?;
        begun.ok_or_else(|| garbled(PresenceError::Ended))
    }

    async fn renew(&self, lease: &mut Lease, lasts: Duration) -> Result<(), PresenceError> {
        *lease = self.lease(lease.holder, lasts, false).await?.ok_or(PresenceError::Ended)?;
        Ok(())
    }

    async fn put(
        &self,
        lease: &Lease,
        former: Option<PodId>,
        people: &[(UserId, Availability)],
    ) -> Result<(), PresenceError> {
        let those = |here: bool| {
            let wanted = people.iter().filter(|(_, state)| (*state != Availability::Offline) == here);
            wanted.map(|(user, _)| user).collect::<Vec<_>>()
        };
        self.note(lease.holder, &those(true)).await?;
        self.write(&Holder { id: lease.holder, former, ends_at: lease.ends_at }, people).await?;
        Ok(self.forget(&self.names.people(lease.holder), &those(false)).await?)
    }

    async fn read(&self, people: &[UserId]) -> Result<Vec<Status>, BrokerError> {
        let places: Vec<_> = people.iter().enumerate().collect();
        let groups = self.by_slot(places.iter(), |(_, user)| user).into_values();
        let groups = groups.map(async |group: Vec<&(usize, &UserId)>| {
            let mut read = Vec::new();
            for batch in group.chunks(BATCH) {
                let mut call = Call::default();
                batch.iter().for_each(|(_, user)| call.key(self.names.person(user)));
                let known: Vec<String> =
                    self.commands.run(&self.scripts.read, call).await?.convert().map_err(garbled)?;
                for ((place, user), known) in batch.iter().zip(known.chunks_exact(4)) {
                    read.push((*place, status(user, known).map_err(garbled)?, known[3].clone()));
                }
            }
            Ok(read)
        });
        let mut read: Vec<_> = try_join_all(groups).await?.into_iter().flatten().collect();
        read.sort_unstable_by_key(|(place, ..)| *place);
        let mut written: BTreeMap<PodId, Vec<UserId>> = BTreeMap::new();
        for (_, status, holders) in &read {
            for holder in holders.split_terminator(' ').filter_map(|holder| holder.parse().ok()) {
                written.entry(holder).or_default().push(status.user_id.clone());
            }
        }
        if let Err(error) = self.find_forgotten(written).await {
            tracing::debug!(%error, "not looked who wrote those who are here");
        }
        Ok(read.into_iter().map(|(_, status, _)| status).collect())
    }

    async fn sweep(&self, sweeper: PodId, lasts: Duration, most: usize) -> Result<usize, BrokerError> {
        let mut failed = Ok(0);
        for dead in self.gateways().await? {
            match self.take_back(dead, sweeper, lasts, most).await {
                Ok(0) => {}
                Ok(people) => return Ok(people),
                // A server that does not answer keeps nothing elsewhere from being taken back.
                Err(error) => failed = Err(error),
            }
        }
        failed
    }
}

/// Reads what `read.lua` answers of one person.
fn status(user: &UserId, known: &[String]) -> Result<Status, InvalidText> {
    let state = Availability::deserialize(text(&known[0]))?;
    let last_seen = Some(known[1].as_str()).filter(|at| !at.is_empty());
    let last_seen = last_seen.map(|at| Timestamp::deserialize(text(at))).transpose()?;
    let version = known[2].parse().map_err(serde::de::Error::custom)?;
    Ok(Status { user_id: user.clone(), state, last_seen, version })
}

fn text(text: &str) -> StrDeserializer<'_, InvalidText> {
    text.into_deserializer()
}
