//! Reports and bans in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{ReportId, TraceId};
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::writing::{self, NewEntry};
use super::{SqliteStore, changing, now, people};
use crate::model::{BanDraft, DecisionDraft, Message, Report, ReportDraft, ReportState, User};
use crate::render;
use crate::store::rows::{ReportRow, ReportedRow, spelling};
use crate::store::rules::{NOT_AN_ADMIN, OWN_MESSAGE, is_admin, may_moderate};
use crate::store::{Kept, Moderation, ReportPage, StoreError};

#[async_trait]
impl Moderation for SqliteStore {
    async fn report(&self, caller: &Caller, draft: &ReportDraft) -> Result<Kept<Report>, StoreError> {
        let mut transaction = self.write().await?;
        let message = changing::seen(&mut transaction, caller, draft.message_id).await?;
        let first: Option<Uuid> =
            sqlx::query_scalar("select id from message_reports where message_id = $1 and reporter_id = $2")
                .bind(message.id.0)
                .bind(caller.user.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        if let Some(first) = first {
            let value = read(&mut transaction, ReportId(first)).await?;
            return Ok(Kept { value, created: false, envelopes: Vec::new() });
        }
        people::refuse_banned(&mut transaction, caller).await?;
        if message.sender_id == caller.user {
            return Err(OWN_MESSAGE);
        } else if message.deleted_at.is_some() {
            return Err(StoreError::Deleted(message.id));
        }
        let at = now();
        sqlx::query(
            "insert into message_reports (id, message_id, reporter_id, reason, note, created_at)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(draft.id.0)
        .bind(message.id.0)
        .bind(caller.user.as_str())
        .bind(draft.reason.as_str())
        .bind(&draft.note)
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        let kept = tell_staff(&mut transaction, render::REPORT_CREATED, draft.id, draft.trace, at).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    async fn reports(&self, caller: &Caller, page: &ReportPage) -> Result<Vec<(Report, Message)>, StoreError> {
        may_moderate(caller)?;
        let rows: Vec<ReportedRow> = sqlx::query_as(
            "select r.*, m.json as message from report_rows r join message_rows m on m.id = r.message_id
             where ($1 is null or r.state = $1) and ($2 is null or (r.created_at, r.id) > ($2, $3))
             order by r.created_at, r.id limit $4",
        )
        .bind(page.state.map(spelling))
        .bind(page.after.map(|(at, _)| at))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(page.limit)
        .fetch_all(&mut *self.readers.acquire().await?)
        .await?;
        rows.into_iter().map(ReportedRow::both).collect()
    }

    async fn decide_report(&self, caller: &Caller, draft: &DecisionDraft) -> Result<Kept<Report>, StoreError> {
        may_moderate(caller)?;
        let mut transaction = self.write().await?;
        let held = read(&mut transaction, draft.id).await?;
        if held.state != ReportState::Open {
            let same = held.state == draft.state && held.decided_by.as_ref() == Some(&caller.user);
            let repeat = Kept { value: held, created: false, envelopes: Vec::new() };
            return if same { Ok(repeat) } else { Err(StoreError::Decided(draft.id)) };
        }
        people::refuse_banned(&mut transaction, caller).await?;
        let at = now();
        sqlx::query(
            "update message_reports set state = $2, decided_by = $3, decided_at = $4, decision_note = $5 where id = $1",
        )
        .bind(draft.id.0)
        .bind(spelling(draft.state))
        .bind(caller.user.as_str())
        .bind(at)
        .bind(&draft.note)
        .execute(&mut *transaction)
        .await?;
        let kept = tell_staff(&mut transaction, render::REPORT_UPDATED, draft.id, draft.trace, at).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    async fn set_ban(&self, caller: &Caller, draft: &BanDraft) -> Result<Kept<User>, StoreError> {
        may_moderate(caller)?;
        let mut transaction = self.write_as(caller).await?;
        let at = now();
        let created = set_ban(&mut transaction, caller, draft, at).await?;
        let value = people::read(&mut transaction, &draft.user_id).await?;
        let mut envelopes = Vec::new();
        if created {
            let kind = if draft.ban.is_some() { render::USER_BANNED } else { render::USER_UNBANNED };
            let (user, trace, at) = (&draft.user_id, draft.trace, Timestamp::from_micros(at));
            let entry = NewEntry { kind, conversation: None, message: None, user: Some(user), trace, at };
            let body = render::user_changed(kind, &value, trace, at);
            envelopes = writing::enter(&mut transaction, &[format!("user:{user}")], &entry, &body).await?;
        }
        transaction.commit().await?;
        Ok(Kept { value, created, envelopes })
    }
}

/// Bans or lifts; false if it is so already.
async fn set_ban(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &BanDraft,
    at: i64,
) -> Result<bool, StoreError> {
    let user = draft.user_id.as_str();
    sqlx::query("insert into users (id, role, seen_at) values ($1, 'guest', $2) on conflict do nothing")
        .bind(user)
        .bind(at)
        .execute(&mut *connection)
        .await?;
    let (is_guest, since): (bool, Option<i64>) = sqlx::query_as(
        "select role = 'guest', iif(coalesce(ban_expires_at > $2, true), banned_at, null) from users where id = $1",
    )
    .bind(user)
    .bind(at)
    .fetch_one(&mut *connection)
    .await?;
    if !is_guest && !is_admin(caller) {
        return Err(NOT_AN_ADMIN);
    }
    let (reason, expires_at) = draft.ban.as_ref().map_or((None, None), |(reason, end)| (Some(reason), *end));
    if draft.ban.is_none() && since.is_none() {
        return Ok(false);
    }
    let changed = sqlx::query(
        "update users set banned_at = $2, ban_reason = $3, ban_expires_at = $4, banned_by = $5
         where id = $1 and (banned_at is not $2 or ban_reason is not $3 or ban_expires_at is not $4)",
    )
    .bind(user)
    .bind(draft.ban.as_ref().map(|_| since.unwrap_or(at)))
    .bind(reason)
    .bind(expires_at.map(Timestamp::as_micros))
    .bind(draft.ban.as_ref().map(|_| caller.user.as_str()))
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

async fn read(connection: &mut SqliteConnection, id: ReportId) -> Result<Report, StoreError> {
    let row: Option<ReportRow> =
        sqlx::query_as("select * from report_rows where id = $1").bind(id.0).fetch_optional(connection).await?;
    row.ok_or(StoreError::NoReport(id))?.try_into()
}

/// Tells everyone who works here of a report.
async fn tell_staff(
    connection: &mut SqliteConnection,
    kind: &'static str,
    id: ReportId,
    trace: TraceId,
    at: i64,
) -> Result<Kept<Report>, StoreError> {
    let (value, at) = (read(connection, id).await?, Timestamp::from_micros(at));
    let (conversation, message) = (Some(value.conversation_id.0), Some(value.message_id.0));
    let entry = NewEntry { kind, conversation, message, user: Some(&value.reporter_id), trace, at };
    let staff = ["role:admin", "role:staff"].map(ToOwned::to_owned);
    let envelopes = writing::enter(connection, &staff, &entry, &render::report_told(kind, &value, at)).await?;
    Ok(Kept { value, created: true, envelopes })
}
