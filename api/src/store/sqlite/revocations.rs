//! Revocations in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::channel::Channel;
use shared::ids::UserId;
use shared::time::Timestamp;
use shared::upstream::{RevokedAfter, RevokedPage};
use sqlx::SqliteConnection;

use super::writing::{self, Claim, NewEntry};
use super::{SqliteStore, now, today};
use crate::model::{Revocation, RevocationDraft};
use crate::render;
use crate::store::rows::{REVOKED_AT_ONCE, RevocationRow, number, revoked_page};
use crate::store::rules::{
    MOST_REVOKED_TOKENS, NOT_TO_BE_SEEN, OVER_HOURS, TOO_MANY_REVOKED_TOKENS, is_admin, may_decide_about,
};
use crate::store::{Kept, RevocationPage, Revocations, StoreError};

#[async_trait]
impl Revocations for SqliteStore {
    async fn revoke(&self, caller: &Caller, draft: &RevocationDraft) -> Result<Kept<Revocation>, StoreError> {
        may_decide_about(caller, &draft.user_id)?;
        let mut transaction = self.write().await?;
        let key = draft.idempotency_key.as_ref();
        let claim = Claim { caller, path: "revocations", key, body_hash: draft.body_hash() };
        let at = now();
        let first = claim.made(&mut transaction).await?;
        // What the key revoked may be over and forgotten.
        let is_there: bool = sqlx::query_scalar("select exists (select 1 from revocations where id = $1)")
            .bind(first)
            .fetch_one(&mut *transaction)
            .await?;
        let created = !is_there && insert(&mut transaction, caller, draft, at).await?;
        let mut envelopes = Vec::new();
        if created {
            let (kind, user, trace, at) = (render::REVOKED, &draft.user_id, draft.trace, Timestamp::from_micros(at));
            let entry = NewEntry { kind, conversation: None, message: None, user: Some(user), trace, at };
            let body = render::revoked(user, trace, at);
            envelopes = writing::enter(&mut transaction, &[Channel::Fleet.to_string()], &entry, &body).await?;
            sqlx::query(
                "update revocations set fleet_seq = (select seq from feeds where channel = 'fleet')
                 where user_id = $1 and token_id is $2",
            )
            .bind(user.as_str())
            .bind(&draft.token_id)
            .execute(&mut *transaction)
            .await?;
        }
        let row: RevocationRow = sqlx::query_as("select * from revocations where user_id = $1 and token_id is $2")
            .bind(draft.user_id.as_str())
            .bind(&draft.token_id)
            .fetch_one(&mut *transaction)
            .await?;
        let value = Revocation::try_from(row)?;
        claim.keep(&mut transaction, value.id.0).await?;
        transaction.commit().await?;
        Ok(Kept { value, created, envelopes })
    }

    async fn revocations(&self, caller: &Caller, page: &RevocationPage) -> Result<Vec<Revocation>, StoreError> {
        if !is_admin(caller) {
            return Err(NOT_TO_BE_SEEN);
        }
        let rows: Vec<RevocationRow> = sqlx::query_as(
            "select * from revocations
             where ($1 is null or user_id = $1) and ($2 is null or (revoked_at, id) < ($2, $3)) and expires_at > $5
             order by revoked_at desc, id desc limit $4",
        )
        .bind(page.user_id.as_ref().map(UserId::as_str))
        .bind(page.after.map(|(at, _)| at))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(page.limit)
        .bind(now())
        .fetch_all(&mut *self.readers.acquire().await?)
        .await?;
        rows.into_iter().map(Revocation::try_from).collect()
    }

    async fn revoked_after(&self, after: &RevokedAfter) -> Result<RevokedPage, StoreError> {
        let mut transaction = self.read().await?;
        let life = today(&mut transaction).await?;
        let head: i64 = sqlx::query_scalar("select coalesce(max(seq), 0) from feeds where channel = 'fleet'")
            .fetch_one(&mut *transaction)
            .await?;
        let continues = after.epoch.is_some_and(|epoch| epoch.0.cast_signed() == life) && number(after.after) <= head;
        let rows = sqlx::query_as("select * from revocations where fleet_seq > $1 order by fleet_seq limit $2")
            .bind(if continues { number(after.after) } else { 0 })
            .bind(REVOKED_AT_ONCE)
            .fetch_all(&mut *transaction)
            .await?;
        revoked_page(life, head, rows)
    }

    async fn forget_revocations(&self, most: u32) -> Result<u64, StoreError> {
        let mut transaction = self.write().await?;
        let gone = sqlx::query(
            "delete from revocations where id in (
                 select id from revocations where expires_at < $1 order by expires_at limit $2)",
        )
        .bind(now() - i64::from(OVER_HOURS) * 3_600_000_000)
        .bind(most)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(gone.rows_affected())
    }
}

/// Keeps it, or moves the moment of the one that is there; false if it says nothing new.
async fn insert(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &RevocationDraft,
    at: i64,
) -> Result<bool, StoreError> {
    // Compared with nothing, nothing is counted.
    let others: i64 = sqlx::query_scalar("select count(*) from revocations where user_id = $1 and token_id <> $2")
        .bind(draft.user_id.as_str())
        .bind(&draft.token_id)
        .fetch_one(&mut *connection)
        .await?;
    if others >= MOST_REVOKED_TOKENS {
        return Err(TOO_MANY_REVOKED_TOKENS);
    }
    let made = sqlx::query(
        "insert into revocations
             (id, user_id, token_id, issued_until, reason, revoked_by, revoked_at, expires_at, fleet_seq)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 0)
         on conflict (user_id, ifnull(token_id, '')) do update
             set issued_until = excluded.issued_until, reason = excluded.reason, revoked_by = excluded.revoked_by,
                 revoked_at = excluded.revoked_at, expires_at = max(expires_at, excluded.expires_at)
             where issued_until < excluded.issued_until",
    )
    .bind(draft.id.0)
    .bind(draft.user_id.as_str())
    .bind(&draft.token_id)
    .bind(draft.until().map(Timestamp::as_micros))
    .bind(&draft.reason)
    .bind(caller.user.as_str())
    .bind(at)
    .bind(draft.expires_at.as_micros())
    .execute(connection)
    .await?;
    Ok(made.rows_affected() > 0)
}
