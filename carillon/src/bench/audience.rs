//! The audience: a process of publishers and subscribers that knows exactly who must hear what. Its job: [`Show`].
//!
//! Every publish carries its publisher, its number and its time. Each subscriber checks each publisher's numbers, so that
//! what is lost, comes twice or comes out of order is counted and not guessed.

use std::cell::Cell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::process::Orders;
use super::samples::Samples;
use super::visitors::token;
use super::wire::{Socket, find};

/// How many come in at the same time.
const AT_ONCE: usize = 64;
/// How long what was published may take to come, once nothing more is.
const DRAIN: Duration = Duration::from_secs(5);
/// Stands before publisher, number and time in each publish.
const MARK: &[u8] = br#""bench":["#;

/// What is to be played.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Show {
    /// Where.
    pub address: SocketAddr,
    /// The secret that signs tokens.
    pub secret: String,
    /// How many rooms.
    pub rooms: usize,
    /// How many subscribers in each.
    pub subscribers: usize,
    /// How many publishers in each.
    pub publishers: usize,
    /// How many publishes of a room may be on their way to its subscribers.
    pub in_flight: usize,
    /// Publishes a second in each room; as fast as the rest allows, if 0.
    pub rate: f64,
    /// Bytes of each publish.
    pub payload: usize,
    /// For how long.
    pub seconds: f64,
}

/// How it went.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Review {
    /// Publishes that were acknowledged.
    pub published: usize,
    /// Deliveries that were due.
    pub due: usize,
    /// Deliveries that came, repeats not counted.
    pub delivered: usize,
    /// Deliveries that came again.
    pub duplicated: usize,
    /// Deliveries that came after a later one of the same publisher.
    pub reordered: usize,
    /// From the first publish to the last delivery.
    pub seconds: f64,
    /// From publish to delivery.
    pub latency: Samples,
}

/// One room: how much may be said, and how much was heard.
struct Room {
    name: String,
    subscribers: usize,
    may_publish: Semaphore,
    heard: AtomicUsize,
}

/// Takes its places and answers `null`; told to go on, plays until everything has come, and answers `null`; told to go on,
/// answers a [`Review`]. In between, what the server has used can be read.
pub async fn run() -> anyhow::Result<()> {
    let (show, mut orders) = Orders::receive::<Show>().await?;
    let show = Arc::new(show);
    let rooms: Vec<_> = (0..show.rooms).map(|number| Arc::new(Room::new(&show, number))).collect();
    let (begun, over) = (Instant::now(), CancellationToken::new());
    let mut subscribers = JoinSet::new();
    let seats = rooms.iter().flat_map(|room| (0..show.subscribers).map(move |seat| (room, seat)));
    let seated = stream::iter(seats).map(|(room, seat)| show.seat(room, seat)).buffer_unordered(AT_ONCE);
    let seated: Vec<_> = seated.try_collect().await?;
    for (room, socket) in seated {
        subscribers.spawn(listen(room, socket, show.publishers, begun, over.clone()));
    }
    let mut publishers = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        for number in 0..show.publishers {
            let socket = show.open(&format!("bench-publisher-{index}-{number}")).await?;
            publishers.push((Arc::clone(room), number, socket));
        }
    }
    orders.answer(&())?;
    orders.next().await;

    let started = Instant::now();
    let voices =
        publishers.into_iter().map(|(room, number, socket)| publish(Arc::clone(&show), room, number, socket, begun));
    let voices: JoinSet<anyhow::Result<usize>> = voices.collect();
    let counts = voices.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut review = Review { published: counts.iter().sum(), ..Review::default() };
    review.due = review.published * show.subscribers;
    let heard = || rooms.iter().map(|room| room.heard.load(Ordering::Relaxed)).sum::<usize>();
    while heard() < review.due && started.elapsed().as_secs_f64() < show.seconds + DRAIN.as_secs_f64() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    review.seconds = started.elapsed().as_secs_f64();
    orders.answer(&())?;
    orders.next().await;

    over.cancel();
    for notes in subscribers.join_all().await {
        review.delivered += notes.delivered;
        review.duplicated += notes.duplicated;
        review.reordered += notes.reordered;
        review.latency.merge(&notes.latency);
    }
    orders.answer(&review)
}

impl Room {
    fn new(show: &Show, number: usize) -> Self {
        Self {
            name: format!("tour_bench-room-{number}"),
            subscribers: show.subscribers,
            may_publish: Semaphore::new(show.in_flight),
            heard: AtomicUsize::new(0),
        }
    }

    /// Counts deliveries. When a publish's worth has come, another may be on its way.
    fn hear(&self, deliveries: usize) {
        let before = self.heard.fetch_add(deliveries, Ordering::Relaxed);
        let over = (before + deliveries) / self.subscribers - before / self.subscribers;
        self.may_publish.add_permits(over);
    }
}

impl Show {
    async fn open(&self, user: &str) -> anyhow::Result<Socket> {
        Socket::welcomed(self.address, &token(&self.secret, user)?).await
    }

    async fn seat(&self, room: &Arc<Room>, seat: usize) -> anyhow::Result<(Arc<Room>, Socket)> {
        let mut socket = self.open(&format!("bench-{seat}")).await?;
        socket.join(&room.name).await?;
        Ok((Arc::clone(room), socket))
    }
}

/// Publishes one thing after the other, each when the last is acknowledged and few enough are on their way.
async fn publish(
    show: Arc<Show>,
    room: Arc<Room>,
    number: usize,
    mut socket: Socket,
    begun: Instant,
) -> anyhow::Result<usize> {
    let started = Instant::now();
    let voices = show.publishers as f64;
    let padding = "x".repeat(show.payload.saturating_sub(48));
    let mut count = 0;
    while started.elapsed().as_secs_f64() < show.seconds {
        if show.rate > 0.0 {
            let due = (count as f64 + number as f64 / voices) * voices / show.rate;
            tokio::time::sleep_until((started + Duration::from_secs_f64(due)).into()).await;
        }
        let Ok(permit) = tokio::time::timeout(DRAIN, room.may_publish.acquire()).await else { break };
        permit?.forget();
        let (name, at) = (&room.name, begun.elapsed().as_micros());
        socket
            .say(&format!(
                r#"{{"action":"message","room":"{name}","data":{{"bench":[{number},{count},{at}],"pad":"{padding}"}}}}"#
            ))
            .await?;
        socket.wait_for(b"\"ack\"").await?;
        count += 1;
    }
    Ok(count)
}

/// What one subscriber noticed.
#[derive(Default)]
struct Notes {
    delivered: usize,
    duplicated: usize,
    reordered: usize,
    latency: Samples,
    /// For each publisher the number that is next.
    next: Vec<usize>,
    /// What was skipped and may still come.
    missing: HashSet<(usize, usize)>,
}

impl Notes {
    fn take(&mut self, publisher: usize, number: usize, latency: Duration) {
        let next = &mut self.next[publisher];
        if number >= *next {
            self.missing.extend((*next..number).map(|skipped| (publisher, skipped)));
            *next = number + 1;
        } else if self.missing.remove(&(publisher, number)) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
            return;
        }
        self.delivered += 1;
        self.latency.add(latency);
    }
}

/// Listens until it is over.
async fn listen(
    room: Arc<Room>,
    mut socket: Socket,
    publishers: usize,
    begun: Instant,
    over: CancellationToken,
) -> Notes {
    let mut notes = Notes { next: vec![0; publishers], ..Notes::default() };
    let listening = async {
        loop {
            // One look at the clock for all that came at once.
            let (mut deliveries, mut now) = (0, None);
            let heard = socket.hear(|text| {
                if let Some([publisher, number, at]) = said(text) {
                    let sent = Duration::from_micros(at as u64);
                    notes.take(publisher, number, now.get_or_insert_with(|| begun.elapsed()).saturating_sub(sent));
                    deliveries += 1;
                }
            });
            if heard.await.is_err() {
                return;
            }
            room.hear(deliveries);
        }
    };
    over.run_until_cancelled(listening).await;
    notes
}

/// Publisher, number and time of a publish; `None` of anything else.
fn said(text: &[u8]) -> Option<[usize; 3]> {
    thread_local!(static USUAL: Cell<usize> = const { Cell::new(0) });
    // Publishes of a room differ in little: the mark mostly stands where it stood last.
    let usual = USUAL.get();
    let mark = if text.get(usual..).is_some_and(|text| text.starts_with(MARK)) { usual } else { find(text, MARK)? };
    USUAL.set(mark);
    let mut numbers = [0; 3];
    let mut digits = text[mark + MARK.len()..].split(|byte| !byte.is_ascii_digit());
    for number in &mut numbers {
        *number = std::str::from_utf8(digits.next()?).ok()?.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_repeated_or_out_of_order_is_told_apart() {
        let mut notes = Notes { next: vec![0; 2], ..Notes::default() };
        for (publisher, number) in [(0, 0), (0, 2), (1, 0), (0, 1), (0, 2), (0, 5)] {
            notes.take(publisher, number, Duration::ZERO);
        }
        assert_eq!((notes.delivered, notes.duplicated, notes.reordered), (5, 1, 1));
        assert_eq!(notes.missing.len(), 2, "3 and 4 did not come");
    }

    #[test]
    fn a_publish_is_recognised_wherever_its_mark_stands() {
        assert_eq!(said(br#"{"data":{"bench":[3,17,99],"pad":"x"}}"#), Some([3, 17, 99]));
        assert_eq!(said(br#"{"room":"r","data":{"bench":[0,1,2],"pad":"x"}}"#), Some([0, 1, 2]));
        assert_eq!(said(br#"{"type":"pong"}"#), None);
    }
}
