//! Messages that are to be sent later, in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{MessageId, TraceId, UserId};
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::writing::{self, Claim, NewEntry};
use super::{SqliteStore, messaging, now, people};
use crate::model::{Due, Refusal, ScheduleChange, ScheduleChangeDraft, ScheduleDraft, ScheduleStatus, Scheduled};
use crate::render;
use crate::store::rows::{self, ScheduledRow, spelling};
use crate::store::rules::{self, MOST_SCHEDULED, TOO_MANY_SCHEDULED};
use crate::store::{Kept, Schedule, SchedulePage, StoreError};

/// How long a worker has what it took, in microseconds.
const CLAIM: i64 = 60 * 1_000_000;

#[async_trait]
impl Schedule for SqliteStore {
    async fn schedule(&self, caller: &Caller, draft: &ScheduleDraft) -> Result<Kept<Scheduled>, StoreError> {
        rules::may_send(caller, draft.message.message_type)?;
        let mut transaction = self.write().await?;
        let key = draft.idempotency_key.as_ref();
        let claim = Claim { caller, path: "scheduled", key, body_hash: draft.body_hash() };
        let first = claim.made(&mut transaction).await?;
        if first.is_none() {
            people::refuse_banned(&mut transaction, caller).await?;
            insert(&mut transaction, caller, draft).await?;
            claim.keep(&mut transaction, draft.id.0).await?;
        }
        let id = first.map_or(draft.id, MessageId);
        let kept = tell(&mut transaction, first.is_none(), &caller.user, id, draft.trace).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    async fn reschedule(&self, caller: &Caller, draft: &ScheduleChangeDraft) -> Result<Kept<Scheduled>, StoreError> {
        let mut transaction = self.write_as(caller).await?;
        let claimed_until: Option<Option<i64>> =
            sqlx::query_scalar("select claimed_until from scheduled_messages where id = $1 and sender_id = $2")
                .bind(draft.id.0)
                .bind(caller.user.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        let claimed_until = claimed_until.ok_or(StoreError::NotScheduled(draft.id))?;
        let old = read(&mut transaction, draft.id).await?;
        // It was sent, and who sent it could not say so any more.
        let is_out: bool = sqlx::query_scalar("select exists (select 1 from messages where id = $1)")
            .bind(draft.id.0)
            .fetch_one(&mut *transaction)
            .await?;
        let is_cancelled = old.status == ScheduleStatus::Cancelled && draft.change != ScheduleChange::Cancel;
        if is_out
            || is_cancelled
            || old.status == ScheduleStatus::Sent
            || claimed_until.is_some_and(|until| until > now())
        {
            return Err(StoreError::NoLongerScheduled(draft.id));
        }
        let mut new = old.clone();
        match &draft.change {
            ScheduleChange::Cancel => {
                new = Scheduled { status: ScheduleStatus::Cancelled, message: None, refusal: None, ..new };
            }
            ScheduleChange::Change { send_at, message_text } => {
                new = Scheduled { status: ScheduleStatus::Scheduled, refusal: None, ..new };
                new.send_at = send_at.unwrap_or(new.send_at);
                if let (Some(message), Some(text)) = (&mut new.message, message_text) {
                    message.message_text.clone_from(text);
                }
            }
        }
        let changed = new != old;
        if changed {
            write(&mut transaction, &new).await?;
        }
        let kept = tell(&mut transaction, changed, &caller.user, draft.id, draft.trace).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    async fn all_scheduled(&self, caller: &Caller, page: &SchedulePage) -> Result<Vec<Scheduled>, StoreError> {
        let rows: Vec<Json<ScheduledRow>> = sqlx::query_scalar(
            "select json from scheduled_rows
             where sender_id = $1 and message is not null and ($2 is null or (send_at, id) > ($2, $3))
             order by send_at, id limit $4",
        )
        .bind(caller.user.as_str())
        .bind(page.after.map(|(at, _)| at))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(page.limit)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(|Json(row)| row.try_into()).collect()
    }

    async fn take_due(&self, most: u32) -> Result<Vec<Due>, StoreError> {
        let mut transaction = self.write().await?;
        let at = now();
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "update scheduled_messages set claimed_until = $1 + $2
             where id in (
                 select id from scheduled_messages
                 where status = 'scheduled' and send_at <= $1 and coalesce(claimed_until, 0) <= $1
                 order by send_at limit $3
             )
             returning id",
        )
        .bind(at)
        .bind(CLAIM)
        .bind(most)
        .fetch_all(&mut *transaction)
        .await?;
        let rows: Vec<Json<ScheduledRow>> = sqlx::query_scalar(
            "select json from scheduled_rows where id in (select unhex(value) from json_each($1)) order by send_at, id",
        )
        .bind(Json(ids.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(rows::all_due(rows.into_iter().map(|Json(row)| row)))
    }

    async fn finish_scheduled(
        &self,
        id: MessageId,
        outcome: Result<(), Refusal>,
        trace: TraceId,
    ) -> Result<Kept<Scheduled>, StoreError> {
        let mut transaction = self.write().await?;
        let old = read(&mut transaction, id).await?;
        let sender: String = sqlx::query_scalar("select sender_id from scheduled_messages where id = $1")
            .bind(id.0)
            .fetch_one(&mut *transaction)
            .await?;
        let sender: UserId = sender.parse().map_err(StoreError::broken)?;
        let waits = old.status == ScheduleStatus::Scheduled;
        if waits {
            let new = match outcome {
                Ok(()) => Scheduled { status: ScheduleStatus::Sent, message: None, ..old },
                Err(refusal) => Scheduled { status: ScheduleStatus::Refused, refusal: Some(refusal), ..old },
            };
            write(&mut transaction, &new).await?;
        }
        let kept = tell(&mut transaction, waits, &sender, id, trace).await?;
        transaction.commit().await?;
        Ok(kept)
    }
}

async fn insert(connection: &mut SqliteConnection, caller: &Caller, draft: &ScheduleDraft) -> Result<(), StoreError> {
    let id = draft.conversation_id;
    messaging::last_seq_if_seen(connection, caller, id).await?.ok_or(StoreError::NoConversation(id))?;
    let (takes_part, waiting): (bool, i64) = sqlx::query_as(
        "select exists (select 1 from conversation_participants
                 where conversation_id = $1 and user_id = $2 and left_at is null),
             (select count(*) from scheduled_messages where sender_id = $2 and message is not null)",
    )
    .bind(id.0)
    .bind(caller.user.as_str())
    .fetch_one(&mut *connection)
    .await?;
    if !takes_part {
        return Err(StoreError::NotAParticipant(id));
    }
    if waiting >= MOST_SCHEDULED {
        return Err(TOO_MANY_SCHEDULED);
    }
    sqlx::query(
        "insert into scheduled_messages (id, sender_id, sender_role, conversation_id, message, send_at, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(draft.id.0)
    .bind(caller.user.as_str())
    .bind(caller.role.as_str())
    .bind(id.0)
    .bind(Json(&draft.message))
    .bind(draft.send_at.as_micros())
    .bind(now())
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps what has changed, as one version more; whoever had it has it no longer.
async fn write(connection: &mut SqliteConnection, new: &Scheduled) -> Result<(), StoreError> {
    sqlx::query(
        "update scheduled_messages
         set message = $2, send_at = $3, status = $4, refusal = $5, claimed_until = null, version = version + 1
         where id = $1",
    )
    .bind(new.id.0)
    .bind(new.message.as_ref().map(Json))
    .bind(new.send_at.as_micros())
    .bind(spelling(new.status))
    .bind(new.refusal.as_ref().map(Json))
    .execute(connection)
    .await?;
    Ok(())
}

async fn read(connection: &mut SqliteConnection, id: MessageId) -> Result<Scheduled, StoreError> {
    let row: Json<ScheduledRow> =
        sqlx::query_scalar("select json from scheduled_rows where id = $1").bind(id.0).fetch_one(connection).await?;
    row.0.try_into()
}

/// Tells the sender's devices what has become of a scheduled message; nobody if nothing has.
async fn tell(
    connection: &mut SqliteConnection,
    changed: bool,
    sender: &UserId,
    id: MessageId,
    trace: TraceId,
) -> Result<Kept<Scheduled>, StoreError> {
    let value = read(connection, id).await?;
    let mut envelopes = Vec::new();
    if changed {
        let (kind, at) = (render::kind_of_scheduled(&value), Timestamp::from_micros(now()));
        let (conversation, message) = (value.conversation_id.0, Some(id.0));
        let entry = NewEntry { kind, conversation: Some(conversation), message, user: Some(sender), trace, at };
        let body = render::scheduled_changed(kind, &value, at);
        envelopes = writing::enter(connection, &[format!("user:{sender}")], &entry, &body).await?;
    }
    Ok(Kept { value, created: changed, envelopes })
}
