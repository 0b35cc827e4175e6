//! Rates: so many at once, and as many again within a time, one by one.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::Value;

/// How often something may be done: `times` at once. Each is earned back in its share of `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many at once.
    pub times: NonZeroU32,
    /// How long until all of them are earned back.
    pub within: Duration,
}

impl Rate {
    /// In how long one is earned back.
    #[must_use]
    pub fn each(self) -> Duration {
        (self.within / self.times.get()).max(Duration::from_micros(1))
    }

    /// In how long all are.
    #[must_use]
    pub fn whole(self) -> Duration {
        self.each() * self.times.get()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.times, self.within.show())
    }
}

/// A rate, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<Rate>);

impl Value for Limit {
    const FORM: &'static str = "times/time, like 100/10s; 0 for no limit";

    fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(None));
        }
        let (times, within) = text.split_once('/')?;
        let times = NonZeroU32::new(u32::parse(times.trim())?)?;
        let within = Duration::parse(within.trim()).filter(|within| !within.is_zero())?;
        Some(Self(Some(Rate { times, within })))
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "0".to_owned(), |Rate { times, within }| format!("{times}/{}", within.show()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_as_it_is_read() {
        for text in ["0", "100/10s", "1/1h", "5/250ms"] {
            assert_eq!(Limit::parse(text).map(|limit| limit.show()).as_deref(), Some(text));
        }
        for text in ["", "100", "0/1s", "1/0s", "-1/1s", "1/s", "1/1s/1s"] {
            assert_eq!(Limit::parse(text), None, "{text}");
        }
    }
}
