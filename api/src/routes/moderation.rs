//! Reports of messages, what staff decide of them, and bans.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::access::Caller;
use shared::ids::{MessageId, ReportId, UserId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{List, Made, after};
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::model::{BanDraft, Message, Report, User};
use crate::moderation::{self, NewBan, NewDecision, NewReport};
use crate::openapi::Problems;
use crate::request::Name;
use crate::state::App;
use crate::store::ReportPage;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(report))
        .routes(routes!(list))
        .routes(routes!(decide))
        .routes(routes!(ban, unban))
}

/// A report with its message as it is today.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReportedMessage {
    /// The report.
    #[serde(flatten)]
    pub report: Report,
    /// The message; one that was deleted says nothing any more.
    pub message: Message,
}

/// Report a message to staff
///
/// Whoever sees a message may, once; reporting it again answers the first report. Its sender is not told.
#[utoipa::path(
    post, operation_id = "report_message",
    path = "/api/v1/messages/{id}/report", tag = "moderation",
    params(("id" = uuid::Uuid, Path, description = "The message.")), request_body = NewReport,
    responses(
        (status = 201, description = "Reported.", body = Report),
        (status = 200, description = "It was reported before.", body = Report),
        Problems,
    ),
)]
async fn report(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(message): Id<MessageId>,
    body: Fields,
) -> Result<Made<Report>, Problem> {
    let draft = moderation::report(body, message, name.trace)?;
    Ok(Made(app.publisher.report(&caller, &draft).await?))
}

/// List reports
///
/// For staff and services: the oldest first.
#[utoipa::path(
    get, operation_id = "list_reports",
    path = "/api/v1/moderation/reports", tag = "moderation",
    params(
        ("state" = Option<crate::model::ReportState>, Query, description = "Only these."),
        ("limit" = Option<u32>, Query, description = "At most so many: 1 to 100, 50 if not said."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = List<ReportedMessage>), Problems),
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Parameters(mut query): Parameters,
) -> Result<Json<List<ReportedMessage>>, Problem> {
    let state = query.optional("state");
    let limit = query.limit();
    let after = after(&mut query);
    let page = query.finish(|| Some(ReportPage { state, after, limit: limit + 1 }))?;
    let reports = app.store.reports(&caller, &page).await?;
    let items = reports.into_iter().map(|(report, message)| ReportedMessage { report, message }).collect();
    let place = |item: &ReportedMessage| format!("{}.{}", item.report.created_at.as_micros(), item.report.id);
    Ok(Json(List::page(items, limit, place)))
}

/// Decide a report
///
/// For staff and services. A report is decided once: of those who decide at the same time one does, and the others get a 409.
#[utoipa::path(
    patch, operation_id = "decide_report",
    path = "/api/v1/moderation/reports/{id}", tag = "moderation",
    params(("id" = uuid::Uuid, Path, description = "The report.")), request_body = NewDecision,
    responses((status = 200, description = "Decided.", body = Report), Problems),
)]
async fn decide(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(id): Id<ReportId>,
    body: Fields,
) -> Result<Json<Report>, Problem> {
    let draft = moderation::decision(body, id, name.trace)?;
    Ok(Json(app.publisher.decide_report(&caller, &draft).await?))
}

/// Ban somebody
///
/// Staff ban guests; admins and services ban everybody. Whoever is banned changes nothing (403 `banned`), may not connect, and
/// is disconnected on all gateways. They can still read over REST. Banning again changes the reason and the end.
#[utoipa::path(
    put, operation_id = "ban_user",
    path = "/api/v1/users/{id}/ban", tag = "moderation",
    params(("id" = String, Path, description = "Who.")), request_body = NewBan,
    responses((status = 200, description = "The person.", body = User), Problems),
)]
async fn ban(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(user): Id<UserId>,
    body: Fields,
) -> Result<Json<User>, Problem> {
    let draft = moderation::ban(body, &caller, user, name.trace)?;
    Ok(Json(app.publisher.set_ban(&caller, &draft).await?))
}

/// Lift a ban
#[utoipa::path(
    delete, operation_id = "lift_ban",
    path = "/api/v1/users/{id}/ban", tag = "moderation",
    params(("id" = String, Path, description = "Who.")),
    responses((status = 200, description = "The person.", body = User), Problems),
)]
async fn unban(
    State(app): State<App>,
    caller: Caller,
    name: Name,
    Id(user_id): Id<UserId>,
) -> Result<Json<User>, Problem> {
    let draft = BanDraft { user_id, ban: None, trace: name.trace };
    Ok(Json(app.publisher.set_ban(&caller, &draft).await?))
}
