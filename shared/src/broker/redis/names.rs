//! Names in Redis: `<prefix>:{b042}:user:alice`.
//!
//! The bucket in braces is the hash tag: everything of one bucket lives in one slot, so that a script can touch it together.

use std::sync::Arc;

use crate::channel::{Bucket, Channel};
use crate::ids::{Epoch, PodId, RoomName};

/// Makes the names of one fleet.
#[derive(Clone)]
pub(crate) struct Names {
    prefix: Arc<str>,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The pub/sub channel of `channel`.
    pub(crate) fn channel(&self, channel: &Channel) -> String {
        format!("{}:{{{}}}:{channel}", self.prefix, channel.bucket())
    }

    /// The stream of a room's history, beside its channel.
    pub(crate) fn history(&self, room: &RoomName) -> String {
        let channel = Channel::Room(room.clone());
        format!("{}:{{{}}}:history:{room}", self.prefix, channel.bucket())
    }

    /// The window of a user's feed, beside its channel.
    pub(crate) fn window(&self, feed: &Channel, epoch: Epoch) -> String {
        format!("{}:{{{}}}:window:{epoch}:{feed}", self.prefix, feed.bucket())
    }

    /// Where `pod` hears itself through whichever node has `bucket`.
    pub(crate) fn probe(&self, bucket: Bucket, pod: PodId) -> String {
        format!("{}:{{{bucket}}}:pod:{pod}", self.prefix)
    }

    /// The slot of a Redis Cluster that holds `bucket`.
    pub(crate) fn slot(bucket: Bucket) -> u16 {
        fred::util::redis_keyslot(bucket.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_bucket_lives_in_its_slot() {
        let names = Names::new("carillon");
        let room: RoomName = "tour_456".parse().expect("a room");
        let channel = Channel::Room(room.clone());
        let slot = Names::slot(channel.bucket());
        let window = names.window(&channel, Epoch(1));
        for name in [names.channel(&channel), names.history(&room), names.probe(channel.bucket(), PodId::new()), window]
        {
            assert_eq!(fred::util::redis_keyslot(name.as_bytes()), slot, "{name}");
        }
        assert!(names.channel(&channel).starts_with(&format!("carillon:{{{}}}:room:", channel.bucket())));
    }
}
