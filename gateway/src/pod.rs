//! What every connection of a gateway shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use shared::access::Verifier;
use shared::broker::Broker;
use shared::history::History;
use shared::limits::{Limits, Seat};
use shared::presence::Presence;
use shared::tickets::Tickets;

use crate::acks::Acks;
use crate::attendance::Attendance;
use crate::catch_up::Pages;
use crate::config::GatewaySettings;
use crate::hub::Hub;
use crate::interest::Interest;
use crate::metrics::METRICS;
use crate::questions::Questions;
use crate::signs::Signs;
use crate::turnstile::Turnstile;
use crate::upstream::Upstream;
use crate::wheel::Wheel;

/// One gateway's parts, as a connection needs them.
pub struct Pod {
    /// How it behaves.
    pub settings: GatewaySettings,
    /// Its name, for people who look for it.
    pub node: String,
    /// Who is believed.
    pub verifier: Verifier,
    /// Channel → connections.
    pub hub: Arc<Hub>,
    /// Which channels are heard.
    pub interest: Interest,
    /// Where rooms are published.
    pub broker: Arc<dyn Broker>,
    /// What rooms remember.
    pub history: Arc<dyn History>,
    /// Who is here, over all gateways.
    pub presence: Arc<dyn Presence>,
    /// How often people may do what.
    pub limits: Limits,
    /// Whose tickets are.
    pub tickets: Arc<dyn Tickets>,
    /// The api.
    pub upstream: Upstream,
    /// Questions to the api about arrivals and rooms, in batches.
    pub questions: Questions,
    /// Questions about who may see whom, apart from the others: whoever watches many must not keep anybody from arriving.
    pub watches: Questions,
    /// Shows what people are doing.
    pub signs: Signs,
    /// Tells who is connected here.
    pub attendance: Attendance,
    /// Pages for those who catch up.
    pub pages: Pages,
    /// What devices have received.
    pub acks: Arc<Acks>,
    /// Who must be asked for a sign of life.
    pub wheel: Wheel,
    /// Who comes in.
    pub turnstile: Arc<Turnstile>,
    /// How many sockets are open.
    pub open: AtomicUsize,
    /// Whether the pod is stopping.
    pub draining: AtomicBool,
}

/// One of the places for sockets; given back when dropped.
pub struct Place {
    pod: Arc<Pod>,
    /// The one of those that the fleet has for one person, where these are limited.
    pub seat: Option<Seat>,
}

impl Pod {
    /// Takes a place for one more socket, unless the pod is full.
    #[must_use]
    pub fn take_place(self: &Arc<Self>) -> Option<Place> {
        let taken = self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place { pod: Arc::clone(self), seat: None };
        METRICS.connections.increment(1);
        (taken < self.settings.max_connections).then_some(place)
    }

    /// Whether new sockets are welcome.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.settings.enabled && !self.draining.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pod.open.fetch_sub(1, Ordering::Relaxed);
        METRICS.connections.decrement(1);
    }
}
