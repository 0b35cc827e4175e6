//! `/api/v1/messages/…`: send a message, read those of a conversation.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use shared::ids::{ClientMessageId, ConversationId, MessageId, Seq};
use shared::limits::Deed;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, Made};
use crate::drafts::{self, NewMessage};
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::model::Message;
use crate::openapi::{Creating, Problems};
use crate::request::{Name, Once};
use crate::state::App;
use crate::store::{MessagePage, MessagePart};

/// The largest `offset`.
const MOST_LEFT_OUT: u32 = 10_000;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(send)).routes(routes!(forward)).routes(routes!(list))
}

/// Send a message
///
/// Once this answers 201, every participant will see the message, on every device, once and in order.
#[utoipa::path(
    post, operation_id = "send_message",
    path = "/api/v1/messages/messages", tag = "messages", params(Creating), request_body = NewMessage,
    responses(
        (status = 201, description = "Sent.", body = Message),
        (status = 200, description = "It was sent already: the first one.", body = Message),
        Problems,
    ),
)]
async fn send(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    once: Once,
    body: Fields,
) -> Result<Made<Message>, Problem> {
    let draft = drafts::message(body, once, name.trace)?;
    app.limits.check(Deed::Send, &caller).await?;
    Ok(Made(app.publisher.publish(&caller, &draft).await?))
}

/// Where to say something again.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only describes the body")]
struct Forward {
    /// The conversation to forward it to.
    #[schema(value_type = uuid::Uuid)]
    conversation_id: ConversationId,
    /// The sender's own key for the new message.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    client_message_id: Option<ClientMessageId>,
}

/// Forward a message
///
/// Makes a message of what another one says at this moment, attachments included. It says whose words they are and stays as it
/// is, whatever becomes of the other message. The caller must see that one, and take part where it goes.
#[utoipa::path(
    post, operation_id = "forward_message",
    path = "/api/v1/messages/messages/{id}/forward", tag = "messages",
    params(Creating, ("id" = uuid::Uuid, Path, description = "The message to forward.")), request_body = Forward,
    responses(
        (status = 201, description = "Sent.", body = Message),
        (status = 200, description = "It was sent already: the first one.", body = Message),
        Problems,
    ),
)]
async fn forward(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    once: Once,
    Id(id): Id<MessageId>,
    body: Fields,
) -> Result<Made<Message>, Problem> {
    let draft = drafts::forward(body, id, once, name.trace)?;
    app.limits.check(Deed::Send, &caller).await?;
    Ok(Made(app.publisher.publish(&caller, &draft).await?))
}

/// Read the messages of a conversation
///
/// Those of its main line: what stands in a thread alone is read there. Oldest first, whichever part is asked for; the newest if
/// none is. `next` leads away from where the page began: to
/// older ones, or with `after_seq` to newer ones.
#[utoipa::path(
    get, operation_id = "list_messages",
    path = "/api/v1/messages/conversations/{id}/messages", tag = "messages",
    params(
        ("id" = uuid::Uuid, Path, description = "The conversation."),
        ("before_seq" = Option<u64>, Query, description = "The newest before this message number."),
        ("after_seq" = Option<u64>, Query, description = "The oldest after this message number."),
        ("around_seq" = Option<u64>, Query, description = "Those around this message number; such a page has no `next`."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
        ("offset" = Option<u32>, Query, description = "Leave out so many of the newest: at most 10,000.", maximum = 10_000),
    ),
    responses((status = 200, description = "A page.", body = List<Message>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ConversationId>,
    Parameters(query): Parameters,
) -> Result<Json<List<Message>>, Problem> {
    let page = page(query, true)?;
    let items = app.store.messages(&caller, id, &one_more(&page)).await?;
    Ok(Json(cut(items, &page)))
}

/// The page with one more message, which is the proof that `next` leads somewhere. Where nothing leads on there is none.
pub(super) const fn one_more(page: &MessagePage) -> MessagePage {
    match page.part {
        MessagePart::Around(_) => *page,
        part => MessagePage { part, limit: page.limit + 1 },
    }
}

/// Cuts off the message beyond the page, if there is one.
pub(super) fn cut(mut items: Vec<Message>, page: &MessagePage) -> List<Message> {
    let limit = page.limit as usize;
    let more = items.len() > limit;
    let next = if let MessagePart::After(_) = page.part {
        items.truncate(limit);
        items.last().map(|last| format!("after.{}", last.seq))
    } else {
        items.drain(..items.len().saturating_sub(limit));
        items.first().map(|first| format!("before.{}", first.seq))
    };
    List { items, next: next.filter(|_| more) }
}

/// Reads which messages to show. `offset`: whether some of the newest can be left out.
pub(super) fn page(mut query: Fields, offset: bool) -> Result<MessagePage, Problem> {
    let limit = query.limit();
    let mut parts: Vec<MessagePart> = [
        seq(&mut query, "before_seq").map(MessagePart::Before),
        seq(&mut query, "after_seq").map(MessagePart::After),
        seq(&mut query, "around_seq").map(MessagePart::Around),
        offset.then(|| self::offset(&mut query)).flatten().map(|offset| MessagePart::Newest { offset }),
        next(&mut query),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.len() > 1 {
        query.wrong("before_seq", "and after_seq, around_seq, offset, after exclude each other");
    }
    let part = parts.pop().unwrap_or(MessagePart::Newest { offset: 0 });
    query.finish(|| Some(MessagePage { part, limit }))
}

/// How many of the newest to leave out. They are passed one by one, so they are not many.
fn offset(query: &mut Fields) -> Option<u32> {
    let offset: u32 = query.parameter("offset")?;
    if offset > MOST_LEFT_OUT {
        query.wrong("offset", format_args!("must be at most {MOST_LEFT_OUT}: go on with `next`, or with before_seq"));
        return None;
    }
    Some(offset)
}

/// A message number; one that no database column can hold is wrong.
fn seq(query: &mut Fields, field: &str) -> Option<Seq> {
    let number: i64 = query.parameter(field)?;
    u64::try_from(number).map_err(|_| query.wrong(field, "must not be negative")).map(Seq).ok()
}

fn next(query: &mut Fields) -> Option<MessagePart> {
    let text: String = query.parameter("after")?;
    let part = text.split_once('.').and_then(|(side, number)| {
        let seq = Seq(u64::try_from(number.parse::<i64>().ok()?).ok()?);
        match side {
            "before" => Some(MessagePart::Before(seq)),
            "after" => Some(MessagePart::After(seq)),
            _ => None,
        }
    });
    if part.is_none() {
        query.wrong("after", "is not the `next` of a page");
    }
    part
}
