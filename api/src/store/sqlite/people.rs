//! People in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::UserId;
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::writing::{self, NewEntry};
use super::{SqliteStore, now};
use crate::model::{Block, BlockDraft, User, UserDraft};
use crate::render;
use crate::store::rows::{BlockRow, UserRow};
use crate::store::rules::{MOST_BLOCKS, MOST_TOLD, TOO_MANY_BLOCKS, may_put_users};
use crate::store::{BlockPage, Kept, People, StoreError};

#[async_trait]
impl People for SqliteStore {
    async fn put_user(&self, caller: &Caller, draft: &UserDraft) -> Result<Kept<User>, StoreError> {
        may_put_users(caller)?;
        let (id, at) = (&draft.id, now());
        let mut transaction = self.write().await?;
        refuse_erased(&mut transaction, [id]).await?;
        let created = put(&mut transaction, draft, at).await?;
        let value = read(&mut transaction, id).await?;
        let mut envelopes = Vec::new();
        if created {
            let (kind, at, trace) = (render::USER_UPDATED, Timestamp::from_micros(at), draft.trace);
            let entry = NewEntry { kind, conversation: None, message: None, user: Some(id), trace, at };
            let channels = circle(&mut transaction, id).await?;
            let body = render::user_changed(kind, &value, trace, at);
            envelopes = writing::enter(&mut transaction, &channels, &entry, &body).await?;
        }
        transaction.commit().await?;
        Ok(Kept { value, created, envelopes })
    }

    async fn user(&self, caller: &Caller, id: &UserId) -> Result<User, StoreError> {
        let sees_all = caller.role.is_trusted() || caller.user == *id;
        let row: Option<UserRow> = sqlx::query_as(
            "select one.id, u.role, u.name, u.avatar_url, iif($3, u.email, null) as email, u.locale, u.time_zone, u.version,
                 u.updated_at, u.erased_at, case when $4 then u.ban when $3 then json_remove(u.ban, '$.banned_by') end as ban
             from (select $2 as id) one left join user_rows u on u.id = one.id
             where $1 = $2
                 or ($3 and (u.id is not null or exists (select 1 from conversation_participants where user_id = $2)))
                 or exists (
                     select 1 from conversation_participants mine
                     join conversation_participants theirs using (conversation_id)
                     where mine.user_id = $1 and mine.left_at is null and theirs.user_id = $2 and theirs.left_at is null
                 )",
        )
        .bind(caller.user.as_str())
        .bind(id.as_str())
        .bind(sees_all)
        .bind(caller.role.is_trusted())
        .fetch_optional(&mut *self.readers.acquire().await?)
        .await?;
        row.ok_or_else(|| StoreError::NoUser(id.clone()))?.try_into()
    }

    async fn set_block(&self, caller: &Caller, draft: &BlockDraft) -> Result<Kept<Option<Block>>, StoreError> {
        let (user, at) = (&draft.user_id, now());
        let mut transaction = self.write_as(caller).await?;
        let created = if draft.blocks {
            block(&mut transaction, caller, user, at).await?
        } else {
            unblock(&mut transaction, caller, user).await?
        };
        let since: Option<i64> =
            sqlx::query_scalar("select created_at from user_blocks where user_id = $1 and blocked_id = $2")
                .bind(caller.user.as_str())
                .bind(user.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        let value = since.map(|since| Block { user_id: user.clone(), blocked_at: Timestamp::from_micros(since) });
        let mut envelopes = Vec::new();
        if created {
            let (kind, at, trace) = (render::BLOCKS_UPDATED, Timestamp::from_micros(at), draft.trace);
            let entry = NewEntry { kind, conversation: None, message: None, user: Some(user), trace, at };
            let body = render::blocks_updated(user, value.as_ref().map(|block| block.blocked_at), trace, at);
            let own = [format!("user:{}", caller.user)];
            envelopes = writing::enter(&mut transaction, &own, &entry, &body).await?;
        }
        transaction.commit().await?;
        Ok(Kept { value, created, envelopes })
    }

    async fn blocks(&self, caller: &Caller, page: &BlockPage) -> Result<Vec<Block>, StoreError> {
        let rows: Vec<BlockRow> = sqlx::query_as(
            "select blocked_id, created_at as blocked_at from user_blocks
             where user_id = $1 and ($2 is null or created_at < $2 or (created_at = $2 and blocked_id > $3))
             order by created_at desc, blocked_id limit $4",
        )
        .bind(caller.user.as_str())
        .bind(page.after.as_ref().map(|(at, _)| at))
        .bind(page.after.as_ref().map(|(_, user)| user.as_str()))
        .bind(page.limit)
        .fetch_all(&mut *self.readers.acquire().await?)
        .await?;
        rows.into_iter().map(Block::try_from).collect()
    }

    async fn blocked_pairs(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<bool>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let mut blocked = Vec::with_capacity(pairs.len());
        for (one, other) in pairs {
            blocked.push(are_blocked(&mut connection, one.as_str(), other.as_str()).await?);
        }
        Ok(blocked)
    }

    async fn sees_presence(&self, asked: &[(&Caller, &UserId)]) -> Result<Vec<bool>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let mut sees = Vec::with_capacity(asked.len());
        for (caller, person) in asked {
            let one = sqlx::query_scalar(
                "select $1 = $2 or (
                     coalesce((select presence from privacy_settings where user_id = $2), true)
                     and not exists (select 1 from users where id = $2 and erased_at is not null)
                     and not exists (select 1 from user_blocks where user_id = $1 and blocked_id = $2)
                     and not exists (select 1 from user_blocks where user_id = $2 and blocked_id = $1)
                     and ($3 or exists (
                         select 1 from conversation_participants mine
                         join conversation_participants theirs using (conversation_id)
                         where mine.user_id = $1 and mine.left_at is null
                             and theirs.user_id = $2 and theirs.left_at is null
                     ))
                 )",
            );
            let one = one.bind(caller.user.as_str()).bind(person.as_str()).bind(caller.role.is_trusted());
            sees.push(one.fetch_one(&mut *connection).await?);
        }
        Ok(sees)
    }
}

async fn block(connection: &mut SqliteConnection, caller: &Caller, user: &UserId, at: i64) -> Result<bool, StoreError> {
    let made = sqlx::query(
        "insert into user_blocks (user_id, blocked_id, created_at) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(caller.user.as_str())
    .bind(user.as_str())
    .bind(at)
    .execute(&mut *connection)
    .await?;
    let count: i64 = sqlx::query_scalar("select count(*) from user_blocks where user_id = $1")
        .bind(caller.user.as_str())
        .fetch_one(connection)
        .await?;
    if count.unsigned_abs() > MOST_BLOCKS { Err(TOO_MANY_BLOCKS) } else { Ok(made.rows_affected() > 0) }
}

async fn unblock(connection: &mut SqliteConnection, caller: &Caller, user: &UserId) -> Result<bool, StoreError> {
    let gone = sqlx::query("delete from user_blocks where user_id = $1 and blocked_id = $2")
        .bind(caller.user.as_str())
        .bind(user.as_str())
        .execute(connection)
        .await?;
    Ok(gone.rows_affected() > 0)
}

pub(super) async fn are_blocked(connection: &mut SqliteConnection, one: &str, other: &str) -> Result<bool, StoreError> {
    let blocked = sqlx::query_scalar(
        "select exists (select 1 from user_blocks where user_id = $1 and blocked_id = $2)
             or exists (select 1 from user_blocks where user_id = $2 and blocked_id = $1)",
    );
    Ok(blocked.bind(one).bind(other).fetch_one(connection).await?)
}

/// Refuses what would reach the other one of a pair of whom one has blocked the other.
pub(super) async fn refuse_blocked(connection: &mut SqliteConnection, pair: Option<&str>) -> Result<(), StoreError> {
    let Some((one, other)) = pair.and_then(|pair| pair.split_once(' ')) else { return Ok(()) };
    if are_blocked(connection, one, other).await? { Err(StoreError::Blocked) } else { Ok(()) }
}

/// One person, with everything that is known of them.
pub(super) async fn read(connection: &mut SqliteConnection, id: &UserId) -> Result<User, StoreError> {
    let row: UserRow =
        sqlx::query_as("select * from user_rows where id = $1").bind(id.as_str()).fetch_one(connection).await?;
    row.try_into()
}

/// Refuses whoever is banned or erased.
pub(super) async fn refuse_banned(connection: &mut SqliteConnection, caller: &Caller) -> Result<(), StoreError> {
    refuse_erased(connection, [&caller.user]).await?;
    let ban: Option<Option<i64>> = sqlx::query_scalar(
        "select ban_expires_at from users
         where id = $1 and banned_at is not null and coalesce(ban_expires_at > $2, true)",
    )
    .bind(caller.user.as_str())
    .bind(now())
    .fetch_optional(connection)
    .await?;
    ban.map_or(Ok(()), |end| Err(StoreError::Banned(end.map(Timestamp::from_micros))))
}

/// Refuses to have to do with people who were erased.
pub(super) async fn refuse_erased(
    connection: &mut SqliteConnection,
    users: impl IntoIterator<Item = &UserId>,
) -> Result<(), StoreError> {
    for user in users {
        if is_erased(connection, user).await? {
            return Err(StoreError::Erased(user.clone()));
        }
    }
    Ok(())
}

pub(super) async fn is_erased(connection: &mut SqliteConnection, user: &UserId) -> Result<bool, StoreError> {
    let erased = sqlx::query_scalar("select exists (select 1 from users where id = $1 and erased_at is not null)");
    Ok(erased.bind(user.as_str()).fetch_one(connection).await?)
}

/// Keeps what is said of a person; false if it is nothing new.
async fn put(connection: &mut SqliteConnection, draft: &UserDraft, at: i64) -> Result<bool, StoreError> {
    let role = draft.role.map(|role| role.as_str());
    sqlx::query("insert into users (id, role, seen_at) values ($1, coalesce($2, 'guest'), $3) on conflict do nothing")
        .bind(draft.id.as_str())
        .bind(role)
        .bind(at)
        .execute(&mut *connection)
        .await?;
    let changed = sqlx::query(
        "update users set
             role = coalesce($2, role), name = $3 ->> 'name', avatar_url = $3 ->> 'avatar_url', email = $3 ->> 'email',
             locale = $3 ->> 'locale', time_zone = $3 ->> 'time_zone', version = version + 1, updated_at = $4
         where id = $1 and (
             updated_at is null or role is not coalesce($2, role) or name is not $3 ->> 'name'
             or avatar_url is not $3 ->> 'avatar_url' or email is not $3 ->> 'email'
             or locale is not $3 ->> 'locale' or time_zone is not $3 ->> 'time_zone'
         )",
    )
    .bind(draft.id.as_str())
    .bind(role)
    .bind(Json(draft.profile()))
    .bind(at)
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// The feeds of those whom a person's profile concerns: their own, and those of at most so many others who are with them in the
/// conversations last active. Everybody else finds it when they look.
pub(super) async fn circle(connection: &mut SqliteConnection, user: &UserId) -> Result<Vec<String>, StoreError> {
    let mut channels: Vec<String> = sqlx::query_scalar(
        "with places as (
             select p.conversation_id, coalesce(c.last_message_at, c.created_at) as active_at
             from conversation_participants p join conversations c on c.id = p.conversation_id
             where p.user_id = $1 and p.left_at is null order by active_at desc limit $2
         )
         select 'user:' || o.user_id from places join conversation_participants o using (conversation_id)
         where o.user_id <> $1 and o.left_at is null
         group by o.user_id order by max(places.active_at) desc, o.user_id limit $2",
    )
    .bind(user.as_str())
    .bind(i64::try_from(MOST_TOLD).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    channels.push(format!("user:{user}"));
    Ok(channels)
}
