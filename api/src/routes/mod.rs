//! The routes: one file per noun of the URL, handlers of a few lines.

pub mod attachments;
pub mod blocks;
pub mod changes;
pub mod conversations;
pub mod docs;
pub mod feed;
pub mod jobs;
pub mod members;
pub mod messages;
pub mod moderation;
pub mod pages;
pub mod presence;
pub mod reading;
pub mod revocations;
pub mod scheduled;
pub mod search;
pub mod snapshot;
pub mod threads;
pub mod tickets;
pub mod unsent;
pub mod users;

use std::str::FromStr;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::fields::Fields;
use crate::store::Kept;

/// A stretch of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// Hand it back as `after` to go on; `null` at the end.
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A page of at most `limit` items, of those read: one more than that if the list goes on. `place` says where an item stands.
    fn page(mut items: Vec<T>, limit: u32, place: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(place);
        Self { items, next }
    }
}

/// Reads `after`: where the page before ended.
fn after<I: FromStr>(query: &mut Fields) -> Option<(i64, I)> {
    let place = parse_place(&query.parameter::<String>("after")?);
    if place.is_none() {
        query.wrong("after", "is not the `next` of a page");
    }
    place
}

/// Reads where something stands in a list by time: microseconds since 1970, and its id.
fn parse_place<I: FromStr>(text: &str) -> Option<(i64, I)> {
    let (at, id) = text.split_once('.')?;
    // Nothing is older than 1970, and some of what is no database can hold.
    let at = at.parse().ok().filter(|at| *at >= 0)?;
    Some((at, id.parse().ok()?))
}

/// What was made: 201 the first time, 200 when a repeat found the first.
pub struct Made<T>(pub Kept<T>);

impl<T: Serialize> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        let status = if self.0.created { StatusCode::CREATED } else { StatusCode::OK };
        (status, Json(self.0.value)).into_response()
    }
}
