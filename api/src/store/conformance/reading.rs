//! Promises about markers and counts.

#![expect(missing_docs, reason = "the names are the promises")]

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{ConversationId, Seq, TraceId};

use super::{Bed, entry, event, feed_of, guest, person};
use crate::model::{Conversation, MarkerDraft, MarkerMove, ReadMarker};
use crate::store::{Kept, StoreError};

fn marker(conversation_id: ConversationId, to: MarkerMove) -> MarkerDraft {
    MarkerDraft { conversation_id, to, trace: TraceId::random() }
}

async fn reads(bed: &Bed, reader: &Caller, conversation: &Conversation, up_to: Option<u64>) -> Kept<ReadMarker> {
    let draft = marker(conversation.id, MarkerMove::ReadUpTo(up_to.map(Seq)));
    bed.store.mark(reader, &draft).await.expect("a participant may read")
}

pub async fn reading_moves_the_marker_forwards_and_tells_only_ones_own_devices(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for text in ["one", "two", "three"] {
        bed.send(&alice, &group, text).await;
    }
    let read = reads(bed, &bob, &group, Some(2)).await;
    assert!(read.created);
    let at = Seq(5);
    assert_eq!((read.value.last_read_seq, read.value.unread_count, read.value.unread_version), (Seq(2), 1, at));
    assert_eq!(read.envelopes.len(), 1);
    let told = &read.envelopes[0];
    assert_eq!((&told.channel, entry(told).seq), (&feed_of("bob"), at));
    let said = event(told);
    assert_eq!((&said["type"], &said["data"]["last_read_seq"]), (&"message.read".into(), &2.into()));
    assert_eq!(entry(told).unread.map(|unread| (unread.count, unread.version)), Some((1, at)));
    assert_eq!(bed.head(&feed_of("alice")).await, Seq(4), "nobody else's feed grows");
    assert_eq!(
        bed.page(&feed_of("bob"), 4, usize::MAX / 2).await.entries,
        std::slice::from_ref(told),
        "it reads as it was announced"
    );

    for repeat in [Some(2), Some(1)] {
        let again = reads(bed, &bob, &group, repeat).await;
        assert!(!again.created && again.envelopes.is_empty());
        assert_eq!(again.value, read.value);
    }
    let all = reads(bed, &bob, &group, None).await.value;
    assert_eq!((all.last_read_seq, all.unread_count), (Seq(3), 0));
    let beyond = reads(bed, &bob, &group, Some(u64::MAX)).await;
    assert!(!beyond.created, "there is nothing beyond the newest message");
}

pub async fn a_marker_goes_back_only_when_asked_to(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for text in ["one", "two", "three"] {
        bed.send(&alice, &group, text).await;
    }
    reads(bed, &bob, &group, None).await;
    let unread = marker(group.id, MarkerMove::UnreadFrom(Seq(2)));
    let back = bed.store.mark(&bob, &unread).await.expect("his own marker");
    assert!(back.created);
    assert_eq!((back.value.last_read_seq, back.value.unread_count), (Seq(1), 2));
    let ahead = bed.store.mark(&bob, &marker(group.id, MarkerMove::UnreadFrom(Seq(3)))).await.expect("his own");
    assert!(!ahead.created && ahead.value.last_read_seq == Seq(1));
    let seen = bed.store.conversation(&alice, group.id).await.expect("hers");
    let bobs = seen.participants.iter().find(|participant| participant.user_id == bob.user).expect("he is in");
    assert_eq!((bobs.last_read_seq, bobs.last_delivered_seq, bobs.version), (Seq(1), Seq(3), 3));
}

pub async fn only_participants_have_a_marker(bed: &Bed) {
    let group = bed.group(&guest("alice"), &["bob"]).await;
    let draft = marker(group.id, MarkerMove::ReadUpTo(None));
    let refused = bed.store.mark(&guest("eve"), &draft).await;
    assert!(matches!(refused, Err(StoreError::NoConversation(_))), "{refused:?}");
    let refused = bed.store.mark(&person("maria", Role::Staff), &draft).await;
    assert!(matches!(refused, Err(StoreError::NotAParticipant(_))), "{refused:?}");
    let nowhere = marker(ConversationId::new(), MarkerMove::ReadUpTo(None));
    let refused = bed.store.mark(&person("maria", Role::Staff), &nowhere).await;
    assert!(matches!(refused, Err(StoreError::NoConversation(_))), "{refused:?}");
}

pub async fn a_send_and_a_read_cannot_each_miss_the_other(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for _ in 0..10 {
        let sends = join_all((0..5).map(|_| bed.send(&alice, &group, "now")));
        let read = join_all((0..5).map(|_| reads(bed, &bob, &group, None)));
        futures_util::future::join(sends, read).await;
        let checks = bed.store.verify_unread(&bob).await.expect("his own");
        assert_eq!(checks[0].kept.unread_count, checks[0].counted);
    }
}

/// One thing that somebody does.
#[derive(Debug, Clone)]
enum Deed {
    Send,
    Read(u64),
    Unread(u64),
}

pub async fn counts_equal_the_recount_after_whatever_happened(bed: &Bed) {
    let people: Vec<Caller> = (0..6).map(|number| guest(&format!("u{number}"))).collect();
    let names: Vec<&str> = people.iter().map(|person| person.user.as_str()).collect();
    let mut groups = Vec::new();
    for number in 0..3 {
        groups.push(bed.group(&people[number], &names[number + 1..]).await);
    }
    let deed = prop_oneof![
        2 => Just(Deed::Send),
        2 => (0_u64..60).prop_map(Deed::Read),
        1 => (1_u64..60).prop_map(Deed::Unread),
    ];
    let deeds = proptest::collection::vec((0_usize..6, 0_usize..3, deed), 300);
    let deeds = deeds.new_tree(&mut TestRunner::default()).expect("nothing is filtered out").current();
    let mut model: Vec<Vec<u64>> = vec![vec![0; people.len()]; groups.len()];
    let mut senders: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    for (person, place, deed) in &deeds {
        let (caller, group) = (&people[*person], &groups[*place]);
        if person < place {
            continue;
        }
        let (newest, own) = (senders[*place].len() as u64, &mut model[*place][*person]);
        match deed {
            Deed::Send => {
                bed.send(caller, group, "hello").await;
                senders[*place].push(*person);
            }
            Deed::Read(seq) => {
                reads(bed, caller, group, Some(*seq)).await;
                *own = (*own).max((*seq).min(newest));
            }
            Deed::Unread(seq) => {
                bed.store.mark(caller, &marker(group.id, MarkerMove::UnreadFrom(Seq(*seq)))).await.expect("their own");
                *own = (*own).min(seq - 1);
            }
        }
    }
    for (number, caller) in people.iter().enumerate() {
        for check in bed.store.verify_unread(caller).await.expect("their own") {
            let place = groups.iter().position(|group| group.id == check.kept.conversation_id).expect("a known one");
            let marker = model[place][number];
            let unread = senders[place].iter().skip(marker as usize).filter(|sender| **sender != number).count();
            let expected = (Seq(marker), unread as u64, unread as u64);
            assert_eq!((check.kept.last_read_seq, check.kept.unread_count, check.counted), expected, "{deeds:?}");
        }
    }
}
