//! Who is here in a single process.
//!
//! Writing and telling happen under one lock, so that changes are heard in order and can be read once heard.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Availability, Lease, Presence, PresenceError, REMEMBERED, Status, Words};
use crate::broker::BrokerError;
use crate::broker::memory::MemoryBroker;
use crate::ids::{PodId, UserId};
use crate::time::Timestamp;

/// Who is here, as far as this process knows.
pub struct MemoryPresence {
    place: MemoryBroker,
    began: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    leases: HashMap<PodId, Written>,
    people: HashMap<UserId, Person>,
}

/// What stands under one lease.
struct Written {
    ends_at: Instant,
    people: BTreeSet<UserId>,
    /// Who takes it back, and until when they have it to themselves.
    claim: Option<(PodId, Instant)>,
}

#[derive(Default)]
struct Person {
    at: HashMap<PodId, Availability>,
    last_seen: Option<Timestamp>,
    version: u64,
    changed: Option<Instant>,
}

impl MemoryPresence {
    /// People whose changes are heard at `place`.
    #[must_use]
    pub fn new(place: MemoryBroker) -> Self {
        Self { place, began: Instant::now(), book: Mutex::default() }
    }

    fn lease(&self, holder: PodId, lasts: Duration) -> Lease {
        Lease::from(holder, self.began.elapsed().as_millis() as u64, lasts)
    }

    fn write(&self, people: &mut HashMap<UserId, Person>, user: &UserId, change: impl FnOnce(&mut Person)) {
        let person = people.entry(user.clone()).or_default();
        let before = person.state();
        change(person);
        let state = person.state();
        if before != state {
            let at = Timestamp::now();
            person.version = at.as_micros().unsigned_abs().max(person.version + 1);
            person.changed = Some(Instant::now());
            if state == Availability::Offline {
                person.last_seen = Some(at);
            }
            self.place.announce(&[Words::of(user, at).tell(&person.status(user))]);
        } else if person.changed.is_none() {
            people.remove(user);
        }
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn begin(&self, lasts: Duration) -> Result<Lease, BrokerError> {
        let holder = PodId::new();
        let written = Written { ends_at: Instant::now() + lasts, people: BTreeSet::new(), claim: None };
        self.book.lock().expect("no holder panics").leases.insert(holder, written);
        Ok(self.lease(holder, lasts))
    }

    async fn renew(&self, lease: &mut Lease, lasts: Duration) -> Result<(), PresenceError> {
        let mut book = self.book.lock().expect("no holder panics");
        let now = Instant::now();
        let written = book.leases.get_mut(&lease.holder).filter(|written| written.ends_at > now);
        written.ok_or(PresenceError::Ended)?.ends_at = now + lasts;
        *lease = self.lease(lease.holder, lasts);
        Ok(())
    }

    async fn put(
        &self,
        lease: &Lease,
        former: Option<PodId>,
        people: &[(UserId, Availability)],
    ) -> Result<(), PresenceError> {
        let mut book = self.book.lock().expect("no holder panics");
        let Book { leases, people: known } = &mut *book;
        let lasts = self.began.elapsed().as_millis() < u128::from(lease.ends_at);
        let written = leases.get_mut(&lease.holder).filter(|_| lasts).ok_or(PresenceError::Ended)?;
        for (user, state) in people {
            let is_here = *state != Availability::Offline;
            if is_here {
                written.people.insert(user.clone());
            } else {
                written.people.remove(user);
            }
            self.write(known, user, |person| {
                if let Some(former) = former {
                    person.at.remove(&former);
                }
                person.at.remove(&lease.holder);
                if is_here {
                    person.at.insert(lease.holder, *state);
                }
            });
        }
        Ok(())
    }

    async fn read(&self, people: &[UserId]) -> Result<Vec<Status>, BrokerError> {
        let book = self.book.lock().expect("no holder panics");
        let status = |user: &UserId| {
            book.people.get(user).map_or_else(|| Status::unknown(user.clone()), |person| person.status(user))
        };
        Ok(people.iter().map(status).collect())
    }

    async fn sweep(&self, sweeper: PodId, lasts: Duration, most: usize) -> Result<usize, BrokerError> {
        let mut book = self.book.lock().expect("no holder panics");
        let Book { leases, people } = &mut *book;
        let now = Instant::now();
        people.retain(|_, person| !person.at.is_empty() || person.changed.is_some_and(|at| now - at < REMEMBERED));
        leases.retain(|_, written| written.ends_at > now || !written.people.is_empty());
        let is_free =
            |written: &Written| written.claim.is_none_or(|(claimer, ends_at)| claimer == sweeper || ends_at <= now);
        let dead = leases.iter_mut().find(|(_, written)| written.ends_at <= now && is_free(written));
        let Some((&holder, written)) = dead else { return Ok(0) };
        written.claim = Some((sweeper, now + lasts));
        let mut taken_back = 0;
        while taken_back < most
            && let Some(user) = written.people.pop_first()
        {
            self.write(people, &user, |person| {
                let _ = person.at.remove(&holder);
            });
            taken_back += 1;
        }
        Ok(taken_back)
    }
}

impl Person {
    fn state(&self) -> Availability {
        self.at.values().copied().max().unwrap_or_default()
    }

    fn status(&self, user: &UserId) -> Status {
        let state = self.state();
        let last_seen = self.last_seen.filter(|_| state == Availability::Offline);
        Status { user_id: user.clone(), state, last_seen, version: self.version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn somebody_who_is_long_gone_costs_nothing() {
        let presence = MemoryPresence::new(MemoryBroker::default());
        let lease = presence.begin(Duration::from_secs(10)).await.expect("a lease");
        let alice: UserId = "alice".parse().expect("an id");
        for state in [Availability::Online, Availability::Offline] {
            presence.put(&lease, None, &[(alice.clone(), state)]).await.expect("written");
        }
        presence.put(&lease, None, &[("bob".parse().expect("an id"), Availability::Offline)]).await.expect("written");
        assert_eq!(presence.book.lock().expect("no holder panics").people.len(), 1);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(presence.sweep(PodId::new(), Duration::from_secs(10), 10).await.expect("a sweep"), 0);
        let book = presence.book.lock().expect("no holder panics");
        assert_eq!((book.people.len(), book.leases.len()), (0, 0));
    }
}
