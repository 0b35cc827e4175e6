//! `bench fanout`: one says something in a room, many hear it. How many deliveries a CPU second of the gateway brings.

use std::time::Duration;

use super::audience::{Review, Show};
use super::floor::{JOINED, writes};
use super::ground::Pods;
use super::process::{Helper, may_open};
use super::report::{Figure, Target};
use super::wire::PATIENCE;
use super::{Run, floor};

/// How long it takes at most until everybody is seated.
const SEATING: Duration = Duration::from_secs(120);

/// How many speak, how often, to how many.
#[derive(Debug, Clone, clap::Args)]
pub struct Wishes {
    /// Rooms
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,

    /// Subscribers in each room
    #[arg(long, default_value_t = 1_000)]
    pub subscribers: usize,

    /// Bytes of each publish
    #[arg(long, default_value_t = 512)]
    pub payload: usize,

    /// Publishes a second in each room; 0: as fast as the shape allows
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,

    /// Publishers in each room, in the deep shape
    #[arg(long, default_value_t = 16)]
    pub publishers: usize,

    /// Deliveries of a room that may be on their way, in the deep shape
    #[arg(long, default_value_t = 32_000)]
    pub in_flight: usize,

    /// Seconds for each shape
    #[arg(long, default_value_t = 8.0)]
    pub seconds: f64,
}

/// Measures both shapes, between two measures of the bare loop.
pub async fn run(run: &mut Run, wishes: &Wishes) -> anyhow::Result<()> {
    let Wishes { rooms, subscribers, payload, in_flight, publishers, .. } = *wishes;
    may_open(rooms * (subscribers + publishers) + 256)?;
    let loop_of_writes = |joined| writes(rooms * subscribers, payload, joined, 2.0);
    run.progress("fanout: bare loops");
    let (one, many) = (loop_of_writes(1).await?, loop_of_writes(JOINED).await?);
    run.progress("fanout: shallow, each publisher waits until everybody has heard it");
    let shallow = play(run, wishes, 1, 1).await?;
    run.progress(&format!("fanout: deep, {publishers} publishers with {in_flight} deliveries in flight"));
    let deep = play(run, wishes, publishers, (in_flight / subscribers).max(1)).await?;
    run.progress("fanout: bare loops again");
    let one = (one + loop_of_writes(1).await?) / 2.0;
    let many = (many + loop_of_writes(JOINED).await?) / 2.0;
    run.report.add([
        Figure::new("fanout", "bare loop, one write per frame", one, "deliveries/CPU s"),
        Figure::new("fanout", format!("bare loop, {JOINED} frames joined"), many, "deliveries/CPU s")
            .of("one write", one),
    ]);
    run.report.add(figures("shallow", &shallow, one, 0.6));
    run.report.add(figures("deep", &deep, one, 2.0));
    Ok(())
}

/// What was heard, and what it cost.
struct Played {
    review: Review,
    cpu: f64,
}

async fn play(run: &Run, wishes: &Wishes, publishers: usize, in_flight: usize) -> anyhow::Result<Played> {
    let pods = Pods::start(&run.ground).await?;
    let show = Show {
        address: pods.gateway,
        secret: pods.secret.clone(),
        rooms: wishes.rooms,
        subscribers: wishes.subscribers,
        publishers,
        in_flight,
        rate: wishes.rate,
        payload: wishes.payload,
        seconds: wishes.seconds,
    };
    let mut audience = Helper::start("audience", &show).await?;
    audience.hear::<()>(SEATING).await?;
    let before = pods.measured.cpu()?;
    audience.tell("play").await?;
    audience.hear::<()>(Duration::from_secs_f64(wishes.seconds) + 2 * PATIENCE).await?;
    let cpu = pods.measured.cpu()? - before;
    audience.tell("review").await?;
    Ok(Played { review: audience.hear(PATIENCE).await?, cpu })
}

fn figures(shape: &str, played: &Played, floor: f64, least: f64) -> Vec<Figure> {
    let Played { review, cpu } = played;
    let figure = |what: &str, value, unit| Figure::new("fanout", format!("{shape}: {what}"), value, unit);
    let lost = review.due.saturating_sub(review.delivered);
    let mut figures = vec![
        figure("deliveries", review.delivered as f64 / cpu, "/CPU s")
            .of("one write", floor)
            .should_be(Target::RatioAtLeast(least)),
        figure("deliveries by the clock, clients beside", review.delivered as f64 / review.seconds, "/s"),
        figure("publishes by the clock", review.published as f64 / review.seconds, "/s"),
    ];
    for (what, count) in [("lost", lost), ("duplicated", review.duplicated), ("reordered", review.reordered)] {
        figures.push(figure(what, count as f64, "deliveries").should_be(Target::AtMost(0.0)));
    }
    figures.extend(floor::times("fanout", &format!("{shape}: publish to delivery"), &review.latency));
    figures
}
