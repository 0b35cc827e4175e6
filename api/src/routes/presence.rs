//! `/api/v1/presence`: who is here.

use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::access::Caller;
use shared::ids::{InvalidId, UserId};
use shared::presence::{Availability, Status};
use shared::protocol::ErrorCode;
use shared::time::Timestamp;
use shared::upstream::MOST_WATCHED;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::List;
use crate::error::Problem;
use crate::fields::Parameters;
use crate::openapi::Problems;
use crate::state::App;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What somebody is, over all their devices.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Presence {
    /// Who.
    #[schema(value_type = String)]
    user_id: UserId,
    /// What they are: `online`, `idle`, `dnd` or `offline`.
    #[schema(value_type = String)]
    state: Availability,
    /// When they were last here, as far as it is remembered; of those who are here, nothing.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    last_seen: Option<Timestamp>,
    /// Rises with every change; the same as on `presence.changed` events.
    version: u64,
}

impl From<Status> for Presence {
    fn from(Status { user_id, state, last_seen, version }: Status) -> Self {
        Self { user_id, state, last_seen, version }
    }
}

/// People who are named in one parameter.
struct People(Vec<UserId>);

/// Why they are not.
#[derive(Debug, thiserror::Error)]
enum InvalidPeople {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("at most {MOST_WATCHED} people at once")]
    TooMany,
}

impl FromStr for People {
    type Err = InvalidPeople;

    fn from_str(text: &str) -> Result<Self, InvalidPeople> {
        let mut people: Vec<UserId> = Vec::new();
        for id in text.split(',') {
            let id = id.parse()?;
            if !people.contains(&id) {
                people.push(id);
            }
            if people.len() > MOST_WATCHED {
                return Err(InvalidPeople::TooMany);
            }
        }
        Ok(Self(people))
    }
}

/// Look who is here
///
/// In the order asked, each once. Of whoever does not show it, whom one shares no conversation with, or of whom one has blocked the
/// other, it says what it says of somebody who was never here; staff and services need share no conversation.
#[utoipa::path(
    get, operation_id = "list_presence",
    path = "/api/v1/presence", tag = "users",
    params(("user_ids" = String, Query, description = "Whom: up to 100 ids with commas between.")),
    responses((status = 200, description = "What each is.", body = List<Presence>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(mut query): Parameters,
) -> Result<Json<List<Presence>>, Problem> {
    query.require("user_ids");
    let people = query.parameter("user_ids");
    let People(people) = query.finish(|| people)?;
    let asked: Vec<_> = people.iter().map(|person| (&caller, person)).collect();
    let sees = app.store.sees_presence(&asked).await?;
    // Those too whom the caller may not see: that Redis does not answer must not tell who they are.
    let read = app.presence.read(&people).await.map_err(|error| {
        tracing::warn!(%error, "nobody knows who is here");
        Problem::new(ErrorCode::Unavailable, "it is not known just now who is here")
    })?;
    let shown = read.into_iter().zip(sees);
    let shown = shown.map(|(status, sees)| if sees { status } else { Status::unknown(status.user_id) });
    Ok(Json(List { items: shown.map(Presence::from).collect(), next: None }))
}
