//! `/api/v1/tickets`: what a page shows in an address instead of its token.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use shared::access::Caller;
use shared::channel::Role;
use shared::limits::Deed;
use shared::protocol::ErrorCode;
use shared::tickets::{Holder, LASTS, Ticket};
use shared::time::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::openapi::Problems;
use crate::state::App;

/// Bytes of an origin: a scheme, a host of 253, and a port.
const LONGEST_ORIGIN: usize = 300;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(make_out))
}

/// A ticket, as it is answered.
#[derive(Serialize, utoipa::ToSchema)]
struct MadeOut {
    /// To be shown as `?ticket=`.
    #[schema(examples("2b0F-pXo7mXk1k3Xo0mYd6v9mJ0wq8yqgqj0a5m3T4c"))]
    ticket: String,
    /// Until when it lets in.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    expires_at: Timestamp,
}

/// Make out a ticket
///
/// Opens one socket or one event stream, as `?ticket=`, in the name of the caller and up to when their token ends: once, within thirty
/// seconds, and from pages of no other origin than the one that asked for it, if it was a page. Every attempt needs another one, that of
/// an event stream to connect again too. It counts as connecting: who connects too often is refused here. Services have no pages and
/// get none.
#[utoipa::path(
    post, operation_id = "create_ticket",
    path = "/api/v1/tickets", tag = "users",
    responses((status = 201, description = "A ticket. It is not shown again.", body = MadeOut), Problems),
)]
async fn make_out(State(app): State<App>, caller: Caller, headers: HeaderMap) -> Result<impl IntoResponse, Problem> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (origin, None) = (origins.next(), origins.next()) else {
        return Err(Problem::new(ErrorCode::BadRequest, "the origin header may come once"));
    };
    let origin = origin.map(|origin| origin.to_str().ok().filter(|origin| origin.len() <= LONGEST_ORIGIN));
    let origin = origin.map(|origin| {
        let wrong =
            || Problem::new(ErrorCode::BadRequest, format!("an origin is text of at most {LONGEST_ORIGIN} bytes"));
        origin.map(str::to_owned).ok_or_else(wrong)
    });
    let origin = origin.transpose()?;
    if caller.role == Role::Service {
        return Err(Problem::new(ErrorCode::Forbidden, "services show their tokens in headers"));
    }
    app.limits.check(Deed::Connect, &caller).await?;
    let (ticket, holder) = (Ticket::random(), Holder { caller, origin });
    let (now, expires_at) = (Timestamp::now(), Timestamp::now().plus(LASTS).min(holder.caller.expires_at));
    let lasts = Duration::from_micros(u64::try_from(expires_at.as_micros() - now.as_micros()).unwrap_or(0).max(1_000));
    app.tickets.keep(&ticket, &holder, lasts).await.map_err(|error| {
        tracing::warn!(%error, "a ticket cannot be kept");
        Problem::new(ErrorCode::Unavailable, "no ticket can be made out just now")
    })?;
    let made_out = MadeOut { ticket: ticket.reveal(), expires_at };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made_out)))
}
