//! The outbox in SQLite.
//!
//! One process owns the file, so the turn is a lock of that process.

use async_trait::async_trait;
use shared::upstream::Heads;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::OwnedMutexGuard;

use super::{SqliteStore, now, today};
use crate::store::rows::{epoch, parse_channel, seq};
use crate::store::{Outbox, StoreError, Turn};

/// How long a row stays after a worker first read it, in microseconds.
const STAY: i64 = 10_000_000;
/// How many readings it stays.
const READINGS: i64 = 20;

#[async_trait]
impl Outbox for SqliteStore {
    async fn recent_heads(&self) -> Result<Heads, StoreError> {
        heads(&mut *self.read().await?).await
    }

    async fn take_turn(&self) -> Result<Option<Box<dyn Turn>>, StoreError> {
        let Ok(guard) = self.turn.clone().try_lock_owned() else { return Ok(None) };
        Ok(Some(Box::new(SqliteTurn { writer: self.writer.clone(), _guard: guard })))
    }
}

/// The one worker's turn.
struct SqliteTurn {
    writer: SqlitePool,
    _guard: OwnedMutexGuard<()>,
}

#[async_trait]
impl Turn for SqliteTurn {
    async fn read(&mut self) -> Result<Heads, StoreError> {
        let mut transaction = self.writer.begin_with("begin immediate").await?;
        let heads = heads(&mut transaction).await?;
        if heads.heads.is_empty() {
            return Ok(heads);
        }
        let at = now();
        let reading: i64 =
            sqlx::query_scalar("update fleet_state set outbox_reads = outbox_reads + 1 returning outbox_reads")
                .fetch_one(&mut *transaction)
                .await?;
        sqlx::query("update outbox set first_read_at = $1, first_read = $2 where first_read is null")
            .bind(at)
            .bind(reading)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("delete from outbox where first_read_at <= $1 and first_read <= $2")
            .bind(at - STAY)
            .bind(reading - READINGS)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(heads)
    }
}

/// The heads of all feeds that the outbox names. Rows of another epoch are moot: everybody starts anew.
async fn heads(connection: &mut SqliteConnection) -> Result<Heads, StoreError> {
    let today = today(connection).await?;
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select head.value ->> 0, max(head.value ->> 1) from outbox, json_each(outbox.heads) head
         where outbox.epoch = $1 group by 1",
    )
    .bind(today)
    .fetch_all(connection)
    .await?;
    let heads = rows.into_iter().map(|(channel, head)| Ok((parse_channel(&channel)?, seq(head))));
    Ok(Heads { epoch: epoch(today), heads: heads.collect::<Result<_, StoreError>>()? })
}
