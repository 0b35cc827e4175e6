//! `/api/v1/messages/scheduled`: messages that are to be sent later.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId, UserId};
use shared::time::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, Made, after};
use crate::drafts;
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::model::{MessagePriority, MessageType, ScheduleChange, ScheduleChangeDraft, Scheduled};
use crate::openapi::{Creating, Problems};
use crate::request::{Name, Once};
use crate::state::App;
use crate::store::SchedulePage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(schedule, list)).routes(routes!(change, cancel))
}

/// A message to send later.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct NewScheduled {
    /// Where to send it.
    #[schema(value_type = uuid::Uuid)]
    conversation_id: ConversationId,
    /// When: in the future, within a year.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    send_at: Timestamp,
    /// What it says: 1 to 16,384 characters, not blank.
    #[schema(min_length = 1, max_length = 16_384)]
    message_text: String,
    /// What it is: `text` if it is not said. `voice` and `file` cannot be scheduled.
    message_type: Option<MessageType>,
    /// The message it answers, in the same conversation.
    #[schema(value_type = Option<uuid::Uuid>)]
    reply_to: Option<MessageId>,
    /// Participants whom it calls: at most 50.
    #[schema(value_type = Option<Vec<String>>, max_items = 50)]
    mentioned_users: Option<Vec<UserId>>,
    /// Whether it calls everybody in the conversation.
    mentioned_everyone: Option<bool>,
    /// How much it presses: `normal` if it is not said.
    priority: Option<MessagePriority>,
    /// Whether everybody else in the conversation is asked to acknowledge it.
    requires_acknowledgement: Option<bool>,
}

/// What to change of a scheduled message; what is not said stays.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct ScheduledUpdate {
    /// When to send it: in the future, within a year.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    send_at: Option<Timestamp>,
    /// What it says: 1 to 16,384 characters, not blank.
    #[schema(min_length = 1, max_length = 16_384)]
    message_text: Option<String>,
}

/// Schedule a message
///
/// It is sent once at its time, within seconds, as if its sender had sent it then. If it is refused then, it is kept with the
/// reason, and its sender is told. At most 100 of one person wait, those that were refused among them.
#[utoipa::path(
    post, operation_id = "schedule_message",
    path = "/api/v1/messages/scheduled", tag = "messages", params(Creating), request_body = NewScheduled,
    responses(
        (status = 201, description = "Scheduled.", body = Scheduled),
        (status = 200, description = "It was scheduled already: the first one.", body = Scheduled),
        Problems,
    ),
)]
async fn schedule(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    once: Once,
    body: Fields,
) -> Result<Made<Scheduled>, Problem> {
    let draft = drafts::schedule(body, once, name.trace)?;
    Ok(Made(app.publisher.schedule(&caller, &draft).await?))
}

/// List scheduled messages
///
/// The caller's own that wait or were refused, the next first.
#[utoipa::path(
    get, operation_id = "list_scheduled",
    path = "/api/v1/messages/scheduled", tag = "messages",
    params(
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<Scheduled>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(mut query): Parameters,
) -> Result<Json<List<Scheduled>>, Problem> {
    let limit = query.limit();
    let after = after(&mut query);
    let one_more = query.finish(|| Some(SchedulePage { after, limit: limit + 1 }))?;
    let mut items = app.store.all_scheduled(&caller, &one_more).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let place = |last: &Scheduled| format!("{}.{}", last.send_at.as_micros(), last.id);
    let next = items.last().filter(|_| more).map(place);
    Ok(Json(List { items, next }))
}

/// Change a scheduled message
///
/// One that was refused waits again; one that is sent, being sent, or cancelled takes no changes.
#[utoipa::path(
    patch, operation_id = "change_scheduled",
    path = "/api/v1/messages/scheduled/{id}", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The scheduled message.")), request_body = ScheduledUpdate,
    responses((status = 200, description = "The scheduled message as it is now.", body = Scheduled), Problems),
)]
async fn change(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<MessageId>,
    body: Fields,
) -> Result<Json<Scheduled>, Problem> {
    let draft = drafts::reschedule(body, id, name.trace)?;
    Ok(Json(app.publisher.reschedule(&caller, &draft).await?))
}

/// Cancel a scheduled message
///
/// It is not sent, and what it was to say is gone. Cancelling twice is cancelling once.
#[utoipa::path(
    delete, operation_id = "cancel_scheduled",
    path = "/api/v1/messages/scheduled/{id}", tag = "messages",
    params(("id" = uuid::Uuid, Path, description = "The scheduled message.")),
    responses((status = 204, description = "It is not sent."), Problems),
)]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<MessageId>,
) -> Result<StatusCode, Problem> {
    let draft = ScheduleChangeDraft { id, change: ScheduleChange::Cancel, trace: name.trace };
    app.publisher.reschedule(&caller, &draft).await?;
    Ok(StatusCode::NO_CONTENT)
}
