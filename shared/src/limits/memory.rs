//! Turns counted in a single process: of one that plays all roles, or of a pod that counts alone for a moment.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Deed, Doer, Limiter, Rate, Turn};
use crate::broker::BrokerError;
use crate::ids::UserId;

/// How often those are forgotten who have earned everything back.
const SWEEP: Duration = Duration::from_secs(10);
/// Most who are counted. When there are more, everybody begins anew: a limit must not cost more than what it is against.
const MOST: usize = 500_000;

/// Turns that this process counts.
#[derive(Default)]
pub struct MemoryLimiter(Mutex<Book>);

#[derive(Default)]
struct Book {
    /// When everything that was taken will be earned back.
    earned_back: HashMap<(Doer, Deed), Instant>,
    swept: Option<Instant>,
    /// Until when each seat is held.
    seats: HashMap<UserId, HashMap<Uuid, Instant>>,
}

impl MemoryLimiter {
    /// Takes a turn, or says how long until there is one.
    pub fn count(&self, who: &Doer, deed: Deed, rate: Rate) -> Turn {
        let (now, mut book) = (Instant::now(), self.0.lock().expect("no holder panics"));
        book.sweep(now);
        let earned_back = book.earned_back.get(&(who.clone(), deed)).copied().unwrap_or(now);
        let next = earned_back.clamp(now, now + rate.whole()) + rate.each();
        let wait = next.saturating_duration_since(now + rate.whole());
        if wait.is_zero() {
            book.earned_back.insert((who.clone(), deed), next);
            return Turn::Taken;
        }
        Turn::Wait(wait)
    }
}

impl Book {
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.earned_back.retain(|_, earned_back| *earned_back > now);
            self.seats.retain(|_, seats| seats.values().any(|held_until| *held_until > now));
            self.swept = Some(now);
        }
        if self.earned_back.len() >= MOST {
            self.earned_back.clear();
        }
    }
}

#[async_trait]
impl Limiter for MemoryLimiter {
    async fn take(&self, who: &Doer, deed: Deed, rate: Rate) -> Result<Turn, BrokerError> {
        Ok(self.count(who, deed, rate))
    }

    async fn hold(&self, user: &UserId, seat: Uuid, most: u32, lasts: Duration) -> Result<bool, BrokerError> {
        let (now, mut book) = (Instant::now(), self.0.lock().expect("no holder panics"));
        book.sweep(now);
        let seats = book.seats.entry(user.clone()).or_default();
        seats.retain(|_, held_until| *held_until > now);
        let is_free = seats.len() < most as usize;
        if is_free {
            seats.insert(seat, now + lasts);
        }
        Ok(is_free)
    }

    async fn go_on_holding(&self, user: &UserId, seats: &[Uuid], lasts: Duration) -> Result<(), BrokerError> {
        let held_until = Instant::now() + lasts;
        let mut book = self.0.lock().expect("no holder panics");
        book.seats.entry(user.clone()).or_default().extend(seats.iter().map(|seat| (*seat, held_until)));
        Ok(())
    }

    async fn leave(&self, user: &UserId, seat: Uuid) -> Result<(), BrokerError> {
        let mut book = self.0.lock().expect("no holder panics");
        book.seats.get_mut(user).map(|seats| seats.remove(&seat));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn over_time_nobody_has_more_turns_than_the_rate_allows() {
        let limiter = MemoryLimiter::default();
        let rate = Rate { times: 10.try_into().expect("ten"), within: Duration::from_secs(1) };
        let alice = Doer::User("alice".parse().expect("an id"));
        let taken = || (0..1_000).filter(|_| limiter.count(&alice, Deed::Send, rate) == Turn::Taken).count();
        assert_eq!(taken(), 10);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(taken(), 2);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(taken(), 10, "more than all is never saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_earned_everything_back_is_forgotten() {
        let limiter = MemoryLimiter::default();
        let rate = Rate { times: 1.try_into().expect("one"), within: Duration::from_secs(1) };
        let user = |number: u32| Doer::User(format!("user-{number}").parse().expect("an id"));
        (0..100).for_each(|number| assert_eq!(limiter.count(&user(number), Deed::Send, rate), Turn::Taken));
        tokio::time::advance(SWEEP).await;
        limiter.count(&user(100), Deed::Send, rate);
        assert_eq!(limiter.0.lock().expect("no holder panics").earned_back.len(), 1);
    }
}
