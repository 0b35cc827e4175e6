//! Jobs: what takes longer than a request.

use serde::{Deserialize, Serialize};
use shared::ids::{ConversationId, JobId, MessageId, Seq, TraceId, UserId};
use shared::time::Timestamp;

use super::{Block, Message, MessageVersion, Participant, Report, User};
use crate::attachments::model::Attachment;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Everything that is kept of somebody is written down for them.
    Export,
    /// Everything that is kept of somebody goes.
    Erase,
}

impl JobKind {
    /// The kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Erase => "erase",
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// No worker has taken it.
    Waiting,
    /// A worker is at it.
    Running,
    /// It is done.
    Done,
}

/// Work about one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Job {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: JobId,
    /// What is done.
    pub kind: JobKind,
    /// About whom.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// Who asked for it.
    #[schema(value_type = String)]
    pub requested_by: UserId,
    /// How far it is.
    pub state: JobState,
    /// Messages that were looked through, of `total`.
    pub progress: u64,
    /// Messages there were in their conversations when it began.
    pub total: u64,
    /// When it was asked for.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// When it was done.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub finished_at: Option<Timestamp>,
}

/// A job to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDraft {
    /// The id it will have.
    pub id: JobId,
    /// What is to be done.
    pub kind: JobKind,
    /// About whom.
    pub user_id: UserId,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

/// Where a page of an export begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportPlace {
    /// In which conversation; what belongs to none comes first.
    pub conversation: Option<ConversationId>,
    /// After which of its numbers.
    pub seq: Seq,
}

/// A page of an export.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportPage {
    /// What is kept.
    pub lines: Vec<ExportLine>,
    /// Where the next page begins, if there is one.
    pub next: Option<ExportPlace>,
}

/// One thing that is kept of somebody; one line of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExportLine {
    /// What is known of them.
    Profile(User),
    /// Whom they block.
    Block(Block),
    /// What they reported.
    Report(Report),
    /// A conversation they are or were in.
    Conversation {
        /// Which.
        conversation_id: ConversationId,
        /// What it is about.
        subject: Option<String>,
        /// Their place in it.
        participant: Participant,
        /// When they left it.
        left_at: Option<Timestamp>,
    },
    /// A thread that they follow.
    Thread {
        /// The message that began it.
        thread_root_id: MessageId,
        /// How far they have read it.
        last_read_seq: Seq,
    },
    /// What they wrote.
    Message(Message),
    /// What a message of theirs said before.
    Version {
        /// Which message.
        message_id: MessageId,
        /// What.
        #[serde(flatten)]
        version: MessageVersion,
    },
    /// How they reacted.
    Reaction {
        /// To which message.
        message_id: MessageId,
        /// With which sign.
        reaction: String,
        /// When.
        created_at: Timestamp,
    },
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// How it is shown.
    pub attachment: Attachment,
    /// SHA-256 in hex.
    pub sha256: String,
}
