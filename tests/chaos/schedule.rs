//! What can break, and the faults of a run: drawn from a seed, each with its time.
//!
//! The same seed and the same length give the same faults at the same times; what they happen to hit differs, because processes
//! are scheduled by the machine.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fleet::fleet::RedisShape;
use fleet::proxy::{Way, Weather};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Which Redis a run is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Redis {
    Standalone,
    Cluster,
    Sentinel,
}

impl Redis {
    const ALL: [Self; 3] = [Self::Standalone, Self::Cluster, Self::Sentinel];

    /// That of a seed. One server more often than the others: links to it can be broken.
    pub fn of_seed(seed: u64) -> Self {
        Self::ALL[[0, 0, 1, 0, 2][usize::try_from(seed % 5).unwrap_or(0)]]
    }

    pub const fn shape(self) -> RedisShape {
        match self {
            Self::Standalone => RedisShape::Standalone,
            Self::Cluster => RedisShape::ClusterOfPairs,
            Self::Sentinel => RedisShape::Sentinel,
        }
    }
}

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
    /// Redis dies; it comes back with what it kept when this began.
    RedisSetBack,
    /// Redis forgets everything.
    RedisFlushed,
    /// Redis stands still and goes on.
    RedisFrozen,
    /// Redis closes the connections of all subscribers.
    SubscribersKilled,
    /// Redis closes the connections of all others.
    CommandsKilled,
    /// Redis has more for its subscribers than it holds for them, and closes their connections.
    SubscribersOverrun,
    /// One of the servers of Redis that take writes dies, and its replica takes its place. It comes back with what it wrote down when
    /// it began to be a replica itself, if it was one.
    PrimaryKilled(usize),
    /// A slot moves in the cluster, with the channels that are heard in it.
    SlotMoved(usize),
    /// PostgreSQL ends at once and recovers.
    PostgresRestarted,
    /// All processes of PostgreSQL die; it is started again.
    PostgresKilled,
    /// All processes of PostgreSQL stand still and go on.
    PostgresFrozen,
    /// nginx and its workers die, and all connections of clients with them; it is started again.
    NginxKilled,
    /// nginx and its workers stand still and go on.
    NginxFrozen,
    /// One process of PostgreSQL dies, so that it ends all others and recovers.
    BackendKilled,
    /// A console ends every connection to the database.
    BackendsEnded,
    /// A console ends every connection to the database, and takes all that there can be.
    ConnectionsTaken,
    /// The disk of the database's log is full.
    DiskFull,
    /// A console holds every conversation, so that no send gets through.
    ConversationsLocked,
    /// A console holds one conversation.
    ConversationLocked(usize),
    /// A console begins a transaction and leaves it open to the end of the run.
    TransactionLeftOpen,
    /// The weather changes on all links from one part to others of a kind, such as from `gateway-1` to `redis`.
    Weather { from: String, to: String, weather: Weather },
    /// The clock of a pod jumps by so many seconds, and back.
    ClockJumped(Target, i64),
    /// The connections of all clients are reset, and all of them come back at once.
    ClientsCut,
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

impl Fault {
    /// How long it lasts at least and at most, in milliseconds.
    const fn lasts(&self) -> (u64, u64) {
        match self {
            Self::ConversationsLocked | Self::ConnectionsTaken | Self::PostgresKilled | Self::NginxKilled => {
                (200, 1_500)
            }
            // So long that a replica takes over, more often than not.
            Self::PrimaryKilled(_) => (1_000, 7_000),
            // So long that somebody comes or goes meanwhile.
            Self::RedisSetBack => (1_000, 20_000),
            _ => (200, 4_000),
        }
    }
}

/// The shortest time from one fault to the next.
const SHORTEST_GAP: Duration = Duration::from_millis(300);

/// The most by which a clock jumps, in seconds.
const FURTHEST: i64 = 60;

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

/// Draws the faults of a run, the next of which begins `gap` after the last at the latest; in a run in which pods have `clocks` of
/// their own they jump.
pub fn schedule(seed: u64, length: Duration, gap: Duration, redis: Redis, clocks: bool) -> Vec<Planned> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut faults = Vec::new();
    let mut at = Duration::from_millis(1_500);
    while at + Duration::from_secs(3) < length {
        let fault = match clocks && dice.random_range(0..4) == 0 {
            true => Fault::ClockJumped(target(&mut dice), jump(&mut dice, at)),
            false => draw(&mut dice, redis),
        };
        let (shortest, longest) = fault.lasts();
        let lasts = Duration::from_millis(dice.random_range(shortest..longest));
        faults.push(Planned { at, lasts, fault });
        // Sometimes the next one comes while this one lasts.
        at += dice.random_range(SHORTEST_GAP..gap.max(2 * SHORTEST_GAP));
    }
    faults
}

fn target(dice: &mut StdRng) -> Target {
    match dice.random_range(0..7) {
        0 | 1 => Target::Api(dice.random_range(0..2)),
        2..=5 => Target::Gateway(dice.random_range(0..3)),
        _ => Target::Worker(dice.random_range(0..2)),
    }
}

/// By how many seconds a clock jumps: back no further than to when the run began, because nobody had a token before.
fn jump(dice: &mut StdRng, at: Duration) -> i64 {
    let back = i64::try_from(at.as_secs()).unwrap_or(FURTHEST).min(FURTHEST);
    dice.random_range(-back..=FURTHEST)
}

fn draw(dice: &mut StdRng, redis: Redis) -> Fault {
    match dice.random_range(0..36) {
        0..=3 => Fault::Killed(target(dice)),
        4 | 5 => Fault::Frozen(target(dice)),
        6 | 7 => Fault::Replaced(target(dice)),
        8 => Fault::RedisKilled,
        9 => Fault::RedisFlushed,
        10 => Fault::RedisFrozen,
        11 => Fault::SubscribersKilled,
        12 => Fault::CommandsKilled,
        13 => Fault::SubscribersOverrun,
        14..=16 => match redis {
            Redis::Standalone => weather(dice, redis),
            Redis::Sentinel => Fault::PrimaryKilled(0),
            Redis::Cluster if dice.random_bool(0.5) => Fault::PrimaryKilled(dice.random_range(0..3)),
            Redis::Cluster => Fault::SlotMoved(dice.random_range(0..1_000)),
        },
        17 => Fault::PostgresRestarted,
        18 => Fault::PostgresKilled,
        19 => Fault::BackendKilled,
        20 => Fault::BackendsEnded,
        21 => Fault::ConnectionsTaken,
        22 => Fault::DiskFull,
        23 => Fault::ConversationsLocked,
        24 => Fault::ConversationLocked(dice.random_range(0..1_000)),
        25 => Fault::TransactionLeftOpen,
        26 => Fault::ClientsCut,
        27 => Fault::CutEverywhere,
        28 => Fault::PostgresFrozen,
        29 => Fault::NginxKilled,
        30 => Fault::NginxFrozen,
        31 => Fault::RedisSetBack,
        _ => weather(dice, redis),
    }
}

fn weather(dice: &mut StdRng, redis: Redis) -> Fault {
    let (api, gateway) = (dice.random_range(1..=2), dice.random_range(1..=3));
    let mut links = vec![
        (format!("api-{api}"), "postgres".to_owned()),
        (format!("worker-{api}"), "postgres".to_owned()),
        (format!("gateway-{gateway}"), format!("api-{api}")),
        ("nginx".to_owned(), format!("gateway-{gateway}")),
        ("nginx".to_owned(), format!("api-{api}")),
    ];
    if redis == Redis::Standalone {
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

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(3_500);

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let draw = |seed| schedule(seed, Duration::from_secs(60), GAP, Redis::Standalone, false);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).len() > 15);
    }

    #[test]
    fn each_redis_breaks_in_its_own_way() {
        let drawn = |redis, fault: fn(&Fault) -> bool| {
            schedule(1, Duration::from_secs(600), GAP, redis, false).iter().any(|planned| fault(&planned.fault))
        };
        let moves = |fault: &Fault| matches!(fault, Fault::SlotMoved(_));
        let fails_over = |fault: &Fault| matches!(fault, Fault::PrimaryKilled(_));
        let to_redis = |fault: &Fault| matches!(fault, Fault::Weather { to, .. } if to == "redis");
        assert!([moves, fails_over].map(|fault| drawn(Redis::Cluster, fault)) == [true, true]);
        assert!([moves, fails_over].map(|fault| drawn(Redis::Sentinel, fault)) == [false, true]);
        assert!([moves, fails_over].map(|fault| drawn(Redis::Standalone, fault)) == [false, false]);
        assert!(drawn(Redis::Standalone, to_redis) && !drawn(Redis::Cluster, to_redis));
    }

    #[test]
    fn clocks_jump_where_pods_have_their_own_and_never_to_before_the_run() {
        let jumps = |clocks| {
            let planned = schedule(3, Duration::from_secs(600), GAP, Redis::Standalone, clocks);
            let jumps = planned.iter().filter_map(|planned| match planned.fault {
                Fault::ClockJumped(_, seconds) => Some((planned.at.as_secs().cast_signed(), seconds)),
                _ => None,
            });
            jumps.collect::<Vec<_>>()
        };
        assert_eq!(jumps(false), []);
        let jumps = jumps(true);
        assert!(jumps.iter().any(|(_, seconds)| *seconds < 0) && jumps.iter().any(|(_, seconds)| *seconds > 0));
        assert!(jumps.iter().all(|(at, seconds)| at + seconds >= 0), "{jumps:?}");
    }
}
