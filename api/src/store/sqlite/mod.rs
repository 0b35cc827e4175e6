//! The store of a fleet of one: a SQLite file beside the program.
//!
//! On the line it stands where PostgreSQL stands in a larger fleet, and promises the same. One connection writes, each write
//! under `begin immediate` and flushed before it returns (WAL, `synchronous=full`); others read beside it. There is no
//! row-level security: the where clauses carry it, and the conformance suite checks them.

mod attachments;
mod changing;
mod feeds;
mod jobs;
mod members;
mod messaging;
mod moderation;
mod outbox;
mod people;
mod reading;
mod revocations;
mod schedule;
mod search;
mod threads;
mod unsent;
mod writing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::Epoch;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::sync::Mutex;

use super::rows::epoch;
use super::schema::{self, MigrationSummary};
use super::{Health, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections that read beside the writer.
const READERS: u32 = 4;

/// A store in a SQLite file.
pub(super) struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held by the one worker that reads the outbox.
    turn: Arc<Mutex<()>>,
}

impl SqliteStore {
    /// Names the file; it is opened when first used.
    pub(super) fn open(path: &Path) -> Self {
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_secs(5))
                .test_before_acquire(false)
                .connect_lazy_with(options(path))
        };
        Self { writer: pool(1), readers: pool(READERS), turn: Arc::default() }
    }

    /// Begins a transaction that writes. Others wait here, not at the file.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("begin immediate").await?)
    }

    /// Begins a transaction that writes for `caller`, unless they are banned.
    async fn write_as(&self, caller: &Caller) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let mut transaction = self.write().await?;
        people::refuse_banned(&mut transaction, caller).await?;
        Ok(transaction)
    }

    /// Begins a transaction that reads one moment.
    async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.readers.begin().await?)
    }
}

/// Brings the file to this build's schema.
pub(super) async fn migrate(path: &Path) -> Result<MigrationSummary, StoreError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::Unfit(format!("its folder {} cannot be made: {error}", folder.display())))?;
    }
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options(path)).await?;
    MIGRATIONS.run(&pool).await.map_err(schema::migration_failed)?;
    let made: Vec<(String, String)> = sqlx::query_as(
        "select type, name from sqlite_schema where name not like 'sqlite\\_%' escape '\\' and name <> '_sqlx_migrations'
         order by name",
    )
    .fetch_all(&pool)
    .await?;
    pool.close().await;
    Ok(MigrationSummary::new(schema::latest(&MIGRATIONS), &made))
}

/// Begins a new epoch: every cursor given so far is void.
pub(super) async fn new_epoch(path: &Path) -> Result<Epoch, StoreError> {
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options(path)).await?;
    let epoch = Epoch::random();
    sqlx::query("update fleet_state set epoch = $1, began_at = $2")
        .bind(epoch.0.cast_signed())
        .bind(now())
        .execute(&pool)
        .await?;
    pool.close().await;
    Ok(epoch)
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Anything less may lose the last commits when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
}

/// The present moment as the tables keep it.
fn now() -> i64 {
    shared::time::Timestamp::now().as_micros()
}

/// Today's epoch, as this transaction sees it.
async fn today(transaction: &mut SqliteConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("select epoch from fleet_state").fetch_one(transaction).await?)
}

#[async_trait]
impl Health for SqliteStore {
    async fn epoch(&self) -> Result<Epoch, StoreError> {
        let mut connection = self.readers.acquire().await?;
        Ok(epoch(today(&mut connection).await?))
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let journal: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut *connection).await?;
        let synchronous: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(&mut *connection).await?;
        if journal != "wal" || synchronous < 2 {
            let found = format!("its journal is {journal} and synchronous {synchronous}; put it on a local disk");
            return Err(StoreError::Unfit(found));
        }
        let applied: Vec<i64> =
            sqlx::query_scalar("select version from _sqlx_migrations where success order by version")
                .fetch_all(&mut *connection)
                .await?;
        schema::must_be(&MIGRATIONS, applied.last().copied())
    }

    async fn outbox_age(&self) -> Result<Duration, StoreError> {
        let oldest: Option<i64> =
            sqlx::query_scalar("select min(created_at) from outbox").fetch_one(&self.readers).await?;
        let age = oldest.map_or(0, |oldest| now() - oldest);
        Ok(Duration::from_micros(u64::try_from(age).unwrap_or(0)))
    }
}
