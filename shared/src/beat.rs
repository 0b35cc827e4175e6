//! The heads beat: which feeds grew lately, said to every gateway four times a second.
//!
//! The worker whose turn it is says it on [`Channel::Heads`]; a gateway that is behind a head after 400 ms
//! fetches the difference. A beat is said even when nothing grew, so that its absence means something.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::ids::{Epoch, Seq};
use crate::upstream::Heads;

/// Bytes that one encoded beat stays below; what does not fit is said in further beats of the same number.
pub const LARGEST: usize = 32 * 1024;

/// Bytes that epoch, number and punctuation take at most.
const FRAME: usize = 96;

/// One beat, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The life of the numbering.
    pub epoch: Epoch,
    /// Counts the beats of one worker's turn from 1. Parts of one beat share it.
    pub number: u64,
    /// Feeds and their heads: those with entries committed in the last seconds.
    pub heads: Vec<(Channel, Seq)>,
}

/// Bytes that are no beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a heads beat")]
pub struct InvalidBeat;

impl Beat {
    /// The beat with these heads, cut into parts below [`LARGEST`]. At least one part, even without heads.
    #[must_use]
    pub fn parts(heads: Heads, number: u64) -> Vec<Self> {
        let Heads { epoch, heads } = heads;
        let mut parts = vec![Self { epoch, number, heads: Vec::new() }];
        let mut size = FRAME;
        for (channel, seq) in heads {
            // `["…",…],`
            let length = channel.to_string().len() + seq.to_string().len() + 6;
            if size + length > LARGEST {
                parts.push(Self { epoch, number, heads: Vec::new() });
                size = FRAME;
            }
            size += length;
            parts.last_mut().expect("there is one from the start").heads.push((channel, seq));
        }
        parts
    }

    /// The beat as the body of an envelope between pods.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a beat is always JSON").into()
    }

    /// Reads a beat.
    ///
    /// # Errors
    ///
    /// When the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidBeat> {
        serde_json::from_slice(bytes).map_err(|_| InvalidBeat)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heads(count: usize) -> Heads {
        let user = |n| format!("user:{}{n}", "x".repeat(100)).parse().expect("a channel");
        Heads { epoch: Epoch(7), heads: (0..count).map(|n| (user(n), Seq(u64::MAX))).collect() }
    }

    #[test]
    fn a_beat_is_read_as_it_was_said() {
        for count in [0, 1, 5] {
            let parts = Beat::parts(heads(count), 3);
            assert_eq!(parts.len(), 1);
            assert_eq!(Beat::decode(&parts[0].encode()), Ok(parts[0].clone()));
        }
    }

    #[test]
    fn a_large_beat_is_said_in_parts_that_miss_nothing() {
        let whole = heads(2_000);
        let parts = Beat::parts(whole.clone(), 3);
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.encode().len() <= LARGEST && part.number == 3));
        let said: Vec<_> = parts.into_iter().flat_map(|part| part.heads).collect();
        assert_eq!(said, whole.heads);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
            let _ = Beat::decode(&bytes);
        }
    }
}
