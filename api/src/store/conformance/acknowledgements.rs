//! Promises about acknowledging messages.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{MessageId, TraceId};

use super::{Bed, entry, event, feed_of, guest, message_draft, person};
use crate::model::{Acknowledged, Change, ChangeDraft, Conversation, Message, MessageDraft, MessagePriority};
use crate::store::{AcknowledgementPage, Kept, StoreError};

async fn change(bed: &Bed, caller: &Caller, id: MessageId, change: Change) -> Result<Kept<Message>, StoreError> {
    bed.store.change(caller, &ChangeDraft { message_id: id, change, trace: TraceId::random() }).await
}

async fn asks(bed: &Bed, sender: &Caller, conversation: &Conversation) -> Kept<Message> {
    let draft = MessageDraft {
        priority: MessagePriority::Urgent,
        requires_acknowledgement: true,
        ..message_draft(conversation.id, "leave by the stairs", None)
    };
    bed.store.append(sender, &draft).await.expect("a participant may ask")
}

fn names(items: &[Acknowledged]) -> Vec<&str> {
    items.iter().map(|one| one.user_id.as_str()).collect()
}

pub async fn everybody_else_acknowledges_a_message_once(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob", "carol"]).await;
    let asked = asks(bed, &alice, &group).await;
    let said = event(&asked.envelopes[0]);
    assert_eq!(
        (&said["data"]["priority"], &said["data"]["requires_acknowledgement"]),
        (&"urgent".into(), &true.into())
    );
    assert_eq!(asked.value.acknowledgements.as_ref().expect("it asks").count, 0);
    let id = asked.value.id;
    let seen = change(bed, &bob, id, Change::Acknowledge).await.expect("he is asked");
    let those = seen.value.acknowledgements.as_ref().expect("it asks");
    assert_eq!((those.count, names(&those.items), seen.value.version), (1, vec!["bob"], 2));
    let told: Vec<_> = seen.envelopes.iter().map(|told| told.channel.clone()).collect();
    assert_eq!(told, ["alice", "bob", "carol"].map(feed_of));
    let said = event(&seen.envelopes[0]);
    assert_eq!((&said["type"], &said["data"]["user_id"]), (&"message.acknowledged".into(), &"bob".into()));
    let after = entry(&seen.envelopes[0]).seq.0 - 1;
    assert_eq!(bed.page(&feed_of("alice"), after, usize::MAX / 2).await.entries, [seen.envelopes[0].clone()]);
    let again = change(bed, &bob, id, Change::Acknowledge).await.expect("he is asked");
    assert!(!again.created && again.envelopes.is_empty() && again.value == seen.value);

    let plain = bed.send(&alice, &group, "hello").await.value;
    assert_eq!((plain.priority, plain.acknowledgements), (MessagePriority::Normal, None));
    for (caller, id) in [(&alice, id), (&bob, plain.id)] {
        let refused = change(bed, caller, id, Change::Acknowledge).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
    let foreign = change(bed, &guest("eve"), id, Change::Acknowledge).await;
    assert!(matches!(foreign, Err(StoreError::NoMessage(_))), "{foreign:?}");
    let foreign = change(bed, &person("sam", Role::Staff), id, Change::Acknowledge).await;
    assert!(matches!(foreign, Err(StoreError::NotAParticipant(_))), "{foreign:?}");
    let deleted = change(bed, &alice, id, Change::Delete).await.expect("her own").value;
    assert!(!deleted.requires_acknowledgement && deleted.acknowledgements.is_none());
    let late = change(bed, &bob, id, Change::Acknowledge).await;
    assert!(matches!(late, Err(StoreError::Deleted(_))), "{late:?}");
}

pub async fn who_acknowledged_is_listed_page_by_page(bed: &Bed) {
    let alice = guest("alice");
    let others: Vec<String> = (10..35).map(|number| format!("u.{number}")).collect();
    let group = bed.group(&alice, &others.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let id = asks(bed, &alice, &group).await.value.id;
    for other in &others {
        change(bed, &guest(other), id, Change::Acknowledge).await.expect("they are asked");
    }
    let shown = bed.store.message(&alice, id).await.expect("hers").acknowledgements.expect("it asks");
    assert_eq!((shown.count, names(&shown.items)), (25, others[..20].iter().map(String::as_str).collect()));
    let mut found = Vec::new();
    loop {
        let after = found.last().map(|last: &Acknowledged| (last.acknowledged_at.as_micros(), last.user_id.clone()));
        let page =
            bed.store.acknowledgements(&alice, id, &AcknowledgementPage { after, limit: 10 }).await.expect("hers");
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(names(&found), others);
    let page = AcknowledgementPage { after: None, limit: 10 };
    let foreign = bed.store.acknowledgements(&guest("eve"), id, &page).await;
    assert!(matches!(foreign, Err(StoreError::NoMessage(_))), "{foreign:?}");
    let hider = guest(&others[0]);
    change(bed, &hider, id, Change::Hide).await.expect("theirs to see");
    assert!(bed.store.acknowledgements(&hider, id, &page).await.expect("theirs to see").is_empty());
}
