//! `bench connect`: what it costs to let somebody in, and to hold them while nothing happens.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Run;
use super::bare::Listening;
use super::ground::Pods;
use super::process::{Helper, Usage, may_open};
use super::report::{Figure, Target};
use super::visitors::{Took, Visit};
use super::wire::PATIENCE;

/// How long all visitors together may take.
const STORM: Duration = Duration::from_secs(120);
/// How long a server may tidy up before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// How many come.
#[derive(Debug, Clone, clap::Args)]
pub struct Wishes {
    /// Idle connections, each of a user of its own and in a room of its own
    #[arg(long, default_value_t = 15_000)]
    pub connections: usize,

    /// Processes that they come from
    #[arg(long, default_value_t = 2)]
    pub clients: usize,

    /// Connections that each of these opens at the same time
    #[arg(long, default_value_t = 128)]
    pub at_once: usize,

    /// Rounds of both servers by turns; each figure is that of its best round
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
}

/// What a server needed for its visitors.
#[derive(Clone, Copy)]
struct Cost {
    /// Handshakes a second.
    rate: f64,
    /// Handshakes a second of its CPU.
    per_cpu: f64,
    /// Joins a second of its CPU.
    joins_per_cpu: f64,
    /// Bytes that it grew by, each.
    memory: f64,
}

impl Cost {
    /// The better of two rounds in each figure: others on the machine only ever take away, so that the best round is the
    /// least disturbed one.
    fn or_better(self, other: Self) -> Self {
        Self {
            rate: self.rate.max(other.rate),
            per_cpu: self.per_cpu.max(other.per_cpu),
            joins_per_cpu: self.joins_per_cpu.max(other.joins_per_cpu),
            memory: self.memory.min(other.memory),
        }
    }
}

/// Measures a bare server and a gateway with the same visitors, by turns.
pub async fn run(run: &mut Run, wishes: &Wishes) -> anyhow::Result<()> {
    may_open(wishes.connections + 256)?;
    let (mut floor, mut cost) = round(run, wishes, 1).await?;
    for number in 2..=wishes.rounds {
        let (bare, gateway) = round(run, wishes, number).await?;
        (floor, cost) = (floor.or_better(bare), cost.or_better(gateway));
    }
    let of = "bare server";
    let figure = |what: &str, value, unit| Figure::new("connect", what, value, unit);
    run.report.add([
        figure("handshakes, token and feeds included", cost.per_cpu, "/CPU s")
            .of(of, floor.per_cpu)
            .should_be(Target::AtLeast(10_000.0)),
        figure("handshakes by the clock, clients beside", cost.rate, "/s").of(of, floor.rate),
        figure("room joins", cost.joins_per_cpu, "/CPU s").of(of, floor.joins_per_cpu),
        figure("memory of an idle connection", cost.memory / 1_024.0, "KiB")
            .of(of, floor.memory / 1_024.0)
            .should_be(Target::AtMost(8.0)),
    ]);
    Ok(())
}

/// One round: a bare server, then a gateway.
async fn round(run: &Run, wishes: &Wishes, number: u32) -> anyhow::Result<(Cost, Cost)> {
    let of = wishes.rounds;
    run.progress(&format!("connect: a bare server, round {number} of {of}"));
    let mut bare = Helper::start("bare", &()).await?;
    let address = bare.hear::<Listening>(PATIENCE).await?.address;
    let floor = visit(run, wishes, address, bare.usage()?, "").await?;
    drop(bare);
    run.progress(&format!("connect: a gateway, round {number} of {of}"));
    let pods = Pods::start(&run.ground).await?;
    let cost = visit(run, wishes, pods.gateway, pods.measured, &pods.secret).await?;
    Ok((floor, cost))
}

async fn visit(run: &Run, wishes: &Wishes, address: SocketAddr, server: Usage, secret: &str) -> anyhow::Result<Cost> {
    let Wishes { connections, clients, at_once, rounds: _ } = *wishes;
    let (memory, idle, begun) = (server.memory()?, server.cpu()?, Instant::now());
    let mut visitors = Vec::new();
    for client in 0..clients {
        let [first, end] = [client, client + 1].map(|share| connections * share / clients);
        let secret = if secret.is_empty() { "nobody looks at it here" } else { secret }.to_owned();
        let visit = Visit { address, secret, first, count: end - first, at_once };
        visitors.push(Helper::start("visitors", &visit).await?);
    }
    for client in &mut visitors {
        client.hear::<Took>(STORM).await?;
    }
    let (seconds, opened) = (begun.elapsed().as_secs_f64(), server.cpu()?);
    run.progress(&format!("connect: {connections} are in after {seconds:.1} s"));
    for client in &mut visitors {
        client.tell("join").await?;
    }
    for client in &mut visitors {
        client.hear::<Took>(STORM).await?;
    }
    let joined = server.cpu()?;
    tokio::time::sleep(SETTLE).await;
    let count = connections as f64;
    Ok(Cost {
        rate: count / seconds,
        per_cpu: count / (opened - idle),
        joins_per_cpu: count / (joined - opened),
        memory: (server.memory()? - memory) / count,
    })
}
