//! Changes of messages in PostgreSQL: one function each, all of one shape.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId};
use shared::time::Timestamp;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::{SentRow, is_deadlock, last_seq_if_seen, refusal};
use crate::model::{Acknowledged, Change, ChangeDraft, Mentions, Message, MessageVersion};
use crate::render;
use crate::store::rows::{AcknowledgedRow, MessageRow, VersionRow};
use crate::store::rules::MOST_VERSIONS;
use crate::store::{AcknowledgementPage, Changing, Kept, StoreError};

#[async_trait]
impl Changing for PostgresStore {
    async fn change(&self, caller: &Caller, draft: &ChangeDraft) -> Result<Kept<Message>, StoreError> {
        let mut changed = self.call_change(caller, draft).await;
        if is_deadlock(&changed) {
            changed = self.call_change(caller, draft).await;
        }
        let row = changed.map_err(|error| refusal(error, None, Some(draft.message_id)))?;
        let mut value = Message::try_from(row.message.0)?;
        let (created, at) = (row.entered.created, row.entered.committed_at());
        let kind = render::kind_of(&draft.change);
        let body = render::message_changed(kind, &value, &caller.user, at);
        let envelopes = row.entered.envelopes(kind, &body, draft.trace)?;
        if draft.change == Change::Hide {
            value = value.hidden();
        }
        Ok(Kept { value, created, envelopes })
    }

    async fn message(&self, caller: &Caller, id: MessageId) -> Result<Message, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let row: Option<MessageRow> = sqlx::query_as(
            "select m.*, exists (select from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden
             from message_rows m where m.id = $1 and ($3 or exists (
                 select from conversation_participants p
                 where p.conversation_id = m.conversation_id and p.user_id = $2 and p.left_at is null))",
        )
        .bind(id.0)
        .bind(caller.user.as_str())
        .bind(caller.role.is_trusted())
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        row.ok_or(StoreError::NoMessage(id))?.try_into()
    }

    async fn history(&self, caller: &Caller, id: MessageId) -> Result<Vec<MessageVersion>, StoreError> {
        if self.message(caller, id).await?.hidden {
            return Ok(Vec::new());
        }
        let mut transaction = self.read_as(caller).await?;
        let rows: Vec<VersionRow> = sqlx::query_as(
            "select version, message_text, carillon_micros(replaced_at) as replaced_at
             from message_versions where message_id = $1
             order by version desc limit $2",
        )
        .bind(id.0)
        .bind(MOST_VERSIONS)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(rows.into_iter().rev().map(MessageVersion::from).collect())
    }

    async fn acknowledgements(
        &self,
        caller: &Caller,
        id: MessageId,
        page: &AcknowledgementPage,
    ) -> Result<Vec<Acknowledged>, StoreError> {
        if self.message(caller, id).await?.hidden {
            return Ok(Vec::new());
        }
        let mut transaction = self.read_as(caller).await?;
        let rows: Vec<AcknowledgedRow> = sqlx::query_as(
            "select user_id, carillon_micros(created_at) as acknowledged_at from message_acknowledgements
             where message_id = $1 and ($2::timestamptz is null or (created_at, user_id) > ($2, $3))
             order by created_at, user_id limit $4",
        )
        .bind(id.0)
        .bind(page.after.as_ref().map(|(at, _)| Timestamp::from_micros(*at).as_datetime()))
        .bind(page.after.as_ref().map(|(_, user)| user.as_str()))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(Acknowledged::try_from).collect()
    }

    async fn pins(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Message>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let seen = last_seq_if_seen(&mut transaction, caller, conversation).await?;
        seen.ok_or(StoreError::NoConversation(conversation))?;
        let rows: Vec<MessageRow> = sqlx::query_as(
            "select m.*, exists (select from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden
             from message_rows m where m.conversation_id = $1 and m.pinned_at is not null
             order by m.pinned_at desc, m.seq desc",
        )
        .bind(conversation.0)
        .bind(caller.user.as_str())
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(Message::try_from).collect()
    }
}

impl PostgresStore {
    async fn call_change(&self, caller: &Caller, draft: &ChangeDraft) -> Result<SentRow, sqlx::Error> {
        let (function, text) = match &draft.change {
            Change::Edit(text, _) => ("select * from carillon_edit($1, $2, $3, $4, $5, $6)", text.as_str()),
            Change::Delete => ("select * from carillon_delete($1, $2, $3, $4, $5)", ""),
            Change::Hide => ("select * from carillon_hide($1, $2, $3, $4, $5)", ""),
            Change::React(sign) => ("select * from carillon_react($1, $2, $3, $4, $5)", sign.as_str()),
            Change::Unreact(sign) => ("select * from carillon_unreact($1, $2, $3, $4, $5)", sign.as_str()),
            Change::Pin => ("select * from carillon_pin($1, $2, $3, $4, $5)", ""),
            Change::Unpin => ("select * from carillon_unpin($1, $2, $3, $4, $5)", ""),
            Change::Acknowledge => ("select * from carillon_acknowledge($1, $2, $3, $4, $5)", ""),
        };
        let query = sqlx::query_as(function)
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(draft.message_id.0)
            .bind(text)
            .bind(Uuid::from_u128(draft.trace.0));
        let query = match &draft.change {
            Change::Edit(_, mentions) => query.bind(mentions.as_ref().map(Mentions::keys)),
            _ => query,
        };
        query.fetch_one(&self.pool).await
    }
}
