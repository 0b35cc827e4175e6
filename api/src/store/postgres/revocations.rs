//! Revocations in PostgreSQL: functions of `0041_revocations.sql`.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::UserId;
use shared::time::Timestamp;
use shared::upstream::{RevokedAfter, RevokedPage};
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::{Entered, code_of, refusal};
use crate::model::{Revocation, RevocationDraft};
use crate::render;
use crate::store::rows::{REVOKED_AT_ONCE, RevocationRow, number, revoked_page};
use crate::store::rules::{
    MOST_REVOKED_TOKENS, NOT_TO_BE_SEEN, OVER_HOURS, TOO_MANY_REVOKED_TOKENS, is_admin, may_decide_about,
};
use crate::store::{Kept, RevocationPage, Revocations, StoreError};

#[derive(sqlx::FromRow)]
struct KeptRow {
    revocation: Json<RevocationRow>,
    #[sqlx(flatten)]
    entered: Entered,
}

#[async_trait]
impl Revocations for PostgresStore {
    async fn revoke(&self, caller: &Caller, draft: &RevocationDraft) -> Result<Kept<Revocation>, StoreError> {
        may_decide_about(caller, &draft.user_id)?;
        let row: Result<KeptRow, _> =
            sqlx::query_as("select * from carillon_revoke($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
                .bind(caller.user.as_str())
                .bind(draft.id.0)
                .bind(draft.user_id.as_str())
                .bind(draft.token_id.as_deref())
                .bind(draft.until().map(Timestamp::as_datetime))
                .bind(draft.reason.as_deref())
                .bind(draft.expires_at.as_datetime())
                .bind(MOST_REVOKED_TOKENS)
                .bind(draft.idempotency_key.as_ref().map(|key| key.as_str()))
                .bind(draft.body_hash().as_slice())
                .bind(Uuid::from_u128(draft.trace.0))
                .fetch_one(&self.pool)
                .await;
        let KeptRow { revocation, entered } = row.map_err(|error| match code_of(&error).as_deref() {
            Some("CAR01") => TOO_MANY_REVOKED_TOKENS,
            _ => refusal(error, None, None),
        })?;
        let value = Revocation::try_from(revocation.0)?;
        let (created, at) = (entered.created, entered.committed_at());
        let body = render::revoked(&value.user_id, draft.trace, at);
        Ok(Kept { value, created, envelopes: entered.envelopes(render::REVOKED, &body, draft.trace)? })
    }

    async fn revocations(&self, caller: &Caller, page: &RevocationPage) -> Result<Vec<Revocation>, StoreError> {
        if !is_admin(caller) {
            return Err(NOT_TO_BE_SEEN);
        }
        let mut transaction = self.read_as(caller).await?;
        let rows: Vec<RevocationRow> = sqlx::query_as(
            "select r.* from (
                 select x.id from revocations x
                 where ($1::text is null or x.user_id = $1)
                     and ($2::timestamptz is null or (x.revoked_at, x.id) < ($2, $3))
                     and x.expires_at > clock_timestamp()
                 order by x.revoked_at desc, x.id desc limit $4
             ) found join revocation_rows r on r.id = found.id
             order by r.revoked_at desc, r.id desc",
        )
        .bind(page.user_id.as_ref().map(UserId::as_str))
        .bind(page.after.map(|(at, _)| Timestamp::from_micros(at).as_datetime()))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(Revocation::try_from).collect()
    }

    async fn revoked_after(&self, after: &RevokedAfter) -> Result<RevokedPage, StoreError> {
        let (life, head, Json(rows)): (i64, i64, Json<Vec<RevocationRow>>) =
            sqlx::query_as("select life, head, revoked from carillon_revoked_after($1, $2, $3)")
                .bind(after.epoch.map(|epoch| epoch.0.cast_signed()))
                .bind(number(after.after))
                .bind(REVOKED_AT_ONCE)
                .fetch_one(&self.pool)
                .await?;
        revoked_page(life, head, rows)
    }

    async fn forget_revocations(&self, most: u32) -> Result<u64, StoreError> {
        let gone: i64 = sqlx::query_scalar("select carillon_forget_revocations(make_interval(hours => $1), $2)")
            .bind(OVER_HOURS as i32)
            .bind(i64::from(most))
            .fetch_one(&self.pool)
            .await?;
        Ok(gone.unsigned_abs())
    }
}
