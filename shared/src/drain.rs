//! Going away without leaving anybody standing: running → draining → stopped.
//!
//! A pod that is told to stop first becomes unready and finishes what it has; only when the time for that is over is what is
//! left cut off. One [`Drain`] per process; every long-lived task knows it and is tracked by it.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks may take to notice that they are cut off.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where a process stands on its way out, and the tasks that must end before it does. Clones are the same process.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Cancelled when the pod should finish what it has and take nothing new.
    draining: CancellationToken,
    /// Cancelled when whatever is left must end at once.
    stopped: CancellationToken,
    tasks: TaskTracker,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every task ended by itself.
    Finished,
    /// The time was over, or a second signal came: so many tasks were cut off.
    CutOff(usize),
}

impl Drain {
    /// Runs until told to stop: take nothing new, tell those who are here, finish.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Runs until the time to finish is over: end at once.
    #[must_use]
    pub fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    /// The tasks that are waited for. Every one of them must end soon after [`stopped`](Self::stopped), and should end
    /// after [`draining`](Self::draining).
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// A part of the process whose end something else must wait for: told to stop when the whole is, with tasks of its own.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { tasks: TaskTracker::new(), ..self.clone() }
    }

    /// Waits until draining has begun and every task of this part has ended.
    pub async fn over(&self) {
        self.draining.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Starts draining. More calls change nothing.
    pub fn begin(&self) {
        self.draining.cancel();
    }

    /// Waits for SIGTERM, SIGINT or [`begin`](Self::begin), then up to `window` for the tasks, then cuts off what is left.
    /// A second signal ends the window.
    ///
    /// # Errors
    /// If the system gives no signals.
    pub async fn to_the_end(&self, window: Duration) -> std::io::Result<Ending> {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            _ = term.recv() => tracing::info!(?window, "told to stop (SIGTERM), draining"),
            _ = int.recv() => tracing::info!(?window, "told to stop (SIGINT), draining; once more ends at once"),
            () = self.draining.cancelled() => tracing::info!(?window, "draining"),
        }
        self.begin();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => return Ok(Ending::Finished),
            () = tokio::time::sleep(window) => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        self.stopped.cancel();
        let left = self.tasks.len();
        let _ = tokio::time::timeout(LAST_WORDS, self.tasks.wait()).await;
        Ok(Ending::CutOff(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_finishes_in_time_is_not_cut_off() {
        let drain = Drain::default();
        let (draining, stopped) = (drain.draining().clone(), drain.stopped().clone());
        let task = drain.tasks().spawn(async move {
            draining.cancelled().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(!stopped.is_cancelled());
        });
        drain.begin();
        assert_eq!(drain.to_the_end(Duration::from_secs(10)).await.expect("signals"), Ending::Finished);
        task.await.expect("not cut off");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_finish_is_cut_off_when_the_window_is_over() {
        let drain = Drain::default();
        let stopped = drain.stopped().clone();
        drain.tasks().spawn(async move { stopped.cancelled().await });
        drain.begin();
        assert_eq!(drain.to_the_end(Duration::from_secs(10)).await.expect("signals"), Ending::CutOff(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_over_when_its_own_tasks_have_ended() {
        let drain = Drain::default();
        let part = drain.part();
        let draining = part.draining().clone();
        part.tasks().spawn(async move {
            draining.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        let waiting = part.clone();
        drain.tasks().spawn(async move { waiting.over().await });
        drain.begin();
        assert_eq!(drain.to_the_end(Duration::from_secs(10)).await.expect("signals"), Ending::Finished);
        assert!(part.tasks().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_never_ends_does_not_keep_the_process() {
        let drain = Drain::default();
        drain.tasks().spawn(std::future::pending::<()>());
        drain.begin();
        assert_eq!(drain.to_the_end(Duration::from_secs(1)).await.expect("signals"), Ending::CutOff(1));
    }
}
