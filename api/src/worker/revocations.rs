//! Forgetting revocations that no token can match any more.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{Store, StoreError};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(10 * 60);
/// Revocations that are forgotten at once.
const BATCH: u32 = 1_000;

/// Forgets every ten minutes, until `stop`. Workers that do it at the same time do not disturb each other.
pub async fn run(store: Arc<dyn Store>, stop: CancellationToken) {
    let rounds = async {
        loop {
            if let Err(error) = forget(&*store).await {
                tracing::warn!(%error, "revocations that are over are not forgotten");
            }
            tokio::time::sleep(ROUND).await;
        }
    };
    let _ = stop.run_until_cancelled(rounds).await;
}

async fn forget(store: &dyn Store) -> Result<(), StoreError> {
    while store.forget_revocations(BATCH).await? == u64::from(BATCH) {}
    Ok(())
}
