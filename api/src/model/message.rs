//! Messages: what is said, and what may become of it.

use serde::{Deserialize, Serialize};
use shared::ids::{
    AttachmentId, ClientMessageId, ConversationId, IdempotencyKey, InvalidId, MessageId, Seq, TraceId, UserId,
};
use shared::time::Timestamp;

use super::{InThread, ThreadSummary, hash};
use crate::attachments::model::Attachment;

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
    /// A person spoke it: it brings one attachment of the kind `voice`.
    Voice,
    /// A person sent files: it brings at least one attachment.
    File,
}

/// Whom a message calls: said beside its text, and never read out of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Mentions {
    /// These participants, in order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub mentioned_users: Vec<UserId>,
    /// Everybody in the conversation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mentioned_everyone: bool,
}

/// What stands for everybody where mentions are kept: nobody's id.
const EVERYONE: &str = "*";

impl Mentions {
    /// As they are kept.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let everyone = self.mentioned_everyone.then_some(EVERYONE);
        everyone.into_iter().chain(self.mentioned_users.iter().map(|user| user.as_str())).collect()
    }

    /// Reads them as they are kept.
    pub(crate) fn of_keys(keys: &[String]) -> Result<Self, InvalidId> {
        let users = keys.iter().filter(|key| *key != EVERYONE);
        let mentioned_users = users.map(|user| user.parse()).collect::<Result<Vec<UserId>, _>>()?;
        Ok(Self { mentioned_everyone: mentioned_users.len() < keys.len(), mentioned_users })
    }
}

/// How much a message presses. It changes what clients do with it, and never the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessagePriority {
    /// As any other.
    #[default]
    Normal,
    /// It should not be overlooked.
    Important,
    /// It cannot wait.
    Urgent,
}

impl MessagePriority {
    /// Whether it need not be said.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// Who has said that they have seen a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Acknowledged {
    /// Who.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// When.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub acknowledged_at: Timestamp,
}

/// The acknowledgements of a message that asks for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Acknowledgements {
    /// How many people acknowledged it.
    pub count: u64,
    /// The first 20 of them.
    pub items: Vec<Acknowledged>,
}

/// What a message says again that was said elsewhere. It stays as it was, whatever becomes of the other message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Forwarded {
    /// The message that said it first.
    #[schema(value_type = uuid::Uuid)]
    pub message_id: MessageId,
    /// Who said it.
    #[schema(value_type = String)]
    pub sender_id: UserId,
    /// When it was said.
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
    /// The message in whose thread it stands. Such a message stands there alone, unless `also_in_conversation` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    pub thread_root_id: Option<MessageId>,
    /// Whether a message of a thread stands in the main line of the conversation too; left out when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub also_in_conversation: bool,
    /// How much is said in the thread that it began, or stands in; left out when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadSummary>,
    /// What it brings along, in the order of its sender.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Whom it calls.
    #[serde(flatten)]
    pub mentions: Mentions,
    /// Where its text and its attachments come from, if they were forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_from: Option<Forwarded>,
    /// Counts its changes, from 1: whoever has two of them applies the higher one.
    pub version: u64,
    /// When it was committed.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// When its text was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub edited_at: Option<Timestamp>,
    /// When it was deleted: it keeps its place and says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub deleted_at: Option<Timestamp>,
    /// Whether the caller has deleted it for themselves: it keeps its place and says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// How much it presses; left out when it is `normal`.
    #[serde(default, skip_serializing_if = "MessagePriority::is_normal")]
    pub priority: MessagePriority,
    /// Whether everybody else in the conversation is asked to acknowledge it; left out when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_acknowledgement: bool,
    /// Who has acknowledged it, if it asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgements: Option<Acknowledgements>,
    /// Since when it is kept at hand for everybody in the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub pinned_at: Option<Timestamp>,
    /// Who pinned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pinned_by: Option<UserId>,
    /// What people said to it with a sign, the first sign first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reactions>,
}

impl Message {
    /// Whether it stands in a thread alone, and counts as unread there.
    #[must_use]
    pub const fn is_aside(&self) -> bool {
        self.thread_root_id.is_some() && !self.also_in_conversation
    }

    /// The message as it is shown to whoever has deleted it for themselves.
    #[must_use]
    pub fn hidden(self) -> Self {
        Self {
            message_text: String::new(),
            attachments: Vec::new(),
            mentions: Mentions::default(),
            forwarded_from: None,
            acknowledgements: None,
            reactions: Vec::new(),
            hidden: true,
            ..self
        }
    }

    /// The message as it is told to whoever left its conversation then: what was written later is not for them.
    #[must_use]
    pub(crate) fn for_one_who_left(self, left_at: Option<Timestamp>) -> Self {
        let Some(left_at) = left_at else { return self };
        let is_newer = self.edited_at.is_some_and(|edited_at| edited_at > left_at);
        let message_text = if is_newer { String::new() } else { self.message_text };
        let deleted_at = if is_newer { self.deleted_at.or(self.edited_at) } else { self.deleted_at };
        let attachments = if is_newer { Vec::new() } else { self.attachments };
        let mentions = if is_newer { Mentions::default() } else { self.mentions };
        Self {
            message_text,
            deleted_at,
            attachments,
            mentions,
            thread: None,
            acknowledgements: None,
            pinned_at: None,
            pinned_by: None,
            reactions: Vec::new(),
            ..self
        }
    }
}

/// The reactions with one sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reactions {
    /// The sign.
    pub reaction: String,
    /// How many people used it.
    pub count: u64,
    /// The first 20 of them.
    #[schema(value_type = Vec<String>)]
    pub user_ids: Vec<UserId>,
}

/// What a message said before it was edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MessageVersion {
    /// The version of the message that said it.
    pub version: u64,
    /// What it said.
    pub message_text: String,
    /// When it was replaced.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub replaced_at: Timestamp,
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
    /// The thread in which it shall stand; in the same conversation.
    pub in_thread: Option<InThread>,
    /// What it brings along: complete, the sender's, and no other message's.
    pub attachment_ids: Vec<AttachmentId>,
    /// Whom it calls: people in the conversation.
    pub mentions: Mentions,
    /// The message whose text and attachments it takes over; it has none of its own then.
    pub forwards: Option<MessageId>,
    /// How much it presses.
    pub priority: MessagePriority,
    /// Whether everybody else is asked to acknowledge it.
    pub requires_acknowledgement: bool,
    /// The version of its sender's draft that it was written as; that is cleared once it is sent.
    pub draft_version: Option<u64>,
    /// Follows it through the fleet.
    pub trace: TraceId,
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

    /// The path at which the request's key is the caller's own.
    pub(crate) fn door(&self) -> String {
        self.forwards.map_or_else(|| "messages".to_owned(), |source| format!("forwards/{source}"))
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
            in_thread,
            attachment_ids,
            mentions,
            forwards,
            priority,
            requires_acknowledgement,
            draft_version: _,
            trace: _,
        } = self;
        serde_json::json!([
            conversation_id,
            message_text,
            message_type,
            reply_to,
            in_thread,
            attachment_ids,
            mentions,
            forwards,
            priority,
            requires_acknowledgement
        ])
    }
}

/// What shall become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its sender gives it another text, and others to call unless those shall stay.
    Edit(String, Option<Mentions>),
    /// Nobody shall read it any more.
    Delete,
    /// The caller does not want to see it any more.
    Hide,
    /// The caller says something to it with a sign.
    React(String),
    /// The caller takes a sign back.
    Unreact(String),
    /// It shall be kept at hand for everybody.
    Pin,
    /// It need not be kept at hand any more.
    Unpin,
    /// The caller has seen it.
    Acknowledge,
}

/// A change of a message. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeDraft {
    /// Which message.
    pub message_id: MessageId,
    /// What shall become of it.
    pub change: Change,
    /// Follows it through the fleet.
    pub trace: TraceId,
}
