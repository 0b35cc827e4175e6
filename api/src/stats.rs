//! Figures that nobody's request produces: they are asked of the store now and then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps `carillon_outbox_age_seconds` and `carillon_database_up` current until `stop`.
pub async fn run(store: Arc<dyn Store>, stop: CancellationToken) {
    let (age, up) = (metrics::gauge!("carillon_outbox_age_seconds"), metrics::gauge!("carillon_database_up"));
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            ticks.tick().await;
            // While the database is away, the age stays as it was last seen: unknown is not zero.
            let seen = timeout(EVERY, store.outbox_age()).await;
            up.set(f64::from(u8::from(matches!(seen, Ok(Ok(_))))));
            if let Ok(Ok(oldest)) = seen {
                age.set(oldest.as_secs_f64());
            }
        }
    };
    let _ = stop.run_until_cancelled(looking).await;
}
