//! The turnstile: how many clients come in at the same time, and when the others come back.
//!
//! A client comes in from its handshake until it is live: its token is verified, its feeds are subscribed, the api says where
//! it starts, and what it missed is read. When a pod dies, all of its clients come at once, and what is done for too many at
//! the same time is done for none of them in time. So whoever comes while it is full is told at once when there will be room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics::METRICS;

/// How long coming in takes, before anybody has.
const USUALLY: Duration = Duration::from_millis(100);
/// The shortest and the longest time after which somebody is told to come back.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(30);

/// Lets so many in at the same time.
pub struct Turnstile {
    most: usize,
    book: Mutex<Book>,
}

struct Book {
    passing: usize,
    /// How long it took of late.
    takes: Duration,
    /// When there will have been room for everybody who was told to come back.
    room_at: Instant,
}

/// As many come in as can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this pod has no room now")]
pub struct Full {
    /// How long to stay away.
    pub wait: Duration,
}

/// Somebody who comes in; dropped when they are in, or go.
pub struct Passing {
    turnstile: Arc<Turnstile>,
    begun: Instant,
    is_in: bool,
}

impl Turnstile {
    /// Lets `most` in at the same time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let book = Book { passing: 0, takes: USUALLY, room_at: Instant::now() };
        Self { most, book: Mutex::new(book) }
    }

    /// Lets one more in.
    ///
    /// # Errors
    ///
    /// When it is full.
    pub fn pass(self: &Arc<Self>) -> Result<Passing, Full> {
        let mut book = self.book.lock();
        if book.passing >= self.most {
            drop(book);
            METRICS.arrivals_refused.increment(1);
            return Err(self.come_back());
        }
        book.passing += 1;
        METRICS.arrivals.set(book.passing as f64);
        Ok(Passing { turnstile: Arc::clone(self), begun: Instant::now(), is_in: false })
    }

    /// When somebody who cannot be let in now may come back. Each is given a time of their own, one after the other as there will be
    /// room for them, and not quite that: two gateways must not have theirs come in step.
    pub fn come_back(&self) -> Full {
        let (now, mut book) = (Instant::now(), self.book.lock());
        let each = book.takes / u32::try_from(self.most).unwrap_or(u32::MAX);
        book.room_at = (book.room_at.max(now + SOONEST) + each).min(now + LATEST);
        let wait = book.room_at - now;
        drop(book);
        // Behind the latest there is no order: as many as wait for it come over half of that time.
        let spread = if wait == LATEST { 0.5..1.0 } else { 0.75..1.25 };
        Full { wait: wait.mul_f64(rand::random_range(spread)).clamp(SOONEST, LATEST) }
    }
}

impl Passing {
    /// The client is live.
    pub fn is_in(mut self) {
        self.is_in = true;
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let mut book = self.turnstile.book.lock();
        book.passing -= 1;
        METRICS.arrivals.set(book.passing as f64);
        if self.is_in {
            book.takes = book.takes.mul_f64(0.95) + took.mul_f64(0.05);
            METRICS.arrival.record(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_allowed_come_in_at_the_same_time() {
        let turnstile = Arc::new(Turnstile::new(2));
        let (first, second) = (turnstile.pass(), turnstile.pass());
        assert!(first.is_ok() && second.is_ok() && turnstile.pass().is_err());
        first.expect("let in").is_in();
        let third = turnstile.pass();
        assert!(third.is_ok() && turnstile.pass().is_err());
        drop(second);
        assert!(turnstile.pass().is_ok(), "who goes makes room too");
    }

    #[test]
    fn those_who_cannot_come_in_are_told_times_spread_over_what_all_of_them_take() {
        let turnstile = Arc::new(Turnstile::new(10));
        let _full: Vec<_> = (0..10).map(|_| turnstile.pass()).collect();
        let mut waits: Vec<_> = (0..1_000).filter_map(|_| Some(turnstile.pass().err()?.wait)).collect();
        waits.sort_unstable();
        // Ten at a time, a tenth of a second each: a thousand take ten seconds.
        let within = |wait: Duration, from: f64, to: f64| (from..to).contains(&wait.as_secs_f64());
        assert!(within(waits[0], 0.1, 0.2), "{:?}", waits[0]);
        assert!(within(waits[500], 4.0, 6.0), "{:?}", waits[500]);
        assert!(within(waits[999], 10.0, 12.7), "{:?}", waits[999]);
    }

    #[test]
    fn nobody_is_told_to_stay_away_for_ever() {
        let turnstile = Arc::new(Turnstile::new(1));
        let waits: Vec<_> = (0..10_000).map(|_| turnstile.come_back().wait).collect();
        assert!(waits.iter().all(|wait| *wait <= LATEST));
        let late = &waits[5_000..];
        assert!(late.iter().any(|wait| *wait < LATEST * 6 / 10) && late.iter().any(|wait| *wait > LATEST * 9 / 10));
    }
}
