//! Promises about messages that are kept at hand.

#![expect(missing_docs, reason = "the names are the promises")]

use futures_util::future::join_all;
use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{MessageId, TraceId};

use super::{Bed, entry, event, feed_of, guest, person};
use crate::model::{Change, ChangeDraft, Conversation, Message};
use crate::store::{Kept, StoreError};

async fn change(bed: &Bed, caller: &Caller, id: MessageId, change: Change) -> Result<Kept<Message>, StoreError> {
    bed.store.change(caller, &ChangeDraft { message_id: id, change, trace: TraceId::random() }).await
}

async fn pinned(bed: &Bed, caller: &Caller, conversation: &Conversation) -> Vec<String> {
    let pins = bed.store.pins(caller, conversation.id).await.expect("theirs to see");
    pins.into_iter().map(|message| message.message_text).collect()
}

pub async fn anyone_in_a_conversation_pins_for_all_and_a_repeat_tells_nobody(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let (one, two) = (bed.send(&alice, &group, "one").await.value, bed.send(&alice, &group, "two").await.value);
    change(bed, &bob, two.id, Change::Pin).await.expect("his to see");
    let kept = change(bed, &bob, one.id, Change::Pin).await.expect("his to see");
    assert_eq!((kept.value.pinned_by.as_ref(), kept.value.version), (Some(&bob.user), 2));
    let said = event(&kept.envelopes[0]);
    assert_eq!((&said["type"], &said["data"]["pinned_by"]), (&"message.pinned".into(), &"bob".into()));
    let after = entry(&kept.envelopes[0]).seq.0 - 1;
    assert_eq!(bed.page(&feed_of("alice"), after, usize::MAX / 2).await.entries, [kept.envelopes[0].clone()]);
    let again = change(bed, &alice, one.id, Change::Pin).await.expect("hers to see");
    assert!(!again.created && again.envelopes.is_empty() && again.value == kept.value);
    assert_eq!(pinned(bed, &alice, &group).await, ["one", "two"], "the last pinned comes first");

    let gone = change(bed, &alice, one.id, Change::Unpin).await.expect("hers to see");
    assert!(gone.created && gone.value.pinned_at.is_none() && gone.value.pinned_by.is_none());
    assert_eq!(event(&gone.envelopes[0])["type"], "message.unpinned");
    let again = change(bed, &alice, one.id, Change::Unpin).await.expect("hers to see");
    assert!(!again.created && again.envelopes.is_empty());
    assert_eq!(pinned(bed, &bob, &group).await, ["two"]);
    assert_eq!(pinned(bed, &person("sam", Role::Staff), &group).await, ["two"]);
    let foreign = bed.store.pins(&guest("eve"), group.id).await;
    assert!(matches!(foreign, Err(StoreError::NoConversation(_))), "{foreign:?}");
    let foreign = change(bed, &guest("eve"), two.id, Change::Pin).await;
    assert!(matches!(foreign, Err(StoreError::NoMessage(_))), "{foreign:?}");
}

pub async fn a_deleted_message_is_not_pinned(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "one").await.value;
    change(bed, &alice, sent.id, Change::Pin).await.expect("hers");
    let deleted = change(bed, &alice, sent.id, Change::Delete).await.expect("hers").value;
    assert_eq!((deleted.pinned_at, deleted.pinned_by), (None, None));
    assert!(pinned(bed, &alice, &group).await.is_empty());
    let refused = change(bed, &alice, sent.id, Change::Pin).await;
    assert!(matches!(refused, Err(StoreError::Deleted(_))), "{refused:?}");
}

pub async fn a_conversation_has_room_for_fifty_pins(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let mut sent = Vec::new();
    for number in 0..51 {
        sent.push(bed.send(&alice, &group, &number.to_string()).await.value.id);
    }
    let pins = join_all(sent.iter().map(|id| change(bed, &alice, *id, Change::Pin))).await;
    let refused: Vec<_> = pins.into_iter().filter_map(Result::err).collect();
    assert!(matches!(refused.as_slice(), [StoreError::LimitExceeded { limit: 50, .. }]), "{refused:?}");
    assert_eq!(pinned(bed, &alice, &group).await.len(), 50);
}
