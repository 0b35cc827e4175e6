//! `/api/v1/users/{id}`: people, and what is known of them.

use axum::Json;
use axum::extract::State;
use shared::access::Caller;
use shared::ids::UserId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Problem;
use crate::fields::{Fields, Id};
use crate::model::User;
use crate::openapi::Problems;
use crate::people::{self, NewProfile};
use crate::request::Name;
use crate::state::App;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show, put))
}

/// Look at a person
///
/// At oneself, and at whom one shares a conversation with; staff and services look at everybody. Their e-mail is shown to
/// themselves, to staff and to services only.
#[utoipa::path(
    get, operation_id = "show_user",
    path = "/api/v1/users/{id}", tag = "users",
    params(("id" = String, Path, description = "The person.")),
    responses((status = 200, description = "The person.", body = User), Problems),
)]
async fn show(State(app): State<App>, caller: Caller, Id(id): Id<UserId>) -> Result<Json<User>, Problem> {
    Ok(Json(app.store.user(&caller, &id).await?))
}

/// Say what is known of a person
///
/// For services. What is left out is empty from then on, except the role. Who shares a conversation with them is told. A name
/// that is said here stays, whatever their token says.
#[utoipa::path(
    put, operation_id = "put_user",
    path = "/api/v1/users/{id}", tag = "users",
    params(("id" = String, Path, description = "The person.")), request_body = NewProfile,
    responses((status = 200, description = "The person.", body = User), Problems),
)]
async fn put(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<UserId>,
    body: Fields,
) -> Result<Json<User>, Problem> {
    let draft = people::profile(body, id, name.trace)?;
    Ok(Json(app.publisher.put_user(&caller, &draft).await?))
}
