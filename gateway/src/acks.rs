//! What devices say they have received, on its way to the api in batches.
//!
//! Only the newest position of a device counts, so the table is never larger than the devices that moved in two seconds. A
//! gateway that dies loses two seconds of acknowledgements: their devices are offered a few entries again, and know them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::channel::Role;
use shared::ids::{DeviceId, Epoch, UserId};
use shared::upstream::Acknowledgement;
use tokio_util::sync::CancellationToken;

use crate::upstream::Upstream;

/// How often acknowledgements are handed over.
const EVERY: Duration = Duration::from_secs(2);
/// Acknowledgements in one request; the api's limit.
const BATCH: usize = 1_000;

/// Acknowledgements not handed over yet.
#[derive(Default)]
pub struct Acks {
    newest: Mutex<HashMap<Key, Acknowledgement>>,
}

type Key = (UserId, Role, Option<DeviceId>, Epoch, bool);

impl Acks {
    /// Notes what a device has received.
    pub fn note(&self, acknowledgement: Acknowledgement) {
        let Acknowledgement { user, role, device_id, epoch, unfiltered, .. } = &acknowledgement;
        let key = (user.clone(), *role, device_id.clone(), *epoch, *unfiltered);
        self.newest.lock().insert(key, acknowledgement);
    }

    /// Hands over every two seconds until `stop`, and then once more.
    pub async fn run(self: Arc<Self>, upstream: Upstream, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            self.hand_over(&upstream).await;
        }
    }

    async fn hand_over(&self, upstream: &Upstream) {
        let newest: Vec<_> = std::mem::take(&mut *self.newest.lock()).into_values().collect();
        for batch in newest.chunks(BATCH) {
            if let Err(error) = upstream.acknowledge(batch).await {
                tracing::debug!(%error, "acknowledgements not handed over yet");
                self.keep(batch);
            }
        }
    }

    /// Takes back what could not be handed over, unless something newer came meanwhile.
    fn keep(&self, batch: &[Acknowledgement]) {
        let mut newest = self.newest.lock();
        for acknowledgement in batch {
            let Acknowledgement { user, role, device_id, epoch, unfiltered, .. } = acknowledgement;
            let key = (user.clone(), *role, device_id.clone(), *epoch, *unfiltered);
            newest.entry(key).or_insert_with(|| acknowledgement.clone());
        }
    }
}
