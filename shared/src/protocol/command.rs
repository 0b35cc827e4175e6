//! Commands: what a client may say.
//!
//! A frame is parsed once, here, into a [`Command`]; whatever is wrong becomes the `error` answer and leaves the connection
//! alone. What the gateway only passes on (`data` of a message) is not looked into.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::ErrorCode;
use crate::cursor::Cursor;
use crate::event::RoomPosition;
use crate::ids::{ConversationId, RoomName, UserId};
use crate::presence::Availability;
use crate::upstream::MOST_WATCHED;

/// Longest `ref`, in bytes.
pub const LONGEST_REF: usize = 64;

/// One thing a client says.
#[derive(Debug)]
pub struct Command {
    /// Echoed in the answer.
    pub reference: Option<String>,
    /// What is wanted.
    pub action: Action,
}

/// What a client can want.
#[derive(Debug)]
pub enum Action {
    /// To hear a room, from `since` on where it keeps history.
    Subscribe {
        /// The room.
        room: RoomName,
        /// Where the client stood.
        since: Option<RoomPosition>,
        /// Permission for a private room.
        token: Option<String>,
    },
    /// To hear a room no more.
    Unsubscribe {
        /// The room.
        room: RoomName,
    },
    /// To say something in a room.
    Publish {
        /// The room.
        room: RoomName,
        /// What to say.
        data: Box<RawValue>,
    },
    /// To send a message in a conversation; the api reads `data`.
    Send {
        /// `conversation_id`, `message_text` and the rest of a draft.
        data: Box<RawValue>,
    },
    /// To mark a conversation as read; the api reads `data`.
    Read {
        /// `conversation_id`, and `up_to_seq` if not everything is read.
        data: Box<RawValue>,
    },
    /// To show the others in a room what one is doing, or that one has stopped.
    Show {
        /// The room.
        room: RoomName,
        /// What.
        sign: Sign,
        /// Whether one does, or has stopped.
        active: bool,
    },
    /// To hear whether people are here, or no more, and to say what one is oneself.
    Presence {
        /// Whom to watch.
        watch: Vec<UserId>,
        /// Whom to watch no longer; done first.
        unwatch: Vec<UserId>,
        /// What one is on this connection, never offline.
        state: Option<Availability>,
    },
    /// To hear `pong` with the heads.
    Ping,
    /// To show a first or a newer token.
    Auth {
        /// The token.
        token: String,
    },
    /// To say what was received.
    Ack {
        /// Everything up to here.
        cursor: Cursor,
    },
    /// To go on from somewhere else.
    Resume {
        /// From where.
        since: Since,
    },
}

/// What somebody can be seen doing in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sign {
    /// Writing.
    Typing,
    /// Speaking.
    Recording,
    /// Looking at it.
    Viewing,
}

/// Where delivery starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// At the head: nothing old.
    Now,
    /// After this cursor.
    Cursor(Cursor),
}

impl std::str::FromStr for Since {
    type Err = crate::cursor::InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "now" => Ok(Self::Now),
            cursor => cursor.parse().map(Self::Cursor),
        }
    }
}

/// What was wrong with a frame, and whom to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidCommand {
    /// The frame's `ref`, as far as it could be read.
    pub reference: Option<String>,
    /// Which error it is.
    pub code: ErrorCode,
    /// What exactly is wrong.
    pub detail: String,
}

/// The outer shape of a frame. Unknown fields are ignored, so that a newer client can talk to an older pod.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(default)]
    action: Option<String>,
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    #[serde(default)]
    room: Option<String>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct SubscribeData {
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    token: Option<String>,
}

#[derive(Deserialize)]
struct AuthData {
    token: String,
}

#[derive(Deserialize)]
struct AckData {
    cursor: String,
}

#[derive(Deserialize)]
struct ResumeData {
    since: String,
}

#[derive(Deserialize)]
struct SignData {
    #[serde(default)]
    conversation_id: Option<ConversationId>,
    #[serde(default)]
    kind: TypingKind,
    #[serde(default = "so_it_is")]
    active: bool,
}

#[derive(Deserialize)]
struct PresenceData {
    #[serde(default)]
    watch: Vec<UserId>,
    #[serde(default)]
    unwatch: Vec<UserId>,
    #[serde(default)]
    state: Option<Availability>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum TypingKind {
    #[default]
    Text,
    Recording,
}

const fn so_it_is() -> bool {
    true
}

#[derive(Deserialize)]
struct Addressed {
    #[serde(default)]
    conversation_id: Option<serde::de::IgnoredAny>,
}

/// JSON that every reader understands: no nesting without end, no halves of characters, no number beyond a double.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

impl Command {
    /// Reads a text frame.
    ///
    /// # Errors
    ///
    /// Says which error to answer; the connection goes on.
    pub fn parse(text: &str) -> Result<Self, InvalidCommand> {
        let outline: Outline<'_> = serde_json::from_str(text).map_err(|error| InvalidCommand {
            reference: None,
            code: ErrorCode::BadRequest,
            detail: format!("not a command: {error}"),
        })?;
        if outline.reference.as_ref().is_some_and(|reference| reference.len() > LONGEST_REF) {
            return Err(InvalidCommand {
                reference: None,
                code: ErrorCode::BadRequest,
                detail: format!("ref is longer than {LONGEST_REF} bytes"),
            });
        }
        let reference = outline.reference.clone();
        match Action::parse(&outline, text) {
            Ok(action) => Ok(Self { reference, action }),
            Err((code, detail)) => Err(InvalidCommand { reference, code, detail }),
        }
    }
}

impl Action {
    /// Every `action` there is.
    pub const NAMES: [&str; 11] = [
        "subscribe",
        "unsubscribe",
        "message",
        "read",
        "typing",
        "viewing",
        "presence",
        "ping",
        "auth",
        "ack",
        "resume",
    ];

    fn parse(outline: &Outline<'_>, frame: &str) -> Result<Self, (ErrorCode, String)> {
        let Some(action) = outline.action.as_deref() else { return Err(bad("action is missing")) };
        match action {
            "subscribe" => {
                let data: SubscribeData = outline.data.map_or(Ok(SubscribeData::default()), |_| data_of(outline))?;
                let since = data.since.map(|since| since.parse()).transpose().map_err(bad)?;
                Ok(Self::Subscribe { room: room_of(outline)?, since, token: data.token })
            }
            "unsubscribe" => Ok(Self::Unsubscribe { room: room_of(outline)? }),
            "message" => Self::parse_message(outline, frame),
            "read" => match outline.data {
                Some(data) => Ok(Self::Read { data: data.to_owned() }),
                None => Err(bad("data is missing")),
            },
            "typing" | "viewing" => Self::parse_sign(outline, action == "typing"),
            "presence" => Self::parse_presence(data_of(outline)?),
            "ping" => Ok(Self::Ping),
            "auth" => data_of::<AuthData>(outline).map(|data| Self::Auth { token: data.token }),
            "ack" => {
                let data: AckData = data_of(outline)?;
                Ok(Self::Ack { cursor: data.cursor.parse().map_err(bad)? })
            }
            "resume" => {
                let data: ResumeData = data_of(outline)?;
                Ok(Self::Resume { since: data.since.parse().map_err(bad)? })
            }
            _ => Err((ErrorCode::UnknownAction, "there is no such action".to_owned())),
        }
    }

    /// A sign is shown in the room it names, else in that of the conversation its data names.
    fn parse_sign(outline: &Outline<'_>, is_typing: bool) -> Result<Self, (ErrorCode, String)> {
        let data: SignData = match outline.data {
            Some(_) => data_of(outline)?,
            None => SignData { conversation_id: None, kind: TypingKind::Text, active: true },
        };
        let room = match data.conversation_id {
            Some(id) if outline.room.is_none() => format!("conversation:{id}").parse().map_err(bad)?,
            _ => room_of(outline)?,
        };
        let sign = match data.kind {
            _ if !is_typing => Sign::Viewing,
            TypingKind::Text => Sign::Typing,
            TypingKind::Recording => Sign::Recording,
        };
        Ok(Self::Show { room, sign, active: data.active })
    }

    fn parse_presence(data: PresenceData) -> Result<Self, (ErrorCode, String)> {
        let PresenceData { watch, unwatch, state } = data;
        if state == Some(Availability::Offline) {
            return Err(bad("data: state is online, idle or dnd: whoever is offline is not connected"));
        }
        if watch.len() > MOST_WATCHED || unwatch.len() > MOST_WATCHED {
            let detail = format!("data: at most {MOST_WATCHED} people in watch and in unwatch");
            return Err((ErrorCode::LimitExceeded, detail));
        }
        Ok(Self::Presence { watch, unwatch, state })
    }

    /// A `message` goes to the room it names, else to the conversation its data names.
    fn parse_message(outline: &Outline<'_>, frame: &str) -> Result<Self, (ErrorCode, String)> {
        let Some(data) = outline.data else { return Err(bad("data is missing")) };
        if outline.room.is_some() {
            // It goes to others as it is, and as deep: whoever hears it must be able to read it.
            serde_json::from_str::<Readable>(frame).map_err(|error| bad(format_args!("data: {error}")))?;
            return Ok(Self::Publish { room: room_of(outline)?, data: data.to_owned() });
        }
        let addressed: Addressed = data_of(outline)?;
        match addressed.conversation_id {
            Some(_) => Ok(Self::Send { data: data.to_owned() }),
            None => Err(bad("a message needs room, or data.conversation_id")),
        }
    }
}

fn bad(detail: impl std::fmt::Display) -> (ErrorCode, String) {
    (ErrorCode::BadRequest, detail.to_string())
}

fn room_of(outline: &Outline<'_>) -> Result<RoomName, (ErrorCode, String)> {
    let room = outline.room.as_deref().ok_or_else(|| bad("room is missing"))?;
    room.parse().map_err(bad)
}

fn data_of<'a, T: Deserialize<'a>>(outline: &Outline<'a>) -> Result<T, (ErrorCode, String)> {
    let data = outline.data.ok_or_else(|| bad("data is missing"))?;
    serde_json::from_str(data.get()).map_err(|error| bad(format_args!("data: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_source_systems_frames_are_understood() {
        let action = |text| Command::parse(text).map(|command| command.action);
        assert!(matches!(action(r#"{"action":"ping"}"#), Ok(Action::Ping)));
        assert!(matches!(
            action(r#"{"action":"subscribe","room":"tour_456","data":{}}"#),
            Ok(Action::Subscribe { .. })
        ));
        assert!(matches!(action(r#"{"action":"unsubscribe","room":"tour_456"}"#), Ok(Action::Unsubscribe { .. })));
        assert!(matches!(
            action(r#"{"action":"message","room":"tour_456","data":{"text":"Hello"}}"#),
            Ok(Action::Publish { .. })
        ));
        assert!(matches!(
            action(r#"{"action":"message","data":{"conversation_id":"7","message_text":"Hello"}}"#),
            Ok(Action::Send { .. })
        ));
    }

    #[test]
    fn a_sign_is_shown_in_its_room_or_in_that_of_its_conversation() {
        let shown = |text| match Command::parse(text).map(|command| command.action) {
            Ok(Action::Show { room, sign, active }) => (room.to_string(), sign, active),
            other => panic!("{other:?}"),
        };
        let id = ConversationId::new();
        let of_conversation =
            format!(r#"{{"action":"typing","data":{{"conversation_id":"{id}","kind":"recording"}}}}"#);
        assert_eq!(shown(&of_conversation), (format!("conversation:{id}"), Sign::Recording, true));
        let stopped = r#"{"action":"typing","room":"tour_1","data":{"active":false}}"#;
        assert_eq!(shown(stopped), ("tour_1".to_owned(), Sign::Typing, false));
        assert_eq!(shown(r#"{"action":"viewing","room":"tour_1"}"#), ("tour_1".to_owned(), Sign::Viewing, true));
    }

    #[test]
    fn presence_says_whom_to_watch_and_what_one_is_oneself() {
        let said = |data: &str| match Command::parse(&format!(r#"{{"action":"presence","data":{data}}}"#)) {
            Ok(Command { action: Action::Presence { watch, unwatch, state }, .. }) => {
                Ok((watch.len(), unwatch.len(), state))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err((error.code, error.detail)),
        };
        assert_eq!(said("{}"), Ok((0, 0, None)));
        assert_eq!(said(r#"{"watch":["a","b"],"unwatch":["c"],"state":"dnd"}"#), Ok((2, 1, Some(Availability::Dnd))));
        for data in
            [r#"{"state":"offline"}"#, r#"{"state":"asleep"}"#, r#"{"watch":["two words"]}"#, r#"{"watch":"a"}"#]
        {
            assert_eq!(said(data).expect_err("wrong").0, ErrorCode::BadRequest, "{data}");
        }
        let many = serde_json::to_string(&vec!["a"; 101]).expect("JSON");
        for part in ["watch", "unwatch"] {
            let (code, detail) = said(&format!(r#"{{"{part}":{many}}}"#)).expect_err("too many");
            assert!(code == ErrorCode::LimitExceeded && detail.contains("100"), "{detail}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_the_ref_comes_back() {
        for (frame, code) in [
            ("", ErrorCode::BadRequest),
            ("[]", ErrorCode::BadRequest),
            (r#"{"ref":"r"}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"fly"}"#, ErrorCode::UnknownAction),
            (r#"{"ref":"r","action":7}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"subscribe"}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"subscribe","room":"two words"}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"message","data":{"text":"to nobody"}}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"ack","data":{"cursor":"x"}}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"auth","data":{"token":7}}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"read"}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"typing"}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"typing","room":"tour_1","data":{"kind":"singing"}}"#, ErrorCode::BadRequest),
            (r#"{"ref":"r","action":"viewing","data":{"conversation_id":"7"}}"#, ErrorCode::BadRequest),
        ] {
            assert_eq!(Command::parse(frame).map(|_| ()).map_err(|error| error.code), Err(code), "{frame}");
        }
        let error = Command::parse(r#"{"ref":"r","action":"fly"}"#).expect_err("no such action");
        assert_eq!(error.reference.as_deref(), Some("r"));
    }

    #[test]
    fn what_goes_to_others_can_be_read_by_all_of_them() {
        let publish = |data: &str| Command::parse(&format!(r#"{{"action":"message","room":"tour_1","data":{data}}}"#));
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for data in [r#"{"a":[1,-2,3.5e7,null,true,"\ud83d\ude00"]}"#.to_owned(), "7".to_owned(), nested(100)] {
            assert!(publish(&data).is_ok(), "{data}");
            let event: serde_json::Value = serde_json::from_str(&format!(r#"{{"data":{data}}}"#)).expect("readable");
            assert!(event.is_object());
        }
        for data in [nested(10_000), nested(127), r#"{"text":"\ud800"}"#.to_owned(), "1e999".to_owned()] {
            let error = publish(&data).expect_err("unreadable");
            assert_eq!(error.code, ErrorCode::BadRequest, "{data}");
        }
    }

    #[test]
    fn every_named_action_is_known_and_no_other() {
        let code =
            |action: &str| Command::parse(&format!(r#"{{"action":"{action}"}}"#)).map_err(|error| error.code).err();
        for name in Action::NAMES {
            assert_ne!(code(name), Some(ErrorCode::UnknownAction), "{name}");
        }
        assert_eq!(code("fly"), Some(ErrorCode::UnknownAction));
    }

    proptest! {
        #[test]
        fn no_frame_makes_parsing_panic(text in ".{0,300}") {
            let _ = Command::parse(&text);
        }

        #[test]
        fn no_object_makes_parsing_panic(
            action in "(subscribe|unsubscribe|message|read|typing|viewing|presence|ping|auth|ack|resume|x)",
            room in ".{0,40}",
            data in "(null|\\{\\}|\\[\\]|7|\"x\"|\\{\"since\":\"[a-z0-9-]{0,40}\"\\}|\\{\"cursor\":null\\})",
        ) {
            let room = serde_json::Value::from(room);
            let _ = Command::parse(&format!(r#"{{"action":"{action}","room":{room},"data":{data}}}"#));
        }
    }
}
