//! Tickets: what a page shows in an address instead of its token, because addresses are written down on many ways.
//!
//! The api makes one out to whoever shows a token, and a gateway takes it in: once, within half a minute, and from pages of no other
//! origin than the one that asked for it.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod memory;
pub mod redis;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::access::Caller;
use crate::broker::BrokerError;

/// How long a ticket lets in.
pub const LASTS: Duration = Duration::from_secs(30);

/// A ticket: 32 random bytes. Only the answer that makes it out shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket([u8; 32]);

/// Whose a ticket is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// As whom it lets in.
    pub caller: Caller,
    /// Which page asked for it, if it was a page.
    pub origin: Option<String>,
}

/// A text that is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket: 43 letters, digits, - and _")]
pub struct InvalidTicket;

/// The book of tickets.
#[async_trait]
pub trait Tickets: Send + Sync {
    /// Keeps whose `ticket` is, for as long as `lasts`.
    async fn keep(&self, ticket: &Ticket, holder: &Holder, lasts: Duration) -> Result<(), BrokerError>;

    /// Takes `ticket` in and answers whose it was: of all who show it, one is told, once. Whoever takes it and does not hear that
    /// has lost it: so it is when the connection breaks before the answer. A server that takes over without having heard that it was
    /// taken has it until it is over.
    async fn take(&self, ticket: &Ticket) -> Result<Option<Holder>, BrokerError>;
}

impl Ticket {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The ticket itself, for the one to whom it is made out.
    #[must_use]
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What is kept of it: whoever reads that has no ticket.
    fn stub(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0))
    }
}

impl FromStr for Ticket {
    type Err = InvalidTicket;

    fn from_str(text: &str) -> Result<Self, InvalidTicket> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidTicket)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidTicket)?))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(***)")
    }
}

impl Holder {
    /// Whether a page of `origin` may come in with the ticket, or whoever sends none: browsers leave it out where a page asks its own
    /// origin for an event stream, and whoever is no browser can say what they like.
    #[must_use]
    pub fn may_come_from(&self, origin: Option<&str>) -> bool {
        self.origin.as_deref().zip(origin).is_none_or(|(own, page)| own == page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_is_shown_and_shown_by_nothing_else() {
        let ticket = Ticket::random();
        assert_eq!(ticket.reveal().parse(), Ok(ticket.clone()));
        assert!(!format!("{ticket:?}").contains(&ticket.reveal()) && ticket.stub() != ticket.reveal());
        for text in ["", "a", &ticket.reveal()[1..], &format!("{}A", ticket.reveal()), "ä", &"A".repeat(10_000)] {
            assert_eq!(text.parse::<Ticket>(), Err(InvalidTicket), "{text}");
        }
    }
}
