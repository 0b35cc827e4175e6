//! The table of contents of the api: every route an outsider can call.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::{Router, response::IntoResponse};
use shared::protocol::ErrorCode;
use utoipa_axum::router::OpenApiRouter;

use crate::error::Problem;
use crate::openapi;
use crate::request::surround;
use crate::routes::{
    attachments, blocks, changes, conversations, docs, feed, jobs, members, messages, moderation, pages, presence,
    reading, revocations, scheduled, search, snapshot, threads, tickets, unsent, users,
};
use crate::state::App;

/// Everything below `/api/v1` with its description.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(conversations::routes())
        .merge(members::routes())
        .merge(messages::routes())
        .merge(changes::routes())
        .merge(reading::routes())
        .merge(search::routes())
        .merge(attachments::routes())
        .merge(users::routes())
        .merge(blocks::routes())
        .merge(presence::routes())
        .merge(moderation::routes())
        .merge(jobs::routes())
        .merge(revocations::routes())
        .merge(feed::routes())
        .merge(unsent::routes())
        .merge(scheduled::routes())
        .merge(snapshot::routes())
        .merge(threads::routes())
        .merge(tickets::routes())
}

/// The routes of the public listener.
pub fn router(app: App) -> Router {
    let (routes, description) = api().split_for_parts();
    routes
        .merge(docs::routes(&openapi::finish(description)))
        .merge(pages::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn(surround))
        .with_state(app)
}

/// There is no such path.
pub(crate) async fn no_route(request: Request) -> impl IntoResponse {
    Problem::new(ErrorCode::NotFound, format!("there is no {}", request.uri().path()))
}

/// The path is there, but not with this method.
pub(crate) async fn no_method(request: Request) -> impl IntoResponse {
    let detail = format!("{} is not offered here, see the allow header", request.method());
    Problem::new(ErrorCode::Unsupported, detail).with_status(StatusCode::METHOD_NOT_ALLOWED)
}
