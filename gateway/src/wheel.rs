//! The timer wheel: one task that visits every connection now and then, instead of a timer for each.
//!
//! It finds out who must be asked for a sign of life, who gave none, who takes nothing, and whose token has ended. A visit
//! costs a few loads; the connection's task is woken only when there is something to do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use shared::protocol::CloseCode;
use shared::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::GatewaySettings;
use crate::connection::Connection;

/// Parts of the wheel; one is visited at a time.
const SLOTS: usize = 64;
/// Visits to each connection in one heartbeat interval.
const VISITS: u32 = 6;

/// Every connection of a gateway, spread over the slots.
pub struct Wheel {
    slots: Vec<Mutex<Vec<Weak<Connection>>>>,
    next: AtomicUsize,
    limits: Limits,
}

struct Limits {
    heartbeat: Duration,
    stall: Duration,
    inactive: Option<Duration>,
}

impl Wheel {
    /// An empty wheel.
    #[must_use]
    pub fn new(settings: &GatewaySettings) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
            limits: Limits {
                heartbeat: settings.heartbeat_interval,
                stall: settings.stall_timeout,
                inactive: settings.inactive_after,
            },
        }
    }

    /// Visits `connection` from now on, until it is dropped.
    pub fn add(&self, connection: &Arc<Connection>) {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
        self.slots[slot].lock().push(Arc::downgrade(connection));
    }

    /// Every connection that is open.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.slots.iter().flat_map(|slot| slot.lock().iter().filter_map(Weak::upgrade).collect::<Vec<_>>()).collect()
    }

    /// Turns until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut turn = tokio::time::interval(self.limits.heartbeat / VISITS / SLOTS as u32);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for slot in self.slots.iter().cycle() {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            slot.lock()
                .retain(|connection| connection.upgrade().is_some_and(|connection| self.limits.visit(&connection)));
        }
    }
}

impl Limits {
    /// Gives orders where there is a reason. True: the connection stays in the wheel until it is gone.
    fn visit(&self, connection: &Connection) -> bool {
        let now = clock::millis();
        let since = |at: u64| Duration::from_millis(now.saturating_sub(at));
        // A visit comes late by up to a sixth of an interval; whoever is silent is gone within two all the same.
        let silence = 2 * self.heartbeat - self.heartbeat / VISITS;
        let stalled_at = connection.stalled_at.load(Ordering::Relaxed);
        let close = if connection.token_ends() <= Timestamp::now() {
            Some(CloseCode::BadToken)
        } else if stalled_at != 0 && since(stalled_at) >= self.stall {
            Some(CloseCode::Stalled)
        } else if since(connection.heard_at.load(Ordering::Relaxed)) >= silence {
            Some(CloseCode::Silent)
        } else {
            let idle = since(connection.active_at.load(Ordering::Relaxed));
            self.inactive.filter(|&limit| idle >= limit).map(|_| CloseCode::Silent)
        };
        if let Some(code) = close {
            connection.queue.order(|orders| orders.close = Some(code));
        } else if since(connection.pinged_at.load(Ordering::Relaxed)) >= self.heartbeat {
            connection.pinged_at.store(now, Ordering::Relaxed);
            connection.queue.order(|orders| orders.ping = true);
        }
        true
    }
}
