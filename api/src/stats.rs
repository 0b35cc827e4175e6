//! Figures that nobody's request produces: they are asked of the store now and then.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Says what the api's metrics mean.
fn describe() {
    describe_counter!("carillon_http_requests_total", Unit::Count, "Requests, by route template, method and status.");
    describe_histogram!(
        "carillon_http_request_duration_seconds",
        Unit::Seconds,
        "From a request's head to its answer's."
    );
    describe_histogram!("carillon_commit_duration_seconds", Unit::Seconds, "How long the store took to keep a draft.");
    describe_counter!(
        "carillon_sends_refused_total",
        Unit::Count,
        "Messages that their senders may not send, by code."
    );
    describe_counter!("carillon_reports_total", Unit::Count, "Messages reported to staff, by reason.");
    describe_counter!("carillon_bans_total", Unit::Count, "Bans, and changes of bans.");
    describe_counter!("carillon_jobs_total", Unit::Count, "Exports and erasures that are done, by kind.");
    describe_gauge!("carillon_announce_waiting", Unit::Count, "Envelopes on their way to the broker.");
    describe_counter!("carillon_announce_published_total", Unit::Count, "Envelopes that the broker took.");
    describe_counter!("carillon_announce_dropped_total", Unit::Count, "Envelopes left to the heads beat, by reason.");
    describe_counter!("carillon_heads_beats_total", Unit::Count, "Heads beats, by whether the broker took them.");
    describe_counter!(
        "carillon_scheduled_messages_total",
        Unit::Count,
        "Scheduled messages that were due, by what came of it."
    );
    describe_gauge!("carillon_heads_turn", Unit::Count, "1 on the worker whose turn it is to say the heads beat.");
    describe_gauge!(
        "carillon_outbox_age_seconds",
        Unit::Seconds,
        "Age of the oldest row of the outbox; stays below 15."
    );
    describe_gauge!("carillon_database_up", Unit::Count, "1 if the database answered when last asked.");
}

/// Keeps `carillon_outbox_age_seconds` and `carillon_database_up` current until `stop`, and says what the api's metrics mean.
/// Once per process, after metrics were started.
pub async fn run(store: Arc<dyn Store>, stop: CancellationToken) {
    describe();
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
