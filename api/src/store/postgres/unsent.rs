//! What people have written and not sent, in PostgreSQL.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::ConversationId;
use shared::time::Timestamp;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::{Entered, is_deadlock, last_seq_if_seen, refusal};
use crate::model::{Unsent, UnsentDraft};
use crate::render;
use crate::store::rows::UnsentRow;
use crate::store::{Kept, StoreError, UnsentPage, Writings};

#[derive(sqlx::FromRow)]
struct KeptRow {
    /// Nothing where nothing was ever written.
    draft: Option<Json<UnsentRow>>,
    #[sqlx(flatten)]
    entered: Entered,
}

#[async_trait]
impl Writings for PostgresStore {
    async fn keep_unsent(&self, caller: &Caller, draft: &UnsentDraft) -> Result<Kept<Option<Unsent>>, StoreError> {
        let mut kept = self.call_keep_unsent(caller, draft).await;
        if is_deadlock(&kept) {
            kept = self.call_keep_unsent(caller, draft).await;
        }
        let reply_to = draft.writing.as_ref().and_then(|writing| writing.reply_to);
        let row = kept.map_err(|error| refusal(error, Some(draft.conversation_id), reply_to))?;
        let value = row.draft.map(|Json(row)| Unsent::from(row));
        let created = row.entered.created;
        let envelopes = match value.as_ref().filter(|_| created) {
            Some(unsent) => {
                let kind = render::kind_of_unsent(unsent);
                let body = render::unsent_changed(kind, unsent, row.entered.committed_at());
                row.entered.envelopes(kind, &body, draft.trace)?
            }
            None => Vec::new(),
        };
        Ok(Kept { value, created, envelopes })
    }

    async fn unsent(&self, caller: &Caller, conversation: ConversationId) -> Result<Unsent, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let seen = last_seq_if_seen(&mut transaction, caller, conversation).await?;
        seen.ok_or(StoreError::NoConversation(conversation))?;
        let row: Option<UnsentRow> = sqlx::query_as(
            "select * from unsent_rows where user_id = $1 and conversation_id = $2 and message_text is not null",
        )
        .bind(caller.user.as_str())
        .bind(conversation.0)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(row.ok_or(StoreError::NothingUnsent(conversation))?.into())
    }

    async fn all_unsent(&self, caller: &Caller, page: &UnsentPage) -> Result<Vec<Unsent>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let rows: Vec<UnsentRow> = sqlx::query_as(
            "select r.* from unsent_messages u
             join conversation_participants p
                 on p.conversation_id = u.conversation_id and p.user_id = u.user_id and p.left_at is null
             join unsent_rows r on r.user_id = u.user_id and r.conversation_id = u.conversation_id
             where u.user_id = $1 and u.message_text is not null
                 and ($2::timestamptz is null or (u.updated_at, u.conversation_id) < ($2, $3))
             order by u.updated_at desc, u.conversation_id desc limit $4",
        )
        .bind(caller.user.as_str())
        .bind(page.after.map(|(at, _)| Timestamp::from_micros(at).as_datetime()))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(rows.into_iter().map(Unsent::from).collect())
    }
}

impl PostgresStore {
    async fn call_keep_unsent(&self, caller: &Caller, draft: &UnsentDraft) -> Result<KeptRow, sqlx::Error> {
        sqlx::query_as("select * from carillon_keep_unsent($1, $2, $3, $4, $5, $6, $7)")
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(draft.conversation_id.0)
            .bind(draft.writing.as_ref().map(|writing| writing.message_text.as_str()))
            .bind(draft.writing.as_ref().and_then(|writing| writing.reply_to).map(|id| id.0))
            .bind(draft.only_version.map(u64::cast_signed))
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
    }
}
