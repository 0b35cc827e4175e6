//! The floor: what the machine does when nothing of Carillon stands between. Every other figure is compared with it.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use bytes::Bytes;
use gateway::frame::WholeFrame;
use serde_json::json;
use shared::event::{Heading, LiveBody, RoomPosition};
use shared::ids::{Epoch, Seq};
use shared::time::Timestamp;

use super::process::{Helper, Usage};
use super::receivers::Receive;
use super::report::Figure;
use super::resp::Redis;
use super::samples::Samples;
use super::wire::PATIENCE;
use super::{Ground, Run, rows};

/// Frames in one write of the joined loop.
pub const JOINED: usize = 16;

/// How wide a loop of writes is, and how long it goes on.
#[derive(Debug, Clone, clap::Args)]
pub struct Wishes {
    /// Sockets that each frame is written to
    #[arg(long, default_value_t = 1_000)]
    pub subscribers: usize,

    /// Bytes said in each frame; what a room event needs around it comes on top
    #[arg(long, default_value_t = 512)]
    pub payload: usize,

    /// Seconds for each loop
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
}

/// Measures everything that others are compared with.
pub async fn run(run: &mut Run, wishes: &Wishes) -> anyhow::Result<()> {
    let Wishes { subscribers, payload, seconds } = *wishes;
    run.progress(&format!("floor: bare writes to {subscribers} sockets"));
    let single = writes(subscribers, payload, 1, seconds).await?;
    let joined = writes(subscribers, payload, JOINED, seconds).await?;
    run.report.add([
        Figure::new("floor", "one write per frame", single, "deliveries/CPU s"),
        Figure::new("floor", format!("{JOINED} frames joined in a write"), joined, "deliveries/CPU s")
            .of("one write per frame", single),
    ]);
    let Ground::Fleet(servers) = &run.ground else {
        run.report
            .skip("bare insert and bare publish: set CARILLON_DATABASE_URL and CARILLON_REDIS_URL to measure them");
        return Ok(());
    };
    run.progress("floor: bare inserts and publishes, one after the other");
    let (database, redis) = (servers.database.clone(), servers.redis.clone());
    let (mut rows, mut inserts, begun) = (rows::Rows::open(&database).await?, Samples::default(), Instant::now());
    while begun.elapsed().as_secs_f64() < seconds {
        let before = Instant::now();
        rows.insert().await?;
        inserts.add(before.elapsed());
    }
    run.report.add(times("floor", "bare insert and commit", &inserts));
    let Some(mut redis) = Redis::connect(&redis).await? else {
        run.report.skip("bare publish: only for redis://");
        return Ok(());
    };
    let (mut publishes, begun) = (Samples::default(), Instant::now());
    while begun.elapsed().as_secs_f64() < seconds {
        let before = Instant::now();
        redis.publish("carillon-bench", "x").await?;
        publishes.add(before.elapsed());
    }
    run.report.add(times("floor", "bare publish", &publishes));
    Ok(())
}

/// The percentiles of some times.
pub fn times(bench: &'static str, what: &str, samples: &Samples) -> Vec<Figure> {
    let percentiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    percentiles.map(|(name, part)| Figure::new(bench, format!("{what}, {name}"), samples.percentile(part), "ms")).into()
}

/// Deliveries per CPU second of a bare loop: `joined` frames a write to each of `subscribers` sockets, round after round,
/// each when the last one has come.
pub async fn writes(subscribers: usize, payload: usize, joined: usize, seconds: f64) -> anyhow::Result<f64> {
    super::process::may_open(subscribers + 64)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let job = Receive { address: listener.local_addr()?, count: subscribers, round: subscribers * joined };
    let mut receivers = Helper::start("receivers", &job).await?;
    let mut sockets = tokio::task::block_in_place(|| accept(&listener, subscribers))?;
    let bytes = frame(payload)?.repeat(joined);
    let (begun, before, mut rounds) = (Instant::now(), Usage::own().cpu()?, 0);
    while begun.elapsed().as_secs_f64() < seconds {
        tokio::task::block_in_place(|| sockets.iter_mut().try_for_each(|socket| socket.write_all(&bytes)))?;
        receivers.hear::<()>(PATIENCE).await?;
        rounds += 1;
    }
    Ok((rounds * subscribers * joined) as f64 / (Usage::own().cpu()? - before))
}

fn accept(listener: &TcpListener, count: usize) -> std::io::Result<Vec<TcpStream>> {
    (0..count)
        .map(|_| {
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            Ok(socket)
        })
        .collect()
}

/// The frame that a gateway would write for a publish of so many bytes.
fn frame(payload: usize) -> anyhow::Result<Bytes> {
    let heading = Heading { kind: "message", id: uuid::Uuid::now_v7(), timestamp: Timestamp::now() };
    let data = json!({ "bench": [0, 0, 0], "pad": "x".repeat(payload.saturating_sub(48)) });
    let body = LiveBody::in_room(&heading, &"tour_bench-room-0".parse()?, &"bench-publisher-0-0".parse()?, &data)?;
    let position = RoomPosition { epoch: Epoch(u64::MAX), offset: Seq(1_000) };
    Ok(WholeFrame::live(&body, Some(&position), Timestamp::now()).encoded().clone())
}
