//! How this gateway follows what is revoked, and has sockets closed whose token does not count any more.
//!
//! An entry of the feed of the fleet, or a head of it, only says that there is something: what it is the repairer reads from the
//! api, from where it stopped the last time. So one that is lost, comes twice or too early does no harm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::access::Verifier;
use shared::channel::Channel;
use shared::ids::{Epoch, Seq};
use shared::time::Timestamp;
use shared::upstream::RevokedAfter;

use crate::behind::Behind;
use crate::hub::Hub;
use crate::metrics::METRICS;
use crate::upstream::{Upstream, UpstreamError};

/// What was revoked, as far as this gateway has read it.
pub struct Revocations {
    verifier: Verifier,
    hub: Arc<Hub>,
    behind: Arc<Behind>,
    next: Mutex<RevokedAfter>,
}

impl Revocations {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(verifier: Verifier, hub: Arc<Hub>, behind: Arc<Behind>) -> Self {
        Self { verifier, hub, behind, next: Mutex::default() }
    }

    /// Takes that the feed of the fleet is so far. What is missing is read `patience` from now.
    pub fn announce(&self, epoch: Epoch, head: Seq, patience: Duration) {
        let read = *self.next.lock();
        if read.epoch != Some(epoch) || read.after < head {
            self.behind.note(Channel::Fleet, Instant::now() + patience);
        }
    }

    /// Reads what is missing. Connections of those whom it concerns look whether their token still counts.
    pub async fn read(&self, upstream: &Upstream) -> Result<(), UpstreamError> {
        let denylist = self.verifier.denylist();
        loop {
            let asked = *self.next.lock();
            let page = upstream.revoked_after(&asked).await?;
            // Whoever arrives meanwhile looks into the list once they can be found by the hub.
            denylist.add(&page.revoked);
            page.revoked.iter().for_each(|revoked| self.hub.doubt_tokens(&revoked.user));
            *self.next.lock() = page.next;
            if !page.more {
                break;
            }
        }
        denylist.complete();
        METRICS.revoked_people.set(denylist.forget_expired(Timestamp::now()) as f64);
        Ok(())
    }
}
