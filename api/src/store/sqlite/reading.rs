//! Markers and counts in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::writing::{self, NewEntry};
use super::{SqliteStore, messaging, now};
use crate::model::{MarkerDraft, Participant, Privacy, PrivacyChange, ReadMarker, Unread, UnreadCheck};
use crate::render;
use crate::store::rows::{self, FollowerRow, ParticipantRow, UnreadRow, number, unread_of};
use crate::store::{Kept, Reading, StoreError, UnreadPage};

#[async_trait]
impl Reading for SqliteStore {
    async fn mark(&self, caller: &Caller, draft: &MarkerDraft) -> Result<Kept<ReadMarker>, StoreError> {
        let (id, user) = (draft.conversation_id, &caller.user);
        let mut transaction = self.write_as(caller).await?;
        let last = messaging::last_seq_if_seen(&mut transaction, caller, id).await?;
        let last = last.ok_or(StoreError::NoConversation(id))?;
        let old: Option<i64> = sqlx::query_scalar(
            "select last_read_seq from conversation_participants
             where conversation_id = $1 and user_id = $2 and left_at is null",
        )
        .bind(id.0)
        .bind(user.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let old = old.ok_or(StoreError::NotAParticipant(id))?;
        let (target, back) = draft.target();
        let marker = target.map_or(last, |target| number(target).min(last));
        let created = if back { marker < old } else { marker > old };
        let mut envelopes = Vec::new();
        if created {
            let at = now();
            sqlx::query(
                "update conversation_participants
                 set last_read_seq = $3, last_read_at = $4, last_delivered_seq = max(last_delivered_seq, $3),
                     version = version + 1
                 where conversation_id = $1 and user_id = $2",
            )
            .bind(id.0)
            .bind(user.as_str())
            .bind(marker)
            .bind(at)
            .execute(&mut *transaction)
            .await?;
            recount(&mut transaction, id.0, user.as_str()).await?;
            let row = participant_row(&mut transaction, id.0, user.as_str()).await?;
            let reader = Participant::try_from(row.clone())?;
            let at = Timestamp::from_micros(at);
            let body = render::message_read(id, &reader, at);
            let (kind, trace) = (render::MESSAGE_READ, draft.trace);
            let entry = NewEntry { kind, conversation: Some(id.0), message: None, user: Some(user), trace, at };
            envelopes = writing::enter(&mut transaction, &[format!("user:{user}")], &entry, &body).await?;
            envelopes.extend(rows::receipts(std::iter::once(row))?);
        }
        let kept = checks(&mut transaction, user.as_str(), Some(id.0), &UnreadPage::default()).await?.pop();
        let value = kept.ok_or(StoreError::NotAParticipant(id))?.kept;
        transaction.commit().await?;
        Ok(Kept { value, created, envelopes })
    }

    async fn privacy(&self, caller: &Caller) -> Result<Privacy, StoreError> {
        privacy(&mut *self.read().await?, caller).await
    }

    async fn set_privacy(&self, caller: &Caller, change: &PrivacyChange) -> Result<Kept<Privacy>, StoreError> {
        let mut transaction = self.write().await?;
        let before = privacy(&mut transaction, caller).await?;
        let shows = Privacy {
            receipts: change.receipts.unwrap_or(before.receipts),
            signs: change.signs.unwrap_or(before.signs),
            presence: change.presence.unwrap_or(before.presence),
        };
        sqlx::query(
            "insert into privacy_settings (user_id, receipts, signs, presence) values ($1, $2, $3, $4)
             on conflict (user_id) do update set
                 receipts = excluded.receipts, signs = excluded.signs, presence = excluded.presence",
        )
        .bind(caller.user.as_str())
        .bind(shows.receipts)
        .bind(shows.signs)
        .bind(shows.presence)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "update conversation_participants set shows_receipts = $2, version = version + 1
             where user_id = $1 and shows_receipts <> $2",
        )
        .bind(caller.user.as_str())
        .bind(shows.receipts)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(rows::privacy_set(caller, before, shows))
    }

    async fn unread(&self, caller: &Caller) -> Result<Unread, StoreError> {
        unread(&mut *self.read().await?, caller).await
    }

    async fn verify_unread(&self, caller: &Caller, page: &UnreadPage) -> Result<Vec<UnreadCheck>, StoreError> {
        let mut transaction = self.read().await?;
        checks(&mut transaction, caller.user.as_str(), None, page).await
    }
}

/// What somebody shows to others.
pub(super) async fn privacy(connection: &mut SqliteConnection, caller: &Caller) -> Result<Privacy, StoreError> {
    let shows = sqlx::query_as("select receipts, signs, presence from privacy_settings where user_id = $1");
    Ok(shows.bind(caller.user.as_str()).fetch_optional(connection).await?.unwrap_or_default())
}

/// Where somebody has unread messages, and how many over all.
pub(super) async fn unread(connection: &mut SqliteConnection, caller: &Caller) -> Result<Unread, StoreError> {
    let head: Option<i64> = sqlx::query_scalar("select seq from feeds where channel = 'user:' || $1")
        .bind(caller.user.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let rows: Vec<(Uuid, i64, i64, i64)> = sqlx::query_as(
        "select conversation_id, p.last_read_seq, p.unread_count, c.mentioned
         from conversation_participants p join mention_counts c using (conversation_id, user_id)
         where user_id = $1 and left_at is null and unread_count > 0 order by conversation_id",
    )
    .bind(caller.user.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let threads: Vec<FollowerRow> =
        sqlx::query_as("select * from follower_rows where user_id = $1 and unread_count > 0 order by root_id")
            .bind(caller.user.as_str())
            .fetch_all(connection)
            .await?;
    Ok(unread_of(&rows, &threads, head))
}

/// Counts anew what is unread to somebody.
pub(super) async fn recount(
    connection: &mut SqliteConnection,
    conversation: Uuid,
    user: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "update conversation_participants
         set unread_count = (select counted from recounts where conversation_id = $1 and user_id = $2)
         where conversation_id = $1 and user_id = $2",
    )
    .bind(conversation)
    .bind(user)
    .execute(connection)
    .await?;
    Ok(())
}

/// The row of somebody in a conversation.
pub(super) async fn participant_row(
    connection: &mut SqliteConnection,
    conversation: Uuid,
    user: &str,
) -> Result<ParticipantRow, StoreError> {
    let row = sqlx::query_as("select * from participant_rows where conversation_id = $1 and user_id = $2");
    Ok(row.bind(conversation).bind(user).fetch_one(connection).await?)
}

/// Kept and counted, in one conversation or in all of a page.
async fn checks(
    connection: &mut SqliteConnection,
    user: &str,
    only: Option<Uuid>,
    page: &UnreadPage,
) -> Result<Vec<UnreadCheck>, StoreError> {
    let rows: Vec<UnreadRow> = sqlx::query_as(
        "select p.conversation_id, p.last_read_seq, p.unread_count as stored, r.counted, c.mentioned,
             coalesce((select seq from feeds where channel = 'user:' || p.user_id), 0) as head,
             (select coalesce(sum(t.stored), 0) from thread_recounts t
                 where t.user_id = p.user_id and t.conversation_id = p.conversation_id) as thread_stored,
             (select coalesce(sum(t.counted), 0) from thread_recounts t
                 where t.user_id = p.user_id and t.conversation_id = p.conversation_id) as thread_counted,
             (select count(*) from thread_recounts t
                 where t.user_id = p.user_id and t.conversation_id = p.conversation_id and t.stored <> t.counted)
                 as threads_wrong
         from conversation_participants p
         join recounts r using (conversation_id, user_id)
         join mention_counts c using (conversation_id, user_id)
         where p.user_id = $1 and p.left_at is null and ($2 is null or p.conversation_id = $2)
             and ($3 is null or p.conversation_id > $3)
         order by p.conversation_id limit coalesce($4, -1)",
    )
    .bind(user)
    .bind(only)
    .bind(page.after.map(|id| id.0))
    .bind(page.limit)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(UnreadCheck::from).collect())
}
