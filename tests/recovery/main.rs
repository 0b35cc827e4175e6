//! Measures how long a fleet takes to heal, with nothing lost meanwhile: one measure after the other, each on a fleet of its own.
//!
//! `recovery update missed` prints a table. What must not happen ends it with an error; how long something took is only told, beside
//! what it should take at most, because machines differ.

mod crowd;
mod loads;
mod outages;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

/// What the program is told.
#[derive(Debug, Parser)]
#[command(about = "Measures how long a fleet takes to heal; CARILLON_BIN names the program")]
struct Wishes {
    /// What to measure; everything that every build can show, if nothing is named.
    measures: Vec<Measure>,
    /// Messages that somebody misses, for `missed`.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// Sockets that take nothing, for `slow-readers`.
    #[arg(long, default_value_t = 5_000)]
    readers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// One publish in twenty is lost on its way. Needs a build with the feature `sabotage`.
    Lost,
    /// Api pods die after one commit in a hundred. Needs a build with the feature `sabotage`.
    ApiKilled,
    /// Redis is gone for a while, and comes back empty.
    RedisGone,
    /// A gateway dies.
    GatewayKilled,
    /// All pods are replaced, one after the other.
    Update,
    /// Somebody comes back who missed very much.
    Missed,
    /// Very many take nothing of what they are told.
    SlowReaders,
}

impl Measure {
    const OF_EVERY_BUILD: [Self; 5] =
        [Self::RedisGone, Self::GatewayKilled, Self::Update, Self::Missed, Self::SlowReaders];

    async fn take(self, wishes: &Wishes) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Lost => outages::lost().await,
            Self::ApiKilled => outages::api_killed().await,
            Self::RedisGone => outages::redis_gone().await,
            Self::GatewayKilled => outages::gateway_killed().await,
            Self::Update => outages::update().await,
            Self::Missed => loads::missed(wishes.messages).await,
            Self::SlowReaders => loads::slow_readers(wishes.readers).await,
        }
    }
}

/// One line of the table.
struct Figure {
    what: String,
    value: String,
    /// What it should be at most, and whether it is.
    aim: Option<(String, bool)>,
}

impl Figure {
    /// Something counted or described.
    fn of(what: impl Into<String>, value: &dyn std::fmt::Display) -> Self {
        Self { what: what.into(), value: value.to_string(), aim: None }
    }

    /// A time, and what it should be at most.
    fn within(what: impl Into<String>, took: Duration, most: Duration) -> Self {
        let aim = (format!("at most {}", time(most)), took <= most);
        Self { aim: Some(aim), ..Self::of(what, &time(took)) }
    }

    /// A ratio, and what it should be at most.
    fn ratio(what: impl Into<String>, ratio: f64, most: f64) -> Self {
        let aim = (format!("at most {most}"), ratio <= most);
        Self { aim: Some(aim), ..Self::of(what, &format!("{ratio:.2}")) }
    }
}

fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1_000.0;
    if millis < 1_000.0 { format!("{millis:.1} ms") } else { format!("{:.2} s", millis / 1_000.0) }
}

/// Ends with 0 if nothing happened that must not, and with 1 if something did.
#[tokio::main]
async fn main() -> ExitCode {
    let wishes = Wishes::parse();
    let measures = if wishes.measures.is_empty() { &Measure::OF_EVERY_BUILD[..] } else { &wishes.measures };
    for measure in measures {
        let begun = Instant::now();
        let figures = match measure.take(&wishes).await {
            Ok(figures) => figures,
            Err(error) => {
                eprintln!("{measure:?}: {error:#}");
                return ExitCode::FAILURE;
            }
        };
        println!("{measure:?}, in {}", time(begun.elapsed()));
        for Figure { what, value, aim } in figures {
            let aim = aim.map_or_else(String::new, |(aim, is_reached)| {
                format!("{} ({aim})", if is_reached { "reached" } else { "SHORT" })
            });
            println!("  {what:<58}{value:>14}  {aim}");
        }
    }
    ExitCode::SUCCESS
}
