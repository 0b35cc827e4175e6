//! Seats: how many connections one person has at the same time, over all gateways.
//!
//! Every connection holds a seat for a while, and its gateway goes on holding it, so that nobody has to give back what a gateway
//! held that is dead. The gateway counts its own as well: alone, while the fleet's are not counted.

use std::collections::{HashMap, HashSet};
use std::mem::take;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Limits, TooMany, counts_alone, refused};
use crate::access::Caller;
use crate::channel::Role;
use crate::ids::UserId;

/// How long a seat is held of which nothing is heard.
pub(super) const HELD: Duration = Duration::from_secs(60);
/// How often all of them are held anew.
const ROUND: Duration = Duration::from_secs(20);
/// After how long somebody without a seat may come again: half of the time after which those of a dead gateway are free.
const COME_AGAIN: Duration = Duration::from_secs(30);
/// How many people's seats are written at the same time.
const AT_ONCE: usize = 64;

/// A seat that somebody holds; given back when dropped.
pub struct Seat {
    limits: Limits,
    user: UserId,
    id: Uuid,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.limits.0.seats.give_back(&self.user, self.id);
    }
}

/// The seats that this pod holds, by person.
#[derive(Default)]
pub(super) struct Seats {
    book: Mutex<Book>,
    given_back: Notify,
}

#[derive(Default)]
struct Book {
    held: HashMap<UserId, HashSet<Uuid>>,
    left: Vec<(UserId, Uuid)>,
}

impl Seats {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder panics")
    }

    /// Notes a seat, unless the pod itself has `most` of that person.
    fn note(&self, user: &UserId, id: Uuid, most: u32) -> bool {
        let mut book = self.book();
        let held = book.held.entry(user.clone()).or_default();
        let fits = held.len() < most as usize;
        if fits {
            held.insert(id);
        }
        fits
    }

    fn give_back(&self, user: &UserId, id: Uuid) {
        let mut book = self.book();
        if let Some(held) = book.held.get_mut(user) {
            held.remove(&id);
            if held.is_empty() {
                book.held.remove(user);
            }
        }
        book.left.push((user.clone(), id));
        drop(book);
        self.given_back.notify_one();
    }

    fn everybody(&self) -> Vec<UserId> {
        self.book().held.keys().cloned().collect()
    }

    fn of(&self, user: &UserId) -> Vec<Uuid> {
        self.book().held.get(user).map(|held| held.iter().copied().collect()).unwrap_or_default()
    }
}

impl Limits {
    /// Takes a seat for one more connection of `caller`; none where there is no limit. Services have none.
    ///
    /// Answers within 100 ms.
    ///
    /// # Errors
    ///
    /// When all of theirs are taken.
    pub async fn sit(&self, caller: &Caller) -> Result<Option<Seat>, TooMany> {
        let most = self.0.settings.connections;
        if most == 0 || caller.role == Role::Service {
            return Ok(None);
        }
        let (user, id) = (&caller.user, Uuid::now_v7());
        let is_held = match self.ask(self.0.fleet.hold(user, id, most, HELD)).await {
            Some(is_held) => is_held,
            None => {
                counts_alone();
                true
            }
        };
        if is_held && self.0.seats.note(user, id, most) {
            return Ok(Some(Seat { limits: self.clone(), user: user.clone(), id }));
        }
        Err(refused("connections", "connections", format!("{most} at the same time"), COME_AGAIN))
    }

    /// Goes on holding the seats that this pod holds, and gives back the others, until `stop`.
    pub async fn look_after_seats(self, stop: CancellationToken) {
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.give_back_seats().await,
                () = self.0.seats.given_back.notified() => self.give_back_seats().await,
                _ = round.tick() => self.hold_seats().await,
            }
        }
    }

    async fn hold_seats(&self) {
        let hold = iter(self.0.seats.everybody()).for_each_concurrent(AT_ONCE, async |user| {
            // Not those of a moment ago: who has gone meanwhile does not come back.
            let ids = self.0.seats.of(&user);
            if !ids.is_empty() {
                self.ask(self.0.fleet.go_on_holding(&user, &ids, HELD)).await;
            }
        });
        hold.await;
    }

    async fn give_back_seats(&self) {
        let left = take(&mut self.0.seats.book().left);
        // What does not get through is free a minute later.
        let leave = iter(left).for_each_concurrent(AT_ONCE, async |(user, id)| {
            self.ask(self.0.fleet.leave(&user, id)).await;
        });
        leave.await;
    }
}
