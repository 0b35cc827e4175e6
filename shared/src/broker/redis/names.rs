//! Names in Redis: `<prefix>:{b042}:user:alice`.
//!
//! The bucket in braces is the hash tag: everything of one bucket lives in one slot, so that a script can touch it together.

use std::sync::Arc;

use crate::channel::{Bucket, Channel};
use crate::ids::{Epoch, PodId, RoomName, UserId};
use crate::limits::{Deed, Doer};

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

    /// Whether `name` is that of `channel`, in whatever bucket: probes are heard through all.
    pub(crate) fn are_of(name: &str, channel: &Channel) -> bool {
        name.split_once("}:").is_some_and(|(_, of)| of == channel.to_string())
    }

    /// The stream of a room's history, beside its channel.
    pub(crate) fn history(&self, room: &RoomName) -> String {
        let channel = Channel::Room(room.clone());
        format!("{}:{{{}}}:history:{room}", self.prefix, channel.bucket())
    }

    /// The answer to a publish in a room, which drew `drawn`, beside the room's channel.
    pub(crate) fn answer(&self, room: &RoomName, drawn: Epoch) -> String {
        let channel = Channel::Room(room.clone());
        format!("{}:{{{}}}:answer:{drawn}:{room}", self.prefix, channel.bucket())
    }

    /// The window of a user's feed, beside its channel.
    pub(crate) fn window(&self, feed: &Channel, epoch: Epoch) -> String {
        format!("{}:{{{}}}:window:{epoch}:{feed}", self.prefix, feed.bucket())
    }

    /// What is known of somebody's presence, beside its channel.
    pub(crate) fn person(&self, user: &UserId) -> String {
        let channel = Channel::Presence(user.clone());
        format!("{}:{{{}}}:person:{user}", self.prefix, channel.bucket())
    }

    /// The lease of a gateway.
    pub(crate) fn lease(&self, gateway: PodId) -> String {
        self.of_gateway("lease", gateway)
    }

    /// Whom a gateway has, beside its lease.
    pub(crate) fn people(&self, gateway: PodId) -> String {
        self.of_gateway("people", gateway)
    }

    /// Who takes back what a dead gateway wrote, beside its lease.
    pub(crate) fn claim(&self, gateway: PodId) -> String {
        self.of_gateway("claim", gateway)
    }

    /// Whom a dead gateway had, claimed by whoever takes it back, beside its lease.
    pub(crate) fn claimed(&self, gateway: PodId) -> String {
        self.of_gateway("claimed", gateway)
    }

    /// Every gateway there is, and those that died and are not forgotten yet.
    pub(crate) fn gateways(&self) -> String {
        format!("{}:{{{}}}:gateways", self.prefix, Channel::Fleet.bucket())
    }

    fn of_gateway(&self, what: &str, gateway: PodId) -> String {
        format!("{}:{{{}}}:{what}:{gateway}", self.prefix, Channel::Pod(gateway).bucket())
    }

    /// The turns that `who` has taken at `deed`.
    pub(crate) fn turns(&self, who: &Doer, deed: Deed) -> String {
        format!("{}:{{{}}}:limit:{}:{who}", self.prefix, Bucket::of(who), deed.as_str())
    }

    /// The seats that `user` has for connections.
    pub(crate) fn seats(&self, user: &UserId) -> String {
        format!("{}:{{{}}}:seats:{user}", self.prefix, Bucket::of(user))
    }

    /// Whose the ticket with this stub is.
    pub(crate) fn ticket(&self, stub: &str) -> String {
        format!("{}:{{{}}}:ticket:{stub}", self.prefix, Bucket::of(&stub))
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
        let (probe, answer) = (names.probe(channel.bucket(), PodId::new()), names.answer(&room, Epoch(1)));
        for name in [names.channel(&channel), names.history(&room), probe, answer, window] {
            assert_eq!(fred::util::redis_keyslot(name.as_bytes()), slot, "{name}");
        }
        let (user, gateway): (UserId, _) = ("alice".parse().expect("an id"), PodId::new());
        let slot = Names::slot(Channel::Presence(user.clone()).bucket());
        assert_eq!(fred::util::redis_keyslot(names.person(&user).as_bytes()), slot);
        let slot = Names::slot(Channel::Pod(gateway).bucket());
        for name in [names.lease(gateway), names.people(gateway), names.claim(gateway), names.claimed(gateway)] {
            assert_eq!(fred::util::redis_keyslot(name.as_bytes()), slot, "{name}");
        }
        assert!(names.channel(&channel).starts_with(&format!("carillon:{{{}}}:room:", channel.bucket())));
    }

    /// However names are chosen, nobody reaches what is kept under another one.
    #[test]
    fn different_things_have_different_names() {
        let names = Names::new("carillon");
        let texts =
            ["a", "a.b", "history", "answer", "window", "user", "role", "b001", "0000000000000001", "people", "all"];
        let mut made = std::collections::HashSet::new();
        let mut count = 0;
        let mut note = |name: String| {
            assert!(made.insert(name.clone()), "{name} is there twice");
            count += 1;
        };
        for text in texts {
            let user: UserId = text.parse().expect("an id");
            let channels = [Channel::User(user.clone()), Channel::Presence(user.clone())];
            channels.iter().for_each(|channel| note(names.channel(channel)));
            note(names.person(&user));
            for epoch in [1, 2] {
                note(names.window(&channels[0], Epoch(epoch)));
            }
            for rest in ["", ":a", ":history:a", ":user:a", ":0000000000000001:user:a"] {
                let room: RoomName = format!("{text}{rest}").parse().expect("a room");
                note(names.channel(&Channel::Room(room.clone())));
                note(names.history(&room));
                note(names.answer(&room, Epoch(1)));
            }
        }
        let (gateways, all) = ([PodId::new(), PodId::new()], [Channel::All, Channel::Fleet, Channel::Heads]);
        all.iter().for_each(|channel| note(names.channel(channel)));
        for gateway in gateways {
            note(names.lease(gateway));
            note(names.people(gateway));
            note(names.claim(gateway));
            note(names.claimed(gateway));
            note(names.channel(&Channel::Pod(gateway)));
        }
        note(names.gateways());
        assert_eq!(count, 11 * (2 + 1 + 2 + 15) + 3 + 10 + 1);
    }
}
