//! How far one has read, and what is unread.
//!
//! One formula for every count: the messages after one's marker that others sent and nobody deleted. Each counts in one place, the
//! main line of its conversation or its thread.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::access::Caller;
use shared::ids::{ConversationId, Seq};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::drafts;
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::model::{MarkerDraft, MarkerMove, MessagingStats, Privacy, PrivacyChange, ReadMarker, Unread, UnreadCheck};
use crate::openapi::Problems;
use crate::request::Name;
use crate::state::App;
use crate::store::UnreadPage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read))
        .routes(routes!(unread_from))
        .routes(routes!(unread))
        .routes(routes!(verify))
        .routes(routes!(stats))
        .routes(routes!(privacy, set_privacy))
}

/// How far one has read.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct ReadUpTo {
    /// Everything up to this message is read; up to the newest if it is not said.
    #[schema(minimum = 0)]
    up_to_seq: Option<u64>,
}

/// Where one wants to begin again.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct UnreadFrom {
    /// This message and what follows it shall be unread.
    #[schema(minimum = 1)]
    from_seq: u64,
}

/// What to show, or no longer; what is not said stays.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct NewPrivacy {
    /// How far one has received and read.
    receipts: Option<bool>,
    /// That one writes, or looks at a conversation.
    signs: Option<bool>,
    /// Whether one is here, and when one was last.
    presence: Option<bool>,
}

/// Counts, counted anew: all of them, or those of a page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Verified {
    /// Whether every count that was compared is right.
    is_exact: bool,
    /// Conversations that were counted.
    conversations: u64,
    /// Messages that are unread in them, counted anew.
    messages: u64,
    /// Replies that are unread in their threads, counted anew.
    thread_replies: u64,
    /// The counts that are wrong.
    drifts: Vec<UnreadCheck>,
    /// Each conversation that was counted, and where to go on.
    #[serde(flatten)]
    page: List<UnreadCheck>,
}

/// Mark a conversation as read
///
/// The marker only moves forwards; reading again what is read changes nothing. One's other devices are told at once.
#[utoipa::path(
    patch, operation_id = "mark_read",
    path = "/api/v1/messages/conversations/{id}/read", tag = "reading",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")), request_body = ReadUpTo,
    responses((status = 200, description = "Where the marker stands.", body = ReadMarker), Problems),
)]
async fn read(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ConversationId>,
    body: Fields,
) -> Result<Json<ReadMarker>, Problem> {
    let draft = drafts::read_up_to(body, Some(id), name.trace)?;
    Ok(Json(app.publisher.mark(&caller, &draft).await?))
}

/// Mark messages as unread
///
/// Moves the marker back to before a message; it never moves it forwards.
#[utoipa::path(
    post, operation_id = "mark_unread",
    path = "/api/v1/messages/conversations/{id}/unread", tag = "reading",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")), request_body = UnreadFrom,
    responses((status = 200, description = "Where the marker stands.", body = ReadMarker), Problems),
)]
async fn unread_from(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ConversationId>,
    mut body: Fields,
) -> Result<Json<ReadMarker>, Problem> {
    body.require("from_seq");
    let from: Option<Seq> = body.seq("from_seq", 1);
    let draft = body
        .finish(|| Some(MarkerDraft { conversation_id: id, to: MarkerMove::UnreadFrom(from?), trace: name.trace }))?;
    Ok(Json(app.publisher.mark(&caller, &draft).await?))
}

/// Count what is unread
#[utoipa::path(
    get, operation_id = "count_unread",
    path = "/api/v1/unread", tag = "reading",
    responses((status = 200, description = "All counts, from one moment.", body = Unread), Problems),
)]
async fn unread(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters,
) -> Result<Json<Unread>, Problem> {
    query.finish(|| Some(()))?;
    Ok(Json(app.store.unread(&caller).await?))
}

/// Count anew what is unread
///
/// Compares the counts that are kept with the messages that are there: all of them, or, with `limit` or `after`, those of a page
/// of conversations, by their ids.
#[utoipa::path(
    get, operation_id = "verify_unread",
    path = "/api/v1/unread/verify", tag = "reading",
    params(
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if only `after` is said."),
        ("after" = Option<uuid::Uuid>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "What the counts should be.", body = Verified), Problems),
)]
async fn verify(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters,
) -> Result<Json<Verified>, Problem> {
    let UnreadPage { after, limit } = part(query)?;
    let one_more = UnreadPage { after, limit: limit.map(|limit| limit + 1) };
    let checks = app.store.verify_unread(&caller, &one_more).await?;
    let page = List::page(checks, limit.unwrap_or(u32::MAX), |last| last.kept.conversation_id.to_string());
    let drifts: Vec<_> = page.items.iter().filter(|check| !check.is_exact()).copied().collect();
    if !drifts.is_empty() {
        tracing::error!(user = %caller.user, drifts = drifts.len(), "counts of unread messages are wrong");
    }
    Ok(Json(Verified {
        is_exact: drifts.is_empty(),
        conversations: page.items.len() as u64,
        messages: page.items.iter().map(|check| check.counted).sum(),
        thread_replies: page.items.iter().map(|check| check.threads_counted).sum(),
        drifts,
        page,
    }))
}

/// Reads which counts to compare. Whoever asks for no page asks whether all are right.
fn part(mut query: Fields) -> Result<UnreadPage, Problem> {
    let paged = query.has("limit") || query.has("after");
    let (limit, after) = (query.limit(), query.parameter("after"));
    query.finish(|| Some(UnreadPage { after, limit: paged.then_some(limit) }))
}

/// Show figures
///
/// The caller's own; staff and services also see those over all conversations.
#[utoipa::path(
    get, operation_id = "messaging_stats",
    path = "/api/v1/messages/stats", tag = "reading",
    responses((status = 200, description = "The figures.", body = MessagingStats), Problems),
)]
async fn stats(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters,
) -> Result<Json<MessagingStats>, Problem> {
    query.finish(|| Some(()))?;
    Ok(Json(app.store.stats(&caller).await?))
}

/// What one shows to others
#[utoipa::path(
    get, operation_id = "show_privacy",
    path = "/api/v1/users/me/privacy", tag = "reading",
    responses((status = 200, description = "All of it.", body = Privacy), Problems),
)]
async fn privacy(State(app): State<App>, caller: Caller) -> Result<Json<Privacy>, Problem> {
    Ok(Json(app.store.privacy(&caller).await?))
}

/// Change what one shows to others
///
/// Receipts are withheld from everyone and everywhere at once; one's own counts are as right as before. Signs are withheld in the
/// rooms that one joins from now on, and within five minutes in those one is in. Presence is withheld from everybody at once.
#[utoipa::path(
    patch, operation_id = "set_privacy",
    path = "/api/v1/users/me/privacy", tag = "reading", request_body = NewPrivacy,
    responses((status = 200, description = "All of it.", body = Privacy), Problems),
)]
async fn set_privacy(State(app): State<App>, caller: Caller, mut body: Fields) -> Result<Json<Privacy>, Problem> {
    let (receipts, signs, presence) = (body.optional("receipts"), body.optional("signs"), body.optional("presence"));
    let change = body.finish(|| Some(PrivacyChange { receipts, signs, presence }))?;
    Ok(Json(app.publisher.set_privacy(&caller, &change).await?))
}
