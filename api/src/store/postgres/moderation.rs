//! Reports and bans in PostgreSQL: functions of `0022_moderation.sql`.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::ReportId;
use shared::time::Timestamp;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::Entered;
use super::people::{PersonRow, refusal};
use crate::model::{BanDraft, DecisionDraft, Message, Report, ReportDraft, User};
use crate::render;
use crate::store::rows::{ReportRow, ReportedRow, spelling};
use crate::store::rules::{is_admin, may_moderate};
use crate::store::{Kept, Moderation, ReportPage, StoreError};

#[derive(sqlx::FromRow)]
struct ToldRow {
    report: Json<ReportRow>,
    #[sqlx(flatten)]
    entered: Entered,
}

impl ToldRow {
    fn kept(self, kind: &str, trace: shared::ids::TraceId) -> Result<Kept<Report>, StoreError> {
        let value = Report::try_from(self.report.0)?;
        let (created, at) = (self.entered.created, self.entered.committed_at());
        let envelopes = self.entered.envelopes(kind, &render::report_told(kind, &value, at), trace)?;
        Ok(Kept { value, created, envelopes })
    }
}

#[async_trait]
impl Moderation for PostgresStore {
    async fn report(&self, caller: &Caller, draft: &ReportDraft) -> Result<Kept<Report>, StoreError> {
        let row: ToldRow = sqlx::query_as("select * from carillon_report($1, $2, $3, $4, $5, $6, $7)")
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(draft.id.0)
            .bind(draft.message_id.0)
            .bind(draft.reason.as_str())
            .bind(draft.note.as_deref())
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
            .map_err(|error| super::messaging::refusal(error, None, Some(draft.message_id)))?;
        row.kept(render::REPORT_CREATED, draft.trace)
    }

    async fn reports(&self, caller: &Caller, page: &ReportPage) -> Result<Vec<(Report, Message)>, StoreError> {
        may_moderate(caller)?;
        let mut transaction = self.read_as(caller).await?;
        let rows: Vec<ReportedRow> = sqlx::query_as(
            "select r.*, to_jsonb(m) as message
             from (
                 select x.id from message_reports x
                 where ($1::text is null or x.state = $1)
                     and ($2::timestamptz is null or (x.created_at, x.id) > ($2, $3))
                 order by x.created_at, x.id limit $4
             ) found
             join report_rows r on r.id = found.id join message_rows m on m.id = r.message_id
             order by r.created_at, r.id",
        )
        .bind(page.state.map(spelling))
        .bind(page.after.map(|(at, _)| Timestamp::from_micros(at).as_datetime()))
        .bind(page.after.map(|(_, id): (i64, ReportId)| id.0))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(ReportedRow::both).collect()
    }

    async fn decide_report(&self, caller: &Caller, draft: &DecisionDraft) -> Result<Kept<Report>, StoreError> {
        may_moderate(caller)?;
        let row: ToldRow = sqlx::query_as("select * from carillon_decide_report($1, $2, $3, $4, $5)")
            .bind(caller.user.as_str())
            .bind(draft.id.0)
            .bind(spelling(draft.state))
            .bind(draft.note.as_deref())
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
            .map_err(|error| match super::messaging::code_of(&error).as_deref() {
                Some("CAP05") => StoreError::NoReport(draft.id),
                Some("CAP06") => StoreError::Decided(draft.id),
                _ => refusal(error),
            })?;
        row.kept(render::REPORT_UPDATED, draft.trace)
    }

    async fn set_ban(&self, caller: &Caller, draft: &BanDraft) -> Result<Kept<User>, StoreError> {
        may_moderate(caller)?;
        let (reason, expires_at) = draft.ban.as_ref().map_or((None, None), |(reason, end)| (Some(reason), *end));
        let row: PersonRow = sqlx::query_as("select * from carillon_set_ban($1, $2, $3, $4, $5, $6, $7)")
            .bind(caller.user.as_str())
            .bind(is_admin(caller))
            .bind(draft.user_id.as_str())
            .bind(draft.ban.is_some())
            .bind(reason)
            .bind(expires_at.map(Timestamp::as_datetime))
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
            .map_err(refusal)?;
        let kind = if draft.ban.is_some() { render::USER_BANNED } else { render::USER_UNBANNED };
        row.kept(kind, draft.trace)
    }
}
