//! Threads: what is said to a message apart from the main line of its conversation.

use serde::{Deserialize, Serialize};
use shared::ids::{ConversationId, MessageId, Seq, TraceId};
use shared::time::Timestamp;

use super::Message;

/// The thread in which a message is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InThread {
    /// The message that it answers there; one that stands in no thread itself.
    pub root: MessageId,
    /// Whether it stands in the main line of the conversation too.
    pub also_in_conversation: bool,
}

/// How much is said in a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ThreadSummary {
    /// Replies that are not deleted.
    pub reply_count: u64,
    /// When the last one was sent, deleted or not.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub last_reply_at: Timestamp,
    /// Counts its changes, from 1: whoever has two of them applies the higher one.
    pub version: u64,
}

/// How far the caller has read in a thread, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ThreadMarker {
    /// The conversation.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// The message that began the thread.
    #[schema(value_type = uuid::Uuid)]
    pub thread_root_id: MessageId,
    /// Whether the caller follows it. Of a thread that one does not follow nothing is unread.
    pub following: bool,
    /// Every reply up to this number is read.
    #[schema(value_type = u64)]
    pub last_read_seq: Seq,
    /// How many replies of others after it are not deleted, and stand in the thread alone.
    pub thread_unread_count: u64,
    /// How many of those call the caller.
    pub thread_unread_mention_count: u64,
    /// The position of the caller's own feed when they were counted: the higher one wins.
    #[schema(value_type = u64)]
    pub unread_version: Seq,
}

/// A thread as one person sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Thread {
    /// The message that began it.
    pub root: Message,
    /// How far the caller has read it.
    pub marker: ThreadMarker,
}

/// What somebody does with a thread for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadChange {
    /// Every reply up to this number is read; up to the newest if none is named. Never moves the marker back.
    ReadUpTo(Option<Seq>),
    /// They want to be told of it. What is there already is read.
    Follow,
    /// They do not want that any more.
    Unfollow,
}

impl ThreadChange {
    /// As the database calls it, and up to where they have read.
    pub(crate) const fn spelling(&self) -> (&'static str, Option<Seq>) {
        match self {
            Self::ReadUpTo(seq) => ("read", *seq),
            Self::Follow => ("follow", None),
            Self::Unfollow => ("unfollow", None),
        }
    }
}

/// What somebody does with a thread. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadChangeDraft {
    /// The message that began it.
    pub root: MessageId,
    /// What.
    pub change: ThreadChange,
    /// Follows it through the fleet.
    pub trace: TraceId,
}
