//! What one device was told, and whether it was told so rightly.
//!
//! Holds the rules that every client of the contract may rely on: within a feed `prev ≤ own < seq`, within a conversation
//! each message once and in order. A broken rule is noted, with the frame that broke it.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::rooms::Rooms;

/// The `type` of the note that stands among the frames where a device started over: no server says it. It names the messages that
/// are shown from then on, each with its number.
pub const STARTED_OVER: &str = "test.started_over";

/// The `type` of the note that stands among the frames where a connection ended that the device did not end: with the `code` with
/// which the server closed it, or none if it broke.
pub const CLOSED: &str = "test.closed";

/// One message, as a device showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// Its number in the conversation.
    pub seq: u64,
    /// What it says.
    pub text: String,
}

/// Everything one device was told.
#[derive(Debug, Default)]
pub struct Record {
    /// The last number of each feed, by channel.
    positions: HashMap<String, u64>,
    /// The messages of each conversation, in the order in which they were shown.
    messages: HashMap<String, Vec<Shown>>,
    /// When each of them was shown first, by its id.
    pub shown_at: HashMap<String, Instant>,
    /// The `ref` of the `resume` that ends a start over. Until its answer, what comes belongs to the old position.
    starting_over: Option<String>,
    /// What to hand back as `since`.
    pub cursor: Option<String>,
    /// Every frame, as it came.
    pub frames: Vec<Value>,
    /// Every rule that was broken.
    pub wrongs: Vec<String>,
    /// How often a connection was established.
    pub connections: usize,
    /// How often the device was told to start over.
    pub resyncs: usize,
    /// The rooms it wants to be in.
    pub rooms: Rooms,
    /// How the last connection was closed, where the other side said so.
    pub closed: Option<(u16, String)>,
}

/// What a device does about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    GoOn,
    /// Acknowledge the cursor.
    Acknowledge,
    /// Load the snapshot and resume from its cursor.
    StartOver,
}

impl Record {
    /// Of a device that has been told nothing, and hands back `since` when it connects.
    #[must_use]
    pub fn starting_at(since: Option<String>) -> Self {
        Self { cursor: since, ..Self::default() }
    }

    /// Takes one frame, and says what it asks for.
    pub fn take(&mut self, frame: Value) -> Next {
        let next = self.judge(&frame);
        if !self.rooms.is_empty() {
            self.rooms.take(&frame);
        }
        self.frames.push(frame);
        next
    }

    fn judge(&mut self, frame: &Value) -> Next {
        match frame["type"].as_str() {
            Some("connection_established") => {
                self.connections += 1;
                self.starting_over = None;
                let start = frame["data"]["cursor"].as_str();
                self.cursor = self.cursor.take().or_else(|| start.map(str::to_owned));
                return Next::GoOn;
            }
            Some("resync_required") if frame["data"].get("room").is_none() => {
                self.resyncs += 1;
                self.starting_over = Some(format!("start-over-{}", self.resyncs));
                return Next::StartOver;
            }
            _ => {}
        }
        if self.starting_over.is_some() {
            if frame["ref"].as_str() == self.starting_over.as_deref() {
                self.starting_over = None;
            }
            return Next::GoOn;
        }
        if frame["type"] == "new_message" {
            self.show(frame);
        }
        if let Some(seq) = frame["seq"].as_u64() {
            self.advance(frame, seq);
        }
        match frame["cursor"].as_str() {
            Some(cursor) => {
                self.cursor = Some(cursor.to_owned());
                Next::Acknowledge
            }
            None => Next::GoOn,
        }
    }

    /// Checks a durable frame against the feed it belongs to.
    fn advance(&mut self, frame: &Value, seq: u64) {
        let (Some(channel), Some(prev)) = (frame["channel"].as_str(), frame["prev"].as_u64()) else {
            return self.wrongs.push(format!("a durable frame without channel or prev: {frame}"));
        };
        if frame["cursor"].is_null() {
            self.wrongs.push(format!("a durable frame without cursor: {frame}"));
        }
        let own = *self.positions.get(channel).unwrap_or(&prev);
        if prev > own {
            self.wrongs.push(format!("{channel}: a hole between {own} and {prev}: {frame}"));
        }
        if seq <= own {
            self.wrongs.push(format!("{channel}: {seq} came when {own} had been told: {frame}"));
        }
        self.positions.insert(channel.to_owned(), seq.max(own));
    }

    /// Shows a message, and checks it against its conversation.
    fn show(&mut self, frame: &Value) {
        let data = &frame["data"];
        let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
        let shown =
            Shown { id: text("message_id"), seq: data["seq"].as_u64().unwrap_or_default(), text: text("message_text") };
        let messages = self.messages.entry(text("conversation_id")).or_default();
        if self.shown_at.insert(shown.id.clone(), Instant::now()).is_some() {
            self.wrongs.push(format!("shown twice: {frame}"));
        } else if let Some(last) = messages.last()
            && last.seq + 1 != shown.seq
        {
            self.wrongs.push(format!("message {} shown after {}: {frame}", shown.seq, last.seq));
        }
        messages.push(shown);
    }

    /// Forgets where it stood and what it showed, shows these messages of each conversation instead, and returns the `resume`
    /// that goes on from the snapshot's cursor.
    #[must_use]
    pub fn start_over(&mut self, cursor: &str, messages: HashMap<String, Vec<Shown>>) -> Value {
        let shown: Value = messages
            .iter()
            .map(|(id, messages)| {
                let ids: Vec<_> = messages.iter().map(|shown| json!([shown.id, shown.seq])).collect();
                (id.clone(), Value::from(ids))
            })
            .collect();
        self.frames.push(json!({ "type": STARTED_OVER, "messages": shown }));
        self.positions.clear();
        let shown = messages.values().flatten().map(|shown| (shown.id.clone(), Instant::now()));
        self.shown_at = shown.collect();
        self.messages = messages;
        self.cursor = Some(cursor.to_owned());
        json!({ "action": "resume", "ref": self.starting_over, "data": { "since": cursor } })
    }

    /// Notes that a connection ended, and with which code.
    pub fn closes(&mut self, code: Option<u16>) {
        self.frames.push(json!({ "type": CLOSED, "code": code }));
    }

    /// The messages of a conversation, in the order in which they were shown.
    #[must_use]
    pub fn messages(&self, conversation: &str) -> &[Shown] {
        self.messages.get(conversation).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, prev: u64) -> Value {
        json!({
            "type": "new_message", "channel": "user:bob", "seq": seq, "prev": prev, "cursor": format!("c{seq}"),
            "data": { "conversation_id": "c", "message_id": format!("m{seq}"), "seq": seq, "message_text": "hello" },
        })
    }

    #[test]
    fn what_comes_once_and_in_order_is_right() {
        let mut record = Record::default();
        for seq in 1..=3 {
            assert_eq!(record.take(message(seq, seq - 1)), Next::Acknowledge);
        }
        assert_eq!(record.wrongs, Vec::<String>::new());
        assert_eq!(record.cursor.as_deref(), Some("c3"));
        assert_eq!(record.messages("c").len(), 3);
    }

    #[test]
    fn a_repeat_a_hole_and_a_step_back_are_wrong() {
        for wrong in [[(1, 0), (1, 0)], [(1, 0), (3, 2)], [(2, 1), (1, 0)]] {
            let mut record = Record::default();
            for (seq, prev) in wrong {
                record.take(message(seq, prev));
            }
            assert!(!record.wrongs.is_empty(), "{wrong:?}");
        }
    }
}
