//! What every book of tickets promises, as tests that every implementation runs.
//!
//! One function per promise, and [`tickets_conformance!`](crate::tickets_conformance) gives an implementation all of them. The stages
//! are the broker's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Holder, LASTS, Ticket};
use crate::access::Caller;
use crate::broker::conformance::{Stage, promises_of};
use crate::channel::Role;
use crate::time::Timestamp;

/// Runs every promise of tickets for each `name: Stage`.
#[macro_export]
macro_rules! tickets_conformance {
    ($($backend:ident: $stage:ty),+ $(,)?) => {
        $(mod $backend {
            use super::*;
            $crate::promises!($stage, tickets, [
                a_ticket_is_taken_in_once_whichever_pod_made_it_out,
                of_many_who_show_a_ticket_at_once_one_is_told_whose_it_is,
                a_ticket_that_is_over_is_nobodys,
                a_ticket_that_nobody_made_out_is_nobodys,
            ]);
        })+
    };
}

/// Fails when `listed` is not every promise of this file.
pub fn assert_complete(listed: &[&str]) {
    assert_eq!(listed, promises_of(include_str!("conformance.rs")));
}

/// A ticket is taken in once, whichever pod made it out.
pub async fn a_ticket_is_taken_in_once_whichever_pod_made_it_out<S: Stage>() {
    let stage = S::set().await;
    let (office, door) = (stage.pod().await, stage.pod().await);
    let tickets = [Ticket::random(), Ticket::random()];
    for (ticket, holder) in tickets.iter().zip([holder("alice"), holder("bob")]) {
        office.tickets.keep(ticket, &holder, LASTS).await.expect("kept");
    }
    for (ticket, holder) in tickets.iter().zip([holder("alice"), holder("bob")]) {
        assert_eq!(door.tickets.take(ticket).await.expect("an answer"), Some(holder));
        for pod in [&office, &door] {
            assert_eq!(pod.tickets.take(ticket).await.expect("an answer"), None);
        }
    }
}

/// Of many who show a ticket at once, one is told whose it is.
pub async fn of_many_who_show_a_ticket_at_once_one_is_told_whose_it_is<S: Stage>() {
    let stage = S::set().await;
    let pods = [stage.pod().await, stage.pod().await, stage.pod().await];
    for _ in 0..20 {
        let ticket = Ticket::random();
        pods[0].tickets.keep(&ticket, &holder("alice"), LASTS).await.expect("kept");
        let takes = (0..10).flat_map(|_| &pods).map(|pod| {
            let (tickets, ticket) = (Arc::clone(&pod.tickets), ticket.clone());
            tokio::spawn(async move { tickets.take(&ticket).await.expect("an answer") })
        });
        let taken = join_all(takes.collect::<Vec<_>>()).await;
        let told = taken.into_iter().filter_map(|taken| taken.expect("no panic"));
        assert_eq!(told.collect::<Vec<_>>(), [holder("alice")]);
    }
}

/// A ticket that is over is nobody's.
pub async fn a_ticket_that_is_over_is_nobodys<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let ticket = Ticket::random();
    pod.tickets.keep(&ticket, &holder("alice"), Duration::from_millis(1)).await.expect("kept");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(pod.tickets.take(&ticket).await.expect("an answer"), None);
}

/// A ticket that nobody made out is nobody's.
pub async fn a_ticket_that_nobody_made_out_is_nobodys<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    assert_eq!(pod.tickets.take(&Ticket::random()).await.expect("an answer"), None);
}

fn holder(name: &str) -> Holder {
    let caller = Caller {
        user: name.parse().expect("an id"),
        role: Role::Guest,
        name: Some(format!("{name} \"the first\"")),
        token_id: Some("jti".to_owned()),
        issued_at: Some(Timestamp::from_micros(1)),
        expires_at: Timestamp::from_micros(2),
    };
    Holder { caller, origin: Some("https://hotel.example".to_owned()) }
}
