//! From a database URL to a store.
//!
//! The scheme decides which: `sqlite://path` or `postgres://…`. Nothing is connected here; [`super::Health::check`] says
//! whether the database can be used.

use std::path::PathBuf;
use std::sync::Arc;

use shared::ids::Epoch;
use sqlx::postgres::PgConnectOptions;

use super::postgres::{self, PostgresStore};
use super::schema::MigrationSummary;
use super::sqlite::{self, SqliteStore};
use super::{Store, StoreError};

/// Where a store is kept.
pub(super) enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// Names the store at `url`, with at most `connections` to the database (PostgreSQL; SQLite has one writer). It is reached when
/// first used, and checks its epoch on every new connection.
///
/// # Errors
///
/// [`StoreError::Unfit`] when the URL names no database that Carillon speaks to.
pub fn open(url: &str, connections: u32) -> Result<Arc<dyn Store>, StoreError> {
    match place(url)? {
        Place::Sqlite(path) => Ok(Arc::new(SqliteStore::open(&path))),
        Place::Postgres(options) => Ok(Arc::new(PostgresStore::open(*options, connections))),
    }
}

/// Brings the database at `url` to this build's schema and says what it consists of. Doing it twice is doing it once; pods that
/// do it at the same time wait for each other.
///
/// # Errors
///
/// [`StoreError::Unfit`] with a remedy when the database was made by another version or the login may not create what is needed.
pub async fn migrate(url: &str) -> Result<MigrationSummary, StoreError> {
    match place(url)? {
        Place::Sqlite(path) => sqlite::migrate(&path).await,
        Place::Postgres(options) => postgres::migrate(&options).await,
    }
}

/// Begins a new epoch: after it every cursor given before asks its owner to load a snapshot. To be done after a restore of files,
/// which the database itself cannot tell from an ordinary start.
///
/// # Errors
///
/// When the database cannot be reached or has no schema.
pub async fn new_epoch(url: &str) -> Result<Epoch, StoreError> {
    match place(url)? {
        Place::Sqlite(path) => sqlite::new_epoch(&path).await,
        Place::Postgres(options) => postgres::new_epoch(&options).await,
    }
}

pub(super) fn place(url: &str) -> Result<Place, StoreError> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        return Ok(Place::Sqlite(path.into()));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // The parser's message may quote the URL, and the URL the password.
        let options =
            url.parse().map_err(|_| StoreError::Unfit("its URL is not postgres://user@host/name".to_owned()))?;
        return Ok(Place::Postgres(Box::new(options)));
    }
    Err(StoreError::Unfit("its URL is neither sqlite://path nor postgres://…".to_owned()))
}
