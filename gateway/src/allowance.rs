//! How many commands, and how many mistakes, one connection may still make. Pure arithmetic, no task and no timer.

use crate::clock;

/// How many commands, and how many mistakes, a connection may still make.
#[derive(Debug)]
pub struct Allowance {
    per_second: u32,
    commands: Bucket,
    mistakes: Bucket,
    refused: u16,
}

/// What the allowance says to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Do it.
    Granted,
    /// Not now; again in so many milliseconds.
    TooFast(u64),
    /// The client does not listen.
    Abusive,
}

/// What is left of something that comes back with time.
#[derive(Debug)]
struct Bucket {
    left: f32,
    filled_at: u64,
}

/// Commands refused in a row after which a connection is closed.
const TOLERATED: u16 = 200;
/// Mistakes that are forgiven in a second.
const FORGIVEN: f32 = 1.0;

impl Allowance {
    /// So many commands a second over time, and twice that at once.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let (commands, mistakes) = (Bucket::full(at_once(per_second)), Bucket::full(borne(per_second)));
        Self { per_second, commands, mistakes, refused: 0 }
    }

    /// Takes one command from the allowance.
    pub fn take(&mut self) -> Grant {
        let rate = self.per_second as f32;
        let Err(missing) = self.commands.take(rate, at_once(self.per_second), clock::millis()) else {
            self.refused = 0;
            return Grant::Granted;
        };
        self.refused += 1;
        if self.refused > TOLERATED {
            return Grant::Abusive;
        }
        Grant::TooFast((missing / rate * 1_000.0).ceil() as u64)
    }

    /// Counts a mistake. True when there were too many.
    pub fn count_error(&mut self) -> bool {
        self.mistakes.take(FORGIVEN, borne(self.per_second), clock::millis()).is_err()
    }
}

impl Bucket {
    fn full(most: f32) -> Self {
        Self { left: most, filled_at: clock::millis() }
    }

    /// Takes one of at most so many, or says how much is missing for it.
    fn take(&mut self, per_second: f32, most: f32, now: u64) -> Result<(), f32> {
        let earned = (now - self.filled_at) as f32 * per_second / 1_000.0;
        self.left = (self.left + earned).min(most);
        self.filled_at = now;
        if self.left < 1.0 {
            return Err(1.0 - self.left);
        }
        self.left -= 1.0;
        Ok(())
    }
}

fn at_once(per_second: u32) -> f32 {
    2.0 * per_second as f32
}

/// Mistakes after which a connection is closed: whoever may say more may err more often.
fn borne(per_second: u32) -> f32 {
    (4.0 * per_second as f32).max(200.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_too_fast_is_told_so_and_one_that_does_not_listen_is_cut() {
        let mut allowance = Allowance::new(1);
        assert_eq!((allowance.take(), allowance.take()), (Grant::Granted, Grant::Granted));
        assert!(matches!(allowance.take(), Grant::TooFast(wait) if (1..=1_000).contains(&wait)));
        assert!((0..=TOLERATED).any(|_| allowance.take() == Grant::Abusive));
    }

    #[test]
    fn too_many_mistakes_at_once_are_not_borne() {
        let mut allowance = Allowance::new(50);
        assert_eq!((0..300).position(|_| allowance.count_error()), Some(200));
    }

    #[test]
    fn what_was_taken_comes_back_with_time_and_no_more_than_there_was() {
        let mut bucket = Bucket::full(3.0);
        let mut taken = |now| (0..10).take_while(|_| bucket.take(0.5, 3.0, now).is_ok()).count();
        let start = clock::millis();
        assert_eq!([0, 1_000, 2_000, 6_000, 1_000_000].map(|later| taken(start + later)), [3, 0, 1, 2, 3]);
    }

    #[test]
    fn whoever_may_say_more_may_err_more_often() {
        assert_eq!([1, 50, 100_000].map(borne), [200.0, 200.0, 400_000.0]);
    }
}
