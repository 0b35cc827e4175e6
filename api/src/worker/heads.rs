//! The heads beat: the sure way from a commit to the gateways.
//!
//! On the line it stands beside the announcer and makes up for what that drops. One worker of the fleet at a time reads the
//! outbox and says which feeds grew; the store decides whose turn it is, and forgets rows that were said often enough.

use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use shared::beat::Beat;
use shared::broker::Broker;
use shared::channel::Channel;
use shared::envelope::{Content, Envelope};
use shared::ids::TraceId;
use shared::sabotage;
use shared::time::Timestamp;
use shared::upstream::Heads;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError, Turn};

/// Time between two beats.
pub const BEAT: Duration = Duration::from_millis(250);
/// How long the store may take to give the turn, or to read the outbox, before it is tried anew.
const READ: Duration = Duration::from_secs(2);

/// Says the beat whenever it is this worker's turn, until `stop`.
///
/// Every 250 ms it reads the outbox and says what it names on [`Channel::Heads`], even when that is nothing. A broker that
/// does not take a beat stops nothing: rows are still read, and deleted in their time. When the turn is lost or another
/// worker has it, it asks for it again every 250 to 500 ms.
pub async fn run(store: Arc<dyn Store>, broker: Arc<dyn Broker>, stop: CancellationToken) {
    let mut speaker = Speaker { broker, number: 0, heard: true };
    let has_turn = metrics::gauge!("carillon_heads_turn");
    let beating = async {
        loop {
            match timeout(READ, store.take_turn()).await {
                Ok(Ok(Some(turn))) => {
                    tracing::info!("this worker says the heads beat");
                    let error = beat(turn, &mut speaker, &has_turn).await;
                    tracing::warn!(%error, "lost the turn at the heads beat");
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "no turn at the heads beat"),
                Err(late) => tracing::debug!(%late, "no turn at the heads beat"),
            }
            sleep(BEAT + BEAT.mul_f64(jitter())).await;
        }
    };
    let _ = stop.run_until_cancelled(beating).await;
    has_turn.set(0.0);
}

/// Beats until the turn is lost, and says why it was.
async fn beat(mut turn: Box<dyn Turn>, speaker: &mut Speaker, has_turn: &Gauge) -> StoreError {
    has_turn.set(1.0);
    speaker.number = 0;
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let error = loop {
        ticks.tick().await;
        match timeout(READ, turn.read()).await {
            Ok(Ok(heads)) => {
                sabotage::crash_point("before_beat");
                speaker.say(heads).await;
                sabotage::crash_point("after_beat");
            }
            Ok(Err(error)) => break error,
            Err(late) => break StoreError::Unavailable(late.into()),
        }
    };
    has_turn.set(0.0);
    error
}

/// Says beats into the broker.
struct Speaker {
    broker: Arc<dyn Broker>,
    number: u64,
    heard: bool,
}

impl Speaker {
    /// Says one beat. Waits for the broker no longer than until the next one is due.
    async fn say(&mut self, heads: Heads) {
        self.number += 1;
        let envelopes: Vec<Envelope> = Beat::parts(heads, self.number).iter().map(envelope).collect();
        let heard = matches!(timeout(BEAT, self.broker.publish(&envelopes)).await, Ok(Ok(())));
        match (self.heard, heard) {
            (true, false) => tracing::warn!("the broker does not take heads beats; gateways poll for them"),
            (false, true) => tracing::info!("the broker takes heads beats again"),
            _ => {}
        }
        self.heard = heard;
        metrics::counter!("carillon_heads_beats_total", "outcome" => if heard { "said" } else { "lost" }).increment(1);
    }
}

fn envelope(beat: &Beat) -> Envelope {
    Envelope {
        channel: Channel::Heads,
        committed_at: Timestamp::now(),
        trace: TraceId::random(),
        content: Content::Pods(beat.encode()),
    }
}

/// A number from 0 to 1, so that workers do not ask in step.
fn jitter() -> f64 {
    let random = uuid::Uuid::new_v4().as_u64_pair().1;
    f64::from(random as u32) / f64::from(u32::MAX)
}
