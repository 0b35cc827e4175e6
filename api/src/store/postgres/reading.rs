//! Markers and counts in PostgreSQL.

use async_trait::async_trait;
use shared::access::Caller;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::{Entered, is_deadlock, refusal};
use crate::model::{MarkerDraft, Participant, Privacy, PrivacyChange, ReadMarker, Unread, UnreadCheck};
use crate::render;
use crate::store::rows::{self, FollowerRow, ParticipantRow, UnreadRow, number, seq, unread_of};
use crate::store::{Kept, Reading, StoreError, UnreadPage};

#[derive(sqlx::FromRow)]
struct MarkedRow {
    participant: Json<ParticipantRow>,
    unread_count: i64,
    mentioned: i64,
    head: i64,
    #[sqlx(flatten)]
    entered: Entered,
}

#[async_trait]
impl Reading for PostgresStore {
    async fn mark(&self, caller: &Caller, draft: &MarkerDraft) -> Result<Kept<ReadMarker>, StoreError> {
        let mut marked = self.move_marker(caller, draft).await;
        if is_deadlock(&marked) {
            marked = self.move_marker(caller, draft).await;
        }
        let row = marked.map_err(|error| refusal(error, Some(draft.conversation_id), None))?;
        let signs = rows::receipts(std::iter::once(row.participant.0.clone()))?;
        let reader = Participant::try_from(row.participant.0)?;
        let value = ReadMarker {
            conversation_id: draft.conversation_id,
            last_read_seq: reader.last_read_seq,
            unread_count: row.unread_count.unsigned_abs(),
            unread_mention_count: row.mentioned.unsigned_abs(),
            unread_version: seq(row.head),
        };
        let created = row.entered.created;
        let body = render::message_read(draft.conversation_id, &reader, row.entered.committed_at());
        let mut envelopes = row.entered.envelopes(render::MESSAGE_READ, &body, draft.trace)?;
        if created {
            envelopes.extend(signs);
        }
        Ok(Kept { value, created, envelopes })
    }

    async fn privacy(&self, caller: &Caller) -> Result<Privacy, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let shows = privacy(&mut transaction, caller).await?;
        transaction.commit().await?;
        Ok(shows)
    }

    async fn set_privacy(&self, caller: &Caller, change: &PrivacyChange) -> Result<Kept<Privacy>, StoreError> {
        let mut set = self.call_set_privacy(caller, change).await;
        if is_deadlock(&set) {
            set = self.call_set_privacy(caller, change).await;
        }
        let (before, after) = set?;
        Ok(rows::privacy_set(caller, before, after))
    }

    async fn unread(&self, caller: &Caller) -> Result<Unread, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let unread = unread(&mut transaction, caller).await?;
        transaction.commit().await?;
        Ok(unread)
    }

    async fn verify_unread(&self, caller: &Caller, page: &UnreadPage) -> Result<Vec<UnreadCheck>, StoreError> {
        let mut transaction = self.ask_as(caller).await?;
        let rows: Vec<UnreadRow> = sqlx::query_as("select * from carillon_verify_unread($1, $2, $3)")
            .bind(caller.user.as_str())
            .bind(page.after.map(|id| id.0))
            .bind(page.limit.map(i64::from))
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(rows.into_iter().map(UnreadCheck::from).collect())
    }
}

/// What somebody shows to others.
pub(super) async fn privacy(connection: &mut PgConnection, caller: &Caller) -> Result<Privacy, StoreError> {
    let shows = sqlx::query_as("select receipts, signs, presence from privacy_settings where user_id = $1");
    Ok(shows.bind(caller.user.as_str()).fetch_optional(connection).await?.unwrap_or_default())
}

/// Where somebody has unread messages, and how many over all.
pub(super) async fn unread(connection: &mut PgConnection, caller: &Caller) -> Result<Unread, StoreError> {
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

impl PostgresStore {
    async fn call_set_privacy(
        &self,
        caller: &Caller,
        change: &PrivacyChange,
    ) -> Result<(Privacy, Privacy), sqlx::Error> {
        let set = sqlx::query_as("select * from carillon_set_privacy($1, $2)")
            .bind(caller.user.as_str())
            .bind(Json(change))
            .fetch_all(&self.pool)
            .await?;
        let [before, after] = <[Privacy; 2]>::try_from(set).map_err(|_| sqlx::Error::RowNotFound)?;
        Ok((before, after))
    }

    async fn move_marker(&self, caller: &Caller, draft: &MarkerDraft) -> Result<MarkedRow, sqlx::Error> {
        let (target, back) = draft.target();
        sqlx::query_as("select * from carillon_mark($1, $2, $3, $4, $5, $6)")
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(draft.conversation_id.0)
            .bind(target.map(number))
            .bind(back)
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
    }
}
