//! What gateways ask of the api, and what it answers: the words of `/internal/v1`.
//!
//! The gateway's `Upstream` speaks them and the api's `internal.rs` understands them, over HTTP between pods and in one
//! process alike. All but a page of differences is JSON.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::access::{Caller, Revoked};
use crate::channel::Channel;
use crate::cursor::Positions;
use crate::envelope::{Envelope, InvalidEnvelope};
use crate::ids::{DeviceId, Epoch, RoomName, Seq, UserId};
use crate::protocol::ErrorCode;

/// The header in which a gateway shows that it belongs to the fleet.
pub const SECRET_HEADER: &str = "x-carillon-secret";
/// The header with the verified claims of the user a gateway speaks for: a [`Caller`] as JSON.
pub const CALLER_HEADER: &str = "x-carillon-caller";
/// The header with the trace id of what is asked.
pub const TRACE_HEADER: &str = "x-carillon-trace";

/// People whom one connection watches at most, or of whom is asked at once.
pub const MOST_WATCHED: usize = 100;

/// Feeds and how far they are: the answer to `POST /internal/v1/heads`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heads {
    /// The life of the numbering.
    pub epoch: Epoch,
    /// Each feed and its highest number. A feed without entries has head 0.
    pub heads: Vec<(Channel, Seq)>,
}

/// The answer to `GET /internal/v1/heads`: what grew lately, and whether announcements of it get through.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecentHeads {
    /// Which feeds grew.
    #[serde(flatten)]
    pub heads: Heads,
    /// Whether the asked pod reaches the broker. A gateway that does not, while api pods do, is the one that is cut off.
    pub announcing: bool,
}

/// The question of `POST /internal/v1/heads`: at most 1,000 channels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadsOf {
    /// Whose heads.
    pub channels: Vec<Channel>,
}

/// The question of `POST /internal/v1/differences`: what came in these feeds after these numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferencesAfter {
    /// The life of the numbering that the numbers belong to.
    pub epoch: Epoch,
    /// Feeds, and the number after which to read each.
    pub after: Vec<(Channel, Seq)>,
    /// Bodies in the page stop once they exceed this many bytes; at least one entry comes if there is any.
    pub page_bytes: usize,
}

/// The answer to `POST /internal/v1/differences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Differences {
    /// Entries in order, contiguous from the asked numbers.
    Page(Page),
    /// The numbers cannot be continued: another epoch, beyond the head, or older than what is kept.
    Resync {
        /// The epoch of today.
        epoch: Epoch,
    },
}

/// A stretch of feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The life of the numbering.
    pub epoch: Epoch,
    /// Each asked feed: the position after this page, and its head when the page was read.
    pub feeds: Vec<Reach>,
    /// The entries, feed by feed in the order asked, ascending. Their contents are entries, never live.
    pub entries: Vec<Envelope>,
}

/// How far a page reaches in one feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The feed.
    pub channel: Channel,
    /// The number of the last entry in the page, or the asked one if there is none.
    pub position: Seq,
    /// The head of the feed when the page was read.
    pub head: Seq,
}

/// The first line of an encoded answer.
#[derive(Serialize, Deserialize)]
struct Summary {
    epoch: Epoch,
    feeds: Option<Vec<Reach>>,
}

impl Differences {
    /// Writes the answer: a line of JSON, then each entry as `<length>\n<envelope>`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (summary, entries): (_, &[Envelope]) = match self {
            Self::Page(page) => (Summary { epoch: page.epoch, feeds: Some(page.feeds.clone()) }, &page.entries),
            Self::Resync { epoch } => (Summary { epoch: *epoch, feeds: None }, &[]),
        };
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&serde_json::to_vec(&summary).expect("a summary is always JSON"));
        bytes.extend_from_slice(b"\n");
        for entry in entries {
            let head = entry.head();
            bytes.extend_from_slice(format!("{}\n", head.len() + entry.body().len()).as_bytes());
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(entry.body());
        }
        bytes.freeze()
    }

    /// Reads an answer. The entries' bodies are slices of `bytes`.
    ///
    /// # Errors
    ///
    /// When the bytes are not such an answer.
    pub fn decode(mut bytes: Bytes) -> Result<Self, InvalidEnvelope> {
        let summary = take_line(&mut bytes)?;
        let Summary { epoch, feeds } = serde_json::from_slice(&summary).map_err(|_| InvalidEnvelope)?;
        let Some(feeds) = feeds else { return Ok(Self::Resync { epoch }) };
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let length = take_line(&mut bytes)?;
            let length = std::str::from_utf8(&length).ok().and_then(|text| text.parse::<usize>().ok());
            let length = length.filter(|&length| length <= bytes.len()).ok_or(InvalidEnvelope)?;
            entries.push(Envelope::decode(&bytes.split_to(length))?);
        }
        Ok(Self::Page(Page { epoch, feeds, entries }))
    }
}

fn take_line(bytes: &mut Bytes) -> Result<Bytes, InvalidEnvelope> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(InvalidEnvelope)?;
    let line = bytes.split_to(end);
    let _ = bytes.split_to(1);
    Ok(line)
}

/// The question of `POST /internal/v1/revocations`: what was revoked after this number of the feed of the fleet. By default
/// everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedAfter {
    /// The life of the numbering that the number belongs to. Of another one than today's, everything is answered.
    pub epoch: Option<Epoch>,
    /// The number.
    pub after: Seq,
}

/// The answer to `POST /internal/v1/revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedPage {
    /// What was revoked, as far as tokens could still match it.
    pub revoked: Vec<Revoked>,
    /// Where to go on.
    pub next: RevokedAfter,
    /// Whether there is more already.
    pub more: bool,
}

/// One question of `POST /internal/v1/authorise`; up to 1,000 are asked at once and answered in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// A device connects: where does delivery start?
    Arrive(Arrival),
    /// May the caller hear and see the history of this room? Asked for rooms that only the api can judge.
    Join {
        /// Who.
        caller: Caller,
        /// Where.
        room: RoomName,
    },
    /// Of whom does the caller see whether they are here? Of at most [`MOST_WATCHED`].
    Watch {
        /// Who.
        caller: Caller,
        /// Whom.
        people: Vec<UserId>,
    },
}

/// A device that connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Arrival {
    /// Whose it is.
    pub caller: Caller,
    /// Which device, if it says so.
    pub device_id: Option<DeviceId>,
    /// Where the device says it stands; without it the stored position counts.
    pub since: Option<String>,
}

/// The answer to one [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Delivery starts after `start`; at the time of asking the feeds ended at `heads`.
    Arrived {
        /// The life of the numbering.
        epoch: Epoch,
        /// Where delivery starts.
        start: Positions,
        /// The heads of the three feeds.
        heads: Positions,
        /// Whether `start` continues what this device or user had.
        resumed: bool,
    },
    /// The position cannot be continued; the client loads a snapshot.
    Resync {
        /// The life of the numbering.
        epoch: Epoch,
        /// The heads of the three feeds, where delivery goes on once the client has its snapshot.
        heads: Positions,
        /// Why, for the client.
        reason: ResyncReason,
    },
    /// Yes.
    Allowed,
    /// Yes, and the others shall see no signs of them there.
    AllowedUnseen,
    /// Of these, in the order asked.
    Visible {
        /// Whom.
        people: Vec<UserId>,
    },
    /// No.
    Denied {
        /// Which error the client hears.
        code: ErrorCode,
    },
}

/// Why a position cannot be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResyncReason {
    /// The cursor is of another life of the numbering.
    Epoch,
    /// The cursor is another user's or another role's.
    Owner,
    /// The cursor lies beyond the head.
    Ahead,
    /// What followed the cursor is no longer kept.
    Retention,
    /// More than the limit is waiting and no cursor was given.
    TooMuch,
    /// A room's history no longer covers a hole.
    History,
}

/// One acknowledged position, for `POST /internal/v1/acks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Whose.
    pub user: UserId,
    /// The role whose feed `positions.role` counts in.
    pub role: crate::channel::Role,
    /// On which device, if it said so.
    pub device_id: Option<DeviceId>,
    /// The life of the numbering.
    pub epoch: Epoch,
    /// Everything up to here.
    pub positions: Positions,
    /// Whether the door showed everything; only then does it count for the user as a whole.
    pub unfiltered: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::{Content, Entry};
    use crate::event::{DurableBody, Topic};
    use crate::ids::TraceId;
    use crate::time::Timestamp;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let entry = |seq| Envelope {
            channel: Channel::All,
            committed_at: Timestamp::from_micros(seq as i64),
            trace: TraceId(1),
            content: Content::Entry(Entry {
                epoch: Epoch(1),
                seq: Seq(seq),
                topic: Topic::Notifications,
                unread: None,
                redacts: false,
                revokes: false,
                closes: false,
                body: DurableBody::from_trusted(Bytes::from(format!("{{\"n\":\n{seq}"))),
            }),
        };
        let feeds = vec![Reach { channel: Channel::All, position: Seq(2), head: Seq(9) }];
        for answer in [
            Differences::Page(Page { epoch: Epoch(1), feeds, entries: vec![entry(1), entry(2)] }),
            Differences::Page(Page { epoch: Epoch(1), feeds: vec![], entries: vec![] }),
            Differences::Resync { epoch: Epoch(2) },
        ] {
            assert_eq!(Differences::decode(answer.encode()), Ok(answer));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = Differences::decode(bytes.into());
        }
    }
}
