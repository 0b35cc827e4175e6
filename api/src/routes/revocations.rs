//! `/api/v1/revocations`: tokens that do not count any more.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, Made, after};
use crate::error::Problem;
use crate::fields::{Fields, Parameters};
use crate::model::Revocation;
use crate::openapi::{Creating, Problems};
use crate::request::{Name, Once};
use crate::revocations::{self, NewRevocation};
use crate::state::App;
use crate::store::RevocationPage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(revoke, list))
}

/// Revoke tokens
///
/// One's own, or as an admin or a service anybody's: one token, or all that were issued until a moment, which is how somebody logs
/// out everywhere. Within two seconds no pod believes them any more, and sockets that were opened with them are closed with 4403.
/// A newer token counts. What is revoked already stays as it is: 200. At most 100 single tokens of one person.
#[utoipa::path(
    post, operation_id = "revoke",
    path = "/api/v1/revocations", tag = "users", params(Creating), request_body = NewRevocation,
    responses(
        (status = 201, description = "They do not count any more.", body = Revocation),
        (status = 200, description = "They did not count before.", body = Revocation),
        Problems,
    ),
)]
async fn revoke(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    once: Once,
    body: Fields,
) -> Result<Made<Revocation>, Problem> {
    let longest = app.verifier.longest_lifetime();
    let draft = revocations::revocation(body, &caller, longest, once, name.trace)?;
    let kept = app.publisher.revoke(&caller, &draft).await?;
    // Here at once, whoever asks next.
    app.verifier.denylist().add(&[kept.value.revoked()]);
    Ok(Made(kept))
}

/// List revocations
///
/// For admins and services: the last one first, as long as a token could match it.
#[utoipa::path(
    get, operation_id = "list_revocations",
    path = "/api/v1/revocations", tag = "users",
    params(
        ("user_id" = Option<String>, Query, description = "Only of this person's tokens."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<Revocation>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(mut query): Parameters,
) -> Result<Json<List<Revocation>>, Problem> {
    let user_id = query.parameter("user_id");
    let limit = query.limit();
    let after = after(&mut query);
    let page = query.finish(|| Some(RevocationPage { user_id, after, limit: limit + 1 }))?;
    let revocations = app.store.revocations(&caller, &page).await?;
    let place = |one: &Revocation| format!("{}.{}", one.revoked_at.as_micros(), one.id);
    Ok(Json(List::page(revocations, limit, place)))
}
