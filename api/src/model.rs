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

impl Conversation {
    /// The conversation as it is told to whoever has left it: that it was there, and nothing of today.
    #[must_use]
    pub(crate) fn for_one_who_left(self, left_at: Option<Timestamp>) -> Self {
        match left_at {
            None => self,
            Some(_) => Self {
                subject: None,
                metadata: serde_json::Map::new(),
                participants: Vec::new(),
                last_message: None,
                last_message_at: None,
                ..self
            },
        }
    }
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
    /// They have read every message up to this number.
    #[schema(value_type = u64)]
    pub last_read_seq: Seq,
    /// When they last moved that marker.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub last_read_at: Option<Timestamp>,
    /// One of their devices has received every message up to this number; never below `last_read_seq`.
    #[schema(value_type = u64)]
    pub last_delivered_seq: Seq,
    /// Counts the changes of the above, from 1: whoever has two of them applies the higher one.
    pub version: u64,
}

/// What a person has set for a conversation, for themselves alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OwnSettings {
    /// Until when it shall not disturb.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub muted_until: Option<Timestamp>,
    /// Since when it stands above the others.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub pinned_at: Option<Timestamp>,
    /// Since when it is put away.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub archived_at: Option<Timestamp>,
}

/// What shall become of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationChange {
    /// Everyone sees another subject, status or metadata; what is `None` stays.
    Update {
        /// The subject; none if `Some(None)`.
        subject: Option<Option<String>>,
        /// Whether it takes messages.
        status: Option<ConversationStatus>,
        /// Whatever the product wants to keep with it.
        metadata: Option<serde_json::Map<String, serde_json::Value>>,
    },
    /// Somebody comes into it, as what they are known as if no role is said.
    Add(UserId, Option<ParticipantRole>),
    /// Somebody is taken out of it, or leaves.
    Remove(UserId),
    /// Somebody gets another role in it.
    SetRole(UserId, ParticipantRole),
    /// The caller sets something for themselves; what is `None` stays.
    SetOwn {
        /// Until when it shall not disturb.
        muted_until: Option<Option<Timestamp>>,
        /// Since when it stands above the others.
        pinned_at: Option<Option<Timestamp>>,
        /// Since when it is put away.
        archived_at: Option<Option<Timestamp>>,
    },
}

impl ConversationChange {
    /// What was chosen of the fields that stay when they are not, as the stores take it: times in microseconds.
    pub(crate) fn chosen(&self) -> serde_json::Value {
        let mut chosen = serde_json::Map::new();
        let mut choose = |field: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                chosen.insert(field.to_owned(), value);
            }
        };
        let moment = |moment: &Option<Timestamp>| serde_json::json!(moment.map(Timestamp::as_micros));
        match self {
            Self::Update { subject, status, metadata } => {
                choose("subject", subject.as_ref().map(|subject| serde_json::json!(subject)));
                choose("status", status.map(|status| serde_json::json!(status)));
                choose("metadata", metadata.as_ref().map(|metadata| serde_json::json!(metadata)));
            }
            Self::SetOwn { muted_until, pinned_at, archived_at } => {
                choose("muted_until", muted_until.as_ref().map(moment));
                choose("pinned_at", pinned_at.as_ref().map(moment));
                choose("archived_at", archived_at.as_ref().map(moment));
            }
            Self::Add(..) | Self::Remove(_) | Self::SetRole(..) => {}
        }
        serde_json::Value::Object(chosen)
    }
}

/// A change of a conversation. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationChangeDraft {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// What shall become of it.
    pub change: ConversationChange,
    /// Follows it through the fleet.
    pub trace: TraceId,
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
    /// What only the caller sees; nothing for who takes no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<OwnSettings>,
    /// Counts the changes of the conversation, of who is in it among them, from 1: whoever has two of it applies the higher one.
    pub version: u64,
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
    /// What people said to it with a sign, the first sign first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reactions>,
}

impl Message {
    /// The message as it is shown to whoever has deleted it for themselves.
    #[must_use]
    pub fn hidden(self) -> Self {
        Self { message_text: String::new(), attachments: Vec::new(), reactions: Vec::new(), hidden: true, ..self }
    }

    /// The message as it is told to whoever left its conversation then: what was written later is not for them.
    #[must_use]
    pub(crate) fn for_one_who_left(self, left_at: Option<Timestamp>) -> Self {
        let Some(left_at) = left_at else { return self };
        let is_newer = self.edited_at.is_some_and(|edited_at| edited_at > left_at);
        let message_text = if is_newer { String::new() } else { self.message_text };
        let deleted_at = if is_newer { self.deleted_at.or(self.edited_at) } else { self.deleted_at };
        let attachments = if is_newer { Vec::new() } else { self.attachments };
        Self { message_text, deleted_at, attachments, reactions: Vec::new(), ..self }
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

/// What shall become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its sender gives it another text.
    Edit(String),
    /// Nobody shall read it any more.
    Delete,
    /// The caller does not want to see it any more.
    Hide,
    /// The caller says something to it with a sign.
    React(String),
    /// The caller takes a sign back.
    Unreact(String),
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

/// How far the caller has read in a conversation, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ReadMarker {
    /// Where.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// Every message up to this number is read.
    #[schema(value_type = u64)]
    pub last_read_seq: Seq,
    /// How many messages of others after it are not deleted.
    pub unread_count: u64,
    /// The position of the caller's own feed when they were counted: the higher one wins.
    #[schema(value_type = u64)]
    pub unread_version: Seq,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MessagingStats {
    /// Conversations that the caller takes part in.
    pub conversations: u64,
    /// Those of them that are active.
    pub active_conversations: u64,
    /// What is unread to the caller.
    pub unread: UnreadTotals,
    /// Over all conversations; only staff and services see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<OverallStats>,
}

/// How much there is over all conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema, sqlx::FromRow)]
pub struct OverallStats {
    /// Conversations.
    pub conversations: i64,
    /// Those that are active.
    pub active: i64,
    /// Those that are put away.
    pub archived: i64,
    /// Those that are closed.
    pub closed: i64,
    /// Those between guests and staff.
    pub guest_staff: i64,
    /// Messages that are not deleted.
    pub messages: i64,
    /// Messages of the last 24 hours.
    pub messages_last_day: i64,
}

/// Where to move one's marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerMove {
    /// Everything up to this message is read; up to the newest if none is named. Never moves the marker back.
    ReadUpTo(Option<Seq>),
    /// This message and what follows shall count as unread again. Never moves the marker forwards.
    UnreadFrom(Seq),
}

/// A move of one's marker. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerDraft {
    /// Where.
    pub conversation_id: ConversationId,
    /// Where to.
    pub to: MarkerMove,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

impl MarkerDraft {
    /// The number up to which messages shall be read (the newest if `None`), and whether that may be further back only.
    pub(crate) const fn target(&self) -> (Option<Seq>, bool) {
        match self.to {
            MarkerMove::ReadUpTo(seq) => (seq, false),
            MarkerMove::UnreadFrom(seq) => (Some(Seq(seq.0.saturating_sub(1))), true),
        }
    }
}

/// One conversation's unread messages: as they are kept, and as they are counted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadCheck {
    /// The marker, and the count as it is kept.
    pub kept: ReadMarker,
    /// The count by the formula.
    pub counted: u64,
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
