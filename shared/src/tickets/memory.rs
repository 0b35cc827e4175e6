//! The tickets of a single process.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Holder, Ticket, Tickets};
use crate::broker::BrokerError;

/// How often tickets are cleared away that nobody showed.
const SWEEP: Duration = Duration::from_secs(10);

/// Tickets that this process made out.
#[derive(Default)]
pub struct MemoryTickets(Mutex<Book>);

#[derive(Default)]
struct Book {
    /// Whose each is, and until when.
    holders: HashMap<String, (Holder, Instant)>,
    swept: Option<Instant>,
}

#[async_trait]
impl Tickets for MemoryTickets {
    async fn keep(&self, ticket: &Ticket, holder: &Holder, lasts: Duration) -> Result<(), BrokerError> {
        let (now, mut book) = (Instant::now(), self.0.lock().expect("no holder panics"));
        if book.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            book.holders.retain(|_, (_, until)| *until > now);
            book.swept = Some(now);
        }
        book.holders.insert(ticket.stub(), (holder.clone(), now + lasts));
        Ok(())
    }

    async fn take(&self, ticket: &Ticket) -> Result<Option<Holder>, BrokerError> {
        let taken = self.0.lock().expect("no holder panics").holders.remove(&ticket.stub());
        Ok(taken.filter(|(_, until)| *until > Instant::now()).map(|(holder, _)| holder))
    }
}
