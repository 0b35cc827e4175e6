//! Waiting for facts.
//!
//! Every test that waits waits here: for something to become true, with a deadline, never for time to pass.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Between two looks. Short against every promise of the product, long against a look.
const REST: Duration = Duration::from_millis(20);

/// Asks `fact` again and again until it is `Ok`, and returns what it holds.
///
/// # Panics
///
/// With the last reason, when `deadline` has passed.
pub async fn eventually<T, E: Display>(deadline: Duration, mut fact: impl AsyncFnMut() -> Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match fact().await {
            Ok(value) => return value,
            Err(reason) => assert!(begun.elapsed() < deadline, "not within {deadline:?}: {reason}"),
        }
        tokio::time::sleep(REST).await;
    }
}

/// Asks whether `fact` is true again and again until it is.
///
/// # Panics
///
/// When `deadline` has passed, naming `what` was waited for.
pub async fn until(deadline: Duration, what: &str, mut fact: impl FnMut() -> bool) {
    eventually(deadline, async || if fact() { Ok(()) } else { Err(what) }).await;
}
