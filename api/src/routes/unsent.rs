//! `/api/v1/drafts`: what one has written and not sent.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, after};
use crate::drafts;
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::model::{Unsent, UnsentDraft};
use crate::openapi::Problems;
use crate::request::Name;
use crate::state::App;
use crate::store::{StoreError, UnsentPage};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(save, show, discard)).routes(routes!(list))
}

/// What one has written so far.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct Draft {
    /// What it says: 1 to 16,384 characters, not blank.
    #[schema(min_length = 1, max_length = 16_384)]
    message_text: String,
    /// The message it answers, in the same conversation.
    #[schema(value_type = Option<uuid::Uuid>)]
    reply_to: Option<MessageId>,
}

/// Save a draft
///
/// One for each person and conversation, whichever device writes it: the last one stays. All devices of the caller are told, and
/// nobody else. A message sent with `draft_version` clears it.
#[utoipa::path(
    put, operation_id = "save_draft",
    path = "/api/v1/messages/conversations/{id}/draft", tag = "drafts",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")), request_body = inline(Draft),
    responses((status = 200, description = "The draft.", body = Unsent), Problems),
)]
async fn save(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ConversationId>,
    body: Fields,
) -> Result<Json<Unsent>, Problem> {
    let draft = drafts::unsent(body, id, name.trace)?;
    Ok(Json(app.publisher.keep_unsent(&caller, &draft).await?.ok_or(StoreError::NothingUnsent(id))?))
}

/// Look at a draft
#[utoipa::path(
    get, operation_id = "show_draft",
    path = "/api/v1/messages/conversations/{id}/draft", tag = "drafts",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The draft.", body = Unsent), Problems),
)]
async fn show(State(app): State<App>, caller: Caller, Id(id): Id<ConversationId>) -> Result<Json<Unsent>, Problem> {
    Ok(Json(app.store.unsent(&caller, id).await?))
}

/// Throw a draft away
///
/// Throwing away what is not there changes nothing.
#[utoipa::path(
    delete, operation_id = "discard_draft",
    path = "/api/v1/messages/conversations/{id}/draft", tag = "drafts",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")),
    responses((status = 204, description = "There is none."), Problems),
)]
async fn discard(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(conversation_id): Id<ConversationId>,
) -> Result<axum::http::StatusCode, Problem> {
    let draft = UnsentDraft { conversation_id, writing: None, only_version: None, trace: name.trace };
    app.publisher.keep_unsent(&caller, &draft).await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// List drafts
///
/// The caller's own, the last changed first.
#[utoipa::path(
    get, operation_id = "list_drafts",
    path = "/api/v1/drafts", tag = "drafts",
    params(
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<Unsent>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(mut query): Parameters,
) -> Result<Json<List<Unsent>>, Problem> {
    let limit = query.limit();
    let after = after(&mut query);
    let one_more = query.finish(|| Some(UnsentPage { after, limit: limit + 1 }))?;
    let mut items = app.store.all_unsent(&caller, &one_more).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let place = |last: &Unsent| format!("{}.{}", last.updated_at.as_micros(), last.conversation_id);
    let next = items.last().filter(|_| more).map(place);
    Ok(Json(List { items, next }))
}
