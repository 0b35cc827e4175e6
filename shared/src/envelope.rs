//! Envelopes: what travels through the broker.
//!
//! On the line an envelope stands between the api, which commits and writes it, and the gateway's pump, which hears it. Its
//! encoding is one line of fields and then the body, so that a script in Redis can put one body behind many heads, and so
//! that a person can read it. Only pods write envelopes; what does not decode is counted and dropped.

use std::str::FromStr;

use bytes::Bytes;

use crate::channel::Channel;
use crate::event::{DurableBody, LiveBody, RoomPosition, Topic, Unread};
use crate::ids::{Epoch, Seq, TraceId};
use crate::time::Timestamp;

/// Something said on a channel, on its way to the gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Where it is said.
    pub channel: Channel,
    /// When it was committed, or published if it is not durable.
    pub committed_at: Timestamp,
    /// The message's way through the fleet.
    pub trace: TraceId,
    /// What is said.
    pub content: Content,
}

/// What an envelope carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An entry of the channel's feed.
    Entry(Entry),
    /// A live event: a room publish. `position` where the room keeps history.
    Live {
        /// The event.
        body: LiveBody,
        /// Where it stands in the room's history.
        position: Option<RoomPosition>,
    },
    /// A passing event: somebody types, or has read. The first to be dropped under pressure, and never said again.
    Sign(LiveBody),
    /// Words between pods: a heads beat, a probe.
    Pods(Bytes),
}

/// One entry of a feed, rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The life of the numbering.
    pub epoch: Epoch,
    /// The entry's number.
    pub seq: Seq,
    /// Which doors show it.
    pub topic: Topic,
    /// The recipient's count, where the entry changes one.
    pub unread: Option<Unread>,
    /// Whether something said before must not be said again: windows forget what they hold.
    pub redacts: bool,
    /// Whether somebody may do less from now on: gateways ask anew who may hear the conversations' rooms.
    pub revokes: bool,
    /// Whether the feed's owner may not be connected any more: gateways close what they have of them.
    pub closes: bool,
    /// The event, shared by all its recipients.
    pub body: DurableBody,
}

impl Envelope {
    /// The first line of the encoding, with its line feed: everything but the body.
    #[must_use]
    pub fn head(&self) -> String {
        let Self { channel, committed_at, trace, content } = self;
        let at = committed_at.as_micros();
        match content {
            Content::Entry(entry @ Entry { epoch, seq, topic, unread, redacts, revokes, closes, .. }) => {
                let topic = match topic {
                    Topic::Messaging => 'm',
                    Topic::Notifications => 'n',
                };
                let (count, version) = unread.map_or((-1, Seq::ZERO), |unread| (unread.count as i64, unread.version));
                let redacts = if *redacts { " r" } else { "" };
                let revokes = if *revokes { " v" } else { "" };
                let closes = if *closes { " c" } else { "" };
                let counts_thread = if entry.body.counts_thread() { " t" } else { "" };
                let flags = [redacts, revokes, closes, counts_thread].concat();
                format!("1 {channel} {at} {trace} entry {epoch} {seq} {topic} {count} {version}{flags}\n")
            }
            Content::Live { position: None, .. } => format!("1 {channel} {at} {trace} live\n"),
            Content::Live { position: Some(position), .. } => format!("1 {channel} {at} {trace} live {position}\n"),
            Content::Sign(_) => format!("1 {channel} {at} {trace} sign\n"),
            Content::Pods(_) => format!("1 {channel} {at} {trace} pods\n"),
        }
    }

    /// The body: what follows the first line.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        match &self.content {
            Content::Entry(entry) => entry.body.as_bytes(),
            Content::Live { body, .. } | Content::Sign(body) => body.as_bytes(),
            Content::Pods(body) => body,
        }
    }

    /// The whole envelope as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [self.head().as_bytes(), self.body()].concat().into()
    }

    /// Reads an envelope. The body is a slice of `bytes`, not a copy.
    ///
    /// # Errors
    ///
    /// When the bytes are not an envelope of this version.
    pub fn decode(bytes: &Bytes) -> Result<Self, InvalidEnvelope> {
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(InvalidEnvelope)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| InvalidEnvelope)?;
        let body = bytes.slice(end + 1..);
        let mut fields = head.split(' ');
        if fields.next() != Some("1") {
            return Err(InvalidEnvelope);
        }
        let channel = field(&mut fields)?;
        let committed_at = Timestamp::from_micros(field(&mut fields)?);
        let trace = field(&mut fields)?;
        let content = match fields.next() {
            Some("entry") => {
                let (epoch, seq) = (field(&mut fields)?, field(&mut fields)?);
                let topic = match fields.next() {
                    Some("m") => Topic::Messaging,
                    Some("n") => Topic::Notifications,
                    _ => return Err(InvalidEnvelope),
                };
                let count: i64 = field(&mut fields)?;
                let version = field(&mut fields)?;
                let unread = u64::try_from(count).ok().map(|count| Unread { count, version });
                let body = DurableBody::from_trusted(body);
                let mut entry =
                    Entry { epoch, seq, topic, unread, redacts: false, revokes: false, closes: false, body };
                for flag in fields.by_ref() {
                    match flag {
                        "r" => entry.redacts = true,
                        "v" => entry.revokes = true,
                        "c" => entry.closes = true,
                        "t" => entry.body = entry.body.counting_thread(),
                        // What a newer pod adds is passed over, so that pods of two versions can live side by side.
                        _ => {}
                    }
                }
                Content::Entry(entry)
            }
            Some("live") => Content::Live {
                position: fields.next().map(str::parse).transpose().map_err(|_| InvalidEnvelope)?,
                body: LiveBody::from_trusted(body),
            },
            Some("sign") => Content::Sign(LiveBody::from_trusted(body)),
            Some("pods") => Content::Pods(body),
            _ => return Err(InvalidEnvelope),
        };
        match fields.next() {
            None => Ok(Self { channel, committed_at, trace, content }),
            Some(_) => Err(InvalidEnvelope),
        }
    }
}

/// Bytes that are no envelope of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an envelope of version 1")]
pub struct InvalidEnvelope;

fn field<'a, T: FromStr>(fields: &mut impl Iterator<Item = &'a str>) -> Result<T, InvalidEnvelope> {
    fields.next().and_then(|text| text.parse().ok()).ok_or(InvalidEnvelope)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(content: Content) -> Envelope {
        Envelope {
            channel: "user:alice".parse().expect("a channel"),
            committed_at: Timestamp::from_micros(1_700_000_000_000_001),
            trace: TraceId(7),
            content,
        }
    }

    #[test]
    fn what_a_newer_pod_adds_to_an_entry_is_passed_over() {
        let head = "1 user:alice 7 00000000000000000000000000000007 entry 0000000000000003 12 m 2 12";
        for (added, flags) in [
            ("", [false, false, false]),
            (" r", [true, false, false]),
            (" r z9 v", [true, true, false]),
            (" z9 c", [false, false, true]),
            (" z9", [false, false, false]),
        ] {
            let bytes = Bytes::from(format!("{head}{added}\n{{"));
            let Ok(Envelope { content: Content::Entry(entry), .. }) = Envelope::decode(&bytes) else {
                panic!("{added} is not understood");
            };
            assert_eq!(([entry.redacts, entry.revokes, entry.closes], entry.seq), (flags, Seq(12)), "{added}");
        }
    }

    #[test]
    fn every_content_survives_the_way() {
        let entry = |unread: Option<Unread>| {
            Content::Entry(Entry {
                epoch: Epoch(3),
                seq: Seq(12),
                topic: Topic::Messaging,
                unread,
                redacts: unread.is_some(),
                revokes: unread.is_none(),
                closes: unread.is_some(),
                body: match DurableBody::from_trusted(Bytes::from_static(b"{\"type\":\"x\",\"data\":{\"a\":\"\\n\"")) {
                    body if unread.is_some() => body.counting_thread(),
                    body => body,
                },
            })
        };
        let live = |position| Content::Live { body: LiveBody::from_trusted(Bytes::from_static(b"{\"a\":1")), position };
        for content in [
            entry(None),
            entry(Some(Unread { count: 0, version: Seq(12) })),
            live(None),
            live(Some(RoomPosition { epoch: Epoch(1), offset: Seq(2) })),
            Content::Sign(LiveBody::from_trusted(Bytes::from_static(b"{\"a\":1"))),
            Content::Pods(Bytes::from_static(b"line\nline")),
        ] {
            let envelope = envelope(content);
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = Envelope::decode(&bytes.into());
        }
    }
}
