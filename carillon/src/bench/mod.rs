//! `carillon bench`: what Carillon does with a CPU second, and what the machine would do without it.
//!
//! Servers, and those who make them work, run in processes of their own, so that a server's CPU and memory are its own. Figures of
//! two machines, or of two days, cannot be compared; ratios to the bare loops of the same run can.

mod audience;
mod bare;
mod connect;
mod fanout;
mod floor;
mod ground;
mod lists;
mod process;
mod receivers;
mod report;
mod resp;
mod roundtrip;
mod rows;
mod samples;
mod sends;
mod visitors;
mod wire;

use clap::{Args, Subcommand};

use self::ground::Ground;
use self::report::Report;
use crate::cli::Cli;
use crate::settings::{Role, Settings};

/// The command line of `carillon bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Wishes {
    #[command(subcommand)]
    what: What,

    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
With CARILLON_DATABASE_URL=postgres://… and CARILLON_REDIS_URL=redis://… it starts an api, a worker and a gateway on a database
that it makes there and drops again; with neither, one process that plays all roles. Build with --release first.

Examples:
  carillon bench all                     everything, in about three minutes
  carillon bench fanout --rooms 50 --subscribers 20 --payload 128
  carillon bench connect --connections 1000
  make bench                             all of it, on a PostgreSQL and a Redis started for it

What the figures mean, and those of one machine: docs/performance.md";

#[derive(Debug, Subcommand)]
enum What {
    /// What the machine does with nothing between: bare writes, inserts and publishes.
    Floor(floor::Wishes),

    /// Idle connections: handshakes per CPU second, memory of each.
    Connect(connect::Wishes),

    /// Rooms: deliveries per CPU second, time to delivery, and whether each came once and in order.
    Fanout(fanout::Wishes),

    /// From a REST send, commit included, to a socket at another pod.
    Roundtrip(roundtrip::Wishes),

    /// Messages a second through one api pod, and through the database alone.
    Sends(sends::Wishes),

    /// Lists of conversations and pages of messages, where there are a million.
    Lists(lists::Wishes),

    /// All of these but the lists, as they are by default.
    All,

    #[command(hide = true)]
    Visitors,
    #[command(hide = true)]
    Audience,
    #[command(hide = true)]
    Receivers,
    #[command(hide = true)]
    Bare,
}

/// One run: what pods stand on, and what came out so far.
struct Run {
    ground: Ground,
    report: Report,
}

impl Run {
    /// Tells somebody who waits what is going on.
    fn progress(&self, what: &str) {
        eprintln!("… {what}");
    }
}

/// Runs what was asked for and prints what came out. Ends every process it started, also when interrupted.
pub async fn run(cli: &Cli, wishes: &Wishes) -> anyhow::Result<()> {
    match wishes.what {
        What::Visitors => return visitors::run().await,
        What::Audience => return audience::run().await,
        What::Receivers => return receivers::run().await,
        What::Bare => return bare::run().await,
        _ => {}
    }
    if cfg!(debug_assertions) {
        eprintln!("… this is a debug build: its figures say nothing, build with --release");
    }
    let settings = Settings::read(&cli.layers(), Role::All)?;
    let mut run = Run { ground: Ground::prepare(&settings).await?, report: Report::default() };
    let ended = tokio::select! {
        ended = measure(&mut run, &wishes.what) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and_then(|()| Err(anyhow::anyhow!("interrupted"))),
    };
    run.ground.clear().await?;
    ended?;
    println!("{}", if wishes.json { run.report.json()? } else { run.report.table() });
    Ok(())
}

async fn measure(run: &mut Run, what: &What) -> anyhow::Result<()> {
    match what {
        What::Floor(wishes) => floor::run(run, wishes).await,
        What::Connect(wishes) => connect::run(run, wishes).await,
        What::Fanout(wishes) => fanout::run(run, wishes).await,
        What::Roundtrip(wishes) => roundtrip::run(run, wishes).await,
        What::Sends(wishes) => sends::run(run, wishes).await,
        What::Lists(wishes) => lists::run(run, wishes).await,
        _ => {
            floor::run(run, &defaults()).await?;
            connect::run(run, &defaults()).await?;
            fanout::run(run, &defaults()).await?;
            roundtrip::run(run, &defaults()).await?;
            sends::run(run, &defaults()).await
        }
    }
}

/// What is wished for by who wishes for nothing.
fn defaults<W: Args>() -> W {
    let command = W::augment_args(clap::Command::new("defaults"));
    W::from_arg_matches(&command.get_matches_from(["defaults"])).expect("every wish has a default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_measured_without_a_wish() {
        assert_eq!(defaults::<connect::Wishes>().connections, 15_000);
        assert_eq!(defaults::<fanout::Wishes>().in_flight, 32_000);
        assert!(defaults::<roundtrip::Wishes>().rate > 0.0 && defaults::<floor::Wishes>().seconds > 0.0);
    }
}
