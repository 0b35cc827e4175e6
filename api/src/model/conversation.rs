//! Conversations: what kinds there are, who is in them, and what may become of them.

use serde::{Deserialize, Serialize};
use shared::channel::Role;
use shared::ids::{ConversationId, IdempotencyKey, Seq, TraceId, UserId};
use shared::time::Timestamp;

use super::{Message, hash};

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
    /// Whether the others see these three; if not, they stand at 0 and no time.
    pub shows_receipts: bool,
    /// Counts the changes of the above, from 1: whoever has two of them applies the higher one.
    pub version: u64,
}

impl Participant {
    /// The participant as the others see them.
    #[must_use]
    pub(crate) fn seen_by_others(&self) -> Self {
        let mut seen = self.clone();
        if !self.shows_receipts {
            (seen.last_read_seq, seen.last_read_at, seen.last_delivered_seq) = (Seq::ZERO, None, Seq::ZERO);
        }
        seen
    }
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
    /// Since when it waits for one of the staff, as a guest's conversation does that named none.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub queued_at: Option<Timestamp>,
    /// Who of the staff looks after it.
    #[schema(value_type = Option<String>)]
    pub assigned_to: Option<UserId>,
    /// What only the caller sees; nothing for who takes no part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<OwnSettings>,
    /// Counts the changes of the conversation, of who is in it among them, from 1: whoever has two of it applies the higher one.
    pub version: u64,
    /// When it was started.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
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
                queued_at: None,
                assigned_to: None,
                ..self
            },
        }
    }
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
    /// The caller looks after it from now on, unless somebody else does.
    Claim,
    /// This colleague looks after it from now on, whoever did before.
    Assign(UserId),
    /// Nobody looks after it: it waits for whoever claims it.
    Release,
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
            Self::Add(..) | Self::Remove(_) | Self::SetRole(..) | Self::Claim | Self::Assign(_) | Self::Release => {}
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
