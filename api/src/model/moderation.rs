//! Moderation: what people report, what staff decide, and who may do nothing for a while.

use serde::{Deserialize, Serialize};
use shared::ids::{ConversationId, MessageId, ReportId, TraceId, UserId};
use shared::time::Timestamp;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportReason {
    /// Nobody asked for it.
    Spam,
    /// It pesters somebody.
    Harassment,
    /// It is against a kind of people.
    Hate,
    /// It threatens.
    Violence,
    /// It is sexual where that has no place.
    Sexual,
    /// It wants money or passwords.
    Fraud,
    /// Something else; the note says what.
    Other,
}

impl ReportReason {
    /// The reason as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spam => "spam",
            Self::Harassment => "harassment",
            Self::Hate => "hate",
            Self::Violence => "violence",
            Self::Sexual => "sexual",
            Self::Fraud => "fraud",
            Self::Other => "other",
        }
    }
}

/// How far a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportState {
    /// Nobody has decided it.
    Open,
    /// Something was done about it.
    Resolved,
    /// Nothing had to be done about it.
    Dismissed,
}

/// A message that somebody put before staff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Report {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: ReportId,
    /// The message.
    #[schema(value_type = uuid::Uuid)]
    pub message_id: MessageId,
    /// Where it was sent.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// Who sent it.
    #[schema(value_type = String)]
    pub sender_id: UserId,
    /// Who reported it.
    #[schema(value_type = String)]
    pub reporter_id: UserId,
    /// What is wrong with it.
    pub reason: ReportReason,
    /// What the reporter says of it.
    pub note: Option<String>,
    /// How far it is.
    pub state: ReportState,
    /// When it was reported.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub created_at: Timestamp,
    /// Who decided it.
    #[schema(value_type = Option<String>)]
    pub decided_by: Option<UserId>,
    /// When.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub decided_at: Option<Timestamp>,
    /// What they say of it.
    pub decision_note: Option<String>,
}

impl Report {
    /// Counts its changes, from 1. It is decided once, and that is all that changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        match self.state {
            ReportState::Open => 1,
            ReportState::Resolved | ReportState::Dismissed => 2,
        }
    }
}

/// A message to be reported. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportDraft {
    /// The id the report will have.
    pub id: ReportId,
    /// Which message.
    pub message_id: MessageId,
    /// What is wrong with it.
    pub reason: ReportReason,
    /// What the reporter says of it.
    pub note: Option<String>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

/// How a report shall be decided. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionDraft {
    /// Which report.
    pub id: ReportId,
    /// Resolved or dismissed.
    pub state: ReportState,
    /// What is to be said of it.
    pub note: Option<String>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}

/// Why and for how long somebody may do nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ban {
    /// Why; they are told.
    pub reason: String,
    /// Since when.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub banned_at: Timestamp,
    /// Until when; without an end if nothing.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub expires_at: Option<Timestamp>,
    /// By whom. Told to staff and to services only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub banned_by: Option<UserId>,
}

/// Somebody to be banned, or not any more. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanDraft {
    /// Who.
    pub user_id: UserId,
    /// Why, and until when if it shall end; nothing to lift it.
    pub ban: Option<(String, Option<Timestamp>)>,
    /// Follows it through the fleet.
    pub trace: TraceId,
}
