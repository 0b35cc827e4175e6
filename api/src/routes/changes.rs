//! `/api/v1/messages/messages/{id}`: what becomes of a message once it is sent.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, after};
use crate::drafts::{self, Sign};
use crate::error::Problem;
use crate::fields::{Fields, Id, IdAnd, Parameters};
use crate::model::{Acknowledged, Change, ChangeDraft, Message, MessageVersion};
use crate::openapi::Problems;
use crate::request::Name;
use crate::state::App;
use crate::store::AcknowledgementPage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show, edit, delete))
        .routes(routes!(history))
        .routes(routes!(react, unreact))
        .routes(routes!(acknowledge))
        .routes(routes!(acknowledgements))
        .routes(routes!(pin, unpin))
        .routes(routes!(pins))
}

/// Another text for a message.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct Edited {
    /// What it shall say: 1 to 16,384 characters, not blank.
    #[schema(min_length = 1, max_length = 16_384)]
    message_text: String,
    /// Participants whom it calls: at most 50. Without this field and the next one it calls whom it called before.
    #[schema(value_type = Option<Vec<String>>, max_items = 50)]
    mentioned_users: Option<Vec<String>>,
    /// Whether it calls everybody in the conversation.
    mentioned_everyone: Option<bool>,
}

/// Look at a message
#[utoipa::path(
    get, operation_id = "show_message",
    path = "/api/v1/messages/messages/{id}", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The message.")),
    responses((status = 200, description = "The message.", body = Message), Problems),
)]
async fn show(State(app): State<App>, caller: Caller, Id(id): Id<MessageId>) -> Result<Json<Message>, Problem> {
    Ok(Json(app.store.message(&caller, id).await?))
}

/// Edit a message
///
/// Only its sender may. What it said before is kept in its history; everyone in the conversation gets the new text.
#[utoipa::path(
    patch, operation_id = "edit_message",
    path = "/api/v1/messages/messages/{id}", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The message.")), request_body = Edited,
    responses((status = 200, description = "The message as it is now.", body = Message), Problems),
)]
async fn edit(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<MessageId>,
    body: Fields,
) -> Result<Json<Message>, Problem> {
    let draft = drafts::edit(body, id, name.trace)?;
    Ok(Json(app.publisher.change(&caller, &draft).await?))
}

/// Delete a message
///
/// For everyone: its sender may, and staff. It keeps its number and says nothing any more. With `for=me` it disappears for
/// the caller alone, on all their devices.
#[utoipa::path(
    delete, operation_id = "delete_message",
    path = "/api/v1/messages/messages/{id}", tag = "messages",
    params(
        ("id" = uuid::Uuid, Path, description = "The message."),
        ("for" = Option<String>, Query, pattern = "^(all|me)$", description = "`all`, or `me`; `all` if it is not said."),
    ),
    responses((status = 200, description = "What is left of it.", body = Message), Problems),
)]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(message_id): Id<MessageId>,
    Parameters(mut query): Parameters,
) -> Result<Json<Message>, Problem> {
    let change = match query.parameter::<String>("for").as_deref() {
        None | Some("all") => Change::Delete,
        Some("me") => Change::Hide,
        Some(_) => {
            query.wrong("for", "must be all or me");
            Change::Hide
        }
    };
    let draft = query.finish(|| Some(ChangeDraft { message_id, change, trace: name.trace }))?;
    Ok(Json(app.publisher.change(&caller, &draft).await?))
}

/// Read what a message said before
///
/// The oldest first, at most the last 100; empty if it was never edited, is deleted, or is hidden from the caller.
#[utoipa::path(
    get, operation_id = "message_history",
    path = "/api/v1/messages/messages/{id}/history", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The message.")),
    responses((status = 200, description = "Its former texts.", body = List<MessageVersion>), Problems),
)]
async fn history(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MessageId>,
) -> Result<Json<List<MessageVersion>>, Problem> {
    Ok(Json(List { items: app.store.history(&caller, id).await?, next: None }))
}

/// React to a message
///
/// Each person once with each reaction; a message takes 50 different ones.
#[utoipa::path(
    put, operation_id = "react",
    path = "/api/v1/messages/messages/{id}/reactions/{reaction}", tag = "messages",
    params(
        ("id" = uuid::Uuid, Path, description = "The message."),
        ("reaction" = String, Path, description = "An emoji or a short word, 1 to 32 characters."),
    ),
    responses((status = 200, description = "The message with its reactions.", body = Message), Problems),
)]
async fn react(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    IdAnd(message_id, Sign(sign)): IdAnd<MessageId, Sign>,
) -> Result<Json<Message>, Problem> {
    let draft = ChangeDraft { message_id, change: Change::React(sign), trace: name.trace };
    Ok(Json(app.publisher.change(&caller, &draft).await?))
}

/// Take a reaction back
#[utoipa::path(
    delete, operation_id = "take_reaction_back",
    path = "/api/v1/messages/messages/{id}/reactions/{reaction}", tag = "messages",
    params(
        ("id" = uuid::Uuid, Path, description = "The message."),
        ("reaction" = String, Path, description = "The reaction."),
    ),
    responses((status = 200, description = "The message with its reactions.", body = Message), Problems),
)]
async fn unreact(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    IdAnd(message_id, Sign(sign)): IdAnd<MessageId, Sign>,
) -> Result<Json<Message>, Problem> {
    let draft = ChangeDraft { message_id, change: Change::Unreact(sign), trace: name.trace };
    Ok(Json(app.publisher.change(&caller, &draft).await?))
}

/// Pin a message
///
/// Keeps it at hand for everybody in the conversation; anyone in it may. A conversation has room for 50 pins.
#[utoipa::path(
    put, operation_id = "pin_message",
    path = "/api/v1/messages/messages/{id}/pin", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The message.")),
    responses((status = 200, description = "The message as it is now.", body = Message), Problems),
)]
async fn pin(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(message_id): Id<MessageId>,
) -> Result<Json<Message>, Problem> {
    let draft = ChangeDraft { message_id, change: Change::Pin, trace: name.trace };
    Ok(Json(app.publisher.change(&caller, &draft).await?))
}

/// Unpin a message
///
/// Anyone in the conversation may, whoever pinned it.
#[utoipa::path(
    delete, operation_id = "unpin_message",
    path = "/api/v1/messages/messages/{id}/pin", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The message.")),
    responses((status = 200, description = "The message as it is now.", body = Message), Problems),
)]
async fn unpin(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(message_id): Id<MessageId>,
) -> Result<Json<Message>, Problem> {
    let draft = ChangeDraft { message_id, change: Change::Unpin, trace: name.trace };
    Ok(Json(app.publisher.change(&caller, &draft).await?))
}

/// List what is pinned
///
/// The last pinned first, all of it on one page.
#[utoipa::path(
    get, operation_id = "list_pins",
    path = "/api/v1/messages/conversations/{id}/pins", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The messages that are pinned.", body = List<Message>), Problems),
)]
async fn pins(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> Result<Json<List<Message>>, Problem> {
    Ok(Json(List { items: app.store.pins(&caller, id).await?, next: None }))
}

/// Acknowledge a message
///
/// Says that the caller has seen a message that asks for it; twice is once. Its sender need not, and cannot.
#[utoipa::path(
    post, operation_id = "acknowledge_message",
    path = "/api/v1/messages/messages/{id}/acknowledge", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The message.")),
    responses((status = 200, description = "The message with who has acknowledged it.", body = Message), Problems),
)]
async fn acknowledge(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(message_id): Id<MessageId>,
) -> Result<Json<Message>, Problem> {
    let draft = ChangeDraft { message_id, change: Change::Acknowledge, trace: name.trace };
    Ok(Json(app.publisher.change(&caller, &draft).await?))
}

/// List who has acknowledged a message
///
/// The first first; empty if it is deleted, or hidden from the caller.
#[utoipa::path(
    get, operation_id = "list_acknowledgements",
    path = "/api/v1/messages/messages/{id}/acknowledgements", tag = "messages",
    params(
        ("id" = uuid::Uuid, Path, description = "The message."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<Acknowledged>), Problems),
)]
async fn acknowledgements(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MessageId>,
    Parameters(mut query): Parameters,
) -> Result<Json<List<Acknowledged>>, Problem> {
    let limit = query.limit();
    let after = after(&mut query);
    let one_more = query.finish(|| Some(AcknowledgementPage { after, limit: limit + 1 }))?;
    let mut items = app.store.acknowledgements(&caller, id, &one_more).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let place = |last: &Acknowledged| format!("{}.{}", last.acknowledged_at.as_micros(), last.user_id);
    let next = items.last().filter(|_| more).map(place);
    Ok(Json(List { items, next }))
}
