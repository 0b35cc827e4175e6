//! What this gateway counts. Handles are made once, because looking one up costs more than counting.

use std::sync::LazyLock;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use shared::protocol::CloseCode;

/// The gateway's counters.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Handles to everything a gateway counts.
pub struct Metrics {
    /// Open sockets.
    pub connections: Gauge,
    /// Sockets opened.
    pub opened: Counter,
    /// Clients that are coming in.
    pub arrivals: Gauge,
    /// Clients that were told to come back, because too many came in at the same time.
    pub arrivals_refused: Counter,
    /// Seconds from the handshake until a client is live.
    pub arrival: Histogram,
    /// Rooms that connections are in, summed.
    pub subscriptions: Gauge,
    /// Events handed to sockets.
    pub deliveries: Counter,
    /// Writes to sockets; deliveries per write tells how well frames are joined.
    pub writes: Counter,
    /// Seconds from commit to the socket.
    pub latency: Histogram,
    /// Readers that were too slow for their send queue.
    pub overflows: Counter,
    /// Pages fetched for connections that catch up.
    pub catch_up_pages: Counter,
    /// Pages that a window had, so that the api was not asked.
    pub window_pages: Counter,
    /// Entries that a repair brought.
    pub repaired: Counter,
    /// Envelopes that did not decode or had no place.
    pub strange: Counter,
    /// Signs that were shown to nobody, or not to all.
    pub signs_dropped: Counter,
    /// People who are connected here, or were a moment ago.
    pub presence_people: Gauge,
    /// Leases begun; more than one in a gateway's life says that it was taken for dead.
    pub presence_leases: Counter,
    /// People taken back whom dead gateways had.
    pub presence_swept: Counter,
    /// People of whom something else was read than had been told here.
    pub presence_repaired: Counter,
    /// Sockets closed because their token was revoked.
    pub revoked: Counter,
    /// People of whom some token does not count any more.
    pub revoked_people: Gauge,
    /// Seconds since something told the heads.
    pub heads_age: Gauge,
}

impl Metrics {
    fn new() -> Self {
        Self {
            connections: gauge!("carillon_gateway_connections"),
            opened: counter!("carillon_gateway_connections_opened_total"),
            arrivals: gauge!("carillon_gateway_arrivals"),
            arrivals_refused: counter!("carillon_gateway_arrivals_refused_total"),
            arrival: histogram!("carillon_gateway_arrival_seconds"),
            subscriptions: gauge!("carillon_gateway_subscriptions"),
            deliveries: counter!("carillon_gateway_deliveries_total"),
            writes: counter!("carillon_gateway_writes_total"),
            latency: histogram!("carillon_gateway_delivery_seconds"),
            overflows: counter!("carillon_gateway_overflows_total"),
            catch_up_pages: counter!("carillon_gateway_catch_up_pages_total"),
            window_pages: counter!("carillon_gateway_window_pages_total"),
            repaired: counter!("carillon_gateway_repaired_entries_total"),
            strange: counter!("carillon_gateway_strange_envelopes_total"),
            signs_dropped: counter!("carillon_gateway_signs_dropped_total"),
            presence_people: gauge!("carillon_gateway_presence_people"),
            presence_leases: counter!("carillon_gateway_presence_leases_total"),
            presence_swept: counter!("carillon_gateway_presence_swept_total"),
            presence_repaired: counter!("carillon_gateway_presence_repaired_total"),
            revoked: counter!("carillon_gateway_revoked_connections_total"),
            revoked_people: gauge!("carillon_gateway_revoked_people"),
            heads_age: gauge!("carillon_gateway_heads_age_seconds"),
        }
    }

    /// Losses noticed, by what showed them.
    pub fn gaps(&self, reason: &'static str) -> Counter {
        counter!("carillon_gateway_gaps_total", "reason" => reason)
    }

    /// Sockets closed by us, by code.
    pub fn closed(&self, code: CloseCode) -> Counter {
        counter!("carillon_gateway_closed_total", "code" => code.code().to_string())
    }

    /// Commands, by action.
    pub fn commands(&self, action: &'static str) -> Counter {
        counter!("carillon_gateway_commands_total", "action" => action)
    }
}
