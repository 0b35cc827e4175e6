//! Puts the database back to where it was before, as after a disaster, and begins a new epoch, while people go on.
//!
//! What was answered after the copy was made is lost, and that is right. Devices must be told so.

use std::time::Duration;

use fleet::fleet::Fleet;
use fleet::journal::Restored;
use tokio::time::Instant;

use crate::faults::Breaker;
use crate::people::Stage;

/// How long an api may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Makes a copy after a third of the time, puts it back after another one, as `docs/operations.md` asks for it, and returns when that
/// was.
pub async fn restore(
    breaker: &mut Breaker,
    fleet: &mut Fleet,
    stage: &Stage,
    length: Duration,
) -> anyhow::Result<Restored> {
    breaker.watch(fleet, Instant::now() + length / 3).await;
    let copied_at = stage.now();
    tokio::task::block_in_place(|| fleet.postgres.copy())?;
    breaker.watch(fleet, Instant::now() + length / 3).await;
    for pod in fleet.api.iter_mut().chain(&mut fleet.worker) {
        pod.stop_in_time(GRACE).await;
    }
    let ended_at = stage.now();
    // Some come back with where they stood, and the others stay.
    fleet.link("nginx", "gateway-1").cut();
    fleet.postgres.restore().await?;
    tokio::task::block_in_place(|| fleet.runs(&["migrate", "--new-epoch"]))?;
    for pod in fleet.api.iter_mut().chain(&mut fleet.worker) {
        pod.start();
    }
    breaker.watch(fleet, Instant::now() + length / 3).await;
    Ok(Restored { copied_at, ended_at })
}
