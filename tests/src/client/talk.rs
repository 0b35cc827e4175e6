//! Several people who talk without a pause while a story happens around them.
//!
//! Each says one thing after the other and waits for its acknowledgement, so that at the end it is known exactly what was
//! acknowledged.

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::user::{Conversation, Said, User};

/// A conversation in full swing.
#[derive(Debug)]
pub struct Talk {
    over: watch::Sender<bool>,
    acknowledged: watch::Sender<usize>,
    voices: JoinSet<Vec<Said>>,
}

impl Talk {
    /// Everybody starts to talk.
    #[must_use]
    pub fn begins(conversation: &Conversation, people: &[&User]) -> Self {
        let (over, acknowledged) = (watch::Sender::new(false), watch::Sender::new(0));
        let mut voices = JoinSet::new();
        for &person in people {
            let (person, conversation) = (person.clone(), conversation.clone());
            let (over, acknowledged) = (over.subscribe(), acknowledged.clone());
            voices.spawn(async move {
                let mut said = Vec::new();
                while !*over.borrow() {
                    said.push(person.says(&conversation, &format!("{} {}", person.name(), said.len() + 1)).await);
                    acknowledged.send_modify(|count| *count += 1);
                }
                said
            });
        }
        Self { over, acknowledged, voices }
    }

    /// How much has been acknowledged so far.
    #[must_use]
    pub fn so_far(&self) -> usize {
        *self.acknowledged.borrow()
    }

    /// Waits until so much more has been acknowledged.
    pub async fn goes_on_for(&self, more: usize) {
        let enough = self.so_far() + more;
        let _ = self.acknowledged.subscribe().wait_for(|count| *count >= enough).await;
    }

    /// Everybody falls silent once their last word is acknowledged. Returns all that was, in the order of its numbers.
    pub async fn ends(self) -> Vec<Said> {
        self.over.send_replace(true);
        let mut said = self.voices.join_all().await.concat();
        said.sort_by_key(|message| message.seq);
        said
    }
}
