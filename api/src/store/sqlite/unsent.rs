//! What people have written and not sent, in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::ConversationId;
use shared::time::Timestamp;
use sqlx::SqliteConnection;

use super::writing::{self, NewEntry};
use super::{SqliteStore, messaging, now};
use crate::model::{Unsent, UnsentDraft};
use crate::render;
use crate::store::rows::UnsentRow;
use crate::store::{Kept, StoreError, UnsentPage, Writings};

#[async_trait]
impl Writings for SqliteStore {
    async fn keep_unsent(&self, caller: &Caller, draft: &UnsentDraft) -> Result<Kept<Option<Unsent>>, StoreError> {
        let (id, user) = (draft.conversation_id, &caller.user);
        let writing = draft.writing.as_ref();
        let mut transaction = self.write_as(caller).await?;
        must_take_part(&mut transaction, caller, draft).await?;
        let old = read(&mut transaction, caller, id).await?;
        let before = old.as_ref().map(|old| (old.message_text.as_deref(), old.reply_to)).unwrap_or_default();
        let after = writing.map(|new| (Some(new.message_text.as_str()), new.reply_to)).unwrap_or_default();
        let is_meant = draft.only_version.is_none_or(|only| old.as_ref().is_some_and(|old| old.version == only));
        if before == after || !is_meant {
            return Ok(Kept { value: old, created: false, envelopes: Vec::new() });
        }
        let at = now();
        sqlx::query(
            "insert into unsent_messages (user_id, conversation_id, message_text, reply_to, updated_at)
             values ($1, $2, $3, $4, $5)
             on conflict (user_id, conversation_id) do update
                 set message_text = excluded.message_text, reply_to = excluded.reply_to, updated_at = excluded.updated_at,
                     version = version + 1",
        )
        .bind(user.as_str())
        .bind(id.0)
        .bind(after.0)
        .bind(after.1.map(|id| id.0))
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        let value = read(&mut transaction, caller, id).await?.ok_or(StoreError::NothingUnsent(id))?;
        let (kind, at) = (render::kind_of_unsent(&value), Timestamp::from_micros(at));
        let entry =
            NewEntry { kind, conversation: Some(id.0), message: None, user: Some(user), trace: draft.trace, at };
        let body = render::unsent_changed(kind, &value, at);
        let envelopes = writing::enter(&mut transaction, &[format!("user:{user}")], &entry, &body).await?;
        transaction.commit().await?;
        Ok(Kept { value: Some(value), created: true, envelopes })
    }

    async fn unsent(&self, caller: &Caller, conversation: ConversationId) -> Result<Unsent, StoreError> {
        let mut transaction = self.read().await?;
        let seen = messaging::last_seq_if_seen(&mut transaction, caller, conversation).await?;
        seen.ok_or(StoreError::NoConversation(conversation))?;
        let unsent = read(&mut transaction, caller, conversation).await?;
        unsent.filter(|unsent| unsent.message_text.is_some()).ok_or(StoreError::NothingUnsent(conversation))
    }

    async fn all_unsent(&self, caller: &Caller, page: &UnsentPage) -> Result<Vec<Unsent>, StoreError> {
        let rows: Vec<UnsentRow> = sqlx::query_as(
            "select u.* from unsent_rows u
             join conversation_participants p
                 on p.conversation_id = u.conversation_id and p.user_id = u.user_id and p.left_at is null
             where u.user_id = $1 and u.message_text is not null
                 and ($2 is null or (u.updated_at, u.conversation_id) < ($2, $3))
             order by u.updated_at desc, u.conversation_id desc limit $4",
        )
        .bind(caller.user.as_str())
        .bind(page.after.map(|(at, _)| at))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(page.limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().map(Unsent::from).collect())
    }
}

/// Checks that the caller takes part where they write, and that what they answer is there.
async fn must_take_part(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &UnsentDraft,
) -> Result<(), StoreError> {
    let id = draft.conversation_id;
    messaging::last_seq_if_seen(connection, caller, id).await?.ok_or(StoreError::NoConversation(id))?;
    let reply_to = draft.writing.as_ref().and_then(|writing| writing.reply_to);
    let (takes_part, reply_exists): (bool, bool) = sqlx::query_as(
        "select exists (select 1 from conversation_participants
                 where conversation_id = $1 and user_id = $2 and left_at is null),
             exists (select 1 from messages where id = $3 and conversation_id = $1)",
    )
    .bind(id.0)
    .bind(caller.user.as_str())
    .bind(reply_to.map(|id| id.0))
    .fetch_one(connection)
    .await?;
    match reply_to {
        _ if !takes_part => Err(StoreError::NotAParticipant(id)),
        Some(message) if !reply_exists => Err(StoreError::NoMessage(message)),
        _ => Ok(()),
    }
}

async fn read(
    connection: &mut SqliteConnection,
    caller: &Caller,
    conversation: ConversationId,
) -> Result<Option<Unsent>, StoreError> {
    let row: Option<UnsentRow> =
        sqlx::query_as("select * from unsent_rows where user_id = $1 and conversation_id = $2")
            .bind(caller.user.as_str())
            .bind(conversation.0)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(Unsent::from))
}
