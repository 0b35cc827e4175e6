//! `/api/v1/messages/search`: what was said somewhere, by its words.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::access::Caller;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, after};
use crate::error::Problem;
use crate::fields::{Fields, Parameters};
use crate::model::Message;
use crate::openapi::Problems;
use crate::search::{Highlight, LONGEST, Query};
use crate::state::App;
use crate::store::{Hit, SearchPage};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search))
}

/// A message that was found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FoundMessage {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// What its conversation is about.
    pub conversation_subject: Option<String>,
    /// The parts of its text that matched, at most three; none where only operators were asked.
    pub highlights: Vec<Highlight>,
}

/// Search messages
///
/// Among the messages of the caller's conversations; staff and services search all. Newest first. Everything in `q` must
/// match: `word`, `"a phrase"`, `begin*`, `-without`, `from:<user>`, `in:<conversation>`, `has:attachment`, `has:link`,
/// `before:<date or time>`, `after:<date or time>`.
#[utoipa::path(
    get, operation_id = "search_messages",
    path = "/api/v1/messages/search", tag = "messages",
    params(
        ("q" = String, Query, min_length = 1, max_length = 256,
         description = "What to look for: at most 16 words, phrases and operators.", example = "from:bob \"red wine\" -dry"),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<FoundMessage>), Problems),
)]
async fn search(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters,
) -> Result<Json<List<FoundMessage>>, Problem> {
    let page = page(query)?;
    let one_more = SearchPage { limit: page.limit + 1, ..page.clone() };
    let mut hits = app.store.search(&caller, &one_more).await?;
    let more = hits.len() > page.limit as usize;
    hits.truncate(page.limit as usize);
    let next = hits.last().filter(|_| more).map(place_of);
    let items = hits.into_iter().map(|hit| found(hit, &page.query)).collect();
    Ok(Json(List { items, next }))
}

fn found(Hit { message, conversation_subject }: Hit, query: &Query) -> FoundMessage {
    FoundMessage { highlights: query.highlights(&message.message_text), message, conversation_subject }
}

fn page(mut fields: Fields) -> Result<SearchPage, Problem> {
    let query = fields.required_text("q", 1..=LONGEST).and_then(|text| {
        let query = text.parse();
        query.map_err(|error| fields.wrong("q", error)).ok()
    });
    let limit = fields.limit();
    let after = after(&mut fields);
    fields.finish(|| Some(SearchPage { query: query?, after, limit }))
}

/// Where a message stands among all that are found: when it was sent, and its id.
fn place_of(hit: &Hit) -> String {
    format!("{}.{}", hit.message.created_at.as_micros(), hit.message.id)
}
