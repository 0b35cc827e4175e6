//! Attachments in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::AttachmentId;
use sqlx::SqliteConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::writing::Claim;
use super::{SqliteStore, now, people};
use crate::attachments::model::{AttachmentDraft, AttachmentKind, AttachmentState, FiledAttachment, Found};
use crate::model::{MessageDraft, MessageType};
use crate::store::rows::{AttachmentRow, spelling, word};
use crate::store::rules::{MOST_UNATTACHED, TOO_MANY_UNATTACHED, UNATTACHED_HOURS};
use crate::store::{Attachments, Kept, StoreError};

/// How long one waits for its message, in microseconds.
const WAITS: i64 = UNATTACHED_HOURS as i64 * 3_600 * 1_000_000;

#[async_trait]
impl Attachments for SqliteStore {
    async fn reserve(&self, caller: &Caller, draft: &AttachmentDraft) -> Result<Kept<FiledAttachment>, StoreError> {
        let mut transaction = self.write().await?;
        let key = draft.idempotency_key.as_ref();
        let claim = Claim { caller, path: "attachments", key, body_hash: draft.body_hash() };
        let first = claim.made(&mut transaction).await?;
        if first.is_none() {
            people::refuse_banned(&mut transaction, caller).await?;
            insert(&mut transaction, caller, draft).await?;
            claim.keep(&mut transaction, draft.id.0).await?;
        }
        let row: Option<Json<AttachmentRow>> = sqlx::query_scalar("select json from attachment_rows where id = $1")
            .bind(first.unwrap_or(draft.id.0))
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        // A repeat may come after the first was given up and forgotten.
        let Json(row) = row.ok_or(StoreError::NoAttachment(draft.id))?;
        Ok(Kept { value: row.try_into()?, created: first.is_none(), envelopes: Vec::new() })
    }

    async fn attachment(&self, caller: Option<&Caller>, id: AttachmentId) -> Result<FiledAttachment, StoreError> {
        let row: Option<Json<AttachmentRow>> = sqlx::query_scalar(
            "select a.json from attachment_rows a
             left join messages m on m.id = a.message_id
             left join conversation_participants p
                 on p.conversation_id = m.conversation_id and p.user_id = $2 and p.left_at is null
             where a.id = $1 and (
                 m.deleted_at is null and case
                     when $2 is null then a.state in ('complete', 'attached')
                     when a.message_id is null then a.uploader_id = $2
                     else $3 or p.user_id is not null
                 end
                 or exists (
                     select 1 from forwarded_attachments f join messages o on o.id = f.message_id
                     where f.attachment_id = a.id and ($2 is null or $3 or exists (
                         select 1 from conversation_participants q
                         where q.conversation_id = o.conversation_id and q.user_id = $2 and q.left_at is null))
                 )
             )",
        )
        .bind(id.0)
        .bind(caller.map(|caller| caller.user.as_str()))
        .bind(caller.is_some_and(|caller| caller.role.is_trusted()))
        .fetch_optional(&self.readers)
        .await?;
        row.ok_or(StoreError::NoAttachment(id))?.0.try_into()
    }

    async fn complete_attachment(
        &self,
        caller: &Caller,
        id: AttachmentId,
        found: &Found,
    ) -> Result<FiledAttachment, StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "update message_attachments
             set state = 'complete', sha256 = $3, width = $4, height = $5, has_thumbnail = $6
             where id = $1 and uploader_id = $2 and state = 'reserved'",
        )
        .bind(id.0)
        .bind(caller.user.as_str())
        .bind(&found.sha256)
        .bind(found.picture.map(|picture| picture.width))
        .bind(found.picture.map(|picture| picture.height))
        .bind(found.picture.is_some())
        .execute(&mut *transaction)
        .await?;
        let row: Option<Json<AttachmentRow>> = sqlx::query_scalar(
            "select json from attachment_rows where id = $1 and uploader_id = $2 and state in ('complete', 'attached')",
        )
        .bind(id.0)
        .bind(caller.user.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        row.ok_or(StoreError::NoAttachment(id))?.0.try_into()
    }

    async fn expire_attachments(&self, most: u32) -> Result<Vec<AttachmentId>, StoreError> {
        let mut transaction = self.write().await?;
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "update message_attachments set state = 'expired'
             where id in (select id from message_attachments where expires_at <= $1 order by expires_at limit $2)
             returning id",
        )
        .bind(now())
        .bind(most)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(ids.into_iter().map(AttachmentId).collect())
    }

    async fn forget_attachments(&self, ids: &[AttachmentId]) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        for id in ids {
            sqlx::query("delete from message_attachments where id = $1 and state = 'expired'")
                .bind(id.0)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn insert(connection: &mut SqliteConnection, caller: &Caller, draft: &AttachmentDraft) -> Result<(), StoreError> {
    let waiting: u32 =
        sqlx::query_scalar("select count(*) from message_attachments where uploader_id = $1 and message_id is null")
            .bind(caller.user.as_str())
            .fetch_one(&mut *connection)
            .await?;
    if waiting >= MOST_UNATTACHED {
        return Err(TOO_MANY_UNATTACHED);
    }
    let at = now();
    sqlx::query(
        "insert into message_attachments (id, file_name, file_type, file_size, file_url, created_at, uploader_id, kind, sha256,
             duration_ms, waveform, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(draft.id.0)
    .bind(&draft.file_name)
    .bind(&draft.file_type)
    .bind(draft.file_size.cast_signed())
    .bind(draft.url())
    .bind(at)
    .bind(caller.user.as_str())
    .bind(spelling(draft.kind))
    .bind(&draft.sha256)
    .bind(draft.duration_ms.map(u64::cast_signed))
    .bind(draft.waveform.as_ref().map(Json))
    .bind(at + WAITS)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the message bring what its draft names, in that order; all of it or nothing.
pub(super) async fn attach(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &MessageDraft,
) -> Result<(), StoreError> {
    for (place, id) in (0_i64..).zip(&draft.attachment_ids) {
        let found: Option<(String, String)> =
            sqlx::query_as("select state, kind from message_attachments where id = $1 and uploader_id = $2")
                .bind(id.0)
                .bind(caller.user.as_str())
                .fetch_optional(&mut *connection)
                .await?;
        let (state, kind) = found.unzip();
        match state.map(word).transpose()? {
            None | Some(AttachmentState::Expired) => return Err(StoreError::NoAttachment(*id)),
            Some(AttachmentState::Reserved) => return Err(StoreError::NotComplete(*id)),
            Some(AttachmentState::Attached) => return Err(StoreError::AttachedElsewhere(*id)),
            Some(AttachmentState::Complete) => {}
        }
        let kind = kind.map(word::<AttachmentKind>).transpose()?;
        if draft.message_type == MessageType::Voice && kind != Some(AttachmentKind::Voice) {
            return Err(StoreError::NotVoice(*id));
        }
        sqlx::query(
            "update message_attachments set message_id = $2, state = 'attached', place = $3, expires_at = null where id = $1",
        )
        .bind(id.0)
        .bind(draft.id.0)
        .bind(place)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
