//! The heads watch: whether something told lately how far the feeds are, and what to do when nothing did.
//!
//! A worker's beat comes through the broker four times a second. While beats are missing, the gateway polls the api for the same
//! list, so that delivery goes on without the broker. What a head shows to be missing goes into [`Behind`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shared::beat::Beat;
use shared::channel::Channel;
use shared::sabotage;
use shared::upstream::{Heads, RecentHeads};
use tokio_util::sync::CancellationToken;

use crate::behind::Behind;
use crate::clock;
use crate::feed::ANNOUNCED;
use crate::hub::Hub;
use crate::metrics::METRICS;
use crate::revocations::Revocations;
use crate::upstream::Upstream;

/// Without a beat for so long, the gateway polls.
const BEAT_MISSING: Duration = Duration::from_secs(1);
/// How often it polls then.
const POLL: Duration = Duration::from_millis(500);
/// Without beat and poll for so long, anything may have been missed, and the pod is not ready.
pub const UNHEARD: Duration = Duration::from_secs(5);
/// How often all heads are compared although nothing points to a loss.
const COMPARE: Duration = Duration::from_secs(300);

/// When heads were last told, by a beat or by a poll.
pub struct HeadsWatch {
    hub: Arc<Hub>,
    revocations: Arc<Revocations>,
    behind: Arc<Behind>,
    beat_at: AtomicU64,
    told_at: AtomicU64,
    /// Whether the api reached the broker when it was last polled.
    others_announce: AtomicBool,
}

impl HeadsWatch {
    /// A watch that nothing has told anything yet.
    #[must_use]
    pub fn new(hub: Arc<Hub>, revocations: Arc<Revocations>, behind: Arc<Behind>) -> Self {
        Self {
            hub,
            revocations,
            behind,
            beat_at: AtomicU64::new(0),
            told_at: AtomicU64::new(0),
            others_announce: AtomicBool::new(false),
        }
    }

    /// Takes a beat from the broker.
    pub fn hear_beat(&self, bytes: &[u8]) {
        let Ok(Beat { epoch, heads, .. }) = Beat::decode(bytes) else {
            METRICS.strange.increment(1);
            return;
        };
        if self.since_beat() > BEAT_MISSING && !sabotage::goes_wrong("ignores_gaps") {
            // Beats are back: what was published meanwhile may have been missed.
            self.behind.compare_everything();
        }
        self.beat_at.store(clock::millis(), Ordering::Relaxed);
        self.tell(Heads { epoch, heads }, ANNOUNCED);
    }

    /// Polls while beats are missing, and compares now and then, until `stop`.
    pub async fn run(&self, upstream: Upstream, stop: CancellationToken) {
        let mut compared_at = clock::millis();
        // Spread, so that a fleet started at once does not ask at once.
        let compare = COMPARE.mul_f64(rand::random_range(0.75..1.25));
        loop {
            if self.since_beat() > BEAT_MISSING {
                match upstream.recent_heads().await {
                    Ok(RecentHeads { heads, announcing }) => {
                        self.others_announce.store(announcing, Ordering::Relaxed);
                        self.tell(heads, Duration::ZERO);
                    }
                    Err(error) => tracing::debug!(%error, "heads not polled"),
                }
            }
            if Duration::from_millis(clock::millis() - compared_at) > compare {
                compared_at = clock::millis();
                self.behind.compare_everything();
            }
            METRICS.heads_age.set(self.age().as_secs_f64());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// How long ago heads were told; very long before the first time.
    #[must_use]
    pub fn age(&self) -> Duration {
        since(&self.told_at)
    }

    /// Whether api pods reach the broker while no beat comes here.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.since_beat() > BEAT_MISSING && self.others_announce.load(Ordering::Relaxed)
    }

    fn since_beat(&self) -> Duration {
        since(&self.beat_at)
    }

    fn tell(&self, heads: Heads, patience: Duration) {
        if self.age() > UNHEARD {
            self.behind.compare_everything();
        }
        self.told_at.store(clock::millis(), Ordering::Relaxed);
        if self.hub.epoch().is_some_and(|epoch| epoch != heads.epoch) {
            self.behind.compare_everything();
            return;
        }
        if sabotage::goes_wrong("ignores_heads") {
            return;
        }
        for (channel, head) in heads.heads {
            match channel {
                Channel::Fleet => self.revocations.announce(heads.epoch, head, patience),
                channel => self.hub.announce_known(&channel, head, patience),
            }
        }
    }
}

fn since(at: &AtomicU64) -> Duration {
    match at.load(Ordering::Relaxed) {
        0 => Duration::MAX,
        at => Duration::from_millis(clock::millis().saturating_sub(at)),
    }
}
