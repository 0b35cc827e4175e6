//! `/api/v1/snapshot`: where a device begins that has nothing, or whose cursor cannot be continued.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::fields::Parameters;
use crate::model::Snapshot;
use crate::openapi::Problems;
use crate::state::App;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Load everything a device shows first
///
/// All of it from one moment; `cursor` is that moment. Hand it to `resume` over a socket, or to the feed as `after`.
#[utoipa::path(
    get, operation_id = "load_snapshot",
    path = "/api/v1/snapshot", tag = "feed",
    responses((status = 200, description = "The moment.", body = Snapshot), Problems),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Parameters(query): Parameters,
) -> Result<Json<Snapshot>, Problem> {
    query.finish(|| Some(()))?;
    Ok(Json(app.store.snapshot(&caller).await?))
}
