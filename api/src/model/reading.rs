//! Reading: how far somebody has read, what is unread, and where a device begins.

use serde::{Deserialize, Serialize};
use shared::ids::{ConversationId, Seq, TraceId};

use super::{Conversation, ThreadMarker};

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
    /// How many of those call the caller.
    pub unread_mention_count: u64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct UnreadCheck {
    /// The marker, and the count as it is kept.
    #[serde(flatten)]
    pub kept: ReadMarker,
    /// The count by the formula.
    pub counted: u64,
    /// What is unread in the threads that the caller follows there, added up, as it is kept.
    pub threads_kept: u64,
    /// The same by the formula.
    pub threads_counted: u64,
    /// In how many of those threads the two differ.
    pub threads_wrong: u64,
}

impl UnreadCheck {
    /// Whether what is kept is what is there.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        self.kept.unread_count == self.counted && self.threads_wrong == 0
    }
}

/// What is unread, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unread {
    /// Over all conversations.
    #[serde(flatten)]
    pub totals: UnreadTotals,
    /// Each conversation that has unread messages.
    pub items: Vec<ReadMarker>,
    /// Each thread that has unread replies.
    pub thread_items: Vec<ThreadMarker>,
}

/// What is unread, over all conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnreadTotals {
    /// Messages of others not read, in the main lines of conversations.
    pub messages: u64,
    /// Replies of others not read, that stand in threads alone.
    #[serde(default)]
    pub thread_replies: u64,
    /// Those of both that call the caller.
    pub mentions: u64,
    /// Conversations that have unread messages.
    pub conversations: u64,
    /// Threads that have unread replies.
    #[serde(default)]
    pub threads: u64,
    /// The position of the caller's own feed when they were counted: the higher one wins.
    #[schema(value_type = u64)]
    pub version: Seq,
}

/// What a person shows to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, sqlx::FromRow)]
pub struct Privacy {
    /// How far they have received and read. If not, others see 0 and no time.
    pub receipts: bool,
    /// That they write, or look at a conversation. Connections take it up when they next join a room.
    pub signs: bool,
    /// Whether they are here, and when they were last. If not, others see them offline and never seen.
    pub presence: bool,
}

impl Default for Privacy {
    fn default() -> Self {
        Self { receipts: true, signs: true, presence: true }
    }
}

/// What a person changes of what they show; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PrivacyChange {
    /// How far they have received and read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts: Option<bool>,
    /// That they write, or look at a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signs: Option<bool>,
    /// Whether they are here, and when they were last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
}
