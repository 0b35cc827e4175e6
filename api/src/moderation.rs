//! What is said against messages and people, checked: reports, decisions and bans.
//!
//! On the line it stands beside the drafts: a body goes in, and a draft or a problem that names each wrong field comes out.

use shared::access::Caller;
use shared::ids::{MessageId, ReportId, TraceId, UserId};
use shared::time::Timestamp;

use crate::error::Problem;
use crate::fields::Fields;
use crate::model::{BanDraft, DecisionDraft, ReportDraft, ReportReason, ReportState};

/// Characters of the longest note.
const NOTE: usize = 1_000;
/// Characters of the longest reason of a ban.
const REASON: usize = 500;

/// What is wrong with a message.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({ "reason": "fraud", "note": "asks for my card number" }))]
#[expect(dead_code, reason = "only describes the body")]
pub struct NewReport {
    /// In one word.
    reason: ReportReason,
    /// In more: at most 1,000 characters. Must be there with `other`.
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// How a report is decided.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({ "state": "dismissed" }))]
#[expect(dead_code, reason = "only describes the body")]
pub struct NewDecision {
    /// `resolved` or `dismissed`.
    state: ReportState,
    /// What is to be said of it: at most 1,000 characters.
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// Why and for how long somebody may do nothing.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({ "reason": "sends the same to everybody", "expires_at": "2031-01-01T00:00:00Z" }))]
#[expect(dead_code, reason = "only describes the body")]
pub struct NewBan {
    /// Why: 1 to 500 characters. They are told.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
    /// Until when, in the future; without an end if it is not said.
    expires_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// Reads a [`NewReport`].
///
/// # Errors
///
/// Names every field that is wrong.
pub fn report(mut body: Fields, message_id: MessageId, trace: TraceId) -> Result<ReportDraft, Problem> {
    let reason = body.required("reason");
    if reason == Some(ReportReason::Other) {
        body.require("note");
    }
    let note = body.text("note", 1..=NOTE);
    body.finish(|| Some(ReportDraft { id: ReportId::new(), message_id, reason: reason?, note, trace }))
}

/// Reads a [`NewDecision`].
///
/// # Errors
///
/// Names every field that is wrong.
pub fn decision(mut body: Fields, id: ReportId, trace: TraceId) -> Result<DecisionDraft, Problem> {
    let state = body.required("state");
    if state == Some(ReportState::Open) {
        body.wrong("state", "must be resolved or dismissed: what was decided stays decided");
    }
    let note = body.text("note", 1..=NOTE);
    body.finish(|| Some(DecisionDraft { id, state: state?, note, trace }))
}

/// Reads a [`NewBan`].
///
/// # Errors
///
/// Names every field that is wrong, and refuses whoever bans themselves.
pub fn ban(mut body: Fields, caller: &Caller, user_id: UserId, trace: TraceId) -> Result<BanDraft, Problem> {
    if user_id == caller.user {
        body.wrong("id", "is you: nobody bans themselves");
    }
    let reason = body.required_text("reason", 1..=REASON);
    let expires_at: Option<Timestamp> = body.optional("expires_at");
    if expires_at.is_some_and(|end| end <= Timestamp::now() || end > Timestamp::LAST) {
        body.wrong("expires_at", "must lie between now and the year 9999");
    }
    body.finish(|| Some(BanDraft { user_id, ban: Some((reason?, expires_at)), trace }))
}
