//! Pages for connections that are catching up, and how many are read at once.
//!
//! First come, first served: a thousand devices that come back at once wait for each other here and not in the database, and
//! a user with many devices reads for one at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::cursor::{Feed, Positions};
use shared::envelope::Envelope;
use shared::history::History;
use shared::history::windows::place_of;
use shared::ids::{Epoch, UserId};
use shared::upstream::{Differences, DifferencesAfter, Page, Reach};
use tokio::sync::Semaphore;

use crate::connection::Connection;
use crate::hub::Hub;
use crate::metrics::METRICS;
use crate::upstream::{Upstream, UpstreamError};

/// Reads under way at once in a pod.
const AT_ONCE: usize = 64;
/// How long a window may take to be read, before the api is asked instead.
const WINDOW: Duration = Duration::from_millis(500);
/// Bytes of bodies in a page.
const PAGE_BYTES: usize = 64 * 1024;

/// Reads pages for connections.
pub struct Pages {
    upstream: Upstream,
    hub: Arc<Hub>,
    history: Arc<dyn History>,
    permits: Semaphore,
    /// Whose devices read or wait, how many of them, and whose turn it is.
    users: Mutex<HashMap<UserId, (usize, Arc<Semaphore>)>>,
}

impl Pages {
    /// Pages read from `upstream`, or from a window of `history` as far as it goes.
    #[must_use]
    pub fn new(upstream: Upstream, hub: Arc<Hub>, history: Arc<dyn History>) -> Self {
        Self { upstream, hub, history, permits: Semaphore::new(AT_ONCE), users: Mutex::default() }
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
        if let Some(page) = self.read_window(connection, epoch, &told).await {
            return Ok(Differences::Page(page));
        }
        let turn = self.turn_of(&connection.user);
        let _of_user = turn.semaphore.acquire().await;
        let _of_pod = self.permits.acquire().await;
        let answer = self.upstream.differences(&DifferencesAfter { epoch, after, page_bytes: PAGE_BYTES }).await;
        METRICS.catch_up_pages.increment(1);
        answer
    }

    /// The next page from the window of the user's feed, if that is all that is missing. Who returns within minutes is served
    /// without the database; where the feed ends is what the hub knows, never what a window says.
    async fn read_window(&self, connection: &Connection, epoch: Epoch, told: &Positions) -> Option<Page> {
        let head = |feed| self.hub.head(&connection.channel(feed));
        let others_are_done = [Feed::Role, Feed::All].into_iter().all(|feed| head(feed) == Some(told.get(feed)));
        let missing = head(Feed::User).filter(|head| others_are_done && *head > told.user)?;
        let channel = connection.channel(Feed::User);
        let window = tokio::time::timeout(WINDOW, self.history.window(&channel, epoch, told.user)).await;
        let mut entries = window.ok()?.ok()?;
        entries.truncate(fitting(&entries));
        let position = entries.last().and_then(place_of).map(|(_, seq)| seq)?;
        METRICS.window_pages.increment(1);
        Some(Page { epoch, feeds: vec![Reach { channel, position, head: missing }], entries })
    }

    fn turn_of<'a>(&'a self, user: &'a UserId) -> Turn<'a> {
        let mut users = self.users.lock();
        let (devices, semaphore) = users.entry(user.clone()).or_insert_with(|| (0, Arc::new(Semaphore::new(1))));
        *devices += 1;
        Turn { pages: self, user, semaphore: Arc::clone(semaphore) }
    }
}

/// One device's wait for its user's turn. Given back however it ends: a client may leave in the middle of a page.
struct Turn<'a> {
    pages: &'a Pages,
    user: &'a UserId,
    semaphore: Arc<Semaphore>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut users = self.pages.users.lock();
        let Some((devices, _)) = users.get_mut(self.user) else { return };
        *devices -= 1;
        if *devices == 0 {
            users.remove(self.user);
        }
    }
}

/// How many entries a page takes: at least one.
fn fitting(entries: &[Envelope]) -> usize {
    let mut bytes = 0;
    let over = entries.iter().position(|envelope| {
        bytes += envelope.body().len();
        bytes > PAGE_BYTES
    });
    over.map_or(entries.len(), |over| over.max(1))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use shared::broker::memory::MemoryBroker;
    use shared::history::memory::MemoryHistory;

    use super::*;
    use crate::stand_ins::{connection, silent_api};

    #[tokio::test]
    async fn clients_that_leave_in_the_middle_of_a_page_leave_nothing_behind() {
        let history = Arc::new(MemoryHistory::new(MemoryBroker::default()));
        let hub = Arc::new(Hub::new(Arc::default()));
        let pages = Pages::new(silent_api(), hub, history);
        let connection = connection("alice");
        let page = || Box::pin(pages.next(&connection, Epoch(1), Positions::default()));
        let (mut reading, mut waiting) = (page(), page());
        assert!(reading.as_mut().now_or_never().is_none() && waiting.as_mut().now_or_never().is_none());
        drop(reading);
        assert_eq!(pages.users.lock().len(), 1, "the other one waits");
        drop(waiting);
        assert!(pages.users.lock().is_empty());
        assert_eq!(pages.permits.available_permits(), AT_ONCE);
    }
}
