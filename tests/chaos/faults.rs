//! Faults, drawn from a seed: what breaks, when, and for how long.
//!
//! The same seed and the same length give the same faults at the same times; what they happen to hit differs, because processes
//! are scheduled by the machine.

use std::fmt;
use std::time::Duration;

use fleet::fleet::Fleet;
use fleet::proxy::{Way, Weather};
use fleet::servers::carillon::Pod;
use fleet::servers::process::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How long an orderly end may take.
const GRACE: Duration = Duration::from_secs(30);

/// A pod, by its kind and its number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Api(usize),
    Gateway(usize),
    Worker(usize),
}

/// What breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A pod dies without a word; it is started again.
    Killed(Target),
    /// A pod stands still and goes on.
    Frozen(Target),
    /// A pod is told to end, as in an update, and is started again.
    Replaced(Target),
    /// Redis dies; it comes back empty.
    RedisKilled,
    /// Redis forgets everything.
    RedisFlushed,
    /// Redis stands still and goes on.
    RedisFrozen,
    /// Redis closes the connections of all subscribers.
    SubscribersKilled,
    /// PostgreSQL ends at once and recovers.
    PostgresRestarted,
    /// All processes of PostgreSQL die; it is started again.
    PostgresKilled,
    /// A console holds every conversation, so that no send gets through.
    ConversationsLocked,
    /// A console ends every connection to the database.
    BackendsEnded,
    /// The weather changes on all links from one part to others of a kind, such as from `gateway-1` to `redis`.
    Weather { from: String, to: String, weather: Weather },
    /// Every connection between any two parts is reset, those of all clients among them.
    CutEverywhere,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weather { from, to, weather } => write!(f, "{weather:?} from {from} to {to}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts, where it lasts.
    pub lasts: Duration,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s for {:.1} s: {}", self.at.as_secs_f64(), self.lasts.as_secs_f64(), self.fault)
    }
}

/// Draws the faults of a run. `one_redis`: whether Redis is one server, which links lead to.
pub fn schedule(seed: u64, length: Duration, one_redis: bool) -> Vec<Planned> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut faults = Vec::new();
    let mut at = Duration::from_millis(1_500);
    while at + Duration::from_secs(3) < length {
        let fault = draw(&mut dice, one_redis);
        let longest = if matches!(fault, Fault::ConversationsLocked | Fault::PostgresKilled) { 1_500 } else { 4_000 };
        let lasts = Duration::from_millis(dice.random_range(200..longest));
        faults.push(Planned { at, lasts, fault });
        // Sometimes the next one comes while this one lasts.
        at += Duration::from_millis(dice.random_range(300..3_500));
    }
    faults
}

fn draw(dice: &mut StdRng, one_redis: bool) -> Fault {
    let target = |dice: &mut StdRng| match dice.random_range(0..7) {
        0 | 1 => Target::Api(dice.random_range(0..2)),
        2..=5 => Target::Gateway(dice.random_range(0..3)),
        _ => Target::Worker(dice.random_range(0..2)),
    };
    match dice.random_range(0..20) {
        0..=3 => Fault::Killed(target(dice)),
        4 | 5 => Fault::Frozen(target(dice)),
        6 | 7 => Fault::Replaced(target(dice)),
        8 => Fault::RedisKilled,
        9 => Fault::RedisFlushed,
        10 => Fault::RedisFrozen,
        11 => Fault::SubscribersKilled,
        12 => Fault::PostgresRestarted,
        13 => Fault::PostgresKilled,
        14 => Fault::ConversationsLocked,
        15 => Fault::BackendsEnded,
        16 => Fault::CutEverywhere,
        _ => weather(dice, one_redis),
    }
}

fn weather(dice: &mut StdRng, one_redis: bool) -> Fault {
    let (api, gateway) = (dice.random_range(1..=2), dice.random_range(1..=3));
    let mut links = vec![
        (format!("api-{api}"), "postgres".to_owned()),
        (format!("worker-{api}"), "postgres".to_owned()),
        (format!("gateway-{gateway}"), format!("api-{api}")),
        ("nginx".to_owned(), format!("gateway-{gateway}")),
        ("nginx".to_owned(), format!("api-{api}")),
    ];
    if one_redis {
        let to = |from: String| (from, "redis".to_owned());
        links.extend([to(format!("gateway-{gateway}")), to(format!("api-{api}")), to(format!("worker-{api}"))]);
    }
    let (from, to) = links.swap_remove(dice.random_range(0..links.len()));
    let weather = match dice.random_range(0..6) {
        0 => Weather::Gone,
        1 => Weather::Silent,
        2 => Weather::Mute(Way::There),
        3 => Weather::Mute(Way::Back),
        4 => Weather::Slow(Duration::from_millis(dice.random_range(5..200))),
        _ => Weather::Sliced(dice.random_range(1..40)),
    };
    Fault::Weather { from, to, weather }
}

/// Lets the faults happen, each at its time, and mends each when it is over.
pub async fn happen(fleet: &mut Fleet, faults: &[Planned]) {
    let begun = tokio::time::Instant::now();
    let mut events: Vec<(Duration, bool, &Fault)> = Vec::with_capacity(faults.len() * 2);
    for Planned { at, lasts, fault } in faults {
        events.extend([(*at, true, fault), (*at + *lasts, false, fault)]);
    }
    events.sort_by_key(|(at, ..)| *at);
    for (at, begins, fault) in events {
        tokio::time::sleep_until(begun + at).await;
        // A fault that cannot happen, because of another one, does not: who flushes a Redis that stands still waits for ever.
        let event = async { if begins { begin(fleet, fault).await } else { mend(fleet, fault).await } };
        let _ = tokio::time::timeout(longest(fault), event).await;
    }
}

/// How long a fault may take to happen, or to be mended.
fn longest(fault: &Fault) -> Duration {
    match fault {
        Fault::Replaced(_) => GRACE + Duration::from_secs(5),
        Fault::PostgresRestarted | Fault::PostgresKilled => GRACE,
        _ => Duration::from_secs(3),
    }
}

async fn begin(fleet: &mut Fleet, fault: &Fault) {
    match fault {
        Fault::Killed(target) => pod(fleet, *target).kill(),
        Fault::Frozen(target) => pod(fleet, *target).signal(Signal::Stop),
        Fault::Replaced(target) => pod(fleet, *target).stop_in_time(GRACE).await,
        Fault::RedisKilled => fleet.redis.kill(),
        Fault::RedisFlushed => drop(fleet.redis.flush().await),
        Fault::RedisFrozen => fleet.redis.pause(),
        Fault::SubscribersKilled => drop(fleet.redis.kill_subscribers().await),
        Fault::PostgresRestarted => drop(fleet.postgres.restart_immediate().await),
        Fault::PostgresKilled => drop(fleet.postgres.kill_all().await),
        Fault::ConversationsLocked => {
            drop(fleet.execute("begin; select from conversations for update; select pg_sleep(1)").await);
        }
        Fault::BackendsEnded => {
            let end = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()";
            drop(fleet.execute(end).await);
        }
        Fault::Weather { from, to, weather } => fleet.link(from, to).becomes(*weather),
        Fault::CutEverywhere => fleet.cut_everywhere(),
    }
}

async fn mend(fleet: &mut Fleet, fault: &Fault) {
    match fault {
        Fault::Killed(target) | Fault::Replaced(target) => pod(fleet, *target).runs(),
        Fault::Frozen(target) => pod(fleet, *target).signal(Signal::Cont),
        Fault::RedisKilled => drop(fleet.redis.restart_empty().await),
        Fault::RedisFrozen => fleet.redis.resume(),
        Fault::PostgresKilled if fleet.postgres.pid().is_none() => drop(fleet.postgres.start_again().await),
        Fault::Weather { from, to, .. } => fleet.link(from, to).becomes(Weather::Fine),
        Fault::RedisFlushed
        | Fault::SubscribersKilled
        | Fault::PostgresRestarted
        | Fault::PostgresKilled
        | Fault::ConversationsLocked
        | Fault::BackendsEnded
        | Fault::CutEverywhere => {}
    }
}

/// Makes everything whole, and waits until every pod is ready.
///
/// # Panics
///
/// When one does not become ready.
pub async fn heal(fleet: &mut Fleet) {
    fleet.weather_everywhere(Weather::Fine);
    fleet.redis.resume();
    if fleet.postgres.pid().is_none() {
        fleet.postgres.start_again().await.expect("PostgreSQL recovers");
    }
    for pod in fleet.pods() {
        pod.signal(Signal::Cont);
        pod.runs();
    }
    for pod in fleet.pods() {
        pod.is_ready().await;
    }
}

fn pod(fleet: &mut Fleet, target: Target) -> &mut Pod {
    match target {
        Target::Api(number) => &mut fleet.api[number],
        Target::Gateway(number) => &mut fleet.gateway[number],
        Target::Worker(number) => &mut fleet.worker[number],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let draw = |seed| schedule(seed, Duration::from_secs(60), true);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).len() > 15);
    }
}
