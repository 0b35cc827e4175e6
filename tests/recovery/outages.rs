//! Parts of the fleet end while people talk.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use fleet::client::{CLOSED, Device, Kind, User};
use fleet::fleet::{Fleet, GRACE, RedisShape, Shape};
use fleet::servers::carillon::Pod;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Figure;
use crate::crowd::{Crowd, Told, quantile};

const SECOND: Duration = Duration::from_secs(1);
/// Between two looks at what devices are doing.
const LOOK: Duration = Duration::from_millis(2);

/// One publish in twenty is lost: the beat tells of it, and the gateway fetches what it misses.
pub async fn lost() -> anyhow::Result<Vec<Figure>> {
    let environment = vec![("CARILLON_SABOTAGE", "drops_publishes=0.05".to_owned())];
    let fleet = Fleet::start(Shape { environment, ..Shape::default() }).await;
    let crowd = Crowd::meets(&fleet, 4, 2).await;
    let voices = crowd.talks(Duration::from_millis(40));
    tokio::time::sleep(20 * SECOND).await;
    let told = voices.end().await;
    let times = crowd.has_shown(&told, |told| told.acknowledged_at).await;
    Ok(vec![
        Figure::of("messages, of whose publishes one in twenty was lost", &told.len()),
        Figure::of("acknowledged until the last device shows it, p50", &crate::time(quantile(&times, 500))),
        Figure::within("the same, p99: lost, found and healed", quantile(&times, 990), 2 * SECOND),
        Figure::within("the same, the longest", quantile(&times, 1_000), 2 * SECOND),
    ])
}

/// Api pods die after one commit in a hundred, before anything is announced.
pub async fn api_killed() -> anyhow::Result<Vec<Figure>> {
    let mut fleet = Fleet::start(Shape::default()).await;
    let crowd = Crowd::meets(&fleet, 4, 2).await;
    for pod in &mut fleet.api {
        pod.will_be_told("CARILLON_CRASH", Some("after_commit=0.01"));
        pod.kill();
        pod.start();
        pod.is_ready().await;
    }
    let voices = crowd.talks(Duration::from_millis(40));
    let (begun, mut deaths) = (Instant::now(), 0);
    while begun.elapsed() < 30 * SECOND {
        for pod in &mut fleet.api {
            if pod.has_died() {
                deaths += 1;
                pod.start();
            }
        }
        tokio::time::sleep(10 * LOOK).await;
    }
    for pod in &mut fleet.api {
        pod.will_be_told("CARILLON_CRASH", None);
        pod.kill();
        pod.start();
        pod.is_ready().await;
    }
    let told = voices.end().await;
    ensure!(deaths > 0, "no api pod died: CARILLON_BIN must be built with the feature sabotage");
    let committed = committed(&fleet).await?;
    let times = crowd.has_shown(&told, |told| committed[&told.said.id]).await;
    let asked = crowd.has_shown(&told, |told| told.asked_at).await;
    Ok(vec![
        Figure::of("messages", &told.len()),
        Figure::of("api pods that died after a commit", &deaths),
        Figure::of("committed until the last device shows it, p50", &crate::time(quantile(&times, 500))),
        Figure::within("the same, the longest", quantile(&times, 1_000), SECOND),
        Figure::of(
            "first asked until shown, while both pods may be away, longest",
            &crate::time(quantile(&asked, 1_000)),
        ),
    ])
}

/// When each message was written, by its id: just before it was committed.
async fn committed(fleet: &Fleet) -> anyhow::Result<HashMap<String, Instant>> {
    let (instant, clock) = (Instant::now(), chrono::Utc::now());
    let moment = |row: &Value| {
        let written_at: chrono::DateTime<chrono::Utc> = row["created_at"].as_str()?.parse().ok()?;
        Some((row["id"].as_str()?.to_owned(), instant - (clock - written_at).to_std().ok()?))
    };
    Ok(fleet.rows("messages").await?.iter().filter_map(moment).collect())
}

/// Redis is gone for twelve seconds, and comes back empty.
pub async fn redis_gone() -> anyhow::Result<Vec<Figure>> {
    let mut fleet = Fleet::start(Shape { redis: RedisShape::Standalone, ..Shape::default() }).await;
    let crowd = Crowd::meets(&fleet, 4, 4).await;
    let voices = crowd.talks(Duration::from_millis(40));
    tokio::time::sleep(5 * SECOND).await;
    let (gone_at, before) = (Instant::now(), voices.so_far());
    fleet.redis.kill();
    tokio::time::sleep(12 * SECOND).await;
    let acknowledged = voices.so_far() - before;
    let back_at = Instant::now();
    fleet.redis.restart_empty().await?;
    for pod in fleet.pods() {
        pod.is_ready().await;
    }
    tokio::time::sleep(8 * SECOND).await;
    let told = voices.end().await;
    let times = crowd.has_shown(&told, |told| told.acknowledged_at).await;
    let again = crowd.devices.iter().filter(|device| device.connections() > 1).count();
    ensure!(again == 0, "{again} devices lost their connection because Redis was gone");
    let of = |from: Instant, to: Option<Instant>| -> Vec<Duration> {
        let fits = |told: &Told| told.acknowledged_at >= from && to.is_none_or(|to| told.acknowledged_at < to);
        told.iter().zip(&times).filter(|(told, _)| fits(told)).map(|(_, time)| *time).collect()
    };
    let (meanwhile, later) = (of(gone_at, Some(back_at)), of(back_at + 2 * SECOND, None));
    Ok(vec![
        Figure::of("messages acknowledged in twelve seconds without Redis", &acknowledged),
        Figure::of("connections lost", &again),
        Figure::of("acknowledged until shown without Redis, p50", &crate::time(quantile(&meanwhile, 500))),
        Figure::within("the same, the longest", quantile(&meanwhile, 1_000), 5 * SECOND),
        Figure::of("two seconds after its return, p50", &crate::time(quantile(&later, 500))),
        Figure::of("the same, the longest", &crate::time(quantile(&later, 1_000))),
    ])
}

/// One of three gateways dies while three hundred devices are connected.
pub async fn gateway_killed() -> anyhow::Result<Vec<Figure>> {
    let mut fleet = Fleet::start(Shape { gateway: 3, ..Shape::default() }).await;
    let crowd = Crowd::meets(&fleet, 30, 10).await;
    let voices = crowd.talks(Duration::from_millis(500));
    tokio::time::sleep(2 * SECOND).await;
    let killed_at = Instant::now();
    fleet.gateway[0].kill();
    let times = until_linked(&crowd.devices, killed_at, 10 * SECOND).await?;
    fleet.gateway[0].start();
    fleet.gateway[0].is_ready().await;
    let told = voices.end().await;
    crowd.has_shown(&told, |told| told.acknowledged_at).await;
    Ok(vec![
        Figure::of("devices connected, at three gateways", &crowd.devices.len()),
        Figure::of("devices at the one that died", &times.len()),
        Figure::of("from its death until they live elsewhere, p50", &crate::time(quantile(&times, 500))),
        Figure::within("the same, p99", quantile(&times, 990), 3 * SECOND),
        Figure::of("messages acknowledged meanwhile, all shown", &told.len()),
    ])
}

/// Watches who loses their connection, and answers how long after `since` each was connected again.
async fn until_linked(devices: &[Device], since: Instant, deadline: Duration) -> anyhow::Result<Vec<Duration>> {
    let before: Vec<usize> = devices.iter().map(Device::connections).collect();
    let mut times = vec![None; devices.len()];
    let mut quiet_since = Instant::now();
    // Over once nobody has lost or found anything for a second.
    while quiet_since.elapsed() < SECOND {
        ensure!(since.elapsed() < deadline, "not everybody was connected again within {deadline:?}");
        for ((device, before), time) in devices.iter().zip(&before).zip(&mut times) {
            if !device.is_linked() {
                quiet_since = Instant::now();
            } else if time.is_none() && device.connections() > *before {
                *time = Some(since.elapsed());
                quiet_since = Instant::now();
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(times.into_iter().flatten().collect())
}

/// Every pod is replaced, one after the other, while people talk.
pub async fn update() -> anyhow::Result<Vec<Figure>> {
    let mut fleet = Fleet::start(Shape { gateway: 3, ..Shape::default() }).await;
    let crowd = Crowd::meets(&fleet, 10, 20).await;
    let voices = crowd.talks(Duration::from_millis(100));
    let [asked, repeated] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&asked), Arc::clone(&repeated));
    let asking = tokio::spawn(ask(crowd.users[0].clone(), crowd.users[1].clone(), counts));
    let (mut away, mut spread) = (Vec::new(), Vec::new());
    let names = |pods: &[Pod]| -> Vec<String> { pods.iter().map(|pod| pod.name().to_owned()).collect() };
    let (gateways, others) = (names(&fleet.gateway), [names(&fleet.api), names(&fleet.worker)].concat());
    for gateway in gateways {
        let (times, first_to_last) = replaced(&mut fleet, &gateway, &crowd.devices).await?;
        away.extend(times);
        spread.push(first_to_last);
    }
    for other in others {
        fleet.replaces(&other).await;
    }
    let told = voices.end().await;
    asking.abort();
    let refused = asking.await.err().filter(|error| error.is_panic());
    ensure!(refused.is_none(), "a send failed: {refused:?}");
    crowd.has_shown(&told, |told| told.acknowledged_at).await;
    let ends = crowd.devices.iter().flat_map(|device| device.record().frames.clone());
    let codes: Vec<Value> = ends.filter(|frame| frame["type"] == CLOSED).map(|frame| frame["code"].clone()).collect();
    ensure!(codes.iter().all(|code| *code == 1012), "ended otherwise than with 1012: {codes:?}");
    ensure!(codes.len() == away.len(), "{} ended and {} are known to have come back", codes.len(), away.len());
    Ok(vec![
        Figure::of("devices connected, at three gateways", &crowd.devices.len()),
        Figure::of("reconnects, all after 1012", &away.len()),
        // Nginx may end a connection just as it is used again.
        Figure::of("sends that had to be repeated, of those one after the other", &repeated.load(Ordering::Relaxed)),
        Figure::of("of so many", &asked.load(Ordering::Relaxed)),
        Figure::of("without a connection, p50", &crate::time(quantile(&away, 500))),
        Figure::within("the same, p99", quantile(&away, 990), 2 * SECOND),
        Figure::of("first to last reconnect of a gateway, in a window of 3 s", &crate::time(quantile(&spread, 1_000))),
        Figure::of("messages acknowledged meanwhile, all shown", &told.len()),
    ])
}

/// Replaces a gateway. Answers for each device that was there how long it was without a connection, and how long it took from the
/// first that came back to the last.
async fn replaced(fleet: &mut Fleet, gateway: &str, devices: &[Device]) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let watch = async {
        let mut connections: Vec<usize> = devices.iter().map(Device::connections).collect();
        let mut lost_at: Vec<Option<Instant>> = vec![None; devices.len()];
        let (mut away, mut back_at) = (Vec::new(), Vec::new());
        loop {
            let now = Instant::now();
            for ((device, lost_at), connections) in devices.iter().zip(&mut lost_at).zip(&mut connections) {
                if !device.is_linked() {
                    lost_at.get_or_insert(now);
                } else if device.connections() > *connections {
                    *connections = device.connections();
                    // Whoever was back between two looks was away for less than that.
                    away.push(lost_at.take().map_or(LOOK, |lost_at| now - lost_at));
                    back_at.push(now);
                }
            }
            if back_at.last().is_some_and(|last| last.elapsed() > SECOND) && lost_at.iter().all(Option::is_none) {
                let spread = *back_at.last().expect("somebody is back") - back_at[0];
                return (away, spread);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let (watched, ()) = tokio::join!(tokio::time::timeout(GRACE, watch), fleet.replaces(gateway));
    let away = devices.iter().filter(|device| !device.is_linked()).count();
    watched.map_err(|_| anyhow::anyhow!("{gateway} was replaced; nobody came back, or not all: {away} are away"))
}

/// Sends one message after the other, and repeats under the same key what was not answered because its connection ended. Counts
/// both.
///
/// # Panics
///
/// When one is not acknowledged: refused, or not answered in time.
async fn ask(user: User, other: User, (asked, repeated): (Arc<AtomicUsize>, Arc<AtomicUsize>)) {
    let conversation = user.starts(Kind::Direct, &[&other]).await;
    for number in 0.. {
        let body = json!({
            "conversation_id": conversation.id, "message_text": "hello", "client_message_id": format!("once-{number}"),
        });
        let send = || user.request(Method::POST, "/api/v1/messages/messages").json(&body).send();
        let answer = match send().await {
            Err(error) if !error.is_timeout() => {
                repeated.fetch_add(1, Ordering::Relaxed);
                send().await.expect("nginx answers")
            }
            answer => answer.expect("nginx answers in time"),
        };
        asked.fetch_add(1, Ordering::Relaxed);
        assert!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await.unwrap_or_default());
        tokio::time::sleep(20 * LOOK).await;
    }
}
