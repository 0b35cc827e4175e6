//! What gateways weigh: the memory that a process has for itself, beside its program.

use std::time::{Duration, Instant};

use fleet::journal::Memory;
use fleet::servers::carillon::Pod;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Weighs gateways, once a second at most.
#[derive(Default)]
pub struct Scale {
    weighed_at: Option<Instant>,
    /// What they weighed.
    pub weights: Vec<Memory>,
}

impl Scale {
    /// Weighs those that run, if it is time.
    pub fn weigh(&mut self, gateways: &[Pod]) {
        if self.weighed_at.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.weighed_at = Some(Instant::now());
        let weight = |pod: &Pod| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", pod.id()?)).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
            let kib = line.trim().trim_end_matches(" kB").parse().ok()?;
            Some(Memory { pod: pod.name().to_owned(), kib })
        };
        self.weights.extend(gateways.iter().filter_map(weight));
    }
}
