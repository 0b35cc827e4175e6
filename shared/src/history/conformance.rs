//! What every memory of rooms promises, as tests that every implementation runs.
//!
//! One function per promise, and [`history_conformance!`](crate::history_conformance) gives an implementation all of them. The
//! stages are the broker's: a room's publishes are heard through it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{Retention, position};
use crate::broker::conformance::{Pod, Stage, promises_of};
use crate::channel::Channel;
use crate::envelope::{Content, Entry, Envelope};
use crate::event::{DurableBody, LiveBody, RoomPosition, Topic};
use crate::ids::{Epoch, RoomName, Seq, TraceId};
use crate::time::Timestamp;

const KEEP: Retention = Retention { entries: 10, age: Duration::from_secs(600) };

/// Runs every promise of the history for each `name: Stage`.
#[macro_export]
macro_rules! history_conformance {
    ($($backend:ident: $stage:ty),+ $(,)?) => {
        $(mod $backend {
            use super::*;
            $crate::promises!($stage, history, [
                positions_count_from_one_without_holes,
                a_publish_is_heard_with_its_position,
                what_is_heard_can_be_read,
                many_publishers_share_one_order,
                reading_after_a_position_answers_what_came_after_it,
                reading_without_a_position_answers_all_that_is_kept,
                a_position_that_is_no_longer_covered_is_answered_as_incomplete,
                a_position_of_another_life_is_answered_as_incomplete,
                a_position_beyond_the_top_is_answered_as_incomplete,
                a_room_that_remembers_nothing_has_no_top,
                a_room_that_nobody_used_for_its_age_is_forgotten,
                a_forgotten_room_begins_another_epoch,
                rooms_are_numbered_each_for_itself,
                a_window_continues_a_position_without_a_hole,
                a_window_that_does_not_reach_back_answers_nothing,
                a_feed_that_nobody_hears_has_no_window,
                late_and_repeated_numbers_are_harmless_to_a_window,
                a_window_forgets_what_must_not_be_said_again,
                another_epoch_has_another_window,
            ]);
        })+
    };
}

/// Fails when `listed` is not every promise of this file.
pub fn assert_complete(listed: &[&str]) {
    assert_eq!(listed, promises_of(include_str!("conformance.rs")));
}

/// Positions count 1, 2, 3 … in one epoch, whichever pod publishes.
pub async fn positions_count_from_one_without_holes<S: Stage>() {
    let stage = S::set().await;
    let pods = [stage.pod().await, stage.pod().await];
    let first = pods[0].publish("a").await;
    for number in 2..30 {
        let next = pods[number % 2].publish("a").await;
        assert_eq!(next, RoomPosition { epoch: first.epoch, offset: Seq(number as u64) });
    }
    assert_eq!(first.offset, Seq(1));
}

/// A publish is heard like any other, in order, and with the position that was answered.
pub async fn a_publish_is_heard_with_its_position<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    listener.join().await;
    for number in 0..20 {
        let text = format!("{number}\n\0");
        let answered = speaker.publish(&text).await;
        let heard = listener.next_envelope().await;
        assert_eq!((position(&heard), &heard.body()[..]), (Some(&answered), text.as_bytes()));
        assert_eq!((heard.channel, heard.trace), (Channel::Room(room()), TraceId(7)));
    }
}

/// What is heard can be read at once.
pub async fn what_is_heard_can_be_read<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    listener.join().await;
    for _ in 0..20 {
        speaker.publish("a").await;
        let heard = listener.next_envelope().await;
        let recovered = listener.read(None).await;
        assert_eq!(recovered.envelopes.last(), Some(&heard));
        assert_eq!(recovered.top.as_ref(), position(&heard));
    }
}

/// However many publish at once, each gets a position of its own, and everybody hears them in this order.
pub async fn many_publishers_share_one_order<S: Stage>() {
    let stage = S::set().await;
    let (one, other, mut listener) = (stage.pod().await, stage.pod().await, stage.pod().await);
    listener.join().await;
    let publishes = (0..200).map(async |number| if number % 2 == 0 { &one } else { &other }.publish("a").await.offset);
    let mut answered = join_all(publishes).await;
    answered.sort_unstable();
    assert_eq!(answered, (1..=200).map(Seq).collect::<Vec<_>>());
    for number in 1..=200 {
        let heard = listener.next_envelope().await;
        assert_eq!(position(&heard).expect("a position").offset, Seq(number));
    }
}

/// Reading after a position answers what came after it, to the top.
pub async fn reading_after_a_position_answers_what_came_after_it<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let positions = pod.publish_all(1..=5).await;
    for (missed, since) in positions.iter().rev().enumerate() {
        let recovered = pod.read(Some(since)).await;
        assert!(recovered.complete);
        assert_eq!(recovered.top.as_ref(), positions.last());
        assert_eq!(texts(&recovered.envelopes), ["1", "2", "3", "4", "5"][5 - missed..]);
    }
    let before_all = RoomPosition { offset: Seq::ZERO, ..positions[0].clone() };
    assert_eq!(pod.read(Some(&before_all)).await.envelopes.len(), 5);
}

/// Reading without a position answers all that is kept, and never more than is to be kept.
pub async fn reading_without_a_position_answers_all_that_is_kept<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let positions = pod.publish_all(1..=25).await;
    let recovered = pod.read(None).await;
    assert!(recovered.complete);
    assert_eq!(recovered.top.as_ref(), positions.last());
    assert_eq!(texts(&recovered.envelopes), (16..=25).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// A position that is no longer covered is answered as incomplete; the last one that is covered is not.
pub async fn a_position_that_is_no_longer_covered_is_answered_as_incomplete<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let positions = pod.publish_all(1..=25).await;
    let lost = pod.read(Some(&positions[13])).await;
    assert_eq!((lost.complete, lost.top.as_ref(), lost.envelopes.len()), (false, positions.last(), 10));
    // Entry 15 is gone, but all that came after it is there.
    let just = pod.read(Some(&positions[14])).await;
    assert_eq!((just.complete, just.envelopes.len()), (true, 10));
}

/// A position of another life of the room is answered as incomplete, whatever its number.
pub async fn a_position_of_another_life_is_answered_as_incomplete<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let positions = pod.publish_all(1..=5).await;
    for offset in [0, 3, 5, 9] {
        let foreign = RoomPosition { epoch: Epoch(positions[0].epoch.0 ^ 1), offset: Seq(offset) };
        let recovered = pod.read(Some(&foreign)).await;
        assert_eq!((recovered.complete, recovered.envelopes.len()), (false, 5));
        assert_eq!(recovered.top.as_ref(), positions.last());
    }
}

/// A position that was never given is answered as incomplete.
pub async fn a_position_beyond_the_top_is_answered_as_incomplete<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let positions = pod.publish_all(1..=5).await;
    let beyond = RoomPosition { offset: Seq(6), ..positions[0].clone() };
    let recovered = pod.read(Some(&beyond)).await;
    assert_eq!((recovered.complete, recovered.top.as_ref()), (false, positions.last()));
}

/// A room that remembers nothing has no top: complete for who asks for nothing, incomplete for who has a position.
pub async fn a_room_that_remembers_nothing_has_no_top<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let nothing = pod.read(None).await;
    assert_eq!((nothing.complete, nothing.top, nothing.envelopes.len()), (true, None, 0));
    let since = RoomPosition { epoch: Epoch(1), offset: Seq(1) };
    let nothing = pod.read(Some(&since)).await;
    assert_eq!((nothing.complete, nothing.top, nothing.envelopes.len()), (false, None, 0));
}

/// A room is forgotten when nobody used it for its age, and not while somebody does.
pub async fn a_room_that_nobody_used_for_its_age_is_forgotten<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let brief = Retention { age: Duration::from_millis(300), ..KEEP };
    let first = pod.publish_in(&room(), brief, "a").await;
    let begun = tokio::time::Instant::now();
    let second = pod.publish_in(&room(), brief, "b").await;
    assert!(second.epoch == first.epoch || begun.elapsed() >= brief.age);
    pod.until_forgotten().await;
    assert!(begun.elapsed() >= brief.age);
}

/// A room that was forgotten begins anew, in an epoch that no earlier position belongs to.
pub async fn a_forgotten_room_begins_another_epoch<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let brief = Retention { age: Duration::from_millis(50), ..KEEP };
    let before = pod.publish_in(&room(), brief, "a").await;
    pod.until_forgotten().await;
    let after = pod.publish("b").await;
    assert_eq!(after.offset, Seq(1));
    assert_ne!(after.epoch, before.epoch);
    assert!(!pod.read(Some(&before)).await.complete);
}

/// Rooms are numbered each for itself.
pub async fn rooms_are_numbered_each_for_itself<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    for number in 1..=3 {
        for name in ["tour_1", "tour_2", "conversation:7"] {
            let position = pod.publish_in(&name.parse().expect("a room"), KEEP, "a").await;
            assert_eq!(position.offset, Seq(number));
        }
    }
}

/// A window continues a position without a hole, with what was announced.
pub async fn a_window_continues_a_position_without_a_hole<S: Stage>() {
    let stage = S::set().await;
    let (speaker, listener) = (stage.pod().await, stage.pod().await);
    listener.hear(&[feed()]).await;
    speaker.say(&(1..=20).map(|seq| entry(1, seq)).collect::<Vec<_>>()).await;
    let window = listener.history.window(&feed(), Epoch(1), Seq(15)).await.expect("a window");
    assert_eq!(window, (16..=20).map(|seq| entry(1, seq)).collect::<Vec<_>>());
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(20)).await.expect("a window"), []);
}

/// A window that does not reach back to the position, or has a hole behind it, answers nothing beyond the hole.
pub async fn a_window_that_does_not_reach_back_answers_nothing<S: Stage>() {
    let stage = S::set().await;
    let (speaker, listener) = (stage.pod().await, stage.pod().await);
    listener.hear(&[feed()]).await;
    speaker.say(&(1..=100).map(|seq| entry(1, seq)).collect::<Vec<_>>()).await;
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(10)).await.expect("a window"), []);
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(36)).await.expect("a window").len(), 64);
    speaker.say(&[entry(1, 102)]).await;
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(99)).await.expect("a window"), [entry(1, 100)]);
}

/// A feed that nobody hears has no window; one that was heard keeps its window for those who come back.
pub async fn a_feed_that_nobody_hears_has_no_window<S: Stage>() {
    let stage = S::set().await;
    let (speaker, listener) = (stage.pod().await, stage.pod().await);
    speaker.say(&[entry(1, 1)]).await;
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(0)).await.expect("no window"), []);
    listener.hear(&[feed()]).await;
    speaker.say(&[entry(1, 2)]).await;
    listener.link.broker.unsubscribe(&[feed()]).await.expect("left");
    speaker.say(&[entry(1, 3)]).await;
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(1)).await.expect("a window"), [entry(1, 2), entry(1, 3)]);
}

/// Numbers that come late or twice leave a window as if they had come in order and once.
pub async fn late_and_repeated_numbers_are_harmless_to_a_window<S: Stage>() {
    let stage = S::set().await;
    let (speaker, listener) = (stage.pod().await, stage.pod().await);
    listener.hear(&[feed()]).await;
    for seq in [3, 1, 2, 1, 3] {
        speaker.say(&[entry(1, seq)]).await;
    }
    let window = listener.history.window(&feed(), Epoch(1), Seq(0)).await.expect("a window");
    assert_eq!(window, [entry(1, 1), entry(1, 2), entry(1, 3)]);
}

/// A window forgets what must not be said again, and goes on with what follows.
pub async fn a_window_forgets_what_must_not_be_said_again<S: Stage>() {
    let stage = S::set().await;
    let (speaker, listener) = (stage.pod().await, stage.pod().await);
    listener.hear(&[feed()]).await;
    let mut third = entry(1, 3);
    if let Content::Entry(entry) = &mut third.content {
        entry.redacts = true;
    }
    for envelope in [entry(1, 1), entry(1, 2), third.clone(), entry(1, 4)] {
        speaker.say(&[envelope]).await;
    }
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(0)).await.expect("a window"), []);
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(2)).await.expect("a window"), [third, entry(1, 4)]);
}

/// Another epoch has another window: numbers that were given a second time are never mixed with the first.
pub async fn another_epoch_has_another_window<S: Stage>() {
    let stage = S::set().await;
    let (speaker, listener) = (stage.pod().await, stage.pod().await);
    listener.hear(&[feed()]).await;
    speaker.say(&[entry(1, 1), entry(2, 1), entry(2, 2)]).await;
    assert_eq!(listener.history.window(&feed(), Epoch(1), Seq(0)).await.expect("a window"), [entry(1, 1)]);
    assert_eq!(listener.history.window(&feed(), Epoch(2), Seq(1)).await.expect("a window"), [entry(2, 2)]);
}

fn feed() -> Channel {
    Channel::User("alice".parse().expect("a user"))
}

fn entry(epoch: u64, seq: u64) -> Envelope {
    Envelope {
        channel: feed(),
        committed_at: Timestamp::from_micros(seq as i64),
        trace: TraceId(7),
        content: Content::Entry(Entry {
            epoch: Epoch(epoch),
            seq: Seq(seq),
            topic: Topic::Messaging,
            unread: None,
            redacts: false,
            revokes: false,
            closes: false,
            body: DurableBody::from_trusted(Bytes::from(format!("{{\"n\":{seq}"))),
        }),
    }
}

impl Pod {
    async fn join(&self) {
        self.link.broker.subscribe(&[Channel::Room(room())]).await.expect("a subscription");
    }

    async fn publish(&self, text: &str) -> RoomPosition {
        self.publish_in(&room(), KEEP, text).await
    }

    async fn publish_all(&self, numbers: std::ops::RangeInclusive<u64>) -> Vec<RoomPosition> {
        let mut positions = Vec::new();
        for number in numbers {
            positions.push(self.publish(&number.to_string()).await);
        }
        positions
    }

    async fn publish_in(&self, room: &RoomName, keep: Retention, text: &str) -> RoomPosition {
        let body = LiveBody::from_trusted(Bytes::from(text.to_owned()));
        self.history.publish(room, keep, TraceId(7), body).await.expect("a publish")
    }

    async fn read(&self, since: Option<&RoomPosition>) -> super::Recovered {
        self.history.read(&room(), since).await.expect("a reading")
    }

    async fn until_forgotten(&self) {
        let forgotten = async {
            while self.read(None).await.top.is_some() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), forgotten).await.expect("the room is forgotten in time");
    }
}

fn room() -> RoomName {
    "tour_456".parse().expect("a room")
}

fn texts(envelopes: &[Envelope]) -> Vec<String> {
    envelopes.iter().map(|envelope| String::from_utf8_lossy(envelope.body()).into_owned()).collect()
}
