//! Whether a pod that stands on the store can do its work.

use std::sync::Arc;
use std::time::Duration;

use shared::ops::Readiness;
use tokio::time::timeout;

use crate::error::chain;
use crate::fresh::Fresh;
use crate::store::Store;

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long the database may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Says what keeps a pod from its work, as of a second ago at most: a database that does not answer, has another schema, or
/// does not commit durably. Redis has no say in it: while it is away, messages are kept and delivered.
#[must_use]
pub fn readiness(store: &Arc<dyn Store>) -> Readiness {
    let looked_at = Arc::new((Arc::clone(store), Fresh::for_each(FRESH)));
    Arc::new(move || {
        let looked_at = Arc::clone(&looked_at);
        Box::pin(async move {
            let (store, last) = &*looked_at;
            last.get(troubles(&**store)).await
        })
    })
}

async fn troubles(store: &dyn Store) -> Vec<String> {
    match timeout(ANSWER, store.check()).await {
        Ok(Ok(())) => Vec::new(),
        Ok(Err(error)) => vec![chain(Some(&error))],
        Err(_) => vec!["the database did not answer in time".to_owned()],
    }
}
