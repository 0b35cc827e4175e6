//! Sending what is due.
//!
//! A worker takes messages whose time has come, sends each on the same path as any other, and notes what came of it. Whatever
//! breaks in between is done again after a minute, and finds the message that was sent: its key is made of its id.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Problem;
use crate::model::{Due, Refusal};
use crate::publish::Publisher;
use crate::store::{Store, StoreError};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Messages that are taken at once; they must be sent within the minute for which they are taken.
const BATCH: u32 = 20;

/// Sends what is due every second, until `stop`. Workers that do it at the same time take different messages.
pub async fn run(store: Arc<dyn Store>, publisher: Publisher, stop: CancellationToken) {
    let rounds = async {
        loop {
            if let Err(error) = send_due(&*store, &publisher).await {
                tracing::warn!(%error, "scheduled messages are late");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    let _ = stop.run_until_cancelled(rounds).await;
}

/// Does one round, and says how many messages were due.
///
/// # Errors
///
/// When the store does not answer; what was not done is done again after a minute.
pub async fn send_due(store: &dyn Store, publisher: &Publisher) -> Result<usize, StoreError> {
    let mut due = 0;
    loop {
        let taken = store.take_due(BATCH).await?;
        for Due { sender, draft } in &taken {
            let outcome = match publisher.publish(sender, draft).await {
                Ok(_) => Ok(()),
                // One that nobody can send must not hold up those behind it.
                Err(error @ (StoreError::Unavailable(_) | StoreError::Unfit(_) | StoreError::Broken(_))) => {
                    tracing::warn!(%error, message = %draft.id, "a scheduled message is late");
                    continue;
                }
                Err(error) => Err(refusal(error)),
            };
            let name = if outcome.is_ok() { "sent" } else { "refused" };
            publisher.finish_scheduled(draft.id, outcome, draft.trace).await?;
            metrics::counter!("carillon_scheduled_messages_total", "outcome" => name).increment(1);
        }
        due += taken.len();
        if taken.len() < BATCH as usize {
            return Ok(due);
        }
    }
}

/// What the sender is told: what they would have been answered.
fn refusal(error: StoreError) -> Refusal {
    let detail = error.to_string();
    Refusal { code: Problem::from(error).code().to_string(), detail }
}
