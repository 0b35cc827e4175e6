//! Which of the gateways that wrote people are dead, for whoever reads what they wrote.
//!
//! A lease that is missing may have been lost, and its gateway about to begin another one: it is dead only if it is still missing a
//! while later.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ids::PodId;

/// How long a lease is missing of a gateway that is dead. One that lives begins another within a beat, and writes everybody anew.
const MISSING: Duration = Duration::from_secs(6);
/// How often a lease is looked at, at most.
const AGAIN: Duration = Duration::from_secs(2);
/// How long it is known of a lease that it is missing.
const KNOWN: Duration = Duration::from_secs(300);

/// What is known of the leases of those who wrote people.
#[derive(Default)]
pub(super) struct Leases {
    known: HashMap<PodId, Known>,
}

struct Known {
    looked_at: Instant,
    missing_since: Option<Instant>,
}

impl Leases {
    /// Those of `holders` whose lease is to be looked at.
    pub(super) fn due(&mut self, holders: impl Iterator<Item = PodId>, now: Instant) -> Vec<PodId> {
        self.known.retain(|_, known| now < known.looked_at + KNOWN);
        let is_due = |holder: &PodId| self.known.get(holder).is_none_or(|known| now >= known.looked_at + AGAIN);
        holders.filter(is_due).collect()
    }

    /// Takes whether the lease of `holder` was there, and answers whether it is dead.
    pub(super) fn is_dead(&mut self, holder: PodId, lives: bool, now: Instant) -> bool {
        let known = self.known.entry(holder).or_insert(Known { looked_at: now, missing_since: None });
        known.looked_at = now;
        if lives {
            known.missing_since = None;
            return false;
        }
        now >= *known.missing_since.get_or_insert(now) + MISSING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_dead_whose_lease_is_missing_for_a_while_and_is_looked_at_now_and_then() {
        let (mut leases, holder, begun) = (Leases::default(), PodId::new(), Instant::now());
        let due = |leases: &mut Leases, at| !leases.due([holder].into_iter(), at).is_empty();
        assert!(due(&mut leases, begun));
        assert!(!leases.is_dead(holder, false, begun));
        assert!(!due(&mut leases, begun + AGAIN / 2), "it was looked at just now");
        assert!(due(&mut leases, begun + AGAIN));
        assert!(!leases.is_dead(holder, false, begun + AGAIN));
        assert!(leases.is_dead(holder, false, begun + MISSING));
        assert!(!leases.is_dead(holder, true, begun + MISSING), "it was there again");
        assert!(!leases.is_dead(holder, false, begun + 2 * MISSING), "it is missing since just now");
    }
}
