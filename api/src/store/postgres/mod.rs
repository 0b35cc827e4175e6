//! The store of a fleet: PostgreSQL 15 or later.
//!
//! Pods are `carillon_app` from the moment they connect: they write through functions of the database, one call in autocommit per
//! write, and read as the caller under row-level security. What the fleet asks for itself (heads, differences, positions, the
//! outbox) are functions too. Waiting is bounded everywhere, and a database that does not answer in time is
//! [`StoreError::Unavailable`].

mod attachments;
mod changing;
mod feeds;
mod jobs;
mod messaging;
mod migrate;
mod moderation;
mod outbox;
mod people;
mod reading;
mod revocations;
mod schedule;
mod search;
mod threads;
mod unsent;

use std::time::Duration;

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::Epoch;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Transaction};

use super::rows::epoch;
use super::{Health, StoreError, schema};

pub(super) use migrate::{migrate, new_epoch};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a request waits for a connection of the pool.
const ACQUIRE: Duration = Duration::from_secs(3);

/// After so much rest a connection is asked whether its server is still there.
const RESTED: Duration = Duration::from_millis(500);

/// How long opening a connection for one purpose may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A store in a PostgreSQL database.
pub(super) struct PostgresStore {
    pool: PgPool,
    options: PgConnectOptions,
}

impl PostgresStore {
    /// Names the database; it is reached when first used.
    pub(super) fn open(options: PgConnectOptions, connections: u32) -> Self {
        let options = as_pod(options);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            // Asking whether it still lives costs a round trip; under load the last request has just told.
            .test_before_acquire(false)
            .before_acquire(|connection, seen| {
                Box::pin(async move {
                    if seen.idle_for > RESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_connect(|connection, _| Box::pin(greet(connection)))
            .connect_lazy_with(options.clone());
        Self { pool, options }
    }

    /// Begins a transaction that reads one moment, as `caller`: row-level security shows what is theirs.
    async fn read_as(&self, caller: &Caller) -> Result<Transaction<'static, Postgres>, StoreError> {
        // Both are words of alphabets without quotes, checked when they were parsed.
        let begin = format!(
            "begin isolation level repeatable read read only; \
             set local carillon.user_id = '{}'; set local carillon.role = '{}'",
            caller.user, caller.role
        );
        Ok(self.pool.begin_with(AssertSqlSafe(begin)).await?)
    }

    /// As [`read_as`](Self::read_as), for a question whose cost its asker chooses or that counts everything: it is given up after
    /// three seconds, and does not hold connections for long that others need.
    async fn ask_as(&self, caller: &Caller) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        sqlx::query("set local statement_timeout = 3000").execute(&mut *transaction).await?;
        Ok(transaction)
    }
}

/// Connects as a pod does: without rights of its own, and never waiting for long.
fn as_pod(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("carillon").options([
        ("role", "carillon_app"),
        ("lock_timeout", "2s"),
        ("statement_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "5s"),
        // Every question finds its few rows by an index. Planning it anew would cost more than answering it, and a plan made
        // while the tables were small would read them whole when they have grown.
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
        // A message with a word too long to be searched for is a message all the same, and nothing to be told of.
        ("client_min_messages", "warning"),
    ])
}

/// Today's epoch. Begins another one if this is no longer the server that gave the numbers.
async fn today(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select carillon_epoch()").fetch_one(connection).await
}

/// Looks at the server behind a new connection of the pool. One to a database without schema is let be: [`Health::check`] says
/// what is wrong with it.
async fn greet(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Until the next check finds it, a server that is told to answer before it flushes must not lose what we acknowledge.
    sqlx::query(
        "select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'",
    )
    .execute(&mut *connection)
    .await?;
    match today(connection).await {
        Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some("42883") => Ok(()),
        looked => looked.map(drop),
    }
}

/// Connects for one purpose, outside the pool.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connected = tokio::time::timeout(CONNECT, PgConnection::connect_with(options)).await;
    connected.map_err(|late| StoreError::Unavailable(late.into()))?.map_err(StoreError::from)
}

#[async_trait]
impl Health for PostgresStore {
    async fn epoch(&self) -> Result<Epoch, StoreError> {
        Ok(epoch(sqlx::query_scalar("select epoch from fleet_state").fetch_one(&self.pool).await?))
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        // What the server is configured to, not what this session has made of it.
        let off: Option<String> = sqlx::query_scalar(
            "select name from pg_settings
             where name in ('fsync', 'synchronous_commit', 'full_page_writes') and reset_val = 'off' order by name limit 1",
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(name) = off {
            return Err(StoreError::Unfit(format!(
                "{name} is off, and a committed message could be lost; \
                 run `alter system set {name} = on` and reload or restart the server"
            )));
        }
        let applied: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
            .fetch_one(&mut *connection)
            .await?;
        schema::must_be(&MIGRATIONS, applied)
    }

    async fn outbox_age(&self) -> Result<Duration, StoreError> {
        let micros: i64 = sqlx::query_scalar("select carillon_outbox_age()").fetch_one(&self.pool).await?;
        Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
}
