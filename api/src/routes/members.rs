//! Who is in a conversation, and what each has set for themselves.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::access::Caller;
use shared::ids::{ConversationId, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Made;
use crate::drafts;
use crate::error::Problem;
use crate::fields::{Fields, Id, IdAnd};
use crate::model::{Conversation, ConversationChange, ConversationChangeDraft, ParticipantRole};
use crate::openapi::Problems;
use crate::request::Name;
use crate::state::App;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(add))
        .routes(routes!(set_role, remove))
        .routes(routes!(set_own))
        .routes(routes!(claim))
        .routes(routes!(assign, release))
}

/// Whom to bring in.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct NewMember {
    /// Who.
    user_id: String,
    /// As what; as what they are known as if it is not said.
    role: Option<ParticipantRole>,
}

/// Another role.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct NewRole {
    /// Which.
    role: ParticipantRole,
}

/// Who shall look after it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct NewAssignment {
    /// Who.
    user_id: String,
}

/// What to set; what is not said stays.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct NewSettings {
    /// Until when it shall not disturb; `null` for not at all.
    muted_until: Option<chrono::DateTime<chrono::Utc>>,
    /// Whether it shall not disturb, without an end.
    muted: Option<bool>,
    /// Whether it stands above the others.
    pinned: Option<bool>,
    /// Whether it is put away.
    archived: Option<bool>,
}

/// Bring somebody into a conversation
///
/// Every participant may; as `owner` only who manages it. Who comes sees what was said before, and finds it read. Adding who is
/// in it answers 200.
#[utoipa::path(
    post, operation_id = "add_participant",
    path = "/api/v1/messages/conversations/{id}/participants", tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")), request_body = NewMember,
    responses(
        (status = 201, description = "They are in it.", body = Conversation),
        (status = 200, description = "They were in it already.", body = Conversation),
        Problems,
    ),
)]
async fn add(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ConversationId>,
    body: Fields,
) -> Result<Made<Conversation>, Problem> {
    let draft = drafts::member(body, id, name.trace)?;
    Ok(Made(app.publisher.change_conversation(&caller, &draft).await?))
}

/// Give somebody another role in a conversation
///
/// Its owners may, its staff, staff at large, and everyone in it while nobody owns it.
#[utoipa::path(
    patch, operation_id = "set_participant_role",
    path = "/api/v1/messages/conversations/{id}/participants/{user_id}", tag = "conversations",
    params(
        ("id" = uuid::Uuid, Path, description = "The conversation."),
        ("user_id" = String, Path, description = "Who."),
    ),
    request_body = NewRole,
    responses((status = 200, description = "The conversation.", body = Conversation), Problems),
)]
async fn set_role(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    IdAnd(id, user): IdAnd<ConversationId, UserId>,
    body: Fields,
) -> Result<Json<Conversation>, Problem> {
    let draft = drafts::role(body, id, user, name.trace)?;
    Ok(Json(app.publisher.change_conversation(&caller, &draft).await?.value))
}

/// Take somebody out of a conversation, or leave it
///
/// Who manages it takes others out; everyone takes themselves. They are told of it, and of nothing that follows.
#[utoipa::path(
    delete, operation_id = "remove_participant",
    path = "/api/v1/messages/conversations/{id}/participants/{user_id}", tag = "conversations",
    params(
        ("id" = uuid::Uuid, Path, description = "The conversation."),
        ("user_id" = String, Path, description = "Who."),
    ),
    responses((status = 204, description = "They are not in it."), Problems),
)]
async fn remove(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    IdAnd(conversation_id, user): IdAnd<ConversationId, UserId>,
) -> Result<StatusCode, Problem> {
    let change = ConversationChange::Remove(user);
    let draft = ConversationChangeDraft { conversation_id, change, trace: name.trace };
    app.publisher.change_conversation(&caller, &draft).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Claim a guest's conversation
///
/// Whoever of the staff claims it first looks after it and takes part in it from then on; to the others it is a conflict that says who
/// was first. Claiming one's own again answers 200 as well.
#[utoipa::path(
    post, operation_id = "claim_conversation",
    path = "/api/v1/messages/conversations/{id}/claim", tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The conversation, which is the caller's to look after.", body = Conversation), Problems),
)]
async fn claim(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(conversation_id): Id<ConversationId>,
) -> Result<Json<Conversation>, Problem> {
    let draft = ConversationChangeDraft { conversation_id, change: ConversationChange::Claim, trace: name.trace };
    Ok(Json(app.publisher.change_conversation(&caller, &draft).await?.value))
}

/// Make a colleague look after a guest's conversation
///
/// Staff and services may, whoever looked after it before; that one goes on taking part. The colleague must have been seen here with a
/// role of the staff.
#[utoipa::path(
    put, operation_id = "assign_conversation",
    path = "/api/v1/messages/conversations/{id}/assignment", tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")), request_body = NewAssignment,
    responses((status = 200, description = "The conversation.", body = Conversation), Problems),
)]
async fn assign(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ConversationId>,
    body: Fields,
) -> Result<Json<Conversation>, Problem> {
    let draft = drafts::assignment(body, id, name.trace)?;
    Ok(Json(app.publisher.change_conversation(&caller, &draft).await?.value))
}

/// Put a guest's conversation back into the queue
///
/// Staff and services may. It waits for whoever claims it; who looked after it goes on taking part.
#[utoipa::path(
    delete, operation_id = "release_conversation",
    path = "/api/v1/messages/conversations/{id}/assignment", tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The conversation.", body = Conversation), Problems),
)]
async fn release(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(conversation_id): Id<ConversationId>,
) -> Result<Json<Conversation>, Problem> {
    let draft = ConversationChangeDraft { conversation_id, change: ConversationChange::Release, trace: name.trace };
    Ok(Json(app.publisher.change_conversation(&caller, &draft).await?.value))
}

/// Mute, pin or put away a conversation
///
/// For oneself alone, on all one's devices.
#[utoipa::path(
    patch, operation_id = "set_own_settings",
    path = "/api/v1/messages/conversations/{id}/settings", tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")), request_body = NewSettings,
    responses((status = 200, description = "The conversation.", body = Conversation), Problems),
)]
async fn set_own(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ConversationId>,
    body: Fields,
) -> Result<Json<Conversation>, Problem> {
    let draft = drafts::settings(body, id, name.trace)?;
    Ok(Json(app.publisher.change_conversation(&caller, &draft).await?.value))
}
