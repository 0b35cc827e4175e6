//! `/api/v1/messages/conversations`: start one, list one's own, look at one.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use shared::ids::ConversationId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, Made, after};
use crate::drafts::{self, NewConversation};
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::model::Conversation;
use crate::openapi::{Creating, Problems};
use crate::request::{Name, Once};
use crate::state::App;
use crate::store::ConversationPage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, start)).routes(routes!(show, update))
}

/// Start a conversation
///
/// Guests may start `guest_staff`, `guest_guest`, `direct` and `group`. A pair of people has one `direct` conversation:
/// starting it again answers the first. A `guest_staff` one that names none of the staff waits for whoever of them claims it.
#[utoipa::path(
    post, operation_id = "start_conversation",
    path = "/api/v1/messages/conversations", tag = "conversations", params(Creating), request_body = NewConversation,
    responses(
        (status = 201, description = "Started.", body = Conversation),
        (status = 200, description = "It was there already: the first one.", body = Conversation),
        Problems,
    ),
)]
async fn start(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    once: Once,
    body: Fields,
) -> Result<Made<Conversation>, Problem> {
    let draft = drafts::conversation(body, &caller, once, name.trace)?;
    Ok(Made(app.publisher.start(&caller, &draft).await?))
}

/// List one's conversations
///
/// The last active first. With `scope=all`, to staff and services, those of everybody, the last started first.
#[utoipa::path(
    get, operation_id = "list_conversations",
    path = "/api/v1/messages/conversations", tag = "conversations",
    params(
        ("scope" = inline(Option<Scope>), Query, description = "Whose: `own` if not said."),
        ("type" = Option<crate::model::ConversationType>, Query, description = "Only of this kind."),
        ("status" = Option<crate::model::ConversationStatus>, Query, description = "Only in this state."),
        ("unread" = Option<bool>, Query, description = "Only with unread messages, or only without."),
        ("archived" = Option<bool>, Query, description = "Only those the caller has put away, or only the others."),
        ("pinned" = Option<bool>, Query, description = "Only those the caller has pinned, or only the others."),
        ("queued" = Option<bool>, Query, description = "Only those that wait for one of the staff, or only the others."),
        ("assigned_to" = Option<String>, Query, description = "Only those that this colleague looks after."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
        ("offset" = Option<u32>, Query, description = "Skip so many."),
    ),
    responses((status = 200, description = "A page.", body = List<Conversation>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters,
) -> Result<Json<List<Conversation>>, Problem> {
    let page = page(query)?;
    let one_more = ConversationPage { limit: page.limit + 1, ..page.clone() };
    let mut items = app.store.conversations(&caller, &one_more).await?;
    let more = items.len() > page.limit as usize;
    items.truncate(page.limit as usize);
    let next = items.last().filter(|_| more).map(place_of);
    Ok(Json(List { items, next }))
}

/// Whose conversations to list.
#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// The caller's.
    Own,
    /// Everybody's.
    All,
}

/// Look at a conversation
///
/// Open to its participants and to staff.
#[utoipa::path(
    get, operation_id = "show_conversation",
    path = "/api/v1/messages/conversations/{id}", tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")),
    responses((status = 200, description = "The conversation.", body = Conversation), Problems),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ConversationId>,
) -> Result<Json<Conversation>, Problem> {
    Ok(Json(app.store.conversation(&caller, id).await?))
}

/// What to change; what is not said stays.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct ConversationUpdate {
    /// What it is about: at most 200 characters; `null` for nothing.
    #[schema(max_length = 200)]
    subject: Option<String>,
    /// Whether it takes messages. Only who manages it changes this.
    status: Option<crate::model::ConversationStatus>,
    /// Whatever the product wants to keep with it: an object of at most 8 KiB, in place of the one before.
    #[schema(value_type = Option<Object>)]
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Change a conversation
///
/// Its participants may, and staff. Closing, archiving and opening it again is for its owners, its staff, staff at large, and
/// everyone in it while nobody owns it. A closed one takes no messages.
#[utoipa::path(
    patch, operation_id = "update_conversation",
    path = "/api/v1/messages/conversations/{id}", tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.")), request_body = ConversationUpdate,
    responses((status = 200, description = "The conversation as it is now.", body = Conversation), Problems),
)]
async fn update(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ConversationId>,
    body: Fields,
) -> Result<Json<Conversation>, Problem> {
    let draft = drafts::update(body, id, name.trace)?;
    Ok(Json(app.publisher.change_conversation(&caller, &draft).await?.value))
}

fn page(mut query: Fields) -> Result<ConversationPage, Problem> {
    let kind = query.optional("type");
    let status = query.optional("status");
    let unread = query.parameter("unread");
    let archived = query.parameter("archived");
    let pinned = query.parameter("pinned");
    let everybodys = query.optional("scope") == Some(Scope::All);
    let queued = query.parameter("queued");
    let assigned_to = query.optional("assigned_to");
    let limit = query.limit();
    let offset = query.parameter("offset").unwrap_or(0);
    let after = after(&mut query);
    query.finish(|| {
        Some(ConversationPage {
            everybodys,
            kind,
            status,
            unread,
            archived,
            pinned,
            queued,
            assigned_to,
            after,
            offset,
            limit,
        })
    })
}

/// Where a conversation stands in the list: when it was last active, and its id.
fn place_of(conversation: &Conversation) -> String {
    let active = conversation.last_message_at.unwrap_or(conversation.created_at);
    format!("{}.{}", active.as_micros(), conversation.id)
}
