//! Windows: the last few entries of a user's feed, as they were announced, for quick reconnects.
//!
//! Disposable, and never the authority on the head: whoever reads one continues from it only without a hole, and asks the api
//! for the rest. A feed has one while somebody hears it and for five minutes after.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::Channel;
use crate::envelope::{Content, Envelope};
use crate::ids::{Epoch, Seq};

/// Entries that a window keeps.
pub const ENTRIES: usize = 64;
/// How long a window is kept after its last entry.
pub const AGE: Duration = Duration::from_secs(5 * 60);
/// How often windows that have grown old are cleared away.
const SWEEP: Duration = Duration::from_secs(10);

/// The feed and the number of an envelope that windows keep: an entry of a user's feed.
#[must_use]
pub fn place_of(envelope: &Envelope) -> Option<(Epoch, Seq)> {
    match (&envelope.channel, &envelope.content) {
        (Channel::User(_), Content::Entry(entry)) => Some((entry.epoch, entry.seq)),
        _ => None,
    }
}

/// Whether a window must forget what it holds before it keeps this one.
#[must_use]
pub const fn redacts(envelope: &Envelope) -> bool {
    matches!(&envelope.content, Content::Entry(entry) if entry.redacts)
}

/// The part of `entries` (ascending) that follows `after` without a hole.
#[must_use]
pub fn continuing(entries: Vec<Envelope>, after: Seq) -> Vec<Envelope> {
    let mut last = after;
    let mut continued = Vec::with_capacity(entries.len());
    for envelope in entries {
        match place_of(&envelope) {
            Some((_, seq)) if seq == last.next() => last = seq,
            _ => break,
        }
        continued.push(envelope);
    }
    continued
}

/// The windows of a single process.
#[derive(Default)]
pub(crate) struct Windows {
    windows: HashMap<(Channel, Epoch), Window>,
    swept: Option<Instant>,
}

struct Window {
    entries: BTreeMap<Seq, Envelope>,
    forgotten_at: Instant,
}

impl Windows {
    /// Keeps an envelope that `is_heard`, or whose window exists already.
    pub(crate) fn keep(&mut self, envelope: &Envelope, is_heard: bool) {
        let Some((epoch, seq)) = place_of(envelope) else { return };
        let now = Instant::now();
        self.sweep(now);
        let key = (envelope.channel.clone(), epoch);
        if is_heard {
            self.windows.entry(key.clone()).or_insert_with(|| Window { entries: BTreeMap::new(), forgotten_at: now });
        }
        let Some(window) = self.windows.get_mut(&key) else { return };
        if redacts(envelope) {
            window.entries = window.entries.split_off(&seq);
        }
        window.entries.entry(seq).or_insert_with(|| envelope.clone());
        if window.entries.len() > ENTRIES {
            window.entries.pop_first();
        }
        window.forgotten_at = now + AGE;
    }

    /// The entries that follow `after` without a hole.
    pub(crate) fn read(&self, channel: &Channel, epoch: Epoch, after: Seq) -> Vec<Envelope> {
        let window = self.windows.get(&(channel.clone(), epoch));
        let window = window.filter(|window| window.forgotten_at > Instant::now());
        let later = window.map(|window| window.entries.range(after.next()..).map(|(_, entry)| entry.clone()).collect());
        continuing(later.unwrap_or_default(), after)
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.windows.retain(|_, window| window.forgotten_at > now);
            self.swept = Some(now);
        }
    }
}
