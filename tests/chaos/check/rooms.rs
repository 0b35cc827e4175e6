//! The rules of rooms: whoever is in one is told everything that is said there, once and in order, or that something is not
//! remembered; and whoever is not in it is told nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use fleet::journal::RoomAtEnd;
use serde_json::Value;

use super::evidence::{Evidence, Told};

/// How many publishes a room remembers.
pub const REMEMBERED: u64 = 100;

/// A place in a room: which life of its numbering, and which number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    epoch: String,
    offset: u64,
}

/// Something that was said in a room, as a device was told it.
#[derive(Debug, Clone)]
pub struct Word {
    pub room: String,
    pub position: Position,
    pub sender: String,
    pub key: String,
}

/// What one device was told of rooms.
#[derive(Debug, Default)]
pub struct RoomsTold {
    words: Vec<Word>,
    /// What it said and had acknowledged, in that order: the room, the key, the position.
    acknowledged: Vec<(String, String, Position)>,
    /// What was said while it was in and is missing, was told again, or was told while it was not in.
    holes: Vec<String>,
    repeats: Vec<String>,
    leaks: Vec<String>,
    /// Up to where it was told that what it has missed is no longer remembered.
    forgotten: Vec<(String, Position)>,
    places: BTreeMap<String, Place>,
}

/// Where a device is in a room.
#[derive(Debug, Default)]
struct Place {
    is_in: bool,
    /// It was told that something was dropped on the way: until it has joined anew, what comes belongs to where it stood.
    joins_anew: bool,
    next: Next,
}

/// What may be told next.
#[derive(Debug, Default, PartialEq, Eq)]
enum Next {
    /// The first of all, for nothing is remembered.
    #[default]
    First,
    /// What follows this.
    After(Position),
}

impl Position {
    fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.rsplit_once('-')?;
        Some(Self { epoch: epoch.to_owned(), offset: offset.parse().ok()? })
    }

    fn of(value: &Value) -> Option<Self> {
        value.as_str().and_then(Self::parse)
    }

    /// Behind which that begins which is remembered of a room that stands here.
    fn before_what_is_remembered(&self) -> Self {
        Self { epoch: self.epoch.clone(), offset: self.offset.saturating_sub(REMEMBERED) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl Next {
    /// What is wrong with being told `position` next: a hole, or a repeat.
    fn wrong(&self, position: &Position) -> Option<Wrong> {
        let same = |other: &Position| other.epoch == position.epoch;
        match self {
            Self::First if position.offset == 1 => None,
            Self::After(last) if same(last) && position.offset == last.offset + 1 => None,
            Self::After(last) if same(last) && position.offset <= last.offset => Some(Wrong::Repeat),
            Self::First | Self::After(_) => Some(Wrong::Hole),
        }
    }
}

enum Wrong {
    Hole,
    Repeat,
}

impl RoomsTold {
    /// Takes the next frame of a device.
    pub fn take(&mut self, frame: &Value) {
        let data = &frame["data"];
        let mut reference = frame["ref"].as_str().unwrap_or_default().split(' ');
        match (frame["type"].as_str().unwrap_or_default(), reference.next().unwrap_or_default()) {
            ("connection_established", _) => self.places.values_mut().for_each(|place| place.is_in = false),
            ("ack", "join") => {
                self.come_in(reference.next().unwrap_or_default(), reference.next().and_then(Position::parse), data);
            }
            ("ack", "leave") | ("error", "join") => self.place(reference.next().unwrap_or_default()).is_in = false,
            ("ack", "say") => {
                let (room, key) = (data["room"].as_str().unwrap_or_default(), reference.next().unwrap_or_default());
                if let Some(position) = Position::of(&data["position"]) {
                    self.acknowledged.push((room.to_owned(), key.to_owned(), position));
                }
            }
            ("resync_required", _) => {
                let Some(room) = data["room"].as_str() else { return };
                let place = self.place(room);
                match (data.get("position"), Position::of(&data["position"])) {
                    (None, _) => place.joins_anew = true,
                    (Some(_), None) => place.next = Next::First,
                    (Some(_), Some(top)) => {
                        // A room that is set back has been told farther.
                        let is_told = matches!(&place.next, Next::After(last) if last.epoch == top.epoch && last.offset >= top.offset);
                        place.next = Next::After(top.clone());
                        if !is_told {
                            self.forgotten.push((room.to_owned(), top));
                        }
                    }
                }
            }
            _ => self.hear(frame),
        }
    }

    /// Takes the answer to having joined with `since`.
    fn come_in(&mut self, room: &str, since: Option<Position>, data: &Value) {
        let place = self.place(room);
        (place.is_in, place.joins_anew) = (true, false);
        let stood = std::mem::take(&mut place.next);
        let top = Position::of(&data["position"]);
        let is_recovered = data["recovered"] == true;
        place.next = match (since.clone().filter(|_| is_recovered), &top) {
            (Some(since), _) => Next::After(since),
            (None, Some(top)) => Next::After(top.before_what_is_remembered()),
            (None, None) => Next::First,
        };
        let Some(since) = since else { return };
        if let Next::After(stood) = stood
            && stood.epoch == since.epoch
            && stood.offset < since.offset
        {
            self.holes.push(format!("{room}: joined at {since} after {stood}"));
        }
        if let (false, Some(top)) = (is_recovered, top)
            && top.epoch == since.epoch
            && (since.offset..=since.offset + REMEMBERED).contains(&top.offset)
        {
            self.holes.push(format!("{room}: what follows {since} was said to be forgotten at {top}"));
        }
    }

    fn hear(&mut self, frame: &Value) {
        let (Some(room), Some(position)) = (frame["room"].as_str(), Position::of(&frame["position"])) else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (sender, key) = (text(&frame["sender_id"]), text(&frame["data"]["key"]));
        let place = self.place(room);
        if !place.is_in {
            return self.leaks.push(format!("{key} at {position} of {room}"));
        }
        if place.joins_anew {
            return;
        }
        let wrong =
            place.next.wrong(&position).map(|wrong| (wrong, format!("{room}: {position} after {:?}", place.next)));
        place.next = Next::After(position.clone());
        match wrong {
            Some((Wrong::Hole, what)) => self.holes.push(what),
            Some((Wrong::Repeat, what)) => self.repeats.push(what),
            None => {}
        }
        self.words.push(Word { room: room.to_owned(), position, sender, key });
    }

    fn place(&mut self, room: &str) -> &mut Place {
        self.places.entry(room.to_owned()).or_default()
    }
}

/// What is wrong with each device, in its name.
fn of_devices<'a>(evidence: &'a Evidence, wrong: impl Fn(&'a Told) -> &'a [String]) -> Vec<String> {
    let named =
        |device: &'a Told| wrong(device).iter().map(|what| format!("{}'s {}: {what}", device.user, device.name));
    evidence.devices.iter().flat_map(named).collect()
}

pub fn rooms_are_told_without_holes(evidence: &Evidence) -> Vec<String> {
    of_devices(evidence, |device| &device.rooms.holes)
}

pub fn nothing_is_told_twice_in_a_room(evidence: &Evidence) -> Vec<String> {
    of_devices(evidence, |device| &device.rooms.repeats)
}

pub fn who_is_not_in_a_room_is_not_told(evidence: &Evidence) -> Vec<String> {
    of_devices(evidence, |device| &device.rooms.leaks)
}

/// In every room the last word could be said, and whoever wants to be in it is in it then, and was told that word.
pub fn rooms_are_told_to_the_end(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for RoomAtEnd { room, position, wanted_by } in &evidence.rooms {
        let Some(end) = position.as_deref().and_then(Position::parse) else {
            wrong.push(format!("nobody could say the last word in {room}"));
            continue;
        };
        for (user, name) in wanted_by {
            let device = evidence.devices.iter().find(|device| device.user == *user && device.name == *name);
            match device.and_then(|device| device.rooms.places.get(room)) {
                // A last word that nobody answered in time may have been said after the one that was.
                Some(Place { is_in: true, next: Next::After(told), .. })
                    if told.epoch == end.epoch && told.offset >= end.offset => {}
                Some(Place { is_in: true, next, .. }) => {
                    wrong.push(format!("{user}'s {name} was told {room}: {next:?}, and it ends at {end}"));
                }
                _ => wrong.push(format!("{user}'s {name} is not in {room}")),
            }
        }
    }
    wrong
}

/// Who said what where, by positions: as devices were told, and as those were who said it.
fn words(evidence: &Evidence) -> impl Iterator<Item = (&str, &Position, &str)> {
    let told = evidence.devices.iter().flat_map(|device| &device.rooms.words);
    let told = told.map(|word| (word.room.as_str(), &word.position, word.key.as_str()));
    let acknowledged = evidence.devices.iter().flat_map(|device| &device.rooms.acknowledged);
    told.chain(acknowledged.map(|(room, key, position)| (room.as_str(), position, key.as_str())))
}

/// Of how many publishes it may be unknown that they are there: of those that were not answered and not told.
const UNKNOWN: u64 = 20;

/// Whoever is told that something is no longer remembered has missed more than a room remembers.
pub fn nothing_is_forgotten_that_is_remembered(evidence: &Evidence) -> Vec<String> {
    let mut highest: HashMap<(&str, &str), u64> = HashMap::new();
    for (room, position, _) in words(evidence) {
        let known = highest.entry((room, &position.epoch)).or_default();
        *known = position.offset.max(*known);
    }
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        for (room, position) in &device.rooms.forgotten {
            let top = highest.get(&(room, &position.epoch)).copied().unwrap_or_default();
            if top + UNKNOWN < position.offset + REMEMBERED {
                let (user, name) = (&device.user, &device.name);
                wrong.push(format!(
                    "{user}'s {name} was told that {room} forgot up to {position}, and it stands at {top}"
                ));
            }
        }
    }
    wrong
}

/// What is told was said there by whom it names, and nothing else stands in its place.
pub fn what_is_told_in_rooms_was_said(evidence: &Evidence) -> Vec<String> {
    let said: HashMap<&str, (&str, &str)> =
        evidence.said.iter().map(|said| (said.key.as_str(), (said.who.as_str(), said.room.as_str()))).collect();
    let mut wrong = Vec::new();
    for word in evidence.devices.iter().flat_map(|device| &device.rooms.words) {
        if said.get(word.key.as_str()) != Some(&(word.sender.as_str(), word.room.as_str())) {
            wrong.push(format!("nobody said {word:?}"));
        }
    }
    let mut places: HashMap<(&str, &Position), &str> = HashMap::new();
    for (room, position, key) in words(evidence) {
        let first = *places.entry((room, position)).or_insert(key);
        if first != key {
            wrong.push(format!("{room} has {first} at {position} and {key}, too"));
        }
    }
    wrong
}

pub fn what_is_said_in_a_room_stands_there_once(evidence: &Evidence) -> Vec<String> {
    let mut places: HashMap<&str, &Position> = HashMap::new();
    let mut wrong = Vec::new();
    for (room, position, key) in words(evidence) {
        let first = *places.entry(key).or_insert(position);
        if first != position {
            wrong.push(format!("{key} stands at {first} of {room} and at {position}"));
        }
    }
    wrong
}

/// What one device says after it had something acknowledged stands behind that, as long as the room remembers.
pub fn what_one_says_in_a_room_stands_in_order(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        let mut last: HashMap<(&str, &str), u64> = HashMap::new();
        for (room, key, position) in &device.rooms.acknowledged {
            let before = last.insert((room, &position.epoch), position.offset).unwrap_or_default();
            if position.offset <= before {
                wrong.push(format!("{key} stands at {position} of {room} and was said after what stands at {before}"));
            }
        }
    }
    wrong
}
