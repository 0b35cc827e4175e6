//! Servers that tests of one process share, because none of them breaks them.
//!
//! The first test starts it, the last one ends it; whoever comes later starts another.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

/// A server that lives as long as somebody uses it.
#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// Not started.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// The running one, or what `start` makes.
    ///
    /// # Errors
    ///
    /// Those of `start`.
    pub async fn get(&self, start: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Arc<T>> {
        let mut running = self.0.lock().await;
        if let Some(server) = running.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(start.await?);
        *running = Arc::downgrade(&server);
        Ok(server)
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}
