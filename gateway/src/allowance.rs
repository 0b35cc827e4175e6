//! How many commands, and how many mistakes, one connection may still make. Pure arithmetic, no task and no timer.

use crate::clock;

/// How many commands, and how many mistakes, a connection may still make.
#[derive(Debug)]
pub struct Allowance {
    per_second: u32,
    left: f32,
    counted_at: u64,
    errors: u16,
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

/// Mistakes, and commands refused in a row, after which a connection is closed.
const TOLERATED: u16 = 200;

impl Allowance {
    /// So many commands a second over time, and twice that at once.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, left: 2.0 * per_second as f32, counted_at: clock::millis(), errors: 0, refused: 0 }
    }

    /// Takes one command from the allowance.
    pub fn take(&mut self) -> Grant {
        let now = clock::millis();
        let rate = self.per_second as f32 / 1_000.0;
        let earned = (now - self.counted_at) as f32 * rate;
        self.left = (self.left + earned).min(2.0 * self.per_second as f32);
        self.counted_at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            self.refused = 0;
            return Grant::Granted;
        }
        self.refused += 1;
        if self.refused > TOLERATED {
            return Grant::Abusive;
        }
        Grant::TooFast(((1.0 - self.left) / rate).ceil() as u64)
    }

    /// Counts a mistake. True when there were too many.
    pub const fn count_error(&mut self) -> bool {
        self.errors = self.errors.saturating_add(1);
        self.errors > TOLERATED
    }
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
}
