//! Messages that are to be sent later, in PostgreSQL.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{MessageId, TraceId};
use shared::time::Timestamp;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::{Entered, refusal};
use crate::model::{Due, Refusal, ScheduleChange, ScheduleChangeDraft, ScheduleDraft, Scheduled};
use crate::render;
use crate::store::rows::{self, ScheduledRow};
use crate::store::rules::{self, MOST_SCHEDULED, TOO_MANY_SCHEDULED};
use crate::store::{Kept, Schedule, SchedulePage, StoreError};

#[derive(sqlx::FromRow)]
struct KeptRow {
    scheduled: Json<ScheduledRow>,
    #[sqlx(flatten)]
    entered: Entered,
}

impl KeptRow {
    fn kept(self, trace: TraceId) -> Result<Kept<Scheduled>, StoreError> {
        let value = Scheduled::try_from(self.scheduled.0)?;
        let (created, at) = (self.entered.created, self.entered.committed_at());
        let kind = render::kind_of_scheduled(&value);
        let envelopes = self.entered.envelopes(kind, &render::scheduled_changed(kind, &value, at), trace)?;
        Ok(Kept { value, created, envelopes })
    }
}

#[async_trait]
impl Schedule for PostgresStore {
    async fn schedule(&self, caller: &Caller, draft: &ScheduleDraft) -> Result<Kept<Scheduled>, StoreError> {
        rules::may_send(caller, draft.message.message_type)?;
        let row: Result<KeptRow, _> =
            sqlx::query_as("select * from carillon_schedule($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
                .bind(caller.user.as_str())
                .bind(caller.role.as_str())
                .bind(caller.role.is_trusted())
                .bind(draft.id.0)
                .bind(draft.conversation_id.0)
                .bind(Json(&draft.message))
                .bind(draft.send_at.as_datetime())
                .bind(MOST_SCHEDULED)
                .bind(draft.idempotency_key.as_ref().map(|key| key.as_str()))
                .bind(draft.body_hash().as_slice())
                .bind(Uuid::from_u128(draft.trace.0))
                .fetch_one(&self.pool)
                .await;
        let refused = |error: sqlx::Error| match code_of(&error).as_deref() {
            Some("CA022") => TOO_MANY_SCHEDULED,
            _ => refusal(error, Some(draft.conversation_id), None),
        };
        row.map_err(refused)?.kept(draft.trace)
    }

    async fn reschedule(&self, caller: &Caller, draft: &ScheduleChangeDraft) -> Result<Kept<Scheduled>, StoreError> {
        let (send_at, text, cancels) = match &draft.change {
            ScheduleChange::Change { send_at, message_text } => (*send_at, message_text.as_deref(), false),
            ScheduleChange::Cancel => (None, None, true),
        };
        let row: Result<KeptRow, _> = sqlx::query_as("select * from carillon_reschedule($1, $2, $3, $4, $5, $6)")
            .bind(caller.user.as_str())
            .bind(draft.id.0)
            .bind(send_at.map(Timestamp::as_datetime))
            .bind(text)
            .bind(cancels)
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await;
        let refused = |error: sqlx::Error| match code_of(&error).as_deref() {
            Some("CA020") => StoreError::NotScheduled(draft.id),
            Some("CA021") => StoreError::NoLongerScheduled(draft.id),
            _ => refusal(error, None, None),
        };
        row.map_err(refused)?.kept(draft.trace)
    }

    async fn all_scheduled(&self, caller: &Caller, page: &SchedulePage) -> Result<Vec<Scheduled>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let rows: Vec<Json<ScheduledRow>> = sqlx::query_scalar(
            "select to_jsonb(r) from scheduled_messages s join scheduled_rows r on r.id = s.id
             where s.sender_id = $1 and s.message is not null and ($2::timestamptz is null or (s.send_at, s.id) > ($2, $3))
             order by s.send_at, s.id limit $4",
        )
        .bind(caller.user.as_str())
        .bind(page.after.map(|(at, _)| Timestamp::from_micros(at).as_datetime()))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(|Json(row)| row.try_into()).collect()
    }

    async fn take_due(&self, most: u32) -> Result<Vec<Due>, StoreError> {
        let rows: Vec<Json<ScheduledRow>> = sqlx::query_scalar("select * from carillon_take_due($1)")
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        Ok(rows::all_due(rows.into_iter().map(|Json(row)| row)))
    }

    async fn finish_scheduled(
        &self,
        id: MessageId,
        outcome: Result<(), Refusal>,
        trace: TraceId,
    ) -> Result<Kept<Scheduled>, StoreError> {
        let row: KeptRow = sqlx::query_as("select * from carillon_finish_scheduled($1, $2, $3)")
            .bind(id.0)
            .bind(outcome.err().map(Json))
            .bind(Uuid::from_u128(trace.0))
            .fetch_one(&self.pool)
            .await?;
        row.kept(trace)
    }
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}
