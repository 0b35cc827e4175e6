//! Messages that are to be sent later.

use serde::{Deserialize, Serialize};
use shared::access::Caller;
use shared::ids::{ConversationId, IdempotencyKey, MessageId, TraceId};
use shared::time::Timestamp;

use super::message::{Mentions, MessageDraft, MessagePriority, MessageType};
use super::{InThread, hash};

/// What a scheduled message will say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Planned {
    /// Its text.
    pub message_text: String,
    /// What it is.
    pub message_type: MessageType,
    /// The message it answers.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub reply_to: Option<MessageId>,
    /// The message in whose thread it will stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub thread_root_id: Option<MessageId>,
    /// Whether it will stand in the main line of the conversation too; left out when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub also_in_conversation: bool,
    /// Whom it calls.
    #[serde(flatten)]
    pub mentions: Mentions,
    /// How much it presses; left out when it is `normal`.
    #[serde(default, skip_serializing_if = "MessagePriority::is_normal")]
    pub priority: MessagePriority,
    /// Whether everybody else is asked to acknowledge it; left out when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_acknowledgement: bool,
}

impl Planned {
    /// The thread in which it shall stand.
    pub(crate) fn in_thread(&self) -> Option<InThread> {
        self.thread_root_id.map(|root| InThread { root, also_in_conversation: self.also_in_conversation })
    }
}

/// How far a scheduled message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleStatus {
    /// It waits for its time.
    Scheduled,
    /// It is a message now, of the same id.
    Sent,
    /// It could not be sent when its time came.
    Refused,
    /// Its sender took it back.
    Cancelled,
}

/// Why a scheduled message could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Refusal {
    /// The code of the problem that sending it at once would have been answered with.
    pub code: String,
    /// What exactly went wrong, for people.
    pub detail: String,
}

/// A message that is to be sent later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Scheduled {
    /// Its id, and that of the message once it is sent.
    #[schema(value_type = uuid::Uuid)]
    pub id: MessageId,
    /// Where it will be sent.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// What it will say; `null` once it is sent or cancelled.
    pub message: Option<Planned>,
    /// When it is to be sent.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub send_at: Timestamp,
    /// How far it is.
    pub status: ScheduleStatus,
    /// Why it was refused, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Counts its changes, from 1: whoever has two of them applies the higher one.
    pub version: u64,
    /// When it was scheduled.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
}

/// A message to be sent later. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleDraft {
    /// The id it will have.
    pub id: MessageId,
    /// Where.
    pub conversation_id: ConversationId,
    /// What it will say.
    pub message: Planned,
    /// When.
    pub send_at: Timestamp,
    /// The request's key: the same key schedules the same message.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

impl ScheduleDraft {
    /// What a repeat must have in common with the first: everything the caller chose. SHA-256.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        hash(&serde_json::json!([self.conversation_id, self.message, self.send_at]))
    }
}

/// What shall become of a scheduled message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleChange {
    /// It shall be sent at another time, or say something else; what is `None` stays.
    Change {
        /// When.
        send_at: Option<Timestamp>,
        /// Its text.
        message_text: Option<String>,
    },
    /// It shall not be sent.
    Cancel,
}

/// A change of a scheduled message. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleChangeDraft {
    /// Which.
    pub id: MessageId,
    /// What shall become of it.
    pub change: ScheduleChange,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

/// A scheduled message whose time has come, and in whose name it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its sender, as when they scheduled it.
    pub sender: Caller,
    /// The message. Its `client_message_id` is made of its id, so that sending it again finds the first.
    pub draft: MessageDraft,
}
