//! The nouns of messaging and of people, as they stand in JSON and in the store.

mod conversation;
mod job;
mod message;
mod moderation;
mod reading;
mod revocation;
mod schedule;
mod thread;
mod unsent;
mod user;

pub use conversation::{
    Conversation, ConversationChange, ConversationChangeDraft, ConversationDraft, ConversationStatus, ConversationType,
    OwnSettings, Participant, ParticipantRole, may_create,
};
pub use job::{ExportFile, ExportLine, ExportPage, ExportPlace, Job, JobDraft, JobKind, JobState};
pub use message::{
    Acknowledged, Acknowledgements, Change, ChangeDraft, Forwarded, Mentions, Message, MessageDraft, MessagePriority,
    MessageType, MessageVersion, Reactions,
};
pub use moderation::{Ban, BanDraft, DecisionDraft, Report, ReportDraft, ReportReason, ReportState};
pub use reading::{
    MarkerDraft, MarkerMove, MessagingStats, OverallStats, Privacy, PrivacyChange, ReadMarker, Snapshot, Unread,
    UnreadCheck, UnreadTotals,
};
pub use revocation::{Revocation, RevocationDraft};
pub use schedule::{
    Due, Planned, Refusal, ScheduleChange, ScheduleChangeDraft, ScheduleDraft, ScheduleStatus, Scheduled,
};
pub use thread::{InThread, Thread, ThreadChange, ThreadChangeDraft, ThreadMarker, ThreadSummary};
pub use unsent::{Unsent, UnsentDraft, Writing};
pub use user::{Block, BlockDraft, User, UserDraft};

/// SHA-256 of what a caller chose.
pub(crate) fn hash(chosen: &serde_json::Value) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(chosen.to_string()).into()
}
