//! Pages for connections that are catching up, and how many are read at once.
//!
//! First come, first served: a thousand devices that come back at once wait for each other here and not in the database, and
//! a user with many devices reads for one at a time.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::cursor::{Feed, Positions};
use shared::ids::{Epoch, UserId};
use shared::upstream::{Differences, DifferencesAfter};
use tokio::sync::Semaphore;

use crate::connection::Connection;
use crate::metrics::METRICS;
use crate::upstream::{Upstream, UpstreamError};

/// Reads under way at once in a pod.
const AT_ONCE: usize = 64;
/// Bytes of bodies in a page.
const PAGE_BYTES: usize = 64 * 1024;

/// Reads pages for connections.
pub struct Pages {
    upstream: Upstream,
    permits: Semaphore,
    users: Mutex<HashMap<UserId, Arc<Semaphore>>>,
}

impl Pages {
    /// Pages read from `upstream`.
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, permits: Semaphore::new(AT_ONCE), users: Mutex::default() }
    }

    /// The next page after `told` of the feeds in which `connection` is not live.
    pub async fn next(
        &self,
        connection: &Connection,
        epoch: Epoch,
        told: Positions,
    ) -> Result<Differences, UpstreamError> {
        let live = connection.queue.live();
        let after = Feed::ALL.into_iter().filter(|feed| !live.has(*feed));
        let after = after.map(|feed| (connection.channel(feed), told.get(feed))).collect();
        let turn = self.turn_of(&connection.user);
        let answer = {
            let _of_user = turn.acquire().await;
            let _of_pod = self.permits.acquire().await;
            self.upstream.differences(&DifferencesAfter { epoch, after, page_bytes: PAGE_BYTES }).await
        };
        self.give_back(&connection.user, turn);
        METRICS.catch_up_pages.increment(1);
        answer
    }

    fn give_back(&self, user: &UserId, turn: Arc<Semaphore>) {
        let mut users = self.users.lock();
        drop(turn);
        if users.get(user).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            users.remove(user);
        }
    }

    fn turn_of(&self, user: &UserId) -> Arc<Semaphore> {
        let mut users = self.users.lock();
        Arc::clone(users.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}
