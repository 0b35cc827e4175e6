//! The nouns of messaging, as they stand in JSON and in the store.

mod conversation;
mod message;
mod reading;
mod schedule;
mod unsent;

pub use conversation::{
    Conversation, ConversationChange, ConversationChangeDraft, ConversationDraft, ConversationStatus, ConversationType,
    OwnSettings, Participant, ParticipantRole, may_create,
};
pub use message::{
    Acknowledged, Acknowledgements, Change, ChangeDraft, Forwarded, Mentions, Message, MessageDraft, MessagePriority,
    MessageType, MessageVersion, Reactions,
};
pub use reading::{
    MarkerDraft, MarkerMove, MessagingStats, OverallStats, ReadMarker, Snapshot, UnreadCheck, UnreadTotals,
};
pub use schedule::{
    Due, Planned, Refusal, ScheduleChange, ScheduleChangeDraft, ScheduleDraft, ScheduleStatus, Scheduled,
};
pub use unsent::{Unsent, UnsentDraft, Writing};

/// SHA-256 of what a caller chose.
pub(crate) fn hash(chosen: &serde_json::Value) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(chosen.to_string()).into()
}
