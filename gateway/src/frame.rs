//! Frames: what goes to sockets, encoded once and shared by every recipient.
//!
//! On the line a frame stands between the hub, which makes it, and the session, which hands it to the transport. A whole
//! frame is the same bytes for all. An entry shares its body; the session writes the small tail that is its
//! connection's own (`seq`, `prev`, `cursor`, `unread_count`).

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use shared::cursor::Feed;
use shared::envelope::Entry;
use shared::event::{LiveBody, RoomPosition};
use shared::ids::TraceId;
use shared::time::Timestamp;

/// Something that waits for a connection.
#[derive(Debug, Clone)]
pub enum Frame {
    /// The same bytes for everyone: a room event, an answer.
    Whole(WholeFrame),
    /// An entry of a feed; its tail is still to be written.
    Entry(Arc<EntryFrame>),
}

/// A text frame of RFC 6455, header and payload, ready to be written.
#[derive(Debug, Clone)]
pub struct WholeFrame {
    bytes: Bytes,
    header: u8,
    /// When what it says was published; `None` for answers.
    pub committed_at: Option<Timestamp>,
}

/// An entry as the hub shares it.
#[derive(Debug)]
pub struct EntryFrame {
    /// Which of the recipient's feeds it belongs to.
    pub feed: Feed,
    /// The entry, with its open body.
    pub entry: Entry,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Its way through the fleet.
    pub trace: TraceId,
}

/// What an entry's tail adds at most, for counting a queue's bytes.
const TAIL: usize = 224;

impl Frame {
    /// How much of a send queue the frame takes, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Whole(frame) => frame.bytes.len(),
            Self::Entry(frame) => frame.entry.body.as_bytes().len() + TAIL,
        }
    }
}

impl WholeFrame {
    /// Encodes a live event for all its recipients.
    #[must_use]
    pub fn live(body: &LiveBody, position: Option<&RoomPosition>, committed_at: Timestamp) -> Self {
        Self::encode(body.as_bytes(), LiveBody::tail(position).as_bytes(), Some(committed_at))
    }

    /// Encodes what only one connection hears.
    #[must_use]
    pub fn answer(text: &str) -> Self {
        Self::encode(text.as_bytes(), &[], None)
    }

    fn encode(body: &[u8], tail: &[u8], committed_at: Option<Timestamp>) -> Self {
        let length = body.len() + tail.len();
        let mut bytes = BytesMut::with_capacity(length + LONGEST_HEADER);
        put_text_header(&mut bytes, length);
        let header = bytes.len() as u8;
        bytes.put_slice(body);
        bytes.put_slice(tail);
        Self { bytes: bytes.freeze(), header, committed_at }
    }

    /// Header and payload.
    #[must_use]
    pub const fn encoded(&self) -> &Bytes {
        &self.bytes
    }

    /// Header and payload, given away.
    #[must_use]
    pub fn into_encoded(self) -> Bytes {
        self.bytes
    }

    /// The payload alone, for transports that frame otherwise.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.bytes[usize::from(self.header)..]
    }
}

/// The longest header that a server writes: no mask, 64-bit length.
pub const LONGEST_HEADER: usize = 10;

/// Writes the header of an unmasked, unfragmented text frame (RFC 6455 section 5.2).
pub fn put_text_header(out: &mut impl BufMut, length: usize) {
    const FIN_TEXT: u8 = 0x81;
    out.put_u8(FIN_TEXT);
    match length {
        0..=125 => out.put_u8(length as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_the_length_in_its_shortest_form() {
        for (length, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (0xffff, vec![0x81, 126, 0xff, 0xff]),
            (0x1_0000, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            put_text_header(&mut out, length);
            assert_eq!(out, header);
        }
    }

    #[test]
    fn a_whole_frame_keeps_header_and_text_apart() {
        let text = "x".repeat(300);
        let frame = WholeFrame::answer(&text);
        assert_eq!(frame.text(), text.as_bytes());
        assert_eq!(frame.encoded().len(), 304);
    }
}
