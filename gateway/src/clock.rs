//! The gateway's own clock: milliseconds since the process began to look at it. It never jumps, and fits an atomic.

use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since the first call; never 0, which means "not set" where such times are kept.
#[must_use]
pub fn millis() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}
