//! How often somebody may do something, and how many connections they may have, over all pods together.
//!
//! Whoever does something takes a turn first, and is told how long to wait when there is none. Pods count together at the
//! broker's server. Where that does not answer at once, a pod counts alone for a moment: then everybody may do as often at each
//! pod as they may at all of them otherwise. So nobody is stopped because Redis is, and nobody is free of limits either. Only who had
//! as many connections as they may, and lost some then, may be stopped for a minute: those could not be given back.

#[cfg(feature = "testing")]
pub mod conformance;
pub mod memory;
mod rate;
pub mod redis;
mod seats;
mod settings;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

pub use self::rate::{Limit, Rate};
pub use self::seats::Seat;
pub use self::settings::LimitSettings;
use crate::access::Caller;
use crate::broker::BrokerError;
use crate::channel::Role;
use crate::ids::UserId;
use memory::MemoryLimiter;
use seats::Seats;

/// How long a pod waits to be told, before it counts alone.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it counts alone then, before it asks again.
const ALONE: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Sending a message, or forwarding one.
    Send,
    /// Announcing an attachment.
    Upload,
    /// Publishing in a room.
    Publish,
    /// Joining a room.
    Subscribe,
    /// Opening a socket or an event stream.
    Connect,
}

impl Deed {
    /// Every deed there is.
    pub const ALL: [Self; 5] = [Self::Send, Self::Upload, Self::Publish, Self::Subscribe, Self::Connect];

    /// What is done, as names in Redis, metrics and answers have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "sends",
            Self::Upload => "uploads",
            Self::Publish => "publishes",
            Self::Subscribe => "subscriptions",
            Self::Connect => "connects",
        }
    }
}

/// Who does it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Doer {
    /// Somebody with a token.
    User(UserId),
    /// Whoever is behind an address.
    Address(IpAddr),
}

impl Doer {
    /// Whoever is at `address`. Of IPv6 the first half counts: the rest is the customer's own to choose from.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self::Address(IpAddr::V6((v6.to_bits() >> 64 << 64).into())),
            v4 @ IpAddr::V4(_) => Self::Address(v4),
        }
    }
}

impl fmt::Display for Doer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Address(address) => write!(f, "address:{address}"),
        }
    }
}

/// Whether there was a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There was, and it is taken.
    Taken,
    /// There is one after so long.
    Wait(Duration),
}

/// Where turns are counted.
#[async_trait]
pub trait Limiter: Send + Sync {
    /// Takes one of the turns that `who` has at `deed`, or says how long until there is one.
    ///
    /// As many are taken as `rate` allows, whoever asks and however many at once. What is refused costs nothing. Nothing is
    /// kept longer than it takes to earn every turn back.
    async fn take(&self, who: &Doer, deed: Deed, rate: Rate) -> Result<Turn, BrokerError>;

    /// Holds one of the `most` seats of `user` for as long as `lasts`, and answers whether one was free.
    ///
    /// No more are held than there are, however many ask at once.
    async fn hold(&self, user: &UserId, seat: Uuid, most: u32, lasts: Duration) -> Result<bool, BrokerError>;

    /// Holds seats from now on that were held before, though they may have been forgotten meanwhile.
    async fn go_on_holding(&self, user: &UserId, seats: &[Uuid], lasts: Duration) -> Result<(), BrokerError>;

    /// Gives a seat back.
    async fn leave(&self, user: &UserId, seat: Uuid) -> Result<(), BrokerError>;
}

/// It was done too often, or is already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("too many {what}: at most {most}")]
pub struct TooMany {
    /// What.
    pub what: &'static str,
    /// How often it may be.
    pub most: String,
    /// How long to wait.
    pub wait: Duration,
}

/// Refuses, and counts that.
fn refused(limit: &'static str, what: &'static str, most: String, wait: Duration) -> TooMany {
    metrics::counter!("carillon_rate_limited_total", "limit" => limit).increment(1);
    TooMany { what, most, wait }
}

/// Notes that a pod counts alone.
fn counts_alone() {
    metrics::counter!("carillon_limits_counted_alone_total").increment(1);
}

/// A wait in whole milliseconds, as `retry_after_ms` has it.
#[must_use]
pub const fn millis(wait: Duration) -> u64 {
    wait.as_micros().div_ceil(1_000) as u64
}

/// A wait in whole seconds, as `Retry-After` has it.
#[must_use]
pub const fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000) as u64
}

/// The limits of a pod. Clones are the same.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    settings: LimitSettings,
    fleet: Arc<dyn Limiter>,
    own: MemoryLimiter,
    seats: Seats,
    /// Until when this pod counts alone.
    alone_until: Mutex<Option<Instant>>,
}

impl Limits {
    /// Limits whose turns are counted by `fleet`.
    #[must_use]
    pub fn new(settings: LimitSettings, fleet: Arc<dyn Limiter>) -> Self {
        let (own, seats, alone_until) = (MemoryLimiter::default(), Seats::default(), Mutex::default());
        Self(Arc::new(Inner { settings, fleet, own, seats, alone_until }))
    }

    /// Takes a turn of `caller` at `deed`. Services have no limits.
    ///
    /// Answers within 100 ms.
    ///
    /// # Errors
    ///
    /// When there is none now.
    pub async fn check(&self, deed: Deed, caller: &Caller) -> Result<(), TooMany> {
        let Limit(Some(rate)) = self.0.settings.of(deed) else { return Ok(()) };
        if caller.role == Role::Service {
            return Ok(());
        }
        self.take(&Doer::User(caller.user.clone()), deed, rate, deed.as_str()).await
    }

    /// Takes a turn at connecting of whoever is at `address`.
    ///
    /// Answers within 100 ms.
    ///
    /// # Errors
    ///
    /// When there is none now.
    pub async fn check_address(&self, address: IpAddr) -> Result<(), TooMany> {
        let Limit(Some(rate)) = self.0.settings.connects_per_address else { return Ok(()) };
        self.take(&Doer::at(address), Deed::Connect, rate, "connects_per_address").await
    }

    async fn take(&self, who: &Doer, deed: Deed, rate: Rate, limit: &'static str) -> Result<(), TooMany> {
        let turn = match self.ask(self.0.fleet.take(who, deed, rate)).await {
            Some(turn) => turn,
            None => {
                counts_alone();
                self.0.own.count(who, deed, rate)
            }
        };
        let Turn::Wait(wait) = turn else { return Ok(()) };
        Err(refused(limit, deed.as_str(), rate.to_string(), wait))
    }

    /// Waits for what the fleet's limiter answers, unless it did not a moment ago.
    async fn ask<T>(&self, answer: impl Future<Output = Result<T, BrokerError>>) -> Option<T> {
        let alone_until = &self.0.alone_until;
        if alone_until.lock().expect("no holder panics").is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%error, "limits are counted alone"),
            Err(_) => tracing::debug!("limits are counted alone: no answer in time"),
        }
        *alone_until.lock().expect("no holder panics") = Some(Instant::now() + ALONE);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::Value as _;
    use crate::time::Timestamp;

    /// A limiter that never answers.
    #[derive(Default)]
    struct Silent(AtomicUsize);

    #[async_trait]
    impl Limiter for Silent {
        async fn take(&self, _: &Doer, _: Deed, _: Rate) -> Result<Turn, BrokerError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }

        async fn hold(&self, _: &UserId, _: Uuid, _: u32, _: Duration) -> Result<bool, BrokerError> {
            std::future::pending().await
        }

        async fn go_on_holding(&self, _: &UserId, _: &[Uuid], _: Duration) -> Result<(), BrokerError> {
            std::future::pending().await
        }

        async fn leave(&self, _: &UserId, _: Uuid) -> Result<(), BrokerError> {
            std::future::pending().await
        }
    }

    fn caller(role: Role) -> Caller {
        let user = "alice".parse().expect("an id");
        Caller { user, role, name: None, token_id: None, issued_at: None, expires_at: Timestamp::now() }
    }

    fn settings() -> LimitSettings {
        let limit = |text| Limit::parse(text).expect("a limit");
        LimitSettings { sends: limit("3/1h"), publishes: limit("0"), ..LimitSettings::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_fleet_s_limiter_is_silent_a_pod_counts_alone_and_hardly_waits() {
        let silent = Arc::new(Silent::default());
        let limits = Limits::new(settings(), silent.clone());
        let (began, alice) = (Instant::now(), caller(Role::Guest));
        for _ in 0..3 {
            assert_eq!(limits.check(Deed::Send, &alice).await, Ok(()));
        }
        let refused = limits.check(Deed::Send, &alice).await.expect_err("three are allowed");
        assert!(refused.wait > Duration::from_secs(1_000), "{refused}");
        assert_eq!((began.elapsed(), silent.0.load(Ordering::Relaxed)), (PATIENCE, 1), "it was asked once");
        tokio::time::sleep(ALONE).await;
        assert!(limits.check(Deed::Send, &alice).await.is_err());
        assert_eq!(silent.0.load(Ordering::Relaxed), 2, "it is asked again after a while");
    }

    #[tokio::test]
    async fn services_and_what_has_no_limit_are_not_counted() {
        let limits = Limits::new(settings(), Arc::new(MemoryLimiter::default()));
        for _ in 0..1_000 {
            assert_eq!(limits.check(Deed::Send, &caller(Role::Service)).await, Ok(()));
            assert_eq!(limits.check(Deed::Publish, &caller(Role::Guest)).await, Ok(()));
            assert_eq!(limits.check_address(IpAddr::from([127, 0, 0, 1])).await, Ok(()), "unless it is configured");
        }
    }

    #[test]
    fn of_ipv6_the_first_half_counts() {
        let doer = |text: &str| Doer::at(text.parse().expect("an address")).to_string();
        assert_eq!(doer("2001:db8:1:2:3:4:5:6"), "address:2001:db8:1:2::");
        assert_eq!(doer("::ffff:192.0.2.7"), "address:192.0.2.7");
    }

    #[test]
    fn waits_are_rounded_up() {
        let wait = Duration::from_micros(1_001);
        assert_eq!((millis(wait), seconds(wait)), (2, 1));
    }

    #[test]
    fn whoever_is_too_fast_is_told_the_limit() {
        let Limit(Some(rate)) = Limit::parse("100/10s").expect("a limit") else { panic!("a rate") };
        let refused = TooMany { what: Deed::Send.as_str(), most: rate.to_string(), wait: Duration::ZERO };
        assert_eq!(refused.to_string(), "too many sends: at most 100 in 10s");
    }
}
