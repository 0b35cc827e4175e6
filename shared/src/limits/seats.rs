//! Seats: how many connections one person has at the same time, over all gateways.
//!
//! Every connection holds a seat for a while, and its gateway goes on holding it, so that nobody has to give back what a gateway
//! held that is dead. The gateway counts its own as well: alone, while the fleet's are not counted.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Limits, TooMany, counts_alone, refused};
use crate::access::Caller;
use crate::broker::BrokerError;
use crate::channel::Role;
use crate::ids::UserId;

/// How long a seat is held of which nothing is heard.
const HELD: Duration = Duration::from_secs(60);
/// How often some of those who have seats have them held anew.
const TURN: Duration = Duration::from_secs(1);
/// In how many turns everybody has.
const TURNS: u64 = 20;
/// How many people's seats are written at the same time.
const AT_ONCE: usize = 64;
/// How long one of these may take to be written.
const WRITTEN: Duration = Duration::from_secs(2);
/// After how long somebody without a seat may come again: about half of the time after which those of a dead gateway are free.
const COME_AGAIN: Duration = Duration::from_secs(30);

/// A seat that somebody holds; given back when dropped.
pub struct Seat {
    limits: Limits,
    user: UserId,
    id: Uuid,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.limits.0.seats.give_back(&self.user, self.id);
    }
}

/// The seats that this pod holds, by person.
#[derive(Default)]
pub(super) struct Seats {
    book: Mutex<Book>,
    given_back: Notify,
    hasher: RandomState,
}

#[derive(Default)]
struct Book {
    held: HashMap<UserId, HashSet<Uuid>>,
    /// Those given back and not written so yet.
    left: Vec<Left>,
}

struct Left {
    user: UserId,
    id: Uuid,
    at: Instant,
}

impl Seats {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder panics")
    }

    /// Notes a seat, unless the pod itself has `most` of that person.
    fn note(&self, user: &UserId, id: Uuid, most: u32) -> bool {
        let mut book = self.book();
        let held = book.held.entry(user.clone()).or_default();
        let fits = held.len() < most as usize;
        if fits {
            held.insert(id);
        }
        fits
    }

    fn give_back(&self, user: &UserId, id: Uuid) {
        let mut book = self.book();
        if let Some(held) = book.held.get_mut(user) {
            held.remove(&id);
            if held.is_empty() {
                book.held.remove(user);
            }
        }
        book.left.push(Left { user: user.clone(), id, at: Instant::now() });
        drop(book);
        self.given_back.notify_one();
    }

    /// Those whose turn it is.
    fn of_turn(&self, turn: u64) -> Vec<UserId> {
        let has_its_turn = |user: &&UserId| self.hasher.hash_one(user) % TURNS == turn % TURNS;
        self.book().held.keys().filter(has_its_turn).cloned().collect()
    }

    fn of(&self, user: &UserId) -> Vec<Uuid> {
        self.book().held.get(user).map(|held| held.iter().copied().collect()).unwrap_or_default()
    }
}

impl Limits {
    /// Takes a seat for one more connection of `caller`; none where there is no limit. Services have none.
    ///
    /// Answers within 100 ms. Whoever is not waited for any more has it given back.
    ///
    /// # Errors
    ///
    /// When all of theirs are taken.
    pub async fn sit(&self, caller: &Caller) -> Result<Option<Seat>, TooMany> {
        let most = self.0.settings.connections;
        if most == 0 || caller.role == Role::Service {
            return Ok(None);
        }
        let (user, id) = (&caller.user, Uuid::now_v7());
        if !self.0.seats.note(user, id, most) {
            return Err(all_taken(most));
        }
        // From here on it is given back whatever happens, though it may not be known whether the fleet holds it.
        let seat = Seat { limits: self.clone(), user: user.clone(), id };
        match self.ask(self.0.fleet.hold(user, id, most, HELD)).await {
            Some(false) => return Err(all_taken(most)),
            Some(true) => {}
            None => counts_alone(),
        }
        Ok(Some(seat))
    }

    /// Goes on holding the seats that this pod holds, and gives back the others, until `stop`.
    pub async fn look_after_seats(self, stop: CancellationToken) {
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.give_back_seats().await,
                () = self.0.seats.given_back.notified() => self.give_back_seats().await,
                _ = turns.tick() => {
                    turn += 1;
                    self.hold_seats(turn).await;
                    self.give_back_seats().await;
                }
            }
        }
    }

    /// Goes on holding the seats of those whose turn it is. Who is left out because the fleet does not answer has two more turns before
    /// theirs are free.
    async fn hold_seats(&self, turn: u64) {
        let is_cut_off = AtomicBool::new(false);
        let hold = iter(self.0.seats.of_turn(turn)).for_each_concurrent(AT_ONCE, async |user| {
            // Not those of a moment ago: who has gone meanwhile does not come back.
            let ids = self.0.seats.of(&user);
            if !ids.is_empty() {
                written(&is_cut_off, self.0.fleet.go_on_holding(&user, &ids, HELD)).await;
            }
        });
        hold.await;
    }

    /// Gives back what was left. What cannot be is tried again, until it is free by itself.
    async fn give_back_seats(&self) {
        let left = take(&mut self.0.seats.book().left);
        let is_cut_off = AtomicBool::new(false);
        let give_back = iter(left).for_each_concurrent(AT_ONCE, async |left| {
            let is_back = written(&is_cut_off, self.0.fleet.leave(&left.user, left.id)).await;
            if !is_back && left.at.elapsed() < HELD {
                self.0.seats.book().left.push(left);
            }
        });
        give_back.await;
    }
}

/// Whether it was written. Once something was not, nothing else is tried: all would wait as long.
async fn written(is_cut_off: &AtomicBool, writing: impl Future<Output = Result<(), BrokerError>>) -> bool {
    if is_cut_off.load(Ordering::Relaxed) {
        return false;
    }
    let is_written = matches!(timeout(WRITTEN, writing).await, Ok(Ok(())));
    if !is_written {
        is_cut_off.store(true, Ordering::Relaxed);
        metrics::counter!("carillon_limits_seats_unwritten_total").increment(1);
    }
    is_written
}

/// All seats are taken. Not everybody is told the same time: those of a gateway that died would come in step.
fn all_taken(most: u32) -> TooMany {
    let wait = COME_AGAIN.mul_f64(rand::random_range(0.75..1.25));
    refused("connections", "connections", format!("{most} at the same time"), wait)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;
    use crate::limits::memory::MemoryLimiter;
    use crate::limits::{Deed, Doer, LimitSettings, Limiter, Rate, Turn};
    use crate::time::Timestamp;

    fn alice() -> Caller {
        let user = "alice".parse().expect("an id");
        let expires_at = Timestamp::now();
        Caller { user, role: Role::Guest, name: None, token_id: None, issued_at: None, expires_at }
    }

    fn one_seat(fleet: Arc<dyn Limiter>) -> Limits {
        Limits::new(LimitSettings { connections: 1, ..LimitSettings::none() }, fleet)
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_held_as_long_as_its_connection_lives_and_free_at_every_pod_afterwards() {
        let fleet = Arc::new(MemoryLimiter::default());
        let (one, other) = (one_seat(fleet.clone()), one_seat(fleet));
        let stop = CancellationToken::new();
        tokio::spawn(one.clone().look_after_seats(stop.clone()));
        let seat = one.sit(&alice()).await.expect("a seat");
        sleep(3 * HELD).await;
        assert!(one.sit(&alice()).await.is_err() && other.sit(&alice()).await.is_err());
        drop(seat);
        sleep(TURN).await;
        let seat = other.sit(&alice()).await;
        assert!(seat.is_ok() && one.sit(&alice()).await.is_err());
        // Nobody looks after that one: it is as if its gateway had died.
        std::mem::forget(seat);
        sleep(HELD).await;
        let seat = one.sit(&alice()).await.expect("a seat");
        stop.cancel();
        drop(seat);
    }

    /// A limiter that answers only while it is up.
    struct Shaky(MemoryLimiter, AtomicBool);

    impl Shaky {
        async fn answers(&self) {
            if !self.1.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        }
    }

    #[async_trait::async_trait]
    impl Limiter for Shaky {
        async fn take(&self, who: &Doer, deed: Deed, rate: Rate) -> Result<Turn, BrokerError> {
            self.answers().await;
            self.0.take(who, deed, rate).await
        }

        async fn hold(&self, user: &UserId, seat: Uuid, most: u32, lasts: Duration) -> Result<bool, BrokerError> {
            // What is not answered may have been done.
            let is_held = self.0.hold(user, seat, most, lasts).await;
            self.answers().await;
            is_held
        }

        async fn go_on_holding(&self, user: &UserId, seats: &[Uuid], lasts: Duration) -> Result<(), BrokerError> {
            self.answers().await;
            self.0.go_on_holding(user, seats, lasts).await
        }

        async fn leave(&self, user: &UserId, seat: Uuid) -> Result<(), BrokerError> {
            self.answers().await;
            self.0.leave(user, seat).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_given_back_is_given_back_once_the_fleet_s_limiter_answers() {
        let shaky = Arc::new(Shaky(MemoryLimiter::default(), AtomicBool::new(false)));
        let limits = one_seat(shaky.clone());
        tokio::spawn(limits.clone().look_after_seats(CancellationToken::new()));
        drop(limits.sit(&alice()).await.expect("a seat, counted alone"));
        sleep(5 * WRITTEN).await;
        let left = timeout(Duration::from_millis(1), limits.sit(&alice())).await;
        assert!(left.is_err(), "somebody who goes while they wait");
        shaky.1.store(true, Ordering::Relaxed);
        sleep(WRITTEN + TURN).await;
        assert!(limits.sit(&alice()).await.is_ok());
    }
}
