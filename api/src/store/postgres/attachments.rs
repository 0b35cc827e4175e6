//! Attachments in PostgreSQL.
//!
//! Functions of `0011_attachments.sql` write; reads run as the caller under row-level security, except for whoever bears a link.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::AttachmentId;
use sqlx::types::Json;
use uuid::Uuid;

use super::{PostgresStore, people};
use crate::attachments::model::{AttachmentDraft, FiledAttachment, Found};
use crate::store::rows::{AttachmentRow, spelling};
use crate::store::rules::{MOST_UNATTACHED, TOO_MANY_UNATTACHED, UNATTACHED_HOURS};
use crate::store::{Attachments, Kept, StoreError};

#[async_trait]
impl Attachments for PostgresStore {
    async fn reserve(&self, caller: &Caller, draft: &AttachmentDraft) -> Result<Kept<FiledAttachment>, StoreError> {
        let reserved: Result<(bool, Option<Json<AttachmentRow>>), _> = sqlx::query_as(
            "select created, attachment from carillon_reserve_attachment($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                 make_interval(hours => $11), $12, $13, $14)",
        )
        .bind(caller.user.as_str())
        .bind(draft.id.0)
        .bind(&draft.file_name)
        .bind(&draft.file_type)
        .bind(signed(draft.file_size))
        .bind(draft.url())
        .bind(spelling(draft.kind))
        .bind(draft.sha256.as_deref())
        .bind(draft.duration_ms.map(signed))
        .bind(draft.waveform.as_ref().map(Json))
        .bind(i32::try_from(UNATTACHED_HOURS).unwrap_or(i32::MAX))
        .bind(i64::from(MOST_UNATTACHED))
        .bind(draft.idempotency_key.as_ref().map(|key| key.as_str()))
        .bind(draft.body_hash().as_slice())
        .fetch_one(&self.pool)
        .await;
        let (created, row) = reserved.map_err(people::refusal)?;
        // A repeat may come after the first was given up and forgotten.
        let Json(row) = row.ok_or(StoreError::NoAttachment(draft.id))?;
        Ok(Kept { value: row.try_into()?, created, envelopes: Vec::new() })
    }

    async fn attachment(&self, caller: Option<&Caller>, id: AttachmentId) -> Result<FiledAttachment, StoreError> {
        let row: Option<Json<AttachmentRow>> = match caller {
            None => {
                let linked = sqlx::query_scalar("select * from carillon_linked_attachment($1)");
                linked.bind(id.0).fetch_optional(&self.pool).await?
            }
            Some(caller) => {
                let mut transaction = self.read_as(caller).await?;
                let row = sqlx::query_scalar(
                    "select to_jsonb(a) from attachment_rows a
                     left join messages m on m.id = a.message_id
                     left join conversation_participants p
                         on p.conversation_id = m.conversation_id and p.user_id = $2 and p.left_at is null
                     where a.id = $1 and (
                         m.deleted_at is null and case
                             when a.message_id is null then a.uploader_id = $2
                             else $3 or p.user_id is not null
                         end
                         or exists (
                             select from forwarded_attachments f join messages o on o.id = f.message_id
                             where f.attachment_id = a.id and ($3 or exists (
                                 select from conversation_participants q
                                 where q.conversation_id = o.conversation_id and q.user_id = $2 and q.left_at is null))
                         )
                     )",
                )
                .bind(id.0)
                .bind(caller.user.as_str())
                .bind(caller.role.is_trusted())
                .fetch_optional(&mut *transaction)
                .await?;
                transaction.commit().await?;
                row
            }
        };
        row.ok_or(StoreError::NoAttachment(id))?.0.try_into()
    }

    async fn complete_attachment(
        &self,
        caller: &Caller,
        id: AttachmentId,
        found: &Found,
    ) -> Result<FiledAttachment, StoreError> {
        let row: Option<Json<AttachmentRow>> =
            sqlx::query_scalar("select * from carillon_complete_attachment($1, $2, $3, $4, $5, $6)")
                .bind(caller.user.as_str())
                .bind(id.0)
                .bind(&found.sha256)
                .bind(found.picture.map(|picture| i64::from(picture.width)))
                .bind(found.picture.map(|picture| i64::from(picture.height)))
                .bind(found.picture.is_some())
                .fetch_optional(&self.pool)
                .await?;
        row.ok_or(StoreError::NoAttachment(id))?.0.try_into()
    }

    async fn expire_attachments(&self, most: u32) -> Result<Vec<AttachmentId>, StoreError> {
        let ids: Vec<Uuid> = sqlx::query_scalar("select * from carillon_expire_attachments($1)")
            .bind(i64::from(most))
            .fetch_all(&self.pool)
            .await?;
        Ok(ids.into_iter().map(AttachmentId).collect())
    }

    async fn forget_attachments(&self, ids: &[AttachmentId]) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        sqlx::query("select carillon_forget_attachments($1)").bind(ids).execute(&self.pool).await?;
        Ok(())
    }
}

/// A number as the database keeps it; the limits are far below.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What a function refused on account of attachments, in the words of the store.
pub(super) fn refusal(error: sqlx::Error) -> StoreError {
    let Some(refused) = error.as_database_error() else { return error.into() };
    let id = refused.message().parse().map(AttachmentId).ok();
    match (refused.code().as_deref(), id) {
        (Some("CAA01"), Some(id)) => StoreError::NoAttachment(id),
        (Some("CAA02"), Some(id)) => StoreError::NotComplete(id),
        (Some("CAA03"), Some(id)) => StoreError::AttachedElsewhere(id),
        (Some("CAA05"), Some(id)) => StoreError::NotVoice(id),
        (Some("CAA04"), _) => TOO_MANY_UNATTACHED,
        (Some("CA004"), _) => StoreError::KeyReused,
        _ => error.into(),
    }
}
