//! The outbox in PostgreSQL.
//!
//! The turn is an advisory lock on a connection of its own. Lock, reads and deletes share that connection, and the server ends it
//! when it is silent for three seconds: a worker that froze has lost its turn before it can read again.

use async_trait::async_trait;
use shared::upstream::Heads;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use super::{PostgresStore, connect, today};
use crate::store::rows::{epoch, parse_channel, seq};
use crate::store::{Outbox, StoreError, Turn};

/// The advisory lock that is the turn: "carillon" in ASCII. Advisory locks are per database.
const TURN: i64 = 0x6361_7269_6c6c_6f6e;

#[async_trait]
impl Outbox for PostgresStore {
    async fn recent_heads(&self) -> Result<Heads, StoreError> {
        let row =
            sqlx::query_as("select life, channels, seqs from carillon_recent_heads()").fetch_one(&self.pool).await?;
        heads(row)
    }

    async fn take_turn(&self) -> Result<Option<Box<dyn Turn>>, StoreError> {
        let options: PgConnectOptions = self.options.clone().options([("idle_session_timeout", "3s")]);
        let mut connection = connect(&options).await?;
        today(&mut connection).await?;
        let taken: bool =
            sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(TURN).fetch_one(&mut connection).await?;
        Ok(if taken { Some(Box::new(PostgresTurn { connection })) } else { None })
    }
}

/// The one worker's turn.
struct PostgresTurn {
    connection: PgConnection,
}

#[async_trait]
impl Turn for PostgresTurn {
    async fn read(&mut self) -> Result<Heads, StoreError> {
        let row = sqlx::query_as("select life, channels, seqs from carillon_read_outbox()");
        heads(row.fetch_one(&mut self.connection).await?)
    }
}

fn heads((life, channels, seqs): (i64, Vec<String>, Vec<i64>)) -> Result<Heads, StoreError> {
    let heads = channels.iter().zip(seqs).map(|(channel, head)| Ok((parse_channel(channel)?, seq(head))));
    Ok(Heads { epoch: epoch(life), heads: heads.collect::<Result<_, StoreError>>()? })
}
