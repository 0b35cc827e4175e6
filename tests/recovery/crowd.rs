//! People who talk in one conversation, and when each of their messages was asked for, acknowledged and shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fleet::client::{Conversation, Device, Kind, Said, User};
use fleet::fleet::Fleet;
use fleet::place::Place as _;
use tokio::task::JoinSet;

/// How long devices may take to show everything, once all is whole.
const DEADLINE: Duration = Duration::from_secs(60);

/// People in a conversation, and devices that listen at every gateway.
pub struct Crowd {
    pub conversation: Conversation,
    pub users: Vec<User>,
    pub devices: Vec<Device>,
}

/// A message, and what became of it when.
pub struct Told {
    pub said: Said,
    pub asked_at: Instant,
    pub acknowledged_at: Instant,
}

/// A crowd that talks.
pub struct Voices {
    over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    speaking: JoinSet<Vec<Told>>,
}

impl Crowd {
    /// So many people meet, each with so many devices, which come in through nginx.
    pub async fn meets(fleet: &Fleet, people: usize, devices: usize) -> Self {
        let users: Vec<User> = (0..people).map(|number| fleet.user(&format!("u{number}"))).collect();
        let others: Vec<&User> = users[1..].iter().collect();
        let conversation = users[0].starts(Kind::Group, &others).await;
        let mut connected = Vec::with_capacity(people * devices);
        for user in &users {
            for number in 0..devices {
                connected.push(user.device(&format!("d{number}")).connect().await);
            }
        }
        Self { conversation, users, devices: connected }
    }

    /// Everybody says one thing after the other, and rests so long in between.
    pub fn talks(&self, rest: Duration) -> Voices {
        let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut speaking = JoinSet::new();
        for user in self.users.clone() {
            let (over, count, conversation) = (Arc::clone(&over), Arc::clone(&count), self.conversation.clone());
            speaking.spawn(async move {
                let mut told = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let asked_at = Instant::now();
                    let said = user.says(&conversation, &format!("{} {}", user.name(), told.len())).await;
                    told.push(Told { said, asked_at, acknowledged_at: Instant::now() });
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(rest).await;
                }
                told
            });
        }
        Voices { over, count, speaking }
    }

    /// Checks that everything was shown everywhere, once and in order, and answers for each message how long it took from
    /// `since` until the last device showed it.
    pub async fn has_shown(&self, told: &[Told], since: impl Fn(&Told) -> Instant) -> Vec<Duration> {
        let said: Vec<Said> = told.iter().map(|told| told.said.clone()).collect();
        let devices: Vec<&Device> = self.devices.iter().collect();
        self.conversation.is_shown_on(&devices, &said, DEADLINE).await;
        let shown_at = |told: &Told| {
            let times = self.devices.iter().filter_map(|device| device.record().shown_at.get(&told.said.id).copied());
            times.max().unwrap_or(told.acknowledged_at)
        };
        told.iter().map(|told| shown_at(told).saturating_duration_since(since(told))).collect()
    }
}

impl Voices {
    /// How much was acknowledged so far.
    pub fn so_far(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Everybody falls silent. Answers what was acknowledged, in the order in which it was asked for.
    pub async fn end(self) -> Vec<Told> {
        self.over.store(true, Ordering::Relaxed);
        let mut told: Vec<Told> = self.speaking.join_all().await.into_iter().flatten().collect();
        told.sort_by_key(|told| told.asked_at);
        told
    }
}

/// That of `times` which so many in a thousand do not exceed.
///
/// # Panics
///
/// When there are no times: nothing was measured.
pub fn quantile(times: &[Duration], per_mille: usize) -> Duration {
    assert!(!times.is_empty(), "nothing was measured");
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * per_mille / 1_000).min(sorted.len() - 1)]
}
