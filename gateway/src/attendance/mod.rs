//! Attendance: who is connected here, told to the fleet.
//!
//! Sessions only say of whom something may have changed, and never wait. One task looks at the hub, which knows every
//! connection there is, so that nothing has to be counted and nothing said twice or lost makes a difference. It writes what it
//! finds under the gateway's lease, and everybody once a minute. A server that fails over has forgotten what it was told last, and
//! one that starts again with what is on its disk says what was so minutes ago: with the next beat after the broker lost something,
//! everybody is written, and those too who have gone since then, whom nobody else would take back.
//!
//! Another task takes back what stands under the leases of gateways that are not heard of any more.

mod due;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use shared::broker::Gap;
use shared::channel::Channel;
use shared::ids::{PodId, UserId};
use shared::presence::{Availability, HELD, Lease, Presence, PresenceError};
use shared::sabotage;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use self::due::Due;
use crate::hub::Hub;
use crate::metrics::METRICS;

/// How long a gateway is believed to live that is not heard of.
const LEASE: Duration = Duration::from_secs(10);
/// How often it makes itself heard.
const BEAT: Duration = Duration::from_secs(3);
/// Beats in which everybody is written once.
const ROUND: u64 = 20;
/// How long somebody is still here whose last connection has ended: whoever loads a page anew was not gone.
const GRACE: Duration = Duration::from_secs(3);
/// How often dead gateways are looked for.
const SWEEP: Duration = Duration::from_secs(2);
/// People who may wait to be looked at; when there are more, everybody is.
const WAITING: usize = 8_192;
/// People written, or taken back, in one step.
const BATCH: usize = 512;
/// The time between two times of writing: whoever changes their mind all the time costs the fleet no more than that.
const PACE: Duration = Duration::from_millis(200);
/// How long one time of writing takes at most, so that the gateway is still heard meanwhile.
const STRETCH: Duration = Duration::from_secs(1);

/// Says of whom something may have changed. Cheap to clone.
#[derive(Clone)]
pub struct Attendance {
    queue: mpsc::Sender<UserId>,
    lost: Arc<AtomicBool>,
    doubt: Arc<Mutex<Option<Gap>>>,
}

/// The task behind [`Attendance`].
pub struct Attendant {
    presence: Arc<dyn Presence>,
    hub: Arc<Hub>,
    queue: mpsc::Receiver<UserId>,
    lost: Arc<AtomicBool>,
    doubt: Arc<Mutex<Option<Gap>>>,
    lease: Option<Lease>,
    /// Whose lease the gateway had before, while not everybody has been written again.
    former: Option<PodId>,
    /// Everybody who is connected here, or left so lately that a server may still hold them, and what the store has of them from here,
    /// as far as known.
    people: HashMap<UserId, Option<Availability>>,
    /// Those of them who have no connection, and since when.
    left: HashMap<UserId, Instant>,
    /// When to see whether they have come back.
    leaving: VecDeque<(Instant, UserId)>,
    /// Who must be written.
    due: Due,
    /// Whether the store did not answer; it is tried again with the next beat.
    is_cut_off: bool,
    beats: u64,
    hasher: RandomState,
}

/// The two ends.
#[must_use]
pub fn attendance(presence: Arc<dyn Presence>, hub: Arc<Hub>) -> (Attendance, Attendant) {
    let (sender, queue) = mpsc::channel(WAITING);
    let (lost, doubt) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let attendant = Attendant {
        presence,
        hub,
        queue,
        lost: Arc::clone(&lost),
        doubt: Arc::clone(&doubt),
        lease: None,
        former: None,
        people: HashMap::new(),
        left: HashMap::new(),
        leaving: VecDeque::new(),
        due: Due::default(),
        is_cut_off: false,
        beats: 0,
        hasher: RandomState::new(),
    };
    (Attendance { queue: sender, lost, doubt }, attendant)
}

impl Attendance {
    /// Says that something may have changed with the connections of `user`.
    pub fn look(&self, user: &UserId) {
        if self.queue.try_send(user.clone()).is_err() {
            // The queue is full, so that the task is sure to come by.
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Says that the store may have lost something, or may know something again that is over.
    pub fn doubt(&self, about: &Gap) {
        let mut doubt = self.doubt.lock();
        *doubt = Some(match doubt.take() {
            None => about.clone(),
            Some(before) => before.and(about.clone()),
        });
    }
}

impl Attendant {
    /// Tells who is here until `stop`. Whoever is still written then is gone unless they come back elsewhere within the grace.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked_for = Vec::new();
        loop {
            let seen_off_at = self.leaving.front().map(|(at, _)| *at);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => self.beat().await,
                count = self.queue.recv_many(&mut looked_for, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    looked_for.drain(..).for_each(|user| self.look(&user));
                    if self.lost.swap(false, Ordering::Acquire) {
                        self.look_at_everybody();
                    }
                }
                () = sleep_until(seen_off_at.unwrap_or_else(Instant::now)), if seen_off_at.is_some() => self.see_off(),
                _ = pace.tick(), if self.can_write() => self.write_all().await,
            }
        }
        if let Some(mut lease) = self.lease {
            let _ = self.presence.renew(&mut lease, GRACE).await;
        }
    }

    fn look(&mut self, user: &UserId) {
        let state = self.hub.availability(user);
        if state == Availability::Offline {
            // The grace begins with the last that was heard of them: they may have come and left again meanwhile.
            if self.people.contains_key(user) {
                let now = Instant::now();
                self.left.insert(user.clone(), now);
                self.leaving.push_back((now + GRACE, user.clone()));
            }
            return;
        }
        self.left.remove(user);
        let written = self.people.entry(user.clone()).or_default();
        if *written != Some(state) {
            self.due.insert(user.clone());
        }
    }

    fn look_at_everybody(&mut self) {
        // Nothing was heard of those who have left, unless they are back: their grace goes on.
        let here = self.people.keys().filter(|user| !self.left.contains_key(*user)).cloned();
        let everybody: HashSet<_> = here.chain(self.hub.people()).collect();
        everybody.iter().for_each(|user| self.look(user));
    }

    /// Has those written who have not come back.
    fn see_off(&mut self) {
        let now = Instant::now();
        while let Some((_, user)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            if self.is_gone(&user, now) && !sabotage::goes_wrong("keeps_ghosts") {
                self.due.insert(user);
            }
        }
    }

    fn is_gone(&self, user: &UserId, now: Instant) -> bool {
        self.left.get(user).is_some_and(|left_at| *left_at + GRACE <= now)
    }

    /// Makes the gateway heard, and has some of its people written again, and all whom the store may have wrong.
    async fn beat(&mut self) {
        self.is_cut_off = false;
        self.forget_who_has_gone();
        self.have_the_doubtful_written();
        let renewed = match &mut self.lease {
            Some(lease) => self.presence.renew(lease, LEASE).await,
            None => Err(PresenceError::Ended),
        };
        let renewed = match renewed {
            Err(PresenceError::Ended) => self.begin().await,
            renewed => renewed,
        };
        if let Err(error) = renewed {
            tracing::debug!(%error, "not heard of who is here");
            self.is_cut_off = true;
        }
        self.beats += 1;
        let turn = self.beats % ROUND;
        let has_its_turn = |user: &&UserId| self.hasher.hash_one(user) % ROUND == turn;
        let here = self.people.iter().filter(|(_, written)| **written != Some(Availability::Offline));
        METRICS.presence_people.set(here.clone().count() as f64);
        self.due.extend(here.map(|(user, _)| user).filter(has_its_turn).cloned());
    }

    /// Forgets whom no server can hold any more.
    fn forget_who_has_gone(&mut self) {
        let (now, people, due) = (Instant::now(), &mut self.people, &self.due);
        self.left.retain(|user, left_at| {
            let is_written = people.get(user) == Some(&Some(Availability::Offline)) && !due.contains(user);
            let is_over = is_written && *left_at + GRACE + HELD <= now;
            if is_over {
                people.remove(user);
            }
            !is_over
        });
    }

    fn have_the_doubtful_written(&mut self) {
        let Some(doubt) = self.doubt.lock().take() else { return };
        let is_doubtful = |user: &&UserId| doubt.concerns(Channel::Presence((*user).clone()).bucket());
        self.due.extend(self.people.keys().filter(is_doubtful).cloned());
    }

    /// Begins a lease. Under a new one everybody is written again, instead of under the one before.
    async fn begin(&mut self) -> Result<(), PresenceError> {
        let lease = self.presence.begin(LEASE).await?;
        METRICS.presence_leases.increment(1);
        if let Some(former) = self.lease.replace(lease) {
            tracing::warn!(people = self.people.len(), "taken for dead: telling anew who is here");
            self.former = Some(former.holder);
            self.due.extend(self.people.keys().cloned());
        }
        Ok(())
    }

    fn can_write(&self) -> bool {
        self.lease.is_some() && !self.is_cut_off && !self.due.is_empty()
    }

    /// Writes those who are due.
    async fn write_all(&mut self) {
        let begun = Instant::now();
        while self.can_write() && begun.elapsed() < STRETCH {
            self.write().await;
        }
    }

    /// Writes some of those who are due.
    async fn write(&mut self) {
        let Some(lease) = self.lease else { return };
        let now = Instant::now();
        let some = self.due.take(BATCH);
        let mut states = Vec::with_capacity(some.len());
        for user in some {
            let Some(written) = self.people.get(&user) else { continue };
            match self.hub.availability(&user) {
                // Within the grace they are what they were.
                Availability::Offline if !self.is_gone(&user, now) => states.extend(written.map(|state| (user, state))),
                state => states.push((user, state)),
            }
        }
        match self.presence.put(&lease, self.former, &states).await {
            // What has changed meanwhile is looked at next: whoever changed it has said so.
            Ok(()) => {
                for (user, state) in states {
                    self.people.insert(user, Some(state));
                }
            }
            Err(error) => {
                tracing::debug!(%error, people = states.len(), "not written who is here");
                self.due.extend(states.into_iter().map(|(user, _)| user));
                // With the next beat there is an answer, or another lease.
                self.is_cut_off = true;
            }
        }
        if self.due.is_empty() {
            self.former = None;
        }
    }
}

/// Takes back, until `stop`, what gateways wrote that are not heard of any more. Of all gateways one does it, once. When the store
/// did not answer, none of them could make itself heard: they are given the time of a lease to do that.
pub async fn sweep(presence: Arc<dyn Presence>, stop: CancellationToken) {
    let sweeper = PodId::new();
    let mut turn = interval(SWEEP);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turn.tick() => {}
        }
        while Instant::now() >= not_before {
            match presence.sweep(sweeper, LEASE, BATCH).await {
                Ok(0) => break,
                Ok(people) => METRICS.presence_swept.increment(people as u64),
                Err(error) => {
                    tracing::debug!(%error, "not swept");
                    not_before = Instant::now() + LEASE;
                }
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
