//! A value that costs a read of the database and that many ask for: read at most once in a while.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The last value read, and for how long it counts.
///
/// While it is read again, everybody else waits for that one read. A failure is a value like any other: it is not asked
/// again before its time either, so that a database in trouble is left alone.
pub struct Fresh<T> {
    lasts: Duration,
    // Held while reading: that is what makes the others wait. A caller who gives up lets the next one read.
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Fresh<T> {
    /// Values that count for `lasts` once they were read.
    #[must_use]
    pub const fn for_each(lasts: Duration) -> Self {
        Self { lasts, last: Mutex::const_new(None) }
    }

    /// The last value while it counts, else what `read` answers.
    pub async fn get(&self, read: impl Future<Output = T>) -> T {
        let mut last = self.last.lock().await;
        if let Some((at, value)) = &*last
            && at.elapsed() < self.lasts
        {
            return value.clone();
        }
        let value = read.await;
        *last = Some((Instant::now(), value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_cause_one_read() {
        let fresh = Fresh::for_each(Duration::from_millis(250));
        let reads = AtomicU32::new(0);
        let read = || async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            reads.fetch_add(1, Ordering::Relaxed) + 1
        };
        assert_eq!(tokio::join!(fresh.get(read()), fresh.get(read()), fresh.get(read())), (1, 1, 1));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(fresh.get(read()).await, 2);
    }
}
