//! Jobs in PostgreSQL: functions of `0023_jobs.sql`.

use async_trait::async_trait;
use shared::access::Caller;
use shared::envelope::Envelope;
use shared::ids::{JobId, TraceId, UserId};
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::{Entered, code_of, is_deadlock};
use super::people::refusal;
use crate::model::{Conversation, ExportFile, ExportPage, ExportPlace, Job, JobDraft, Message, User};
use crate::render;
use crate::store::rows::{ConversationRow, ExportRow, JobRow, MessageRow, UserRow, number};
use crate::store::rules::{
    ERASED_AT_ONCE, EXPORTED_AT_ONCE, JOB_LEASE, LOOKED_THROUGH, MOST_TOLD, UNATTACHED_HOURS, is_admin,
    may_decide_about,
};
use crate::store::{Jobs, Kept, StoreError};

#[derive(sqlx::FromRow)]
struct StartedRow {
    job: Json<JobRow>,
    kind: Option<String>,
    person: Option<Json<UserRow>>,
    #[sqlx(flatten)]
    entered: Entered,
}

/// An entry that a step of erasing made; the job at the end.
#[derive(sqlx::FromRow)]
struct StepRow {
    job: Option<Json<JobRow>>,
    kind: Option<String>,
    message: Option<Json<MessageRow>>,
    conversation: Option<Json<ConversationRow>>,
    #[sqlx(flatten)]
    entered: Entered,
}

impl StepRow {
    fn envelopes(self, user: &UserId, trace: TraceId) -> Result<Vec<Envelope>, StoreError> {
        let (Some(kind), at) = (self.kind.as_deref(), self.entered.committed_at()) else { return Ok(Vec::new()) };
        let body = match (self.message, self.conversation) {
            (Some(Json(row)), _) => render::message_changed(kind, &Message::try_from(row)?, user, at),
            (None, Some(Json(row))) => {
                let Conversation { id, version, .. } = Conversation::try_from(row)?;
                render::member_changed(kind, id, version, user, None, at)
            }
            (None, None) => return Err(StoreError::broken("an entry about nothing")),
        };
        self.entered.envelopes(kind, &body, trace)
    }
}

#[async_trait]
impl Jobs for PostgresStore {
    async fn start_job(&self, caller: &Caller, draft: &JobDraft) -> Result<Kept<Job>, StoreError> {
        may_decide_about(caller, &draft.user_id)?;
        let mut started = self.call_start_job(caller, draft).await;
        if is_deadlock(&started) {
            started = self.call_start_job(caller, draft).await;
        }
        let rows = started.map_err(|error| match code_of(&error).as_deref() {
            Some("CAP09") => StoreError::OtherJob(draft.user_id.clone()),
            _ => refusal(error),
        })?;
        let mut kept: Option<Kept<Job>> = None;
        for StartedRow { job: Json(job), kind, person, entered } in rows {
            let kept =
                kept.get_or_insert(Kept { value: job.try_into()?, created: entered.created, envelopes: Vec::new() });
            if let (Some(kind), Some(Json(person))) = (kind, person) {
                let (user, at) = (User::try_from(person)?, entered.committed_at());
                let body = render::user_changed(&kind, &user, draft.trace, at);
                kept.envelopes.extend(entered.envelopes(&kind, &body, draft.trace)?);
            }
        }
        kept.ok_or_else(|| StoreError::broken("a job was neither begun nor found"))
    }

    async fn job(&self, caller: &Caller, id: JobId) -> Result<Job, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let row: Option<JobRow> =
            sqlx::query_as("select * from job_rows where id = $1 and ($2 or $3 in (user_id, requested_by))")
                .bind(id.0)
                .bind(is_admin(caller))
                .bind(caller.user.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        transaction.commit().await?;
        row.ok_or(StoreError::NoJob(id))?.try_into()
    }

    async fn claim_job(&self) -> Result<Option<Job>, StoreError> {
        let row: Option<Json<JobRow>> =
            sqlx::query_scalar("select * from carillon_claim_job(make_interval(secs => $1))")
                .bind(f64::from(JOB_LEASE))
                .fetch_optional(&self.pool)
                .await?;
        row.map(|Json(row)| row.try_into()).transpose()
    }

    async fn erase_next(&self, id: JobId) -> Result<Kept<Job>, StoreError> {
        let mut done = self.call_erase_next(id).await;
        if is_deadlock(&done) {
            done = self.call_erase_next(id).await;
        }
        let mut rows = done?;
        let job = rows.pop().and_then(|row| row.job).ok_or_else(|| StoreError::broken("a step without its job"))?;
        let value = Job::try_from(job.0)?;
        let mut envelopes = Vec::new();
        for row in rows {
            envelopes.extend(row.envelopes(&value.user_id, TraceId(id.0.as_u128()))?);
        }
        Ok(Kept { value, created: !envelopes.is_empty(), envelopes })
    }

    async fn export_page(&self, user: &UserId, from: &ExportPlace) -> Result<ExportPage, StoreError> {
        let rows = sqlx::query_as("select * from carillon_export_page($1, $2, $3, $4)")
            .bind(user.as_str())
            .bind(from.conversation.map(|id| id.0))
            .bind(number(from.seq))
            .bind(i64::from(EXPORTED_AT_ONCE))
            .fetch_all(&self.pool)
            .await?;
        ExportRow::page(rows)
    }

    async fn keep_job(&self, id: JobId, progress: u64) -> Result<(), StoreError> {
        sqlx::query("select carillon_keep_job($1, $2, make_interval(secs => $3))")
            .bind(id.0)
            .bind(i64::try_from(progress).unwrap_or(i64::MAX))
            .bind(f64::from(JOB_LEASE))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn finish_export(
        &self,
        id: JobId,
        ExportFile { attachment, sha256 }: &ExportFile,
    ) -> Result<Job, StoreError> {
        let row: Option<Json<JobRow>> = sqlx::query_scalar(
            "select * from carillon_finish_export($1, $2, $3, $4, $5, $6, make_interval(hours => $7))",
        )
        .bind(id.0)
        .bind(&attachment.file_name)
        .bind(&attachment.file_type)
        .bind(i64::try_from(attachment.file_size).unwrap_or(i64::MAX))
        .bind(&attachment.url)
        .bind(sha256)
        .bind(i32::try_from(UNATTACHED_HOURS).unwrap_or(i32::MAX))
        .fetch_optional(&self.pool)
        .await?;
        row.ok_or(StoreError::NoJob(id))?.0.try_into()
    }
}

impl PostgresStore {
    async fn call_start_job(&self, caller: &Caller, draft: &JobDraft) -> Result<Vec<StartedRow>, sqlx::Error> {
        sqlx::query_as("select * from carillon_start_job($1, $2, $3, $4, $5, $6)")
            .bind(caller.user.as_str())
            .bind(draft.id.0)
            .bind(draft.kind.as_str())
            .bind(draft.user_id.as_str())
            .bind(i64::try_from(MOST_TOLD).unwrap_or(i64::MAX))
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_all(&self.pool)
            .await
    }

    async fn call_erase_next(&self, id: JobId) -> Result<Vec<StepRow>, sqlx::Error> {
        sqlx::query_as("select * from carillon_erase_next($1, $2, $3, make_interval(secs => $4))")
            .bind(id.0)
            .bind(i64::from(ERASED_AT_ONCE))
            .bind(i64::from(LOOKED_THROUGH))
            .bind(f64::from(JOB_LEASE))
            .fetch_all(&self.pool)
            .await
    }
}
