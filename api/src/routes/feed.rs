//! `/api/v1/feed`: the caller's events by request, for those who hold no socket.
//!
//! The same entries, numbers and cursors as over a socket, so that a client can change between both at any event.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::access::Caller;
use shared::cursor::{Cursor, Feed, Positions, channel_of};
use shared::envelope::{Content, Envelope};
use shared::ids::Epoch;
use shared::protocol::{ErrorCode, Since};
use shared::upstream::{Arrival, Differences, DifferencesAfter, Page, Verdict};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::fields::{Fields, Parameters};
use crate::openapi::Problems;
use crate::state::App;

/// Bytes of bodies after which a page ends.
const PAGE: usize = 64 * 1024;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read))
}

/// A stretch of the caller's events.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FeedPage {
    /// The events, as a socket would have brought them.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Box<RawValue>>,
    /// Everything up to here has been shown: hand it back as `after`.
    #[schema(value_type = String)]
    pub cursor: Cursor,
    /// Whether more is there already.
    pub more: bool,
}

/// Read one's events
///
/// Without `after` it starts where the caller's devices have acknowledged. 410 means that the cursor cannot be continued:
/// load the snapshot, and go on from its cursor.
#[utoipa::path(
    get, operation_id = "read_feed",
    path = "/api/v1/feed", tag = "feed",
    params(
        ("after" = Option<String>, Query, description = "The cursor of an event, a page or a snapshot; or `now`."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
    ),
    responses(
        (status = 200, description = "A page.", body = FeedPage),
        (status = 410, description = "`resync_required`", body = crate::error::ProblemDocument,
         content_type = "application/problem+json"),
        Problems,
    ),
)]
async fn read(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters,
) -> Result<Json<FeedPage>, Problem> {
    let (since, limit) = asked(query)?;
    let (epoch, start) = arrive(&app, &caller, since).await?;
    let feeds = Feed::ALL.map(|feed| (channel_of(feed, &caller.user, caller.role), start.get(feed)));
    let after = DifferencesAfter { epoch, after: feeds.into(), page_bytes: PAGE };
    match app.store.differences(&after).await? {
        Differences::Page(page) => Ok(Json(render(&page, &caller, start, limit)?)),
        Differences::Resync { .. } => Err(resync("the numbering began anew")),
    }
}

fn asked(mut query: Fields) -> Result<(Option<String>, usize), Problem> {
    let after: Option<String> = query.parameter("after");
    if let Some(Err(error)) = after.as_deref().map(str::parse::<Since>) {
        query.wrong("after", format_args!("is {error}"));
    }
    let limit = query.limit() as usize;
    query.finish(|| Some((after, limit)))
}

/// Where reading starts; the store judges a cursor as it does when a device connects.
async fn arrive(app: &App, caller: &Caller, since: Option<String>) -> Result<(Epoch, Positions), Problem> {
    let arrival = Arrival { caller: caller.clone(), device_id: None, since };
    match app.store.arrive(&[arrival]).await?.pop() {
        Some(Verdict::Arrived { epoch, start, .. }) => Ok((epoch, start)),
        Some(Verdict::Resync { reason, .. }) => Err(resync(reason_in_words(reason))),
        Some(Verdict::Denied { code }) => Err(Problem::new(code, "these events are not yours to read")),
        Some(Verdict::Allowed | Verdict::AllowedUnseen | Verdict::Visible { .. }) | None => {
            Err(Problem::internal("the store judged no arrival"))
        }
    }
}

/// Writes out at most `limit` entries, each with what is this reader's own.
fn render(page: &Page, caller: &Caller, start: Positions, limit: usize) -> Result<FeedPage, Problem> {
    let positions = start;
    let mut cursor = Cursor { epoch: page.epoch, owner: caller.user.clone(), role: caller.role, positions };
    let mut events = Vec::with_capacity(page.entries.len().min(limit));
    for envelope in page.entries.iter().take(limit) {
        events.push(event(envelope, &mut cursor)?);
    }
    let behind = |feed: &Feed| {
        let channel = cursor.channel(*feed);
        page.feeds.iter().any(|reach| reach.channel == channel && cursor.positions.get(*feed) < reach.head)
    };
    let more = Feed::ALL.iter().any(behind);
    Ok(FeedPage { events, more, cursor })
}

/// Writes out one entry and moves `cursor` on to it.
fn event(envelope: &Envelope, cursor: &mut Cursor) -> Result<Box<RawValue>, Problem> {
    let feed = Feed::ALL.into_iter().find(|feed| cursor.channel(*feed) == envelope.channel);
    let (Some(feed), Content::Entry(entry)) = (feed, &envelope.content) else {
        return Err(Problem::internal("a page holds what was not asked for"));
    };
    let prev = cursor.positions.get(feed);
    cursor.positions.set(feed, entry.seq);
    let tail = entry.body.tail(entry.unread, &envelope.channel, entry.seq, prev, cursor);
    let text = [entry.body.as_bytes(), tail.as_bytes()].concat();
    let text = String::from_utf8(text).map_err(Problem::internal)?;
    RawValue::from_string(text).map_err(Problem::internal)
}

fn resync(why: &str) -> Problem {
    Problem::new(ErrorCode::ResyncRequired, format!("the cursor cannot be continued: {why}"))
}

const fn reason_in_words(reason: shared::upstream::ResyncReason) -> &'static str {
    use shared::upstream::ResyncReason as Reason;
    match reason {
        Reason::Epoch => "the numbering began anew",
        Reason::Owner => "it is another user's or another role's",
        Reason::Ahead => "it lies beyond the newest event",
        Reason::Retention => "what followed it is no longer kept",
        Reason::TooMuch => "too much is waiting",
        Reason::History => "what followed it is gone",
    }
}
