//! Events as text: the shared beginning that everyone gets, and the small end that is each recipient's own.
//!
//! An event is serialised once, by whoever says it, and left open: `{"type":…,"data":{…` without the closing braces.
//! Whatever differs per recipient (`unread_count`, `seq`, `prev`, `cursor`) is written behind it, so that a gateway never
//! parses or copies a body. The api writes the same ends when it renders a feed page.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::channel::Channel;
use crate::cursor::Cursor;
use crate::ids::{RoomName, Seq, UserId};
use crate::time::Timestamp;

/// Which doors show an event: `/ws/notifications/…` shows no messaging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Conversations and messages.
    Messaging,
    /// Notifications and announcements.
    Notifications,
}

/// How many messages the recipient has not read where the event happened, and when that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
pub struct Unread {
    /// The absolute count for the recipient: of the event's conversation, or of its thread.
    pub count: u64,
    /// The position of the recipient's feed when it was counted: the higher one wins.
    pub version: Seq,
}

/// The beginning of a durable event: JSON text that ends inside `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableBody {
    text: Bytes,
    /// Whether each recipient's count is that of a thread, and not of the conversation.
    counts_thread: bool,
}

/// What stands at the head of every event.
#[derive(Debug, Clone, Copy)]
pub struct Heading<'a> {
    /// The event's `type`.
    pub kind: &'a str,
    /// The event's `id`.
    pub id: Uuid,
    /// When it happened.
    pub timestamp: Timestamp,
}

impl DurableBody {
    /// Serialises an event once for all its recipients. `data` must be an object with at least one field.
    ///
    /// `version` goes on events of things that change: a client applies the higher one.
    ///
    /// # Errors
    ///
    /// When `data` is no JSON object or an empty one.
    pub fn new(heading: &Heading<'_>, version: Option<u64>, data: &impl Serialize) -> Result<Self, InvalidBody> {
        let mut text = open(heading);
        if let Some(version) = version {
            let _ = write!(text, r#","version":{version}"#);
        }
        let data = serde_json::to_string(data).map_err(|_| InvalidBody)?;
        let fields = data.strip_suffix('}').filter(|fields| fields.starts_with('{') && fields.len() > 1);
        text.push_str(r#","data":"#);
        text.push_str(fields.ok_or(InvalidBody)?);
        Ok(Self { text: text.into(), counts_thread: false })
    }

    /// Takes the text of a body that came through the broker or from the api. It is trusted: only pods write there.
    #[must_use]
    pub const fn from_trusted(text: Bytes) -> Self {
        Self { text, counts_thread: false }
    }

    /// The same event, of which each recipient's count is that of its thread.
    #[must_use]
    pub fn counting_thread(self) -> Self {
        Self { counts_thread: true, ..self }
    }

    /// Whether each recipient's count is that of a thread.
    #[must_use]
    pub const fn counts_thread(&self) -> bool {
        self.counts_thread
    }

    /// The open JSON text.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.text
    }

    /// Writes the end of a durable event: what is this recipient's own.
    #[must_use]
    pub fn tail(&self, unread: Option<Unread>, channel: &Channel, seq: Seq, prev: Seq, cursor: &Cursor) -> String {
        let mut tail = String::with_capacity(192);
        if let Some(Unread { count, version }) = unread {
            let of = if self.counts_thread { "thread_" } else { "" };
            let _ = write!(tail, r#","{of}unread_count":{count},"unread_version":{version}"#);
        }
        let _ = write!(tail, r#"}},"channel":"{channel}","seq":{seq},"prev":{prev},"cursor":"{cursor}"}}"#);
        tail
    }
}

/// The beginning of an event of the live path: JSON text without its last brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveBody(Bytes);

impl LiveBody {
    /// Serialises what `sender` says in `room`. The sender is stated by the pod that checked the token, never by the client.
    ///
    /// # Errors
    ///
    /// When `data` cannot be JSON.
    pub fn in_room(
        heading: &Heading<'_>,
        room: &RoomName,
        sender: &UserId,
        data: &impl Serialize,
    ) -> Result<Self, InvalidBody> {
        let mut text = open(heading);
        let data = serde_json::to_string(data).map_err(|_| InvalidBody)?;
        let _ = write!(text, r#","channel":"room:{room}","room":"{room}","sender_id":"{sender}","data":{data}"#);
        Ok(Self(text.into()))
    }

    /// Serialises an event that is said on `channel` and belongs to no room.
    ///
    /// # Errors
    ///
    /// When `data` cannot be JSON.
    pub fn on(heading: &Heading<'_>, channel: &Channel, data: &impl Serialize) -> Result<Self, InvalidBody> {
        let mut text = open(heading);
        let data = serde_json::to_string(data).map_err(|_| InvalidBody)?;
        let _ = write!(text, r#","channel":"{channel}","data":{data}"#);
        Ok(Self(text.into()))
    }

    /// Takes the text of a body that came through the broker. It is trusted: only pods write there.
    #[must_use]
    pub const fn from_trusted(text: Bytes) -> Self {
        Self(text)
    }

    /// The open JSON text.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The end of a live event, the same for every recipient.
    #[must_use]
    pub fn tail(position: Option<&RoomPosition>) -> String {
        position.map_or_else(|| "}".to_owned(), |position| format!(r#","position":"{position}"}}"#))
    }
}

/// A position in the kept history of a room; written `<epoch>-<offset>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomPosition {
    /// One life of the room's history: another one means that Redis forgot it in between.
    pub epoch: crate::ids::Epoch,
    /// The number of the publish in that life: 1, 2, 3 …
    pub offset: Seq,
}

impl std::fmt::Display for RoomPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

/// A text that is no room position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a room position: hand back the `position` of a room event")]
pub struct InvalidRoomPosition;

impl std::str::FromStr for RoomPosition {
    type Err = InvalidRoomPosition;

    fn from_str(text: &str) -> Result<Self, InvalidRoomPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidRoomPosition)?;
        let offset: i64 = offset.parse().map_err(|_| InvalidRoomPosition)?;
        Ok(Self {
            epoch: epoch.parse().map_err(|_| InvalidRoomPosition)?,
            offset: Seq(u64::try_from(offset).map_err(|_| InvalidRoomPosition)?),
        })
    }
}

/// What was to be said cannot be written as an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event's data is not a JSON object with fields")]
pub struct InvalidBody;

fn open(heading: &Heading<'_>) -> String {
    let Heading { kind, id, timestamp } = heading;
    // `kind` can be a publisher's own word, so it is escaped like any text.
    let kind = serde_json::Value::from(*kind);
    format!(r#"{{"type":{kind},"id":"{id}","timestamp":"{timestamp}""#)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::channel::Role;
    use crate::cursor::Positions;
    use crate::ids::Epoch;

    fn heading(kind: &str) -> Heading<'_> {
        Heading { kind, id: Uuid::nil(), timestamp: Timestamp::from_micros(0) }
    }

    #[test]
    fn a_durable_event_is_whole_once_its_tail_is_written() {
        let body =
            DurableBody::new(&heading("new_message"), Some(3), &json!({"message_text": "\"hi\" }"})).expect("a body");
        let cursor = Cursor {
            epoch: Epoch(7),
            owner: "alice".parse().expect("an id"),
            role: Role::Guest,
            positions: Positions { user: Seq(5), ..Positions::default() },
        };
        let unread = Some(Unread { count: 2, version: Seq(5) });
        let tail = body.tail(unread, &cursor.channel(crate::cursor::Feed::User), Seq(5), Seq(4), &cursor);
        let whole = [body.as_bytes().as_ref(), tail.as_bytes()].concat();
        let value: Value = serde_json::from_slice(&whole).expect("valid JSON");
        assert_eq!(
            value,
            json!({
                "type": "new_message", "id": Uuid::nil(), "timestamp": "1970-01-01T00:00:00.000000Z", "version": 3,
                "data": {"message_text": "\"hi\" }", "unread_count": 2, "unread_version": 5},
                "channel": "user:alice", "seq": 5, "prev": 4, "cursor": cursor.to_string(),
            })
        );
    }

    #[test]
    fn a_count_says_whether_it_is_of_a_thread() {
        let cursor = Cursor {
            epoch: Epoch(7),
            owner: "alice".parse().expect("an id"),
            role: Role::Guest,
            positions: Positions::default(),
        };
        let body = DurableBody::from_trusted(Bytes::from_static(b"{")).counting_thread();
        let unread = Some(Unread { count: 2, version: Seq(5) });
        let tail = body.tail(unread, &cursor.channel(crate::cursor::Feed::User), Seq(5), Seq(4), &cursor);
        assert!(tail.starts_with(r#","thread_unread_count":2,"unread_version":5}"#), "{tail}");
    }

    #[test]
    fn an_event_without_data_is_refused() {
        assert_eq!(DurableBody::new(&heading("x"), None, &json!({})), Err(InvalidBody));
        assert_eq!(DurableBody::new(&heading("x"), None, &json!([1])), Err(InvalidBody));
    }

    #[test]
    fn a_room_event_is_whole_with_and_without_a_position() {
        let room = "tour_456".parse().expect("a room");
        let sender = "alice".parse().expect("an id");
        let body = LiveBody::in_room(&heading("tour_update\"}"), &room, &sender, &json!({"at": 1})).expect("a body");
        for position in [None, Some(RoomPosition { epoch: Epoch(1), offset: Seq(9) })] {
            let whole = [body.as_bytes().as_ref(), LiveBody::tail(position.as_ref()).as_bytes()].concat();
            let value: Value = serde_json::from_slice(&whole).expect("valid JSON");
            assert_eq!(value["room"], "tour_456");
            assert_eq!(value["type"], "tour_update\"}");
            assert_eq!(value.get("position").is_some(), position.is_some());
        }
    }
}
