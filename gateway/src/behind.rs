//! What is known to be missing at this gateway, and when to fetch it.
//!
//! The hub notes, the repairer takes. A channel is noted once however often it is found out, so that the table is never larger
//! than what is followed here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use shared::channel::Channel;
use tokio::sync::Notify;

/// Channels that are behind, each with the time from which it may be fetched.
#[derive(Default)]
pub struct Behind {
    due: Mutex<HashMap<Channel, Instant>>,
    compare: AtomicBool,
    noted: Notify,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Fetch what these channels miss.
    Fetch(Vec<Channel>),
    /// Ask for the heads of everything: something may be missing anywhere.
    Compare,
}

impl Behind {
    /// Notes that `channel` misses something; it is fetched at `due`, or at the earlier time noted before.
    pub fn note(&self, channel: Channel, due: Instant) {
        self.due.lock().entry(channel).and_modify(|noted| *noted = due.min(*noted)).or_insert(due);
        self.noted.notify_one();
    }

    /// Notes that anything may be missing.
    pub fn compare_everything(&self) {
        self.compare.store(true, Ordering::Release);
        self.noted.notify_one();
    }

    /// Makes everything noted due at once.
    pub fn hurry(&self) {
        let now = Instant::now();
        self.due.lock().values_mut().for_each(|due| *due = now.min(*due));
        self.noted.notify_one();
    }

    /// Waits for work and takes at most `most` channels of it. Cancel-safe.
    pub async fn next(&self, most: usize) -> Work {
        loop {
            if self.compare.swap(false, Ordering::Acquire) {
                return Work::Compare;
            }
            let (ready, next) = self.take_due(most);
            if !ready.is_empty() {
                return Work::Fetch(ready);
            }
            let noted = self.noted.notified();
            match next {
                None => noted.await,
                Some(due) => {
                    let _ = tokio::time::timeout_at(due.into(), noted).await;
                }
            }
        }
    }

    fn take_due(&self, most: usize) -> (Vec<Channel>, Option<Instant>) {
        let now = Instant::now();
        let mut due = self.due.lock();
        // First come, first served; feeds before rooms and people, of whom a gap can concern very many.
        let turn = |(channel, at): &(&Channel, &Instant)| (!channel.is_feed(), **at);
        let mut ready: Vec<_> = due.iter().filter(|(_, at)| **at <= now).collect();
        if ready.len() > most {
            ready.select_nth_unstable_by_key(most, turn);
            ready.truncate(most);
        }
        ready.sort_unstable_by_key(turn);
        let ready: Vec<_> = ready.into_iter().map(|(channel, _)| channel.clone()).collect();
        for channel in &ready {
            due.remove(channel);
        }
        (ready, due.values().min().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_channel_noted_often_is_fetched_once_at_the_earliest_time() {
        let behind = Behind::default();
        behind.note(Channel::All, Instant::now() + Duration::from_secs(60));
        behind.note(Channel::All, Instant::now());
        behind.note(Channel::All, Instant::now() + Duration::from_secs(60));
        assert_eq!(behind.next(64).await, Work::Fetch(vec![Channel::All]));
        assert_eq!(behind.take_due(64), (vec![], None));
    }

    #[tokio::test]
    async fn feeds_come_before_rooms_and_the_longest_due_first() {
        let behind = Behind::default();
        let now = Instant::now();
        for number in 0..100 {
            behind.note(Channel::Room(format!("r{number}").parse().expect("a room")), now - Duration::from_secs(1));
        }
        let user = |number: u64| Channel::User(format!("u{number}").parse().expect("an id"));
        for number in 0..100 {
            behind.note(user(number), now - Duration::from_millis(number));
        }
        assert_eq!(behind.next(3).await, Work::Fetch(vec![user(99), user(98), user(97)]));
    }

    #[tokio::test]
    async fn comparing_comes_before_fetching() {
        let behind = Behind::default();
        behind.note(Channel::All, Instant::now());
        behind.compare_everything();
        assert_eq!(behind.next(64).await, Work::Compare);
    }
}
