//! Publishing: the verb of this pod. A draft is kept, and then the fleet is told.
//!
//! On the line it stands between the routes and the store: Draft → Message → Envelopes.

use std::sync::Arc;
use std::time::Instant;

use shared::access::Caller;
use shared::ids::{MessageId, TraceId};
use shared::presence;
use shared::protocol::ErrorCode;
use shared::sabotage;
use shared::upstream::Acknowledgement;

use crate::announce::Announcer;
use crate::model::{
    BanDraft, Block, BlockDraft, ChangeDraft, Conversation, ConversationChangeDraft, ConversationDraft, DecisionDraft,
    Job, JobDraft, MarkerDraft, Message, MessageDraft, Privacy, PrivacyChange, ReadMarker, Refusal, Report,
    ReportDraft, Revocation, RevocationDraft, ScheduleChangeDraft, ScheduleDraft, Scheduled, ThreadChangeDraft,
    ThreadMarker, Unsent, UnsentDraft, User, UserDraft,
};
use crate::store::{Kept, Store, StoreError};

/// Turns drafts into what everybody can read.
#[derive(Clone)]
pub struct Publisher {
    store: Arc<dyn Store>,
    announcer: Announcer,
}

impl Publisher {
    /// A publisher that keeps things in `store` and tells the fleet through `announcer`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, announcer: Announcer) -> Self {
        Self { store, announcer }
    }

    /// Whether what is kept gets through to the gateways at once; the heads beat brings it otherwise.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.announcer.is_heard()
    }

    /// Makes `draft` a message: keeps it if `caller` may post it, and tells the fleet.
    ///
    /// The store decides, the broker only carries. Once this returns, the message exists and every participant can
    /// read it. Announcing never waits and may drop: the heads beat makes up for it.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] the message may exist: the same key tells.
    pub async fn publish(&self, caller: &Caller, draft: &MessageDraft) -> Result<Kept<Message>, StoreError> {
        sabotage::crash_point("before_commit");
        let kept = timed("message", self.store.append(caller, draft)).await.inspect_err(count_refusal)?;
        tracing::debug!(message = %kept.value.id, trace = %draft.trace, created = kept.created, "message kept");
        sabotage::crash_point("after_commit");
        self.announcer.offer(&kept.envelopes);
        sabotage::crash_point("before_answer");
        if let Some(version) = draft.draft_version {
            self.clear(caller, draft, version).await;
        }
        Ok(kept)
    }

    /// Clears what the message was written as, unless it was changed since. If that fails the message is sent all the same, and
    /// its repeat clears it.
    async fn clear(&self, caller: &Caller, sent: &MessageDraft, version: u64) {
        let (conversation_id, trace) = (sent.conversation_id, sent.trace);
        let draft = UnsentDraft { conversation_id, writing: None, only_version: Some(version), trace };
        if let Err(error) = self.keep_unsent(caller, &draft).await {
            tracing::warn!(%error, message = %sent.id, "the draft of a message stays");
        }
    }

    /// Keeps what `caller` has written and not sent, or keeps it no longer, and tells their other devices.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be kept; keeping it again does no harm.
    pub async fn keep_unsent(&self, caller: &Caller, draft: &UnsentDraft) -> Result<Option<Unsent>, StoreError> {
        let kept = timed("draft", self.store.keep_unsent(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Keeps a message that is to be sent later, and tells `caller`'s devices.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be kept: the same key tells.
    pub async fn schedule(&self, caller: &Caller, draft: &ScheduleDraft) -> Result<Kept<Scheduled>, StoreError> {
        let kept = timed("schedule", self.store.schedule(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept)
    }

    /// Changes or cancels a message that is to be sent later, and tells `caller`'s devices.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may have changed; changing it again does no harm.
    pub async fn reschedule(&self, caller: &Caller, draft: &ScheduleChangeDraft) -> Result<Scheduled, StoreError> {
        let kept = timed("schedule_change", self.store.reschedule(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Notes what came of sending a message that was due, and tells its sender's devices.
    ///
    /// # Errors
    ///
    /// When the store does not answer. Noting it again does no harm.
    pub async fn finish_scheduled(
        &self,
        id: MessageId,
        outcome: Result<(), Refusal>,
        trace: TraceId,
    ) -> Result<(), StoreError> {
        let kept = timed("schedule_outcome", self.store.finish_scheduled(id, outcome, trace)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(())
    }

    /// Changes a conversation or who is in it, and tells everyone concerned.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may have changed; changing it again does no harm.
    pub async fn change_conversation(
        &self,
        caller: &Caller,
        draft: &ConversationChangeDraft,
    ) -> Result<Kept<Conversation>, StoreError> {
        let kept = timed("conversation_change", self.store.change_conversation(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept)
    }

    /// Moves `caller`'s marker in a thread, or has them follow it or no longer, and tells their other devices.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may have changed; changing it again does no harm.
    pub async fn change_thread(&self, caller: &Caller, draft: &ThreadChangeDraft) -> Result<ThreadMarker, StoreError> {
        let kept = timed("thread_change", self.store.change_thread(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Changes a message, and tells everyone in its conversation.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may have changed; changing it again does no harm.
    pub async fn change(&self, caller: &Caller, draft: &ChangeDraft) -> Result<Message, StoreError> {
        let kept = timed("change", self.store.change(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Moves `caller`'s marker, and tells their other devices.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may have moved; moving it again does no harm.
    pub async fn mark(&self, caller: &Caller, draft: &MarkerDraft) -> Result<ReadMarker, StoreError> {
        let kept = timed("marker", self.store.mark(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Notes what devices have received, and shows the others how far people are.
    ///
    /// # Errors
    ///
    /// When the store refuses. Noting it again does no harm.
    pub async fn acknowledge(&self, acknowledgements: &[Acknowledgement]) -> Result<(), StoreError> {
        let signs = timed("acknowledgements", self.store.acknowledge(acknowledgements)).await?;
        self.announcer.offer(&signs);
        Ok(())
    }

    /// Keeps what a service says of a person, and tells whom it concerns.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be kept; saying it again does no harm.
    pub async fn put_user(&self, caller: &Caller, draft: &UserDraft) -> Result<User, StoreError> {
        let kept = timed("user", self.store.put_user(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Blocks somebody or takes it back, and tells `caller`'s other devices.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be kept; saying it again does no harm.
    pub async fn set_block(&self, caller: &Caller, draft: &BlockDraft) -> Result<Option<Block>, StoreError> {
        let kept = timed("block", self.store.set_block(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        // A repeat may be of one whose announcement was lost.
        let (one, other) = (&caller.user, &draft.user_id);
        self.announcer.offer(&[presence::doubt(one, Some(other)), presence::doubt(other, Some(one))]);
        Ok(kept.value)
    }

    /// Changes what `caller` shows to others.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be changed; changing it again does no harm.
    pub async fn set_privacy(&self, caller: &Caller, change: &PrivacyChange) -> Result<Privacy, StoreError> {
        let kept = timed("privacy", self.store.set_privacy(caller, change)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Puts a message before staff, and tells them.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be reported; reporting it again does no harm.
    pub async fn report(&self, caller: &Caller, draft: &ReportDraft) -> Result<Kept<Report>, StoreError> {
        let kept = timed("report", self.store.report(caller, draft)).await?;
        if kept.created {
            metrics::counter!("carillon_reports_total", "reason" => kept.value.reason.as_str()).increment(1);
        }
        self.announcer.offer(&kept.envelopes);
        Ok(kept)
    }

    /// Decides a report, and tells staff.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be decided; deciding it so again does no harm.
    pub async fn decide_report(&self, caller: &Caller, draft: &DecisionDraft) -> Result<Report, StoreError> {
        let kept = timed("decision", self.store.decide_report(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Bans somebody or lifts it, and has every gateway close what it has of them.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may be so; saying it again does no harm.
    pub async fn set_ban(&self, caller: &Caller, draft: &BanDraft) -> Result<User, StoreError> {
        let kept = timed("ban", self.store.set_ban(caller, draft)).await?;
        if kept.created && draft.ban.is_some() {
            metrics::counter!("carillon_bans_total").increment(1);
        }
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Revokes tokens of somebody, and has every pod believe them no more.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] they may be revoked; revoking them again does no harm.
    pub async fn revoke(&self, caller: &Caller, draft: &RevocationDraft) -> Result<Kept<Revocation>, StoreError> {
        let kept = timed("revocation", self.store.revoke(caller, draft)).await?;
        if kept.created {
            let what = if draft.token_id.is_some() { "one" } else { "all" };
            metrics::counter!("carillon_revocations_total", "tokens" => what).increment(1);
        }
        self.announcer.offer(&kept.envelopes);
        Ok(kept)
    }

    /// Begins a job, and tells whom it concerns at once.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] it may have begun; asking for it again does no harm.
    pub async fn start_job(&self, caller: &Caller, draft: &JobDraft) -> Result<Job, StoreError> {
        let kept = timed("job", self.store.start_job(caller, draft)).await?;
        self.announcer.offer(&kept.envelopes);
        Ok(kept.value)
    }

    /// Makes `draft` a conversation: keeps it if `caller` may start it, and tells its participants.
    ///
    /// # Errors
    ///
    /// When the store refuses. After [`StoreError::Unavailable`] the conversation may exist: the same key tells.
    pub async fn start(&self, caller: &Caller, draft: &ConversationDraft) -> Result<Kept<Conversation>, StoreError> {
        let kept = timed("conversation", self.store.create_conversation(caller, draft)).await?;
        tracing::debug!(conversation = %kept.value.id, trace = %draft.trace, created = kept.created, "conversation kept");
        self.announcer.offer(&kept.envelopes);
        Ok(kept)
    }
}

/// Counts the sends that a person may not do, by the code they are told.
fn count_refusal(error: &StoreError) {
    let reason = match error {
        StoreError::Banned(_) => ErrorCode::Banned,
        StoreError::Blocked => ErrorCode::Blocked,
        StoreError::NotAParticipant(_) => ErrorCode::NotAParticipant,
        StoreError::NoConversation(_) => ErrorCode::NotFound,
        StoreError::Closed(_) => ErrorCode::ConversationClosed,
        StoreError::Forbidden(_) => ErrorCode::Forbidden,
        _ => return,
    };
    metrics::counter!("carillon_sends_refused_total", "reason" => reason.as_str()).increment(1);
}

/// Measures how long the store takes to commit `what`, whatever comes of it.
async fn timed<T>(what: &'static str, commit: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let outcome = commit.await;
    metrics::histogram!("carillon_commit_duration_seconds", "what" => what).record(began.elapsed());
    outcome
}
