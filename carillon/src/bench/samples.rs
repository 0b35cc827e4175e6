//! Many measurements of one thing, and what they come to.

use std::time::Duration;

/// Times, in microseconds, in the order in which they were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Samples(Vec<u32>);

impl Samples {
    /// Adds one; longer than an hour counts as an hour.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time.as_micros().min(3_600_000_000) as u32);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that `part` of them (0 to 1) do not exceed, in milliseconds; NaN of none.
    pub fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        let rank = (part * sorted.len() as f64).ceil() as usize;
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let (_, value, _) = sorted.select_nth_unstable(rank.saturating_sub(1).min(last));
        f64::from(*value) / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_that_so_many_do_not_exceed() {
        let mut samples = Samples::default();
        (1..=1_000).rev().for_each(|millis| samples.add(Duration::from_millis(millis)));
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(|part| samples.percentile(part)), [500.0, 990.0, 999.0, 1_000.0]);
        assert!(Samples::default().percentile(0.5).is_nan());
    }
}
