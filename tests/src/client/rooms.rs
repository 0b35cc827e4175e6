//! The rooms that a device wants to be in, and where it stands in each: what the contract asks of a client there.
//!
//! It joins with its last position, again after every connection and whenever it is told that something was dropped, and takes
//! nothing for said before its joining is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a device waits before it asks again for what was refused for now.
const AGAIN: Duration = Duration::from_millis(300);

/// How long it waits for an answer before it asks again.
const ANSWERED: Duration = Duration::from_secs(10);

/// The rooms of one device.
#[derive(Debug, Default)]
pub struct Rooms(BTreeMap<String, Room>);

#[derive(Debug)]
struct Room {
    is_wanted: bool,
    /// The last position that was told.
    position: Option<String>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in; to be joined not before then.
    Out(Instant),
    /// Asked to come in; no answer is expected after then.
    Joining(Instant),
    In,
    /// Asked to go; no answer is expected after then.
    Leaving(Instant),
}

impl Rooms {
    /// Wants to be in a room, or no longer.
    pub(super) fn want(&mut self, room: &str, is_wanted: bool) {
        let anew = || Room { is_wanted, position: None, state: State::Out(Instant::now()) };
        self.0.entry(room.to_owned()).or_insert_with(anew).is_wanted = is_wanted;
    }

    /// Whether there is anything to do in rooms.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rooms that the device wants to be in, whether it is in, and where it stands there.
    pub fn wanted(&self) -> impl Iterator<Item = (&str, bool, Option<&str>)> {
        let wanted = self.0.iter().filter(|(_, room)| room.is_wanted);
        wanted.map(|(name, room)| (name.as_str(), room.state == State::In, room.position.as_deref()))
    }

    /// Whether it wants to be in a room.
    #[must_use]
    pub fn wants(&self, room: &str) -> bool {
        self.0.get(room).is_some_and(|room| room.is_wanted)
    }

    /// When there may be something to say without being told anything before, if ever.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = |room: &Room| match room.state {
            State::Out(at) if room.is_wanted => Some(at),
            State::In if !room.is_wanted => Some(Instant::now()),
            State::Joining(at) | State::Leaving(at) => Some(at),
            State::Out(_) | State::In => None,
        };
        self.0.values().filter_map(due).min()
    }

    /// The next thing to say, if there is one now.
    pub(super) fn next_command(&mut self) -> Option<Value> {
        let now = Instant::now();
        for (name, room) in &mut self.0 {
            match room.state {
                State::Out(at) if room.is_wanted && at <= now => return Some(room.join(name, now)),
                State::Joining(at) if at <= now => return Some(room.join(name, now)),
                State::Leaving(at) if at <= now => return Some(room.leave(name, now)),
                State::In if !room.is_wanted => return Some(room.leave(name, now)),
                _ => {}
            }
        }
        None
    }

    /// Takes a frame, as far as it concerns rooms.
    pub(super) fn take(&mut self, frame: &Value) {
        let now = Instant::now();
        let kind = frame["type"].as_str().unwrap_or_default();
        let reference = frame["ref"].as_str().unwrap_or_default();
        let mut words = reference.split(' ');
        match (kind, words.next().unwrap_or_default()) {
            ("connection_established", _) => self.0.values_mut().for_each(|room| room.state = State::Out(now)),
            ("ack", "join") => {
                // Where the answer says that the room stands is where this device stands once it was told what is remembered.
                if let Some(room) = words.next().and_then(|name| self.0.get_mut(name)) {
                    room.state = State::In;
                }
            }
            ("ack", "leave") => {
                if let Some(room) = words.next().and_then(|name| self.0.get_mut(name)) {
                    room.state = State::Out(now);
                }
            }
            ("error", "join" | "leave") => {
                if let Some(room) = words.next().and_then(|name| self.0.get_mut(name)) {
                    let wait = frame["data"]["retry_after_ms"].as_u64().map_or(AGAIN, Duration::from_millis);
                    room.state = State::Out(now + wait);
                }
            }
            ("resync_required", _) => {
                let Some(room) = frame["data"]["room"].as_str().and_then(|name| self.0.get_mut(name)) else { return };
                match frame["data"].get("position") {
                    // What lay between is remembered by nobody; it goes on from there.
                    Some(position) => room.position = position.as_str().map(str::to_owned),
                    // It was dropped on the way here, and comes again to whoever joins again.
                    None if room.state == State::In => room.state = State::Out(now),
                    None => {}
                }
            }
            _ => {
                let position = frame["position"].as_str();
                let room = frame["room"].as_str().and_then(|name| self.0.get_mut(name));
                // Before it is in, what comes belongs to where it stood.
                if let (Some(room), Some(position)) = (room.filter(|room| room.state == State::In), position) {
                    room.position = Some(position.to_owned());
                }
            }
        }
    }
}

impl Room {
    fn join(&mut self, name: &str, now: Instant) -> Value {
        self.state = State::Joining(now + ANSWERED);
        let since = self.position.as_deref();
        let reference = format!("join {name} {}", since.unwrap_or_default());
        json!({ "action": "subscribe", "room": name, "ref": reference, "data": { "since": since } })
    }

    fn leave(&mut self, name: &str, now: Instant) -> Value {
        self.state = State::Leaving(now + ANSWERED);
        json!({ "action": "unsubscribe", "room": name, "ref": format!("leave {name}") })
    }
}
