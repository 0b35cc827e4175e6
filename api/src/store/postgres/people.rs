//! People in PostgreSQL: functions of `0020_people.sql` and `0021_blocks.sql`. No pod reads the table of users itself.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{TraceId, UserId};
use shared::time::Timestamp;
use sqlx::types::Json;
use uuid::Uuid;

use super::messaging::Entered;
use super::{PostgresStore, attachments};
use crate::model::{Block, BlockDraft, User, UserDraft};
use crate::render;
use crate::store::rows::{BlockRow, UserRow};
use crate::store::rules::{MOST_BLOCKS, MOST_TOLD, NOT_AN_ADMIN, OWN_MESSAGE, TOO_MANY_BLOCKS, may_put_users};
use crate::store::{BlockPage, Kept, People, StoreError};

/// A person of whom something was said.
#[derive(sqlx::FromRow)]
pub(super) struct PersonRow {
    person: Json<UserRow>,
    #[sqlx(flatten)]
    entered: Entered,
}

impl PersonRow {
    pub(super) fn kept(self, kind: &str, trace: TraceId) -> Result<Kept<User>, StoreError> {
        let value = User::try_from(self.person.0)?;
        let (created, at) = (self.entered.created, self.entered.committed_at());
        let envelopes = self.entered.envelopes(kind, &render::user_changed(kind, &value, trace, at), trace)?;
        Ok(Kept { value, created, envelopes })
    }
}

#[derive(sqlx::FromRow)]
struct SetBlockRow {
    blocked_at: Option<i64>,
    #[sqlx(flatten)]
    entered: Entered,
}

#[async_trait]
impl People for PostgresStore {
    async fn put_user(&self, caller: &Caller, draft: &UserDraft) -> Result<Kept<User>, StoreError> {
        may_put_users(caller)?;
        let row: PersonRow = sqlx::query_as("select * from carillon_put_user($1, $2, $3, $4, $5)")
            .bind(draft.id.as_str())
            .bind(draft.role.map(|role| role.as_str()))
            .bind(Json(draft.profile()))
            .bind(i64::try_from(MOST_TOLD).unwrap_or(i64::MAX))
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
            .map_err(refusal)?;
        row.kept(render::USER_UPDATED, draft.trace)
    }

    async fn user(&self, caller: &Caller, id: &UserId) -> Result<User, StoreError> {
        let row: Option<Json<UserRow>> = sqlx::query_scalar("select * from carillon_user($1, $2, $3)")
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.ok_or_else(|| StoreError::NoUser(id.clone()))?.0.try_into()
    }

    async fn set_block(&self, caller: &Caller, draft: &BlockDraft) -> Result<Kept<Option<Block>>, StoreError> {
        let row: SetBlockRow = sqlx::query_as("select * from carillon_set_block($1, $2, $3, $4, $5)")
            .bind(caller.user.as_str())
            .bind(draft.user_id.as_str())
            .bind(draft.blocks)
            .bind(i64::try_from(MOST_BLOCKS).unwrap_or(i64::MAX))
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
            .map_err(refusal)?;
        let since = row.blocked_at.map(Timestamp::from_micros);
        let (created, at) = (row.entered.created, row.entered.committed_at());
        let body = render::blocks_updated(&draft.user_id, since, draft.trace, at);
        let envelopes = row.entered.envelopes(render::BLOCKS_UPDATED, &body, draft.trace)?;
        let value = since.map(|blocked_at| Block { user_id: draft.user_id.clone(), blocked_at });
        Ok(Kept { value, created, envelopes })
    }

    async fn blocks(&self, caller: &Caller, page: &BlockPage) -> Result<Vec<Block>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let rows: Vec<BlockRow> = sqlx::query_as(
            "select blocked_id, carillon_micros(created_at) as blocked_at from user_blocks
             where user_id = $1
                 and ($2::timestamptz is null or created_at < $2 or (created_at = $2 and blocked_id > $3))
             order by created_at desc, blocked_id limit $4",
        )
        .bind(caller.user.as_str())
        .bind(page.after.as_ref().map(|(at, _)| Timestamp::from_micros(*at).as_datetime()))
        .bind(page.after.as_ref().map(|(_, user)| user.as_str()))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(Block::try_from).collect()
    }

    async fn blocked_pairs(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<bool>, StoreError> {
        let (ones, others): (Vec<&str>, Vec<&str>) =
            pairs.iter().map(|(one, other)| (one.as_str(), other.as_str())).unzip();
        let blocked: Option<Vec<bool>> = sqlx::query_scalar("select carillon_blocked_pairs($1, $2)")
            .bind(ones)
            .bind(others)
            .fetch_one(&self.pool)
            .await?;
        Ok(blocked.unwrap_or_default())
    }

    async fn sees_presence(&self, asked: &[(&Caller, &UserId)]) -> Result<Vec<bool>, StoreError> {
        let askers: Vec<&str> = asked.iter().map(|(caller, _)| caller.user.as_str()).collect();
        let trusted: Vec<bool> = asked.iter().map(|(caller, _)| caller.role.is_trusted()).collect();
        let people: Vec<&str> = asked.iter().map(|(_, person)| person.as_str()).collect();
        let sees: Option<Vec<bool>> = sqlx::query_scalar("select carillon_sees_presence($1, $2, $3)")
            .bind(askers)
            .bind(trusted)
            .bind(people)
            .fetch_one(&self.pool)
            .await?;
        Ok(sees.unwrap_or_default())
    }
}

/// What a function refused on account of people, in the words of the store.
pub(super) fn refusal(error: sqlx::Error) -> StoreError {
    let Some(refused) = error.as_database_error() else { return error.into() };
    match refused.code().as_deref() {
        Some("CAP01") => StoreError::Blocked,
        Some("CAP02") => TOO_MANY_BLOCKS,
        Some("CAP03") => StoreError::Banned(refused.message().parse().ok().map(Timestamp::from_micros)),
        Some("CAP04") => OWN_MESSAGE,
        Some("CAP07") => NOT_AN_ADMIN,
        Some("CAP08") => refused.message().parse().map_or_else(StoreError::broken, StoreError::Erased),
        _ => attachments::refusal(error),
    }
}
