//! Runs a command with a PostgreSQL and a Redis of its own, named in its environment as pods want them, and ends them after it:
//! `with-servers target/release/carillon bench all`.

use std::process::ExitCode;

use anyhow::Context as _;
use fleet::servers::postgres::Postgres;
use fleet::servers::redis::Redis;
use tokio::process::Command;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("usage: with-servers PROGRAM [ARGUMENTS]…")?;
    let (postgres, redis) = tokio::try_join!(Postgres::start(), Redis::standalone())?;
    let status = Command::new(&program)
        .args(words)
        .env("CARILLON_DATABASE_URL", postgres.url("postgres"))
        .env("CARILLON_REDIS_URL", redis.url())
        .status()
        .await
        .with_context(|| format!("{} cannot be run", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
