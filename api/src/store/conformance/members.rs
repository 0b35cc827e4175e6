//! Promises about who is in a conversation, and about what everyone sees of it.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::ids::{Seq, TraceId};
use shared::time::Timestamp;

use super::messaging::NEWEST;
use super::{Bed, conversation_draft, entry, event, feed_of, guest, message_draft, person, user};
use crate::model::{
    Change, ChangeDraft, Conversation, ConversationChange, ConversationChangeDraft, ConversationStatus,
    ConversationType, ParticipantRole,
};
use crate::store::{ConversationPage, Kept, StoreError, UnreadPage};

async fn change(
    bed: &Bed,
    caller: &Caller,
    conversation: &Conversation,
    change: ConversationChange,
) -> Result<Kept<Conversation>, StoreError> {
    let draft = ConversationChangeDraft { conversation_id: conversation.id, change, trace: TraceId::random() };
    bed.store.change_conversation(caller, &draft).await
}

fn add(name: &str) -> ConversationChange {
    ConversationChange::Add(user(name), None)
}

fn remove(name: &str) -> ConversationChange {
    ConversationChange::Remove(user(name))
}

fn status(status: ConversationStatus) -> ConversationChange {
    ConversationChange::Update { subject: None, status: Some(status), metadata: None }
}

fn subject(subject: &str) -> ConversationChange {
    ConversationChange::Update { subject: Some(Some(subject.to_owned())), status: None, metadata: None }
}

fn told(kept: &Kept<Conversation>) -> Vec<Channel> {
    kept.envelopes.iter().map(|told| told.channel.clone()).collect()
}

pub async fn a_change_of_a_conversation_is_told_to_everyone_in_it(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let changed = change(bed, &guest("bob"), &group, subject("another")).await.expect("he is in it");
    assert!(changed.created);
    assert_eq!((changed.value.subject.as_deref(), changed.value.version), (Some("another"), 2));
    assert_eq!(told(&changed), [feed_of("alice"), feed_of("bob")]);
    let said = event(&changed.envelopes[0]);
    assert_eq!((&said["type"], &said["data"]["subject"]), (&"conversation.updated".into(), &"another".into()));
    assert_eq!(bed.page(&feed_of("bob"), 1, usize::MAX / 2).await.entries, [changed.envelopes[1].clone()]);
    let again = change(bed, &alice, &group, subject("another")).await.expect("she is in it");
    assert!(!again.created && again.envelopes.is_empty() && again.value.version == 2);
    let emptied =
        ConversationChange::Update { subject: Some(None), status: None, metadata: Some(serde_json::Map::new()) };
    let emptied = change(bed, &alice, &group, emptied).await.expect("she is in it").value;
    assert_eq!((emptied.subject, emptied.metadata.len()), (None, 0));
    let refused = change(bed, &guest("eve"), &group, subject("hers")).await;
    assert!(matches!(refused, Err(StoreError::NoConversation(_))), "{refused:?}");
    let maria = person("maria", Role::Staff);
    assert!(change(bed, &maria, &group, subject("staff's")).await.expect("staff may").created);
}

pub async fn only_who_manages_a_conversation_closes_it(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let refused = change(bed, &bob, &group, status(ConversationStatus::Closed)).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    let closed = change(bed, &alice, &group, status(ConversationStatus::Closed)).await.expect("she owns it");
    assert_eq!(closed.value.status, ConversationStatus::Closed);
    let refused = bed.store.append(&bob, &message_draft(group.id, "late", None)).await;
    assert!(matches!(refused, Err(StoreError::Closed(_))), "{refused:?}");
    let refused = change(bed, &alice, &group, add("carol")).await;
    assert!(matches!(refused, Err(StoreError::Closed(_))), "{refused:?}");
    change(bed, &alice, &group, status(ConversationStatus::Active)).await.expect("she owns it");
    bed.send(&bob, &group, "again").await;
    // While nobody owns it, everyone in it does.
    change(bed, &alice, &group, remove("alice")).await.expect("she may leave");
    change(bed, &bob, &group, status(ConversationStatus::Closed)).await.expect("nobody else is left");
}

pub async fn who_comes_is_told_with_the_others_and_finds_everything_read(bed: &Bed) {
    let (alice, bob, carol) = (guest("alice"), guest("bob"), guest("carol"));
    let group = bed.group(&alice, &["bob"]).await;
    bed.send(&alice, &group, "before").await;
    let added = change(bed, &bob, &group, add("carol")).await.expect("he is in it");
    assert!(added.created);
    assert_eq!(told(&added), [feed_of("alice"), feed_of("bob"), feed_of("carol")]);
    let said = event(&added.envelopes[2]);
    assert_eq!((&said["type"], &said["data"]["user_id"]), (&"member.added".into(), &"carol".into()));
    assert_eq!(bed.page(&feed_of("carol"), 0, usize::MAX / 2).await.entries, [added.envelopes[2].clone()]);
    assert_eq!(bed.store.conversation(&carol, group.id).await.expect("hers").unread_count, 0);
    let sent = bed.send(&alice, &group, "after").await;
    assert_eq!(sent.envelopes.len(), 3);
    assert_eq!(bed.store.conversation(&carol, group.id).await.expect("hers").unread_count, 1);
    assert!(!change(bed, &bob, &group, add("carol")).await.expect("he is in it").created);
    for role in [ParticipantRole::Owner, ParticipantRole::Staff] {
        let refused = change(bed, &bob, &group, ConversationChange::Add(user("dave"), Some(role))).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
    let refused = change(bed, &guest("eve"), &group, add("eve")).await;
    assert!(matches!(refused, Err(StoreError::NoConversation(_))), "{refused:?}");
}

pub async fn who_left_is_told_so_and_nothing_that_follows(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob", "carol"]).await;
    let sent = bed.send(&alice, &group, "while he was in").await.value;
    let refused = change(bed, &bob, &group, remove("carol")).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    let removed = change(bed, &alice, &group, remove("bob")).await.expect("she owns it");
    assert_eq!(told(&removed), [feed_of("alice"), feed_of("bob"), feed_of("carol")]);
    assert_eq!(event(&removed.envelopes[1])["type"], "member.removed");
    assert!(!change(bed, &alice, &group, remove("bob")).await.expect("he is out").created);
    let head = bed.head(&feed_of("bob")).await;
    bed.send(&alice, &group, "without him").await;
    let edit = Change::Edit("changed behind his back".to_owned(), None);
    let draft = ChangeDraft { message_id: sent.id, change: edit, trace: TraceId::random() };
    bed.store.change(&alice, &draft).await.expect("her own");
    change(bed, &alice, &group, subject("not for him")).await.expect("she owns it");
    assert_eq!(bed.head(&feed_of("bob")).await, head, "his feed does not grow");
    let page = bed.page(&feed_of("bob"), 0, usize::MAX / 2).await;
    let texts: Vec<_> = page.entries.iter().map(|told| event(told).to_string()).collect();
    assert_eq!(texts.len(), 3);
    assert!(!texts.iter().any(|text| text.contains("behind his back") || text.contains("not for him")), "{texts:?}");
    let gone = bed.store.messages(&bob, group.id, &NEWEST).await;
    assert!(matches!(gone, Err(StoreError::NoConversation(_))), "{gone:?}");
    // Coming back, he finds everything read and hears the next one.
    change(bed, &alice, &group, add("bob")).await.expect("she owns it");
    assert_eq!(bed.store.conversation(&bob, group.id).await.expect("his").unread_count, 0);
    assert_eq!(bed.send(&alice, &group, "welcome back").await.envelopes.len(), 3);
    assert_eq!(bed.store.verify_unread(&bob, &UnreadPage::default()).await.expect("his own")[0].counted, 1);
}

pub async fn a_key_tells_who_was_removed_nothing_of_today(bed: &Bed) {
    let alice = guest("alice");
    let mut draft = conversation_draft(ConversationType::Group, &["bob"]);
    draft.idempotency_key = "k".parse().ok();
    let group = bed.store.create_conversation(&alice, &draft).await.expect("started").value;
    let bob = ConversationChange::SetRole(user("bob"), ParticipantRole::Owner);
    change(bed, &alice, &group, bob).await.expect("she owns it");
    change(bed, &guest("bob"), &group, remove("alice")).await.expect("he owns it too");
    change(bed, &guest("bob"), &group, subject("not for her")).await.expect("he owns it");
    bed.send(&guest("bob"), &group, "not for her").await;
    let again = bed.store.create_conversation(&alice, &draft).await.expect("it was made");
    assert!(!again.created && again.value.id == group.id);
    assert_eq!((again.value.subject, again.value.participants.len(), again.value.last_message), (None, 0, None));
}

pub async fn what_everybody_has_left_can_still_be_closed_and_cleaned(bed: &Bed) {
    let (alice, maria) = (guest("alice"), person("maria", Role::Staff));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "abuse").await.value;
    for name in ["bob", "alice"] {
        change(bed, &guest(name), &group, remove(name)).await.expect("everyone may leave");
    }
    let closed = change(bed, &maria, &group, status(ConversationStatus::Closed)).await.expect("staff may");
    assert!(closed.created && closed.envelopes.is_empty());
    let draft = ChangeDraft { message_id: sent.id, change: Change::Delete, trace: TraceId::random() };
    assert!(bed.store.change(&maria, &draft).await.expect("staff may").created);
}

pub async fn roles_are_given_by_who_manages(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let owner = |name: &str| ConversationChange::SetRole(user(name), ParticipantRole::Owner);
    let refused = change(bed, &bob, &group, owner("bob")).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    let changed = change(bed, &alice, &group, owner("bob")).await.expect("she owns it");
    assert_eq!(event(&changed.envelopes[0])["data"]["role"], "owner");
    assert!(!change(bed, &alice, &group, owner("bob")).await.expect("she owns it").created);
    let refused = change(bed, &alice, &group, owner("eve")).await;
    assert!(matches!(refused, Err(StoreError::NotIn(_))), "{refused:?}");
    change(bed, &bob, &group, remove("alice")).await.expect("he owns it too");
}

pub async fn a_direct_conversation_keeps_its_people_and_a_group_its_limit(bed: &Bed) {
    let alice = guest("alice");
    let draft = conversation_draft(ConversationType::Direct, &["bob"]);
    let direct = bed.store.create_conversation(&alice, &draft).await.expect("started").value;
    for refused in [add("carol"), remove("alice"), remove("bob")] {
        let refused = change(bed, &alice, &direct, refused).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
    let others: Vec<String> = (0..249).map(|number| format!("u{number}")).collect();
    let full = bed.group(&alice, &others.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let refused = change(bed, &alice, &full, add("one-more")).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { limit: 250, .. })), "{refused:?}");
    assert_eq!(bed.head(&feed_of("one-more")).await, Seq(0), "what was refused left nothing");
}

pub async fn what_one_sets_for_oneself_is_told_to_oneself_alone(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let until = Timestamp::from_micros(2_000_000_000_000_000);
    let set = |muted_until, pinned_at| ConversationChange::SetOwn { muted_until, pinned_at, archived_at: None };
    let kept = change(bed, &bob, &group, set(Some(Some(until)), None)).await.expect("his own");
    assert_eq!(told(&kept), [feed_of("bob")]);
    assert_eq!(kept.value.settings.and_then(|settings| settings.muted_until), Some(until));
    assert_eq!(event(&kept.envelopes[0])["data"]["muted_until"], until.to_string());
    assert_eq!(bed.page(&feed_of("bob"), 1, usize::MAX / 2).await.entries, kept.envelopes);
    assert!(entry(&kept.envelopes[0]).unread.is_none());
    let pinned = change(bed, &bob, &group, set(None, Some(Some(until)))).await.expect("his own").value;
    let settings = pinned.settings.expect("he is in it");
    assert_eq!((settings.muted_until, settings.pinned_at), (Some(until), Some(until)), "what is not said stays");
    assert_eq!(bed.store.conversation(&alice, group.id).await.expect("hers").settings, Some(Default::default()));
    let page = |pinned| ConversationPage { pinned: Some(pinned), ..ConversationPage::ALL };
    assert_eq!(bed.store.conversations(&bob, &page(true)).await.expect("his").len(), 1);
    assert_eq!(bed.store.conversations(&bob, &page(false)).await.expect("his").len(), 0);
    let for_ever = change(bed, &bob, &group, set(Some(Some(Timestamp::LAST)), None)).await.expect("his own").value;
    assert_eq!(for_ever.settings.and_then(|settings| settings.muted_until), Some(Timestamp::LAST));
    let unmuted = change(bed, &bob, &group, set(Some(None), None)).await.expect("his own").value;
    assert_eq!(unmuted.settings.and_then(|settings| settings.muted_until), None);
    let refused = change(bed, &person("maria", Role::Staff), &group, set(Some(None), None)).await;
    assert!(matches!(refused, Err(StoreError::NotAParticipant(_))), "{refused:?}");
}
