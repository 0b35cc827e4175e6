//! Catching up: page by page until the connection is live, and starting over where the positions of the client do not continue.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shared::cursor::{Feed, Positions};
use shared::protocol::answer;
use shared::upstream::{Differences, Page, ResyncReason};

use super::Session;
use crate::errand::Start;
use crate::frame::Frame;
use crate::hub::entry_frame;
use crate::standing::Standing;
use crate::transport::Transport;
use crate::upstream::UpstreamError;

/// How long to wait before asking again for a page that did not come.
const AGAIN: Duration = Duration::from_millis(500);
/// How long to wait for the hub to learn the heads of a new count.
const HEADS_UNKNOWN: Duration = Duration::from_millis(50);

impl<T: Transport> Session<T> {
    pub(super) fn rewind(&mut self, start: &Start) {
        self.page = None;
        self.page_wait = Duration::ZERO;
        self.starting_over = None;
        // What a ping stood for was another count.
        self.pinged = None;
        self.connection.queue.catch_up();
        self.standing = Standing::at(start);
        // What was passed over may have been the end of a permission.
        self.ask_permits();
    }

    /// Goes live if nothing is missing, else asks for the next page.
    pub(super) fn catch_up(&mut self) {
        if let Some(reason) = self.starting_over {
            return self.resync(reason, None);
        }
        let Standing { epoch, position, .. } = &self.standing;
        if self.pod.hub.epoch() == Some(*epoch) && self.pod.hub.go_live(&self.connection, position) {
            if let Some(passing) = self.passing.take() {
                passing.is_in();
            }
            return;
        }
        self.ask_page();
    }

    pub(super) fn take_page(&mut self, page: Result<Differences, UpstreamError>) {
        match page {
            Ok(Differences::Page(page)) => self.queue_page(page),
            Ok(Differences::Resync { epoch }) => {
                self.pod.hub.enter(epoch);
                let reason = if epoch == self.standing.epoch { ResyncReason::Ahead } else { ResyncReason::Epoch };
                // Whatever this position is beyond, the hub may be too.
                self.pod.hub.doubt();
                self.standing.epoch = epoch;
                self.resync(reason, None);
            }
            Err(error) => {
                tracing::debug!(%error, "no page yet");
                self.page_wait = AGAIN;
            }
        }
    }

    fn ask_page(&mut self) {
        let wait = self.page_wait;
        let (pod, connection) = (Arc::clone(&self.pod), Arc::clone(&self.connection));
        let Standing { epoch, position, .. } = self.standing;
        self.page = Some(Box::pin(async move {
            tokio::time::sleep(wait).await;
            pod.pages.next(&connection, epoch, position).await
        }));
    }

    fn queue_page(&mut self, page: Page) {
        if page.epoch != self.standing.epoch {
            self.pod.hub.enter(page.epoch);
            return self.resync(ResyncReason::Epoch, None);
        }
        self.page_wait = if page.entries.is_empty() { AGAIN } else { Duration::ZERO };
        for reach in &page.feeds {
            // What the api knows and the hub does not yet is missing here for everyone.
            self.pod.hub.announce_known(&reach.channel, reach.head, crate::feed::ANNOUNCED);
        }
        for entry in page.entries.into_iter().filter_map(entry_frame) {
            self.connection.queue.push_own(Frame::Entry(Arc::new(entry)));
        }
    }

    /// Tells the client that its positions do not continue. Delivery goes on at `heads`, or where the hub stands; the
    /// client loads a snapshot and resumes from there. While the hub does not know where it stands, nothing is delivered:
    /// positions of another count would hide what is new in this one.
    pub(crate) fn resync(&mut self, reason: ResyncReason, heads: Option<Positions>) {
        let epoch = self.pod.hub.epoch().unwrap_or(self.standing.epoch);
        let Some(positions) = heads.or_else(|| self.heads_of_hub()) else {
            self.rewind(&Start { epoch, positions: self.standing.position });
            self.starting_over = Some(reason);
            self.page = Some(Box::pin(async {
                tokio::time::sleep(HEADS_UNKNOWN).await;
                Err(UpstreamError::Unavailable(None))
            }));
            return;
        };
        self.rewind(&Start { epoch, positions });
        self.say(&answer::own_event("resync_required", &json!({ "reason": reason, "cursor": self.cursor() })));
    }

    /// The heads of the three feeds, if the hub knows them all.
    fn heads_of_hub(&self) -> Option<Positions> {
        let mut heads = Positions::default();
        for feed in Feed::ALL {
            heads.set(feed, self.pod.hub.head(&self.connection.channel(feed))?);
        }
        Some(heads)
    }

    /// The heads of the three feeds, as far as the hub knows them.
    pub(crate) fn heads(&self) -> Positions {
        let mut heads = Positions::default();
        for feed in Feed::ALL {
            let head = self.pod.hub.head(&self.connection.channel(feed)).unwrap_or_default();
            heads.set(feed, head.max(self.standing.position.get(feed)));
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::task::{Context, Poll};

    use shared::access::{AccessSettings, Verifier};
    use shared::broker::memory::MemoryBroker;
    use shared::config::Secret;
    use shared::cursor::Cursor;
    use shared::history::memory::MemoryHistory;
    use shared::ids::{Epoch, Seq};
    use shared::limits::memory::MemoryLimiter;
    use shared::limits::{LimitSettings, Limits};
    use shared::presence::memory::MemoryPresence;
    use shared::protocol::CloseCode;
    use shared::tickets::memory::MemoryTickets;

    use super::*;
    use crate::config::GatewaySettings;
    use crate::connection::Door;
    use crate::frame::WholeFrame;
    use crate::pod::Pod;
    use crate::stand_ins::{guest, silent_api};
    use crate::transport::Incoming;

    /// A client that says nothing and takes everything.
    struct Silent;

    impl Transport for Silent {
        fn load(&mut self, _: WholeFrame) {}
        fn load_entry(&mut self, _: &[u8], _: &[u8], _: &Cursor) {}
        fn load_ping(&mut self) {}
        fn load_close(&mut self, _: CloseCode) {}
        fn loaded(&self) -> usize {
            0
        }
        fn poll_write(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_read(&mut self, _: &mut Context<'_>) -> Poll<Incoming> {
            Poll::Pending
        }
    }

    fn pod() -> Arc<Pod> {
        let settings = GatewaySettings::default();
        let access = AccessSettings { jwt_secret: Some(Secret::new("secret")), ..AccessSettings::default() };
        let place = MemoryBroker::default();
        let upstream = silent_api();
        let broker = place.link().broker;
        let (interest, _) = crate::interest::interest(Arc::clone(&broker));
        let presence = Arc::new(MemoryPresence::new(place.clone()));
        let (hub, history) = (Arc::new(crate::hub::Hub::new(Arc::default())), Arc::new(MemoryHistory::new(place)));
        Arc::new(Pod {
            pages: crate::catch_up::Pages::new(upstream.clone(), Arc::clone(&hub), history.clone()),
            wheel: crate::wheel::Wheel::new(&settings),
            turnstile: Arc::new(crate::turnstile::Turnstile::new(settings.max_arrivals)),
            settings,
            node: "node".into(),
            verifier: Verifier::new(&access).expect("a key"),
            hub,
            interest,
            signs: crate::signs::signs(Arc::clone(&broker)).0,
            attendance: crate::attendance::attendance(presence.clone(), Arc::new(crate::hub::Hub::new(Arc::default())))
                .0,
            presence,
            limits: Limits::new(LimitSettings::none(), Arc::new(MemoryLimiter::default())),
            tickets: Arc::new(MemoryTickets::default()),
            broker,
            history,
            questions: crate::questions::questions(upstream.clone()).0,
            watches: crate::questions::questions(upstream.clone()).0,
            upstream,
            acks: Arc::default(),
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        })
    }

    fn all(seq: u64) -> Positions {
        Positions { user: Seq(seq), role: Seq(seq), all: Seq(seq) }
    }

    async fn session_at(pod: &Arc<Pod>, epoch: Epoch, positions: Positions) -> Session<Silent> {
        let caller = guest("alice");
        let (connection, feeds) = crate::arrival::attach(pod, &caller, Door::Main).await;
        pod.hub.enter(epoch);
        Session::new(Arc::clone(pod), connection, caller, None, &Start { epoch, positions }, feeds, Silent)
    }

    fn announce(session: &Session<Silent>, head: u64) {
        let epoch = session.pod.hub.epoch().expect("an epoch");
        for feed in Feed::ALL {
            session.pod.hub.announce(&session.connection.channel(feed), epoch, Seq(head), Duration::ZERO);
        }
    }

    #[tokio::test]
    async fn who_starts_over_stands_where_the_new_count_stands() {
        let pod = pod();
        let mut session = session_at(&pod, Epoch(1), all(500)).await;
        announce(&session, 500);
        pod.hub.enter(Epoch(2));
        session.pinged = Some(all(500));
        // Before the api was asked, nobody knows where.
        session.resync(ResyncReason::Epoch, None);
        assert!(session.connection.queue.pop().is_none(), "nothing is told yet");
        announce(&session, 3);
        session.catch_up();
        assert_eq!((session.standing.epoch, session.standing.position), (Epoch(2), all(3)));
        assert_eq!(session.pinged, None, "a pong acknowledges nothing of the old count");
        assert!(session.connection.queue.pop().is_some(), "now it is told");
        pod.hub.fall_back(&session.connection.channel(Feed::User), Seq(1));
        session.resync(ResyncReason::Ahead, None);
        assert_eq!(session.standing.position, Positions { user: Seq(1), ..all(3) });
    }
}
