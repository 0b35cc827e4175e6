//! What takes longer than a request: having one's data handed out, and having it erased.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use shared::access::Caller;
use shared::ids::{AttachmentId, JobId, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attachments::{LinkedAttachment, linked};
use crate::error::Problem;
use crate::fields::Id;
use crate::model::{Job, JobDraft, JobKind};
use crate::openapi::Problems;
use crate::request::Name;
use crate::state::App;
use crate::store::StoreError;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(export)).routes(routes!(erase)).routes(routes!(show))
}

/// A job, with what it made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ShownJob {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// Of an export that is done: the file, for 24 hours, to whoever asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<LinkedAttachment>,
}

/// Have everything that is kept of somebody written down
///
/// For oneself; admins and services for everybody. The file has a line of JSON for the profile, each block and report, each
/// conversation they are or were in, and everything they wrote there.
#[utoipa::path(
    post, operation_id = "export_user",
    path = "/api/v1/users/{id}/export", tag = "users",
    params(("id" = String, Path, description = "The person.")),
    responses((status = 202, description = "It is under way.", body = Job), Problems),
)]
async fn export(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(user_id): Id<UserId>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    app.attachments()?;
    let draft = JobDraft { id: JobId::new(), kind: JobKind::Export, user_id, trace: name.trace };
    Ok((StatusCode::ACCEPTED, Json(app.publisher.start_job(&caller, &draft).await?)))
}

/// Erase somebody
///
/// For oneself; admins and services for everybody. It cannot be undone, and begins at once: the profile is gone, they change
/// nothing any more and are disconnected. Then every message of theirs keeps its number and says nothing, attachments,
/// reactions, blocks and settings go, and they leave every conversation. Their id is never given again.
#[utoipa::path(
    post, operation_id = "erase_user",
    path = "/api/v1/users/{id}/erase", tag = "users",
    params(("id" = String, Path, description = "The person.")),
    responses((status = 202, description = "It is under way.", body = Job), Problems),
)]
async fn erase(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(user_id): Id<UserId>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    let draft = JobDraft { id: JobId::new(), kind: JobKind::Erase, user_id, trace: name.trace };
    Ok((StatusCode::ACCEPTED, Json(app.publisher.start_job(&caller, &draft).await?)))
}

/// Look at a job
///
/// For whom it is about, for who asked for it, and for admins and services.
#[utoipa::path(
    get, operation_id = "show_job",
    path = "/api/v1/jobs/{id}", tag = "users",
    params(("id" = uuid::Uuid, Path, description = "The job.")),
    responses((status = 200, description = "How far it is.", body = ShownJob), Problems),
)]
async fn show(State(app): State<App>, caller: Caller, Id(id): Id<JobId>) -> Result<Json<ShownJob>, Problem> {
    let job = app.store.job(&caller, id).await?;
    let file = match app.store.attachment(Some(&caller), AttachmentId(id.0)).await {
        Ok(filed) => Some(linked(&app.links, filed)),
        Err(StoreError::NoAttachment(_)) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Json(ShownJob { job, file }))
}
