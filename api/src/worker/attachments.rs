//! Collecting what was uploaded and never sent.
//!
//! First the store gives an attachment up, so that no message can bring it any more; then its bytes go, then its row. Whatever
//! breaks in between, the next round does again: nothing is left behind, and nothing is deleted that somebody could still see.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use crate::attachments::Blobs;
use crate::error::Problem;
use crate::store::Store;

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(10 * 60);
/// Attachments that are collected at once.
const BATCH: u32 = 100;
/// Pieces of uploads that are swept in one round.
const PIECES: usize = 1_000;
/// How old a piece is by which nobody goes on uploading any more.
const OLD: TimeDelta = TimeDelta::hours(25);

/// Collects every ten minutes, until `stop`. Workers that do it at the same time do not disturb each other.
pub async fn run(store: Arc<dyn Store>, blobs: Blobs, stop: CancellationToken) {
    let rounds = async {
        loop {
            match collect(&*store, &blobs).await {
                Ok(0) => {}
                Ok(collected) => tracing::info!(collected, "deleted attachments that no message has brought"),
                Err(error) => tracing::warn!(?error, "attachments are not collected"),
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    let _ = stop.run_until_cancelled(rounds).await;
}

/// Does one round, and says how many attachments it collected.
///
/// # Errors
///
/// When the store or the storage does not answer; what was not done is done the next time.
pub async fn collect(store: &dyn Store, blobs: &Blobs) -> Result<usize, Problem> {
    let mut collected = 0;
    loop {
        let given_up = store.expire_attachments(BATCH).await?;
        for id in &given_up {
            blobs.discard(*id).await?;
        }
        store.forget_attachments(&given_up).await?;
        collected += given_up.len();
        metrics::counter!("carillon_attachments_collected_total").increment(given_up.len() as u64);
        if given_up.len() < BATCH as usize {
            break;
        }
    }
    // A bucket takes an upload as long as its link leads there, whatever became of the attachment.
    blobs.sweep(Utc::now() - OLD, PIECES).await?;
    Ok(collected)
}
