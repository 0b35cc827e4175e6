//! What people have written and not sent: a draft on the wire, where the code calls every message a draft before it is kept.

use serde::Serialize;
use shared::ids::{ConversationId, MessageId, TraceId};
use shared::time::Timestamp;

/// What somebody has written in a conversation and not sent, the same on all their devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Draft)]
pub struct Unsent {
    /// Where.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// What it says; `null` once it is sent or thrown away.
    pub message_text: Option<String>,
    /// The message it answers.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub reply_to: Option<MessageId>,
    /// Counts its changes, from 1, and goes on when it is written anew: whoever has two of them applies the higher one.
    pub version: u64,
    /// When it was last changed.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub updated_at: Timestamp,
}

/// What somebody writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// What it says.
    pub message_text: String,
    /// The message it answers; in the same conversation.
    pub reply_to: Option<MessageId>,
}

/// A change of what somebody has written. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsentDraft {
    /// Where.
    pub conversation_id: ConversationId,
    /// What is to be kept; nothing if it shall be kept no longer.
    pub writing: Option<Writing>,
    /// Change it only if this is still its version.
    pub only_version: Option<u64>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}
