//! `/api/v1/messages/conversations`: start one, list one's own, look at one.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use shared::ids::ConversationId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, Made, parse_place};
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
    OpenApiRouter::new().routes(routes!(list, start)).routes(routes!(show))
}

/// Start a conversation
///
/// Guests may start `guest_staff`, `guest_guest`, `direct` and `group`. A pair of people has one `direct` conversation:
/// starting it again answers the first.
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
/// The last active first.
#[utoipa::path(
    get, operation_id = "list_conversations",
    path = "/api/v1/messages/conversations", tag = "conversations",
    params(
        ("type" = Option<crate::model::ConversationType>, Query, description = "Only of this kind."),
        ("status" = Option<crate::model::ConversationStatus>, Query, description = "Only in this state."),
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

fn page(mut query: Fields) -> Result<ConversationPage, Problem> {
    let kind = query.optional("type");
    let status = query.optional("status");
    let limit = query.limit();
    let offset = query.parameter("offset").unwrap_or(0);
    let after: Option<String> = query.parameter("after");
    let after = after.and_then(|text| {
        let place = parse_place(&text);
        if place.is_none() {
            query.wrong("after", "is not the `next` of a page");
        }
        place
    });
    query.finish(|| Some(ConversationPage { kind, status, after, offset, limit }))
}

/// Where a conversation stands in the list: when it was last active, and its id.
fn place_of(conversation: &Conversation) -> String {
    let active = conversation.last_message_at.unwrap_or(conversation.created_at);
    format!("{}.{}", active.as_micros(), conversation.id)
}
