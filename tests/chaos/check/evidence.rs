//! What a run left behind, as far as the rules ask for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::Context as _;
use fleet::client::{CLOSED, STARTED_OVER};
use fleet::journal::{Deed, Here, Journal, Memory, Outcome, Restored, RoomAtEnd, Run, Said, Verified};
use serde::Deserialize;
use serde_json::Value;

use super::rooms::RoomsTold;

/// A message that the database keeps.
#[derive(Debug, Clone, Deserialize)]
pub struct Kept {
    pub id: String,
    pub conversation_id: String,
    pub seq: u64,
    pub sender_id: String,
    pub message_text: String,
    pub client_message_id: Option<String>,
    pub version: u64,
    pub in_main_line: bool,
    pub deleted_at: Option<String>,
}

/// Somebody in a conversation, as the database keeps it.
#[derive(Debug, Clone, Deserialize)]
pub struct Member {
    pub conversation_id: String,
    pub user_id: String,
    pub left_at: Option<String>,
    pub unread_count: u64,
}

/// A line of a feed.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    pub channel: String,
    pub seq: u64,
    pub kind: String,
    pub message_id: Option<String>,
}

/// A message that was to be sent later.
#[derive(Debug, Clone, Deserialize)]
pub struct Later {
    pub id: String,
    pub status: String,
}

/// What somebody has not said yet.
#[derive(Debug, Clone, Deserialize)]
pub struct Unsent {
    pub user_id: String,
    pub conversation_id: String,
    pub message_text: Option<String>,
}

/// The head of a feed.
#[derive(Debug, Clone, Deserialize)]
pub struct Feed {
    pub channel: String,
    pub seq: u64,
}

/// What a device was told.
#[derive(Debug, Default)]
pub struct Told {
    pub user: String,
    pub name: String,
    /// The messages it was shown, in the order in which it was: conversation, id, number. After a start over those that it showed
    /// then.
    pub shown: Vec<(String, String, u64)>,
    /// The text that each message had when it was told last, with its version.
    pub texts: HashMap<String, (u64, String)>,
    /// The count of each conversation that was told last: version, count.
    pub counts: HashMap<String, (u64, u64)>,
    /// When the device heard last that its owner came into a conversation: the number in their feed.
    pub came: HashMap<String, u64>,
    /// Where it started over last, if it did.
    pub started_over: Option<StartedOver>,
    /// Why it was told to start over, each time.
    pub resyncs: Vec<String>,
    /// The codes with which its connections ended; none where one broke.
    pub closes: Vec<Option<u16>>,
    /// What broke the rules of a feed: a hole or a repeat.
    pub holes: Vec<String>,
    pub repeats: Vec<String>,
    /// What it was told of rooms.
    pub rooms: RoomsTold,
}

/// Where a device started over: it shows the main lines of conversations as they were listed to it, and what it is told from then on.
#[derive(Debug, Default)]
pub struct StartedOver {
    /// Up to which number each conversation was listed.
    pub listed: HashMap<String, u64>,
    /// The number of the owner's feed after which it was told more; none if it was told nothing more.
    pub after: Option<u64>,
}

/// Everything.
#[derive(Debug)]
pub struct Evidence {
    pub run: Run,
    pub deeds: Vec<Deed>,
    pub said: Vec<Said>,
    pub rooms: Vec<RoomAtEnd>,
    pub devices: Vec<Told>,
    pub messages: HashMap<String, Kept>,
    pub members: Vec<Member>,
    pub entries: BTreeMap<String, Vec<Entry>>,
    pub feeds: Vec<Feed>,
    pub later: Vec<Later>,
    pub unsent: Vec<Unsent>,
    pub verified: Vec<Verified>,
    pub here: Vec<Here>,
    pub memory: Vec<Memory>,
}

impl Evidence {
    /// Reads the folder of a run.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let journal = Journal::at(folder);
        let run: Run = journal.read("run.jsonl")?.pop().context("the run is not described")?;
        let mut deeds = journal.read("deeds.jsonl")?;
        if let Some(restored) = &run.restored {
            forget(&mut deeds, restored);
        }
        let mut devices = Vec::new();
        for (user, name, file) in journal.devices()? {
            devices.push(Told::of(user, name, &journal.read::<Value>(&file)?));
        }
        let mut entries: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for entry in journal.read::<Entry>("entries.jsonl")? {
            entries.entry(entry.channel.clone()).or_default().push(entry);
        }
        entries.values_mut().for_each(|feed| feed.sort_by_key(|entry| entry.seq));
        let messages = journal.read::<Kept>("messages.jsonl")?;
        Ok(Self {
            run,
            deeds,
            said: journal.read("said.jsonl")?,
            rooms: journal.read("rooms.jsonl")?,
            devices,
            messages: messages.into_iter().map(|kept| (kept.id.clone(), kept)).collect(),
            members: journal.read("conversation_participants.jsonl")?,
            entries,
            feeds: journal.read("feeds.jsonl")?,
            later: journal.read("scheduled_messages.jsonl")?,
            unsent: journal.read("unsent_messages.jsonl")?,
            verified: journal.read("verified.jsonl")?,
            here: journal.read("here.jsonl")?,
            memory: journal.read("memory.jsonl")?,
        })
    }

    /// How many messages were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.deeds.iter().filter(|deed| deed.made().is_some()).count()
    }

    /// How many messages all devices were shown.
    pub fn shown(&self) -> usize {
        self.devices.iter().map(|device| device.shown.len()).sum()
    }

    /// The messages that a person's feed tells of.
    pub fn feed_of(&self, user: &str) -> HashSet<&str> {
        self.feed_after(user, 0)
    }

    /// The messages that a person's feed tells of after a number.
    pub fn feed_after(&self, user: &str, after: u64) -> HashSet<&str> {
        let entries = self.entries.get(&format!("user:{user}")).map_or(&[][..], Vec::as_slice);
        let told = entries.iter().filter(|entry| entry.seq > after && entry.kind == "new_message");
        told.filter_map(|entry| entry.message_id.as_deref()).collect()
    }
}

/// Of what was answered between the copy that was put back and the end of those who answered, nobody can say whether it is kept.
fn forget(deeds: &mut [Deed], restored: &Restored) {
    let lost = restored.copied_at..restored.ended_at;
    let answered = deeds.iter_mut().filter(|deed| lost.contains(&deed.answered_at));
    answered.for_each(|deed| deed.outcome = Outcome::Unknown);
}

impl Told {
    /// Reads the frames of a device as the contract has a client read them.
    pub fn of(user: String, name: String, frames: &[Value]) -> Self {
        let mut told = Self { user, name, ..Self::default() };
        let mut positions: HashMap<String, u64> = HashMap::new();
        // From being told to start over until the answer, what comes belongs to the old position.
        let mut starts_over = false;
        for frame in frames {
            told.rooms.take(frame);
            match frame["type"].as_str() {
                Some("connection_established") => starts_over = false,
                Some(CLOSED) => told.closes.push(frame["code"].as_u64().and_then(|code| code.try_into().ok())),
                Some("resync_required") if frame["data"].get("room").is_none() => {
                    starts_over = true;
                    told.resyncs.push(text(&frame["data"]["reason"]));
                }
                Some(STARTED_OVER) => {
                    positions.clear();
                    told.start_over(&frame["messages"]);
                }
                _ if starts_over => {
                    // Told again meanwhile, it waits for the answer to the last.
                    let awaited = format!("start-over-{}", told.resyncs.len());
                    starts_over = frame["ref"] != awaited.as_str();
                }
                Some(kind) => told.take(kind, frame, &mut positions),
                None => {}
            }
        }
        told
    }

    fn start_over(&mut self, messages: &Value) {
        let mut started_over = StartedOver::default();
        self.shown.clear();
        self.texts.clear();
        self.counts.clear();
        self.came.clear();
        for (conversation, messages) in messages.as_object().into_iter().flatten() {
            for message in messages.as_array().into_iter().flatten() {
                let (id, seq) = (text(&message[0]), message[1].as_u64().unwrap_or_default());
                self.shown.push((conversation.clone(), id, seq));
                started_over.listed.insert(conversation.clone(), seq);
            }
        }
        self.started_over = Some(started_over);
    }

    fn take(&mut self, kind: &str, frame: &Value, positions: &mut HashMap<String, u64>) {
        let data = &frame["data"];
        if let (Some(channel), Some(seq), Some(prev)) =
            (frame["channel"].as_str(), frame["seq"].as_u64(), frame["prev"].as_u64())
        {
            if let Some(started_over) = &mut self.started_over
                && channel == format!("user:{}", self.user)
            {
                started_over.after.get_or_insert(prev);
            }
            let own = positions.entry(channel.to_owned()).or_insert(prev);
            if prev > *own {
                self.holes.push(format!("{channel}: between {own} and {prev}"));
            }
            if seq <= *own {
                self.repeats.push(format!("{channel}: {seq} when {own} had been told"));
            }
            *own = seq.max(*own);
            let conversation = text(&data["conversation_id"]);
            if kind == "member.added" && data["user_id"].as_str() == Some(self.user.as_str()) {
                self.came.insert(conversation.clone(), seq);
            }
            if let (Some(count), Some(version)) = (data["unread_count"].as_u64(), data["unread_version"].as_u64()) {
                let last = self.counts.entry(conversation).or_default();
                *last = (*last).max((version, count));
            }
        }
        if kind == "new_message" {
            let seq = data["seq"].as_u64().unwrap_or_default();
            self.shown.push((text(&data["conversation_id"]), text(&data["message_id"]), seq));
        }
        if let (Some(said), Some(version)) = (data["message_text"].as_str(), frame["version"].as_u64()) {
            let last = self.texts.entry(text(&data["message_id"])).or_default();
            if version >= last.0 {
                *last = (version, said.to_owned());
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
