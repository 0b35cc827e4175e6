//! The owner's way into a database behind the store's back, for tests.

use sqlx::AssertSqlSafe;

use crate::store::StoreError;
use crate::store::open::Place;

/// An own way into the database.
#[derive(Debug, Clone)]
pub(super) enum Console {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Console {
    pub(super) async fn open(place: Place) -> Result<Self, StoreError> {
        match place {
            Place::Sqlite(path) => {
                let options = crate::store::sqlite::options(&path);
                Ok(Self::Sqlite(sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect_with(options).await?))
            }
            Place::Postgres(options) => Ok(Self::Postgres(
                sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_with(*options).await?,
            )),
        }
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<(), StoreError> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::query(sql).execute(pool).await.map(drop)?,
            Self::Postgres(pool) => sqlx::query(sql).execute(pool).await.map(drop)?,
        }
        Ok(())
    }

    pub(super) async fn number(&self, sql: &str) -> Result<i64, StoreError> {
        let sql = AssertSqlSafe(sql.to_owned());
        Ok(match self {
            Self::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
            Self::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
        })
    }

    /// Makes every row of the outbox eleven seconds older.
    pub(super) async fn age_outbox(&self) -> Result<(), StoreError> {
        self.execute(match self {
            Self::Sqlite(_) => {
                "update outbox set created_at = created_at - 11000000, first_read_at = first_read_at - 11000000"
            }
            Self::Postgres(_) => {
                "update outbox set created_at = created_at - interval '11 s', first_read_at = first_read_at - interval '11 s'"
            }
        })
        .await
    }

    /// Makes messages with such a text as old as that.
    pub(super) async fn backdate(&self, pattern: &str, to: &str) -> Result<(), StoreError> {
        let moment = match self {
            Self::Sqlite(_) => format!("unixepoch('{to}') * 1000000"),
            Self::Postgres(_) => format!("'{to}'"),
        };
        self.execute(&format!("update messages set created_at = {moment} where message_text like '{pattern}'")).await
    }

    /// Attaches a picture to the messages with this text.
    pub(super) async fn attach(&self, text: &str) -> Result<(), StoreError> {
        let (id, now) = match self {
            Self::Sqlite(_) => ("randomblob(16)", "0"),
            Self::Postgres(_) => ("gen_random_uuid()", "now()"),
        };
        self.execute(&format!(
            "insert into message_attachments (id, message_id, file_name, file_type, file_size, file_url, created_at,
                 uploader_id, kind, state)
             select {id}, id, 'a.png', 'image/png', 1, 'x', {now}, sender_id, 'image', 'attached'
             from messages where message_text = '{text}'"
        ))
        .await
    }

    /// Revokes all tokens of `u1`, `u2` and so on, as many people as are wanted, by as many entries of the fleet's feed.
    pub(super) async fn fill_revocations(&self, people: u32) -> Result<(), StoreError> {
        let (id, now, hour) = match self {
            Self::Sqlite(_) => ("randomblob(16)", "unixepoch() * 1000000", "3600000000"),
            Self::Postgres(_) => ("gen_random_uuid()", "now()", "interval '1 hour'"),
        };
        self.execute(&format!("insert into feeds (channel, seq) values ('fleet', {people})")).await?;
        self.execute(&format!(
            "with recursive n (number) as (select 1 union all select number + 1 from n where number < {people})
             insert into revocations (id, user_id, issued_until, revoked_by, revoked_at, expires_at, fleet_seq)
             select {id}, 'u' || number, {now}, 'robot', {now}, {now} + {hour}, number from n"
        ))
        .await
    }

    /// Ends the revocations of people of such a name an hour and a second ago.
    pub(super) async fn expire_revocations(&self, pattern: &str) -> Result<(), StoreError> {
        let moment = match self {
            Self::Sqlite(_) => "unixepoch() * 1000000 - 3601000000",
            Self::Postgres(_) => "now() - interval '3601 s'",
        };
        self.execute(&format!("update revocations set expires_at = {moment} where user_id like '{pattern}'")).await
    }

    /// Makes every attachment that waits for a message a day older.
    pub(super) async fn age_attachments(&self) -> Result<(), StoreError> {
        self.execute(match self {
            Self::Sqlite(_) => "update message_attachments set expires_at = expires_at - 86400000000",
            Self::Postgres(_) => "update message_attachments set expires_at = expires_at - interval '1 day'",
        })
        .await
    }
}
