//! The nouns of messaging, as they stand in JSON and in the store.

use serde::{Deserialize, Serialize};
use shared::channel::Role;
use shared::ids::{AttachmentId, ClientMessageId, ConversationId, IdempotencyKey, MessageId, Seq, TraceId, UserId};
use shared::time::Timestamp;

use crate::attachments::model::Attachment;

/// What kind of conversation it is: who may start one and who may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationType {
    /// A guest and those who work here.
    GuestStaff,
    /// Among those who work here.
    StaffStaff,
    /// Among guests.
    GuestGuest,
    /// Exactly two people; one per pair.
    Direct,
    /// Any number of people.
    Group,
}

/// Whether a conversation takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationStatus {
    /// It does.
    Active,
    /// It does, and is put away.
    Archived,
    /// It does not.
    Closed,
}

/// What someone is in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantRole {
    /// Whoever started it.
    Owner,
    /// Someone in it.
    Participant,
    /// Someone who works here.
    Staff,
}

/// Who says it: a person, or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    /// A person wrote it.
    #[default]
    Text,
    /// The system says it; only staff and services may send it.
    System,
    /// A program wrote it on somebody's behalf; only staff and services may send it.
    Automated,
}

/// Someone in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Participant {
    /// Who.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// What they are in it.
    pub role: ParticipantRole,
    /// When they came.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub joined_at: Timestamp,
}

/// A conversation, as one of its participants sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Conversation {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: ConversationId,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: ConversationType,
    /// Whether it takes messages.
    pub status: ConversationStatus,
    /// What it is about.
    pub subject: Option<String>,
    /// Whatever the product wants to keep with it.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Who is in it.
    pub participants: Vec<Participant>,
    /// The newest message.
    pub last_message: Option<Message>,
    /// When the newest message was sent.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub last_message_at: Option<Timestamp>,
    /// How many messages of others the caller has not read.
    pub unread_count: u64,
    /// When it was started.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
}

/// A message, kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Message {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: MessageId,
    /// Its number in the conversation: 1, 2, 3 … without holes.
    #[schema(value_type = u64)]
    pub seq: Seq,
    /// Where it was sent.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// Who sent it.
    #[schema(value_type = String)]
    pub sender_id: UserId,
    /// What it says, as it was written.
    pub message_text: String,
    /// Who says it: a person, or a program.
    pub message_type: MessageType,
    /// The sender's own key for it.
    #[schema(value_type = Option<String>)]
    pub client_message_id: Option<ClientMessageId>,
    /// The message it answers.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub reply_to: Option<MessageId>,
    /// What it brings along, in the order of its sender.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Counts its changes, from 1: whoever has two of them applies the higher one.
    pub version: u64,
    /// When it was committed.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
}

/// A conversation to be started. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationDraft {
    /// The id it will have.
    pub id: ConversationId,
    /// What kind.
    pub kind: ConversationType,
    /// What about.
    pub subject: Option<String>,
    /// With whom, the caller aside; each once.
    pub participants: Vec<UserId>,
    /// Whatever the product wants to keep with it.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// The request's key: the same key makes the same conversation.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

/// A message to be sent. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageDraft {
    /// The id it will have.
    pub id: MessageId,
    /// Where.
    pub conversation_id: ConversationId,
    /// What it says.
    pub message_text: String,
    /// Who says it.
    pub message_type: MessageType,
    /// The sender's key: the same key makes the same message.
    pub client_message_id: Option<ClientMessageId>,
    /// The request's key: the same key makes the same message, wherever it was to go.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The message it answers; in the same conversation.
    pub reply_to: Option<MessageId>,
    /// What it brings along: complete, the sender's, and no other message's.
    pub attachment_ids: Vec<AttachmentId>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

impl ConversationDraft {
    /// What a repeat must have in common with the first: everything the caller chose. SHA-256.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        let Self { id: _, kind, subject, participants, metadata, idempotency_key: _, trace: _ } = self;
        // Who takes part is a set: the same people in another order are the same choice.
        let participants: std::collections::BTreeSet<_> = participants.iter().collect();
        hash(&serde_json::json!([kind, subject, participants, metadata]))
    }
}

impl MessageDraft {
    /// What a repeat by `client_message_id` must have in common with the first: everything else the sender chose. SHA-256.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        hash(&self.chosen())
    }

    /// What a repeat by `Idempotency-Key` must have in common with the first: everything the sender chose. SHA-256.
    #[must_use]
    pub fn request_hash(&self) -> [u8; 32] {
        hash(&serde_json::json!([self.chosen(), self.client_message_id]))
    }

    fn chosen(&self) -> serde_json::Value {
        let Self {
            id: _,
            conversation_id,
            message_text,
            message_type,
            client_message_id: _,
            idempotency_key: _,
            reply_to,
            attachment_ids,
            trace: _,
        } = self;
        serde_json::json!([conversation_id, message_text, message_type, reply_to, attachment_ids])
    }
}

/// SHA-256 of what a caller chose.
pub(crate) fn hash(chosen: &serde_json::Value) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(chosen.to_string()).into()
}

/// Where a device that starts anew begins: everything it shows first, and the cursor from which events continue it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Snapshot {
    /// Hand it to `resume`.
    #[schema(value_type = String)]
    pub cursor: shared::cursor::Cursor,
    /// The newest conversations, at most 100.
    pub conversations: Vec<Conversation>,
    /// What is unread.
    pub unread: UnreadTotals,
    /// The newest notifications.
    #[schema(value_type = Vec<Object>)]
    pub notifications: Vec<serde_json::Value>,
}

/// What is unread, over all conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnreadTotals {
    /// Messages of others not read.
    pub messages: u64,
    /// Conversations that have such.
    pub conversations: u64,
    /// The position of the caller's own feed when they were counted: the higher one wins.
    #[schema(value_type = u64)]
    pub version: Seq,
}

/// Whether a role may start a conversation of a kind. The registry of conversation types.
#[must_use]
pub const fn may_create(role: Role, kind: ConversationType) -> bool {
    match kind {
        ConversationType::StaffStaff => role.is_trusted(),
        ConversationType::GuestStaff
        | ConversationType::GuestGuest
        | ConversationType::Direct
        | ConversationType::Group => true,
    }
}
