//! `/api/v1/users/me/blocks`: of whom the caller wants to hear nothing.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use shared::access::Caller;
use shared::ids::UserId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, after};
use crate::error::Problem;
use crate::fields::{Id, Parameters};
use crate::model::Block;
use crate::openapi::Problems;
use crate::people;
use crate::request::Name;
use crate::state::App;
use crate::store::BlockPage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(block, unblock))
}

/// List whom one blocks
///
/// The last blocked first.
#[utoipa::path(
    get, operation_id = "list_blocks",
    path = "/api/v1/users/me/blocks", tag = "users",
    params(
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<Block>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(mut query): Parameters,
) -> Result<Json<List<Block>>, Problem> {
    let limit = query.limit();
    let after = after(&mut query);
    let page = query.finish(|| Some(BlockPage { after, limit: limit + 1 }))?;
    let blocks = app.store.blocks(&caller, &page).await?;
    let place = |block: &Block| format!("{}.{}", block.blocked_at.as_micros(), block.user_id);
    Ok(Json(List::page(blocks, limit, place)))
}

/// Block somebody
///
/// Neither sends to the other in a `direct` conversation from then on, or starts one. What they write in groups stays, and
/// the caller's searches do not find it. They are never told.
#[utoipa::path(
    put, operation_id = "block",
    path = "/api/v1/users/me/blocks/{user_id}", tag = "users",
    params(("user_id" = String, Path, description = "Who.")),
    responses((status = 200, description = "They are blocked.", body = Block), Problems),
)]
async fn block(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(user): Id<UserId>,
) -> Result<Json<Option<Block>>, Problem> {
    let draft = people::block(&caller, user, true, name.trace)?;
    Ok(Json(app.publisher.set_block(&caller, &draft).await?))
}

/// Stop blocking somebody
#[utoipa::path(
    delete, operation_id = "unblock",
    path = "/api/v1/users/me/blocks/{user_id}", tag = "users",
    params(("user_id" = String, Path, description = "Who.")),
    responses((status = 204, description = "They are not blocked."), Problems),
)]
async fn unblock(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(user): Id<UserId>,
) -> Result<StatusCode, Problem> {
    let draft = people::block(&caller, user, false, name.trace)?;
    app.publisher.set_block(&caller, &draft).await?;
    Ok(StatusCode::NO_CONTENT)
}
