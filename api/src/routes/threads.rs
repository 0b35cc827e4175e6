//! `/api/v1/messages/…/thread`: what is said to a message apart from the main line of its conversation.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId, Seq};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, after, messages};
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::model::{Message, Thread, ThreadChange, ThreadChangeDraft, ThreadMarker};
use crate::openapi::Problems;
use crate::request::Name;
use crate::state::App;
use crate::store::ThreadPage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(follow, unfollow))
}

/// A thread, and a page of its replies.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Replies {
    /// What it answers, and how far the caller has read it.
    #[serde(flatten)]
    thread: Thread,
    /// The replies, and where to go on.
    #[serde(flatten)]
    page: List<Message>,
}

/// How far one has read.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct ThreadReadUpTo {
    /// Everything up to this message is read; up to the newest if it is not said.
    #[schema(minimum = 0)]
    up_to_seq: Option<u64>,
}

/// Read a thread
///
/// Its replies, the oldest first; the newest if no part is asked for. `next` leads away from where the page began: to older ones,
/// or with `after_seq` to newer ones. A message that nobody has answered has an empty thread.
#[utoipa::path(
    get, operation_id = "show_thread",
    path = "/api/v1/messages/messages/{id}/thread", tag = "threads",
    params(
        ("id" = uuid::Uuid, Path, description = "The message that began the thread."),
        ("before_seq" = Option<u64>, Query, description = "The newest before this message number."),
        ("after_seq" = Option<u64>, Query, description = "The oldest after this message number."),
        ("around_seq" = Option<u64>, Query, description = "Those around this message number; such a page has no `next`."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "The thread.", body = Replies), Problems),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<MessageId>,
    Parameters(query): Parameters,
) -> Result<Json<Replies>, Problem> {
    let page = messages::page(query, false)?;
    let (thread, items) = app.store.thread(&caller, id, &messages::one_more(&page)).await?;
    Ok(Json(Replies { thread, page: messages::cut(items, &page) }))
}

/// List the threads of a conversation
///
/// The last answered first.
#[utoipa::path(
    get, operation_id = "list_threads",
    path = "/api/v1/messages/conversations/{id}/threads", tag = "threads",
    params(
        ("id" = uuid::Uuid, Path, description = "The conversation."),
        ("following" = Option<bool>, Query, description = "Only those that one follows."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<Thread>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Parameters(mut query): Parameters,
) -> Result<Json<List<Thread>>, Problem> {
    let following = query.parameter("following").unwrap_or_default();
    let (after, limit) = (after(&mut query), query.limit());
    let page = query.finish(|| Some(ThreadPage { following, after, limit: limit + 1 }))?;
    let threads = app.store.threads(&caller, id, &page).await?;
    Ok(Json(List::page(threads, limit, |Thread { root, .. }| {
        let at = root.thread.map_or(root.created_at, |thread| thread.last_reply_at);
        format!("{}.{}", at.as_micros(), root.id)
    })))
}

/// Mark a thread as read
///
/// The marker only moves forwards; reading again what is read changes nothing, nor does reading a thread that one does not
/// follow. One's other devices are told at once.
#[utoipa::path(
    patch, operation_id = "mark_thread_read",
    path = "/api/v1/messages/messages/{id}/thread/read", tag = "threads",
    params(("id" = uuid::Uuid, Path, description = "The message that began the thread.")), request_body = ThreadReadUpTo,
    responses((status = 200, description = "Where the marker stands.", body = ThreadMarker), Problems),
)]
async fn read(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(root): Id<MessageId>,
    mut body: Fields,
) -> Result<Json<ThreadMarker>, Problem> {
    let upto: Option<Seq> = body.seq("up_to_seq", 0);
    let change = ThreadChange::ReadUpTo(upto);
    let draft = body.finish(|| Some(ThreadChangeDraft { root, change, trace: name.trace }))?;
    Ok(Json(app.publisher.change_thread(&caller, &draft).await?))
}

/// Follow a thread
///
/// What is there already counts as read. Whoever answers in a thread follows it, whoever is called there by name, and whose message is
/// answered.
#[utoipa::path(
    put, operation_id = "follow_thread",
    path = "/api/v1/messages/messages/{id}/thread/follow", tag = "threads",
    params(("id" = uuid::Uuid, Path, description = "The message that began the thread, or may begin one.")),
    responses((status = 200, description = "Where the marker stands.", body = ThreadMarker), Problems),
)]
async fn follow(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(root): Id<MessageId>,
) -> Result<Json<ThreadMarker>, Problem> {
    let draft = ThreadChangeDraft { root, change: ThreadChange::Follow, trace: name.trace };
    Ok(Json(app.publisher.change_thread(&caller, &draft).await?))
}

/// Follow a thread no longer
///
/// Nothing in it counts as unread any more, until one follows it again.
#[utoipa::path(
    delete, operation_id = "unfollow_thread",
    path = "/api/v1/messages/messages/{id}/thread/follow", tag = "threads",
    params(("id" = uuid::Uuid, Path, description = "The message that began the thread.")),
    responses((status = 200, description = "The marker that is no more.", body = ThreadMarker), Problems),
)]
async fn unfollow(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(root): Id<MessageId>,
) -> Result<Json<ThreadMarker>, Problem> {
    let draft = ThreadChangeDraft { root, change: ThreadChange::Unfollow, trace: name.trace };
    Ok(Json(app.publisher.change_thread(&caller, &draft).await?))
}
