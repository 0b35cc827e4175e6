//! Questions of connections to the api, asked in batches: where delivery starts, and who may join.
//!
//! While one batch is under way the next one gathers, so that a lone question waits for nothing and a storm of a thousand
//! costs one request.

use shared::upstream::{Question, Verdict};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::upstream::Upstream;

/// Questions in one request; the api's limit.
const BATCH: usize = 1_000;
/// People asked after in one request, about: what the api answers well within its deadline.
const PEOPLE: usize = 5_000;
/// Requests under way at once.
const UNDER_WAY: usize = 4;
/// Questions that may wait; a client whose question finds no room is told to come back.
const WAITING: usize = 20_000;

/// Asks the api. Cheap to clone.
#[derive(Clone)]
pub struct Questions {
    queue: mpsc::Sender<Asked>,
}

struct Asked {
    question: Question,
    answer: oneshot::Sender<Verdict>,
}

/// The task behind [`Questions`].
pub struct Asker {
    upstream: Upstream,
    queue: mpsc::Receiver<Asked>,
}

/// The two ends.
#[must_use]
pub fn questions(upstream: Upstream) -> (Questions, Asker) {
    let (sender, queue) = mpsc::channel(WAITING);
    (Questions { queue: sender }, Asker { upstream, queue })
}

impl Questions {
    /// Asks one question; `None` when no api pod answered in time.
    pub async fn ask(&self, question: Question) -> Option<Verdict> {
        let (answer, verdict) = oneshot::channel();
        self.queue.try_send(Asked { question, answer }).ok()?;
        verdict.await.ok()
    }
}

impl Asker {
    /// Asks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            while under_way.len() >= UNDER_WAY {
                under_way.join_next().await;
            }
            let first = tokio::select! {
                () = stop.cancelled() => return,
                first = self.queue.recv() => first,
            };
            let Some(first) = first else { return };
            under_way.spawn(ask(self.upstream.clone(), self.gather(first)));
        }
    }

    /// What waits besides `first`, up to one request.
    fn gather(&mut self, first: Asked) -> Vec<Asked> {
        let mut people = first.people();
        let mut batch = vec![first];
        while batch.len() < BATCH && people < PEOPLE {
            let Ok(next) = self.queue.try_recv() else { break };
            people += next.people();
            batch.push(next);
        }
        batch
    }
}

impl Asked {
    const fn people(&self) -> usize {
        match &self.question {
            Question::Watch { people, .. } => people.len(),
            Question::Arrive(_) | Question::Join { .. } => 0,
        }
    }
}

async fn ask(upstream: Upstream, batch: Vec<Asked>) {
    let (questions, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|asked| (asked.question, asked.answer)).unzip();
    match upstream.authorise(&questions).await {
        Ok(verdicts) => {
            for (answer, verdict) in answers.into_iter().zip(verdicts) {
                // A client that left meanwhile needs no answer.
                let _ = answer.send(verdict);
            }
        }
        Err(error) => tracing::warn!(%error, questions = questions.len(), "the api did not answer"),
    }
}
