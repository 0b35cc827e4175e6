//! Promises about what becomes of messages.

#![expect(missing_docs, reason = "the names are the promises")]

use futures_util::future::join_all;
use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{MessageId, Seq, TraceId};

use super::messaging::NEWEST;
use super::{Bed, entry, event, feed_of, guest, message_draft, person};
use crate::model::{Change, ChangeDraft, Message};
use crate::store::{ConversationPage, Kept, StoreError, UnreadPage};

async fn change(bed: &Bed, caller: &Caller, id: MessageId, change: Change) -> Result<Kept<Message>, StoreError> {
    bed.store.change(caller, &ChangeDraft { message_id: id, change, trace: TraceId::random() }).await
}

fn edit(text: &str) -> Change {
    Change::Edit(text.to_owned(), None)
}

fn react(sign: &str) -> Change {
    Change::React(sign.to_owned())
}

pub async fn an_edit_is_told_to_everyone_and_keeps_what_was_said_before(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "helo").await.value;
    let edited = change(bed, &alice, sent.id, edit("hello")).await.expect("her own");
    assert!(edited.created && edited.value.edited_at.is_some());
    assert_eq!((edited.value.message_text.as_str(), edited.value.version), ("hello", 2));
    let told: Vec<_> = edited.envelopes.iter().map(|told| (told.channel.clone(), entry(told).seq)).collect();
    assert_eq!(told, [(feed_of("alice"), Seq(3)), (feed_of("bob"), Seq(3))]);
    let said = event(&edited.envelopes[1]);
    assert_eq!((&said["type"], &said["version"]), (&"message.updated".into(), &2.into()));
    assert_eq!(bed.page(&feed_of("bob"), 2, usize::MAX / 2).await.entries, [edited.envelopes[1].clone()]);
    // Whoever reads the first entry today reads today's text.
    let first = &bed.page(&feed_of("bob"), 1, usize::MAX / 2).await.entries[0];
    assert_eq!((&event(first)["data"]["message_text"], &event(first)["version"]), (&"hello".into(), &2.into()));

    let again = change(bed, &alice, sent.id, edit("hello")).await.expect("her own");
    assert!(!again.created && again.envelopes.is_empty());
    assert_eq!(again.value, edited.value);
    let history = bed.store.history(&bob, sent.id).await.expect("his to see");
    assert_eq!(history.iter().map(|old| (old.version, old.message_text.as_str())).collect::<Vec<_>>(), [(1, "helo")]);
    assert_eq!(bed.store.message(&bob, sent.id).await.expect("his to see"), edited.value);
}

pub async fn a_deleted_message_keeps_its_number_and_says_nothing(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "a secret").await.value;
    bed.send(&alice, &group, "after it").await;
    change(bed, &alice, sent.id, edit("another secret")).await.expect("her own");
    change(bed, &bob, sent.id, react("\u{1f440}")).await.expect("his to see");
    let deleted = change(bed, &alice, sent.id, Change::Delete).await.expect("her own");
    assert!(deleted.created && deleted.value.deleted_at.is_some());
    assert_eq!((deleted.value.seq, deleted.value.message_text.as_str()), (Seq(1), ""));
    assert!(deleted.value.reactions.is_empty());
    let told = deleted.envelopes.iter().find(|told| told.channel == feed_of("bob")).expect("he is told");
    assert_eq!(entry(told).unread.map(|unread| unread.count), Some(1), "it does not count any more");
    assert_eq!(bed.store.messages(&bob, group.id, &NEWEST).await.expect("his").len(), 2);
    assert_eq!(bed.store.history(&bob, sent.id).await.expect("his to see"), []);
    for told in bed.page(&feed_of("bob"), 0, usize::MAX / 2).await.entries {
        assert!(!event(&told).to_string().contains("secret"), "{told:?}");
    }
    let again = change(bed, &alice, sent.id, Change::Delete).await.expect("it is deleted already");
    assert!(!again.created && again.envelopes.is_empty());
    for late in [edit("back again"), react("x")] {
        let refused = change(bed, &alice, sent.id, late).await;
        assert!(matches!(refused, Err(StoreError::Deleted(_))), "{refused:?}");
    }
    // Its key still answers it.
    let keyed = bed.store.append(&alice, &message_draft(group.id, "once", Some("k"))).await.expect("sent").value;
    change(bed, &alice, keyed.id, Change::Delete).await.expect("her own");
    let repeat = bed.store.append(&alice, &message_draft(group.id, "once", Some("k"))).await.expect("repeated");
    assert!(!repeat.created && repeat.value.deleted_at.is_some());
}

pub async fn only_its_sender_edits_and_only_staff_delete_what_others_sent(bed: &Bed) {
    let (alice, bob, maria) = (guest("alice"), guest("bob"), person("maria", Role::Staff));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "mine").await.value;
    for refused in [change(bed, &bob, sent.id, edit("his")).await, change(bed, &bob, sent.id, Change::Delete).await] {
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
    for refused in [edit("x"), Change::Delete, Change::Hide, react("x")] {
        let refused = change(bed, &guest("eve"), sent.id, refused).await;
        assert!(matches!(refused, Err(StoreError::NoMessage(_))), "{refused:?}");
    }
    let refused = change(bed, &maria, sent.id, react("x")).await;
    assert!(matches!(refused, Err(StoreError::NotAParticipant(id)) if id == group.id), "{refused:?}");
    assert!(change(bed, &maria, sent.id, Change::Delete).await.expect("staff may").created);
    let refused = change(bed, &maria, MessageId::new(), Change::Delete).await;
    assert!(matches!(refused, Err(StoreError::NoMessage(_))), "{refused:?}");
}

pub async fn a_closed_conversation_takes_no_changes_but_deletions(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "mine").await.value;
    bed.execute("update conversations set status = 'closed'").await;
    for late in [edit("x"), react("x")] {
        let refused = change(bed, &alice, sent.id, late).await;
        assert!(matches!(refused, Err(StoreError::Closed(id)) if id == group.id), "{refused:?}");
    }
    assert!(change(bed, &alice, sent.id, Change::Delete).await.expect("her own").created);
}

pub async fn what_one_hides_is_gone_for_oneself_alone(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "not for me").await.value;
    bed.send(&alice, &group, "for me").await;
    let hidden = change(bed, &bob, sent.id, Change::Hide).await.expect("his to see");
    assert!(hidden.created && hidden.value.hidden && hidden.value.message_text.is_empty());
    let told: Vec<_> = hidden.envelopes.iter().map(|told| told.channel.clone()).collect();
    assert_eq!(told, [feed_of("bob")]);
    assert_eq!(entry(&hidden.envelopes[0]).unread.map(|unread| unread.count), Some(1));
    assert!(!event(&hidden.envelopes[0]).to_string().contains("not for me"));
    let his = bed.store.messages(&bob, group.id, &NEWEST).await.expect("his");
    assert!(his[0].hidden && his[0].message_text.is_empty() && !his[1].hidden);
    let hers = bed.store.messages(&alice, group.id, &NEWEST).await.expect("hers");
    assert!(!hers[0].hidden && hers[0].message_text == "not for me");
    assert!(!change(bed, &bob, sent.id, Change::Hide).await.expect("hidden already").created);
    // Wherever he is told of it again, and whatever becomes of it, it stays hidden.
    change(bed, &alice, sent.id, edit("still not for me")).await.expect("her own");
    for told in bed.page(&feed_of("bob"), 0, usize::MAX / 2).await.entries {
        let said = event(&told);
        assert!(!said.to_string().contains("not for me"), "{said}");
        assert_eq!(said["data"]["message_id"] == sent.id.to_string(), said["data"]["hidden"] == true, "{said}");
    }
    assert_eq!(bed.store.history(&bob, sent.id).await.expect("his to see"), []);
    let last = bed.send(&alice, &group, "the last").await.value;
    change(bed, &bob, last.id, Change::Hide).await.expect("his to see");
    let his = bed.store.conversation(&bob, group.id).await.expect("his").last_message.expect("there is one");
    assert!(his.hidden && his.message_text.is_empty());
    let listed = bed.store.conversations(&bob, &ConversationPage::ALL).await.expect("his");
    assert!(listed[0].last_message.as_ref().is_some_and(|last| last.hidden));
    let hers = bed.store.conversation(&alice, group.id).await.expect("hers").last_message.expect("there is one");
    assert_eq!(hers.message_text, "the last");
    // Deleted for everyone afterwards, it is not taken off his count twice.
    change(bed, &alice, sent.id, Change::Delete).await.expect("her own");
    let check = bed.store.verify_unread(&bob, &UnreadPage::default()).await.expect("his own")[0];
    assert_eq!((check.kept.unread_count, check.counted), (1, 1));
}

pub async fn reactions_are_summed_up_and_each_counts_once(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "hello").await.value;
    let racing = join_all((0..10).map(|_| change(bed, &bob, sent.id, react("\u{1f44d}")))).await;
    let racing: Vec<_> = racing.into_iter().map(|kept| kept.expect("each succeeds")).collect();
    assert_eq!(racing.iter().filter(|kept| kept.created).count(), 1);
    let kept = change(bed, &alice, sent.id, react("\u{1f44d}")).await.expect("hers");
    let summary = |message: &Message| -> Vec<(String, u64, Vec<String>)> {
        let each = message.reactions.iter();
        each.map(|one| (one.reaction.clone(), one.count, one.user_ids.iter().cloned().map(String::from).collect()))
            .collect()
    };
    assert_eq!(summary(&kept.value), [("\u{1f44d}".to_owned(), 2, vec!["bob".to_owned(), "alice".to_owned()])]);
    assert_eq!(kept.value.version, 3);
    let said = event(&kept.envelopes[0]);
    assert_eq!((&said["type"], &said["data"]["user_id"]), (&"reaction.new".into(), &"alice".into()));
    assert_eq!(said["data"]["reactions"][0]["count"], 2, "{said}");
    let back = change(bed, &bob, sent.id, Change::Unreact("\u{1f44d}".to_owned())).await.expect("his");
    assert_eq!(summary(&back.value), [("\u{1f44d}".to_owned(), 1, vec!["alice".to_owned()])]);
    assert!(!change(bed, &bob, sent.id, Change::Unreact("\u{1f44d}".to_owned())).await.expect("his").created);
    for number in 0..49 {
        change(bed, &bob, sent.id, react(&format!("r{number}"))).await.expect("fifty are taken");
    }
    let refused = change(bed, &bob, sent.id, react("one more")).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { limit: 50, .. })), "{refused:?}");
    let seen = bed.store.messages(&bob, group.id, &NEWEST).await.expect("his");
    assert_eq!(seen[0].reactions.len(), 50, "what was refused left nothing");
}
