//! Faults that are built in on purpose: where a pod dies, and what it does wrong.
//!
//! Checks that find nothing show something only if they would have found it. A build with the feature `sabotage`, which is never
//! released, dies at the points of `CARILLON_CRASH` and does what `CARILLON_SABOTAGE` names, each as often as it says:
//! `after_commit=0.01,before_answer=0.01`. In every other build both functions are empty,
//! and a pod that is told such things does not start.

/// Whether what this name stands for goes wrong this time.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
#[must_use]
pub const fn goes_wrong(_name: &str) -> bool {
    false
}

/// Dies here, if it is told to.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub const fn crash_point(_name: &str) {}

#[cfg(feature = "sabotage")]
pub use armed::{crash_point, goes_wrong};

#[cfg(feature = "sabotage")]
mod armed {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    static WRONGS: LazyLock<HashMap<String, f64>> = LazyLock::new(|| told("CARILLON_SABOTAGE"));
    static CRASHES: LazyLock<HashMap<String, f64>> = LazyLock::new(|| told("CARILLON_CRASH"));

    /// Reads `name=share,…` of the environment; a share that is no number is never.
    fn told(variable: &str) -> HashMap<String, f64> {
        let text = std::env::var(variable).unwrap_or_default();
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, share)| (name.to_owned(), share.parse().unwrap_or(0.0))).collect()
    }

    fn happens(shares: &HashMap<String, f64>, name: &str) -> bool {
        shares.get(name).is_some_and(|share| rand::random::<f64>() < *share)
    }

    /// Whether what this name stands for goes wrong this time.
    #[must_use]
    pub fn goes_wrong(name: &str) -> bool {
        happens(&WRONGS, name)
    }

    /// Dies here, if it is told to.
    pub fn crash_point(name: &str) {
        if happens(&CRASHES, name) {
            eprintln!("told to die at {name}");
            std::process::abort();
        }
    }
}
