//! The bare insert: the rows of one message to two people, in one statement, committed. What it needs more than this is the
//! store's own: locks, permission, numbers without holes.

use sqlx::{Connection as _, PgConnection};

/// A connection that inserts.
pub struct Rows(PgConnection);

const TABLES: &str = "
create table if not exists bench_messages (id uuid primary key, conversation uuid, said text, at timestamptz default now());
create table if not exists bench_entries (feed text, seq bigint, message uuid, primary key (feed, seq));
create table if not exists bench_outbox (id bigint generated always as identity primary key, feeds text[], seqs bigint[]);
create sequence if not exists bench_seq;";

const INSERT: &str = "
with number as (select nextval('bench_seq') as seq),
     message as (insert into bench_messages (id, conversation, said)
                 values (gen_random_uuid(), '00000000-0000-0000-0000-000000000000', $1) returning id),
     entries as (insert into bench_entries (feed, seq, message)
                 select feed, number.seq, message.id from number, message, unnest(array['user:a', 'user:b']) as feed)
insert into bench_outbox (feeds, seqs)
select array['user:a', 'user:b'], array[number.seq, number.seq] from number";

impl Rows {
    /// Connects, and makes tables where there are none.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(TABLES).execute(&mut connection).await?;
        Ok(Self(connection))
    }

    /// Inserts and commits.
    pub async fn insert(&mut self) -> anyhow::Result<()> {
        sqlx::query(INSERT).bind("what somebody said").execute(&mut self.0).await?;
        Ok(())
    }
}
