//! Has faults happen, each at its time, and mends each when it is over.

use std::time::Duration;

use anyhow::Context as _;
use fleet::fleet::Fleet;
use fleet::proxy::Weather;
use fleet::servers::carillon::Pod;
use fleet::servers::process::Signal;
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::memory::Scale;
use crate::schedule::{Fault, Planned, Target};

/// How soon a pod is started again that has ended by itself.
const REVIVED: Duration = Duration::from_millis(250);

/// How long something may take to be written where there is room for it.
const WRITTEN: Duration = Duration::from_secs(3);

/// How long an orderly end may take.
const GRACE: Duration = Duration::from_secs(30);

/// How many connections to the database are tried at once by whoever wants all of them.
const AT_ONCE: usize = 8;

/// What breaks a fleet, and what came of it.
#[derive(Default)]
pub struct Breaker {
    /// What consoles hold; dropping it lets go.
    held: JoinSet<()>,
    /// The faults that could not happen, and why.
    pub missed: Vec<String>,
    /// What gateways weighed meanwhile.
    pub scale: Scale,
}

impl Breaker {
    /// Lets the faults happen for a while. What is not over by then is made whole with everything else.
    pub async fn happen(&mut self, fleet: &mut Fleet, faults: &[Planned], length: Duration) {
        let begun = Instant::now();
        let mut events: Vec<(Duration, Option<Duration>, &Fault)> = Vec::with_capacity(faults.len() * 2);
        for Planned { at, lasts, fault } in faults {
            events.extend([(*at, Some(*lasts), fault), (*at + *lasts, None, fault)]);
        }
        events.retain(|(at, ..)| *at <= length);
        events.sort_by_key(|(at, ..)| *at);
        for (at, begins, fault) in events {
            self.watch(fleet, begun + at).await;
            let event = async {
                match begins {
                    Some(lasts) => self.begin(fleet, fault, lasts).await,
                    None => mend(fleet, fault).await,
                }
            };
            // A fault that cannot happen, because of another one, does not: who flushes a Redis that stands still waits for ever.
            let happened = tokio::time::timeout(longest(fault), event).await.context("not in time");
            if let Err(error) = happened.flatten() {
                let what = if begins.is_some() { "" } else { " does not end" };
                self.missed.push(format!("{fault}{what}: {error:#}"));
            }
        }
    }

    /// Starts pods again that end by themselves, as Kubernetes does, and weighs gateways, until a moment.
    pub async fn watch(&mut self, fleet: &mut Fleet, until: Instant) {
        while Instant::now() < until {
            fleet.pods().filter_map(|pod| pod.has_died().then_some(pod)).for_each(Pod::start);
            self.scale.weigh(&fleet.gateway);
            tokio::time::sleep_until(until.min(Instant::now() + REVIVED)).await;
        }
    }

    async fn begin(&mut self, fleet: &mut Fleet, fault: &Fault, lasts: Duration) -> anyhow::Result<()> {
        match fault {
            Fault::Killed(target) => pod(fleet, *target).kill(),
            Fault::Frozen(target) => pod(fleet, *target).signal(Signal::Stop),
            Fault::Replaced(target) => pod(fleet, *target).stop_in_time(GRACE).await,
            Fault::RedisKilled => fleet.redis.kill(),
            Fault::RedisSetBack => fleet.redis.save().await?,
            Fault::RedisFlushed => fleet.redis.flush().await?,
            Fault::RedisFrozen => fleet.redis.pause(),
            Fault::SubscribersKilled => fleet.redis.kill_subscribers().await?,
            Fault::CommandsKilled => fleet.redis.kill_commands().await?,
            Fault::SubscribersOverrun => fleet.redis.overrun_subscribers().await?,
            Fault::PrimaryKilled(number) => fleet.redis.kill_primary(*number).await?,
            Fault::SlotMoved(number) => fleet.redis.move_slot(fleet.redis.heard_slot(*number).await?).await?,
            Fault::PostgresRestarted => fleet.postgres.restart_immediate().await?,
            Fault::PostgresKilled => fleet.postgres.kill_all().await?,
            Fault::PostgresFrozen => fleet.postgres.stands_still(true),
            Fault::NginxKilled => fleet.nginx.kill().await,
            Fault::NginxFrozen => fleet.nginx.stands_still(true),
            Fault::BackendKilled => fleet.postgres.kill_backend().await?,
            Fault::BackendsEnded => fleet.execute(END_BACKENDS).await?,
            Fault::ConnectionsTaken => self.take_connections(fleet, lasts).await?,
            Fault::DiskFull => {
                fleet.postgres.fill_disk()?;
                // Until then it writes where it has room already.
                let write = || fleet.execute("select pg_switch_wal() from pg_create_restore_point('full')");
                while let Ok(Ok(())) = tokio::time::timeout(WRITTEN, write()).await {}
            }
            Fault::ConversationsLocked => {
                self.hold(fleet, "begin; select from conversations for update", lasts).await?;
            }
            Fault::ConversationLocked(number) => {
                let one = format!(
                    "begin; select from conversations where id = (select id from conversations order by id \
                     offset {number} % (select count(*) from conversations) limit 1) for update"
                );
                self.hold(fleet, &one, lasts).await?;
            }
            Fault::TransactionLeftOpen => {
                // With a number and a snapshot, which holds back whoever waits for all that began before.
                let open = "begin isolation level repeatable read; select pg_current_xact_id()";
                self.hold(fleet, open, Duration::MAX).await?;
            }
            Fault::Weather { from, to, weather } => fleet.link(from, to).becomes(*weather),
            Fault::ClockJumped(target, seconds) => pod(fleet, *target).clock()?.is_off_by(*seconds)?,
            Fault::ClientsCut => fleet.cut_clients(),
            Fault::CutEverywhere => fleet.cut_everywhere(),
        }
        Ok(())
    }

    /// Has a console say something, and stay connected for a while.
    async fn hold(&mut self, fleet: &Fleet, statements: &str, lasts: Duration) -> anyhow::Result<()> {
        let mut console = fleet.console().await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut console).await?;
        self.keep(vec![console], lasts);
        Ok(())
    }

    /// Takes every connection to the database that there can be.
    async fn take_connections(&mut self, fleet: &Fleet, lasts: Duration) -> anyhow::Result<()> {
        let mut taken = Vec::new();
        fleet.execute(END_BACKENDS).await?;
        loop {
            let tries = (0..AT_ONCE).map(|_| fleet.console());
            let (got, refused): (Vec<_>, Vec<_>) =
                futures_util::future::join_all(tries).await.into_iter().partition(Result::is_ok);
            taken.extend(got.into_iter().flatten());
            if !refused.is_empty() || taken.len() > fleet.postgres.connections() {
                break;
            }
        }
        self.keep(taken, lasts);
        Ok(())
    }

    fn keep(&mut self, consoles: Vec<PgConnection>, lasts: Duration) {
        self.held.spawn(async move {
            tokio::time::sleep(lasts).await;
            drop(consoles);
        });
    }
}

const END_BACKENDS: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                            where pid <> pg_backend_pid() and backend_type = 'client backend'";

/// Starts every pod anew, told to die at these points.
pub fn arm(fleet: &mut Fleet, crashes: Option<&str>) {
    for pod in fleet.pods() {
        pod.will_be_told("CARILLON_CRASH", crashes);
        pod.kill();
        pod.start();
    }
}

/// How long a fault may take to happen, or to be mended.
fn longest(fault: &Fault) -> Duration {
    match fault {
        Fault::Replaced(_) => GRACE + Duration::from_secs(5),
        Fault::RedisKilled | Fault::RedisSetBack | Fault::PrimaryKilled(_) => Duration::from_secs(6),
        Fault::PostgresRestarted | Fault::PostgresKilled | Fault::DiskFull => GRACE,
        // These are made of many small ones.
        Fault::SubscribersOverrun | Fault::ConnectionsTaken => Duration::from_secs(10),
        _ => Duration::from_secs(3),
    }
}

async fn mend(fleet: &mut Fleet, fault: &Fault) -> anyhow::Result<()> {
    match fault {
        Fault::Killed(target) | Fault::Replaced(target) => pod(fleet, *target).runs(),
        Fault::Frozen(target) => pod(fleet, *target).signal(Signal::Cont),
        Fault::RedisKilled => fleet.redis.restart_empty().await?,
        Fault::PrimaryKilled(_) => fleet.redis.restart().await?,
        Fault::RedisSetBack => fleet.redis.set_back().await?,
        Fault::RedisFrozen => fleet.redis.resume(),
        Fault::DiskFull => {
            fleet.postgres.empty_disk();
            revive_postgres(fleet).await?;
        }
        Fault::PostgresKilled => revive_postgres(fleet).await?,
        Fault::PostgresFrozen => fleet.postgres.stands_still(false),
        Fault::NginxKilled => fleet.nginx.runs().await?,
        Fault::NginxFrozen => fleet.nginx.stands_still(false),
        Fault::Weather { from, to, .. } => fleet.link(from, to).becomes(Weather::Fine),
        Fault::ClockJumped(target, _) => pod(fleet, *target).clock()?.is_off_by(0)?,
        Fault::RedisFlushed
        | Fault::SubscribersKilled
        | Fault::CommandsKilled
        | Fault::SubscribersOverrun
        | Fault::SlotMoved(_)
        | Fault::PostgresRestarted
        | Fault::BackendKilled
        | Fault::BackendsEnded
        | Fault::ConnectionsTaken
        | Fault::ConversationsLocked
        | Fault::ConversationLocked(_)
        | Fault::TransactionLeftOpen
        | Fault::ClientsCut
        | Fault::CutEverywhere => {}
    }
    Ok(())
}

async fn revive_postgres(fleet: &Fleet) -> anyhow::Result<()> {
    if fleet.postgres.is_running() { Ok(()) } else { fleet.postgres.start_again().await }
}

/// Makes everything whole, and waits until every pod is ready.
///
/// # Errors
///
/// When a server does not come back.
///
/// # Panics
///
/// When a pod does not become ready.
pub async fn heal(fleet: &mut Fleet) -> anyhow::Result<()> {
    fleet.weather_everywhere(Weather::Fine);
    for pod in fleet.pods() {
        pod.signal(Signal::Cont);
        if let Ok(clock) = pod.clock() {
            clock.is_off_by(0)?;
        }
    }
    fleet.nginx.stands_still(false);
    fleet.nginx.runs().await?;
    fleet.postgres.stands_still(false);
    fleet.redis.resume();
    fleet.redis.restart().await?;
    fleet.postgres.empty_disk();
    revive_postgres(fleet).await?;
    for pod in fleet.pods() {
        pod.runs();
    }
    for pod in fleet.pods() {
        pod.is_ready().await;
    }
    Ok(())
}

/// Replaces every pod, one after the other.
pub async fn update(fleet: &mut Fleet) {
    let pods = fleet.gateway.iter().chain(&fleet.api).chain(&fleet.worker);
    for name in pods.map(|pod| pod.name().to_owned()).collect::<Vec<_>>() {
        fleet.replaces(&name).await;
    }
}

/// A pod of a fleet.
pub fn pod(fleet: &mut Fleet, target: Target) -> &mut Pod {
    match target {
        Target::Api(number) => &mut fleet.api[number],
        Target::Gateway(number) => &mut fleet.gateway[number],
        Target::Worker(number) => &mut fleet.worker[number],
    }
}
