//! The end of a pod: every client is told when to come back, and delivery goes on until then.
//!
//! The times are spread over the drain window, so that a deploy is no stampede. `delay_ms` counts from the `reconnect` event;
//! when it has passed, the connection is closed with 1012 and the client returns at once, with its cursor.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use shared::drain::Drain;
use shared::protocol::{CloseCode, answer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::frame::{Frame, WholeFrame};
use crate::pod::Pod;

/// The part of the window in which clients leave; the rest is for their last frames.
const SPREAD: f64 = 0.8;
/// Time between two clients where the window allows more: a few are gone at once, and a developer's Ctrl-C is quick.
const APART: Duration = Duration::from_millis(20);

/// Waits for the order to drain, sees every client off, and then ends the gateway's tasks by `stop`.
pub async fn see_off(pod: Arc<Pod>, sessions: TaskTracker, drain: Drain, window: Duration, stop: CancellationToken) {
    drain.draining().cancelled().await;
    pod.draining.store(true, Ordering::Relaxed);
    sessions.close();
    tokio::select! {
        () = dismiss(&pod, window.mul_f64(SPREAD)) => {}
        () = drain.stopped().cancelled() => {}
    }
    tokio::select! {
        () = sessions.wait() => {}
        () = drain.stopped().cancelled() => {}
    }
    stop.cancel();
}

/// Tells every client when to come back, and closes each when its time has come.
async fn dismiss(pod: &Pod, window: Duration) {
    let connections = pod.wheel.connections();
    let window = window.min(APART * connections.len() as u32);
    let count = connections.len().max(1);
    tracing::info!(connections = connections.len(), ?window, "telling every client when to come back");
    let started = tokio::time::Instant::now();
    let delay = |index: usize| window.mul_f64((index + 1) as f64 / count as f64);
    for (index, connection) in connections.iter().enumerate() {
        let told = answer::own_event("reconnect", &json!({ "delay_ms": delay(index).as_millis() as u64 }));
        connection.queue.push_own(Frame::Whole(WholeFrame::answer(&told)));
    }
    for (index, connection) in connections.iter().enumerate() {
        tokio::time::sleep_until(started + delay(index)).await;
        connection.queue.order(|orders| orders.close = Some(CloseCode::Draining));
    }
}
