//! What the link counts, with handles that are looked up once.

use metrics::{Counter, Gauge, counter, gauge};

/// The link's counters.
#[derive(Clone)]
pub(super) struct Metrics {
    /// Envelopes that Redis took.
    pub(super) published: Counter,
    /// Envelopes that Redis did not take, or not surely.
    pub(super) unpublished: Counter,
    /// Envelopes heard.
    pub(super) received: Counter,
    /// Heard bytes that are no envelope, or one of another channel than that on which they were heard.
    pub(super) undecodable: Counter,
    /// Envelopes heard for which the pump's queue had no room.
    pub(super) overrun: Counter,
    /// Channels subscribed again after a doubt.
    pub(super) resubscribed: Counter,
    /// 1 while everything subscribed is heard.
    pub(super) up: Gauge,
}

/// Why something may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A connection was lost or made.
    Link,
    /// A slot has another owner.
    Slot,
    /// The pod did not hear itself.
    Probe,
    /// Subscribing did not succeed at once.
    Refused,
    /// fred overwrote what the listener had not yet taken.
    Lagged,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            published: counter!("carillon_broker_published_total"),
            unpublished: counter!("carillon_broker_publish_failures_total"),
            received: counter!("carillon_broker_received_total"),
            undecodable: counter!("carillon_broker_undecodable_total"),
            overrun: counter!("carillon_broker_overrun_total"),
            resubscribed: counter!("carillon_broker_resubscribed_total"),
            up: gauge!("carillon_broker_link_up"),
        }
    }

    /// Counts a gap. Gaps are rare, so that the look-up does not matter.
    pub(super) fn gap(&self, cause: Cause) {
        let cause = match cause {
            Cause::Link => "link",
            Cause::Slot => "slot",
            Cause::Probe => "probe",
            Cause::Refused => "refused",
            Cause::Lagged => "lagged",
        };
        counter!("carillon_broker_gaps_total", "cause" => cause).increment(1);
    }
}
