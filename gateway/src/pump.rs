//! The pump: one task that moves what the broker delivers to where it belongs.
//!
//! On the line it stands between the broker and the hub. It decides nothing and never waits for a connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shared::broker::{Deliveries, Delivery, Gap};
use shared::channel::Channel;
use shared::envelope::{Content, Envelope};
use shared::sabotage;
use tokio_util::sync::CancellationToken;

use crate::attendance::Attendance;
use crate::behind::Behind;
use crate::heads::HeadsWatch;
use crate::hub::Hub;
use crate::metrics::METRICS;
use crate::revocations::Revocations;

/// Deliveries after which the sessions that they woke have their turn. A runtime leaves a task that never waits alone for longer than
/// a send queue is long.
const TURN: usize = 16;

/// Where the pump puts what it takes.
pub struct Pump {
    /// Entries and live events.
    pub hub: Arc<Hub>,
    /// Heads beats.
    pub heads: Arc<HeadsWatch>,
    /// Entries of the feed of the fleet.
    pub revocations: Arc<Revocations>,
    /// Losses.
    pub behind: Arc<Behind>,
    /// Losses too, of what was written about who is here.
    pub attendance: Attendance,
}

impl Pump {
    /// Moves deliveries until the broker ends or `stop`.
    pub async fn run(self, mut deliveries: Deliveries, stop: CancellationToken) {
        for count in 1_usize.. {
            if count.is_multiple_of(TURN) {
                give_way().await;
            }
            let delivery = tokio::select! {
                () = stop.cancelled() => return,
                delivery = deliveries.next() => delivery,
            };
            match delivery {
                Some(Delivery::Envelope(Envelope {
                    channel: Channel::Heads, content: Content::Pods(beat), ..
                })) => {
                    self.heads.hear_beat(&beat);
                }
                Some(Delivery::Envelope(Envelope {
                    channel: Channel::Fleet, content: Content::Entry(entry), ..
                })) => {
                    self.revocations.announce(entry.epoch, entry.seq, Duration::ZERO);
                }
                Some(Delivery::Envelope(envelope)) => self.hub.hear(envelope),
                Some(Delivery::Gap(_)) if sabotage::goes_wrong("ignores_gaps") => {}
                Some(Delivery::Gap(gap)) => self.mend(&gap),
                None => return,
            }
        }
    }

    fn mend(&self, gap: &Gap) {
        METRICS.gaps("broker").increment(1);
        tracing::warn!(
            ?gap,
            "envelopes may have been lost: comparing heads, reading histories, reading and writing who is here"
        );
        self.behind.compare_everything();
        self.attendance.doubt(gap);
        let now = std::time::Instant::now();
        for room in self.hub.rooms() {
            let channel = Channel::Room(room);
            if gap.concerns(channel.bucket()) {
                self.behind.note(channel, now);
            }
        }
        for channel in self.hub.watched().flatten().map(Channel::Presence) {
            if gap.concerns(channel.bucket()) {
                self.behind.note(channel, now);
            }
        }
    }
}

/// Goes to the end of the queue of tasks. (`tokio::task::yield_now` would come back before all others have been there.)
async fn give_way() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
