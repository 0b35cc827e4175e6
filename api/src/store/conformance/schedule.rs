//! Promises about messages that are to be sent later.

#![expect(missing_docs, reason = "the names are the promises")]

use std::time::Duration;

use futures_util::future::join_all;
use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{ConversationId, MessageId, Seq, TraceId};
use shared::time::Timestamp;

use super::messaging::NEWEST;
use super::{Bed, entry, event, feed_of, guest, person, user};
use crate::model::{
    ConversationChange, ConversationChangeDraft, Due, Mentions, MessagePriority, MessageType, Planned, Refusal,
    ScheduleChange, ScheduleChangeDraft, ScheduleDraft, ScheduleStatus, Scheduled,
};
use crate::store::{Kept, SchedulePage, StoreError};

/// A message to be sent so many seconds from now.
pub(super) fn plan(conversation_id: ConversationId, text: &str, seconds: i64) -> ScheduleDraft {
    ScheduleDraft {
        id: MessageId::new(),
        conversation_id,
        message: Planned {
            message_text: text.to_owned(),
            message_type: MessageType::Text,
            reply_to: None,
            thread_root_id: None,
            also_in_conversation: false,
            mentions: Mentions { mentioned_users: vec![user("bob")], mentioned_everyone: false },
            priority: MessagePriority::Important,
            requires_acknowledgement: true,
        },
        send_at: Timestamp::from_micros(Timestamp::now().as_micros() + seconds * 1_000_000),
        idempotency_key: None,
        trace: TraceId::random(),
    }
}

async fn scheduled(bed: &Bed, sender: &Caller, draft: &ScheduleDraft) -> Kept<Scheduled> {
    bed.store.schedule(sender, draft).await.expect("a participant may schedule")
}

pub(super) async fn change(
    bed: &Bed,
    caller: &Caller,
    id: MessageId,
    change: ScheduleChange,
) -> Result<Kept<Scheduled>, StoreError> {
    bed.store.reschedule(caller, &ScheduleChangeDraft { id, change, trace: TraceId::random() }).await
}

fn says(text: &str) -> ScheduleChange {
    ScheduleChange::Change { send_at: None, message_text: Some(text.to_owned()) }
}

async fn waiting(bed: &Bed, caller: &Caller) -> Vec<Scheduled> {
    bed.store.all_scheduled(caller, &SchedulePage { after: None, limit: 100 }).await.expect("their own")
}

async fn take(bed: &Bed) -> Vec<Due> {
    bed.store.take_due(10).await.expect("a worker may ask")
}

async fn finish(bed: &Bed, id: MessageId, outcome: Result<(), Refusal>) -> Kept<Scheduled> {
    bed.store.finish_scheduled(id, outcome, TraceId::random()).await.expect("a worker may say")
}

pub async fn a_message_is_scheduled_once_per_key_and_told_to_its_sender_alone(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let draft =
        ScheduleDraft { idempotency_key: Some("k".parse().expect("a key")), ..plan(group.id, "good morning", 3_600) };
    let first = scheduled(bed, &alice, &draft).await;
    assert_eq!((first.value.status, first.value.message.as_ref()), (ScheduleStatus::Scheduled, Some(&draft.message)));
    let [told] = first.envelopes.as_slice() else { panic!("only she is told: {first:?}") };
    assert_eq!((&told.channel, &event(told)["type"]), (&feed_of("alice"), &"scheduled_message.updated".into()));
    let after = entry(told).seq.0 - 1;
    assert_eq!(bed.page(&feed_of("alice"), after, usize::MAX / 2).await.entries, std::slice::from_ref(told));
    let again = scheduled(bed, &alice, &ScheduleDraft { id: MessageId::new(), ..draft.clone() }).await;
    assert!(!again.created && again.envelopes.is_empty() && again.value == first.value);
    let other = ScheduleDraft { message: Planned { message_text: "x".to_owned(), ..draft.message.clone() }, ..draft };
    let other = bed.store.schedule(&alice, &other).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    assert!(take(bed).await.is_empty(), "its time has not come");
    assert!(bed.store.messages(&bob, group.id, &NEWEST).await.expect("his").is_empty());
    assert!(waiting(bed, &bob).await.is_empty());

    let foreign = bed.store.schedule(&guest("eve"), &plan(group.id, "x", 1)).await;
    assert!(matches!(foreign, Err(StoreError::NoConversation(_))), "{foreign:?}");
    let foreign = bed.store.schedule(&person("sam", Role::Staff), &plan(group.id, "x", 1)).await;
    assert!(matches!(foreign, Err(StoreError::NotAParticipant(_))), "{foreign:?}");
    let mut system = plan(group.id, "x", 1);
    system.message.message_type = MessageType::System;
    let refused = bed.store.schedule(&alice, &system).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
}

pub async fn what_is_due_is_taken_by_one_worker_and_sent_once_whatever_breaks(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for number in 0..10 {
        scheduled(bed, &alice, &plan(group.id, &number.to_string(), number - 20)).await;
    }
    let taken: Vec<Due> = join_all((0..5).map(|_| take(bed))).await.into_iter().flatten().collect();
    let mut texts: Vec<_> = taken.iter().map(|due| due.draft.message_text.clone()).collect();
    texts.sort();
    assert_eq!(texts, (0..10).map(|number| number.to_string()).collect::<Vec<_>>(), "each by one worker");
    let Due { sender, draft } = &taken[0];
    assert_eq!((&sender.user, sender.role, draft.priority), (&alice.user, alice.role, MessagePriority::Important));
    let sent = bed.store.append(sender, draft).await.expect("she takes part").value;
    assert_eq!((sent.id, &sent.mentions.mentioned_users), (draft.id, &vec![user("bob")]));

    // The worker died before it could say so: another one takes what it had, and finds the message.
    assert!(take(bed).await.is_empty(), "it has a minute");
    bed.execute("update scheduled_messages set claimed_until = send_at").await;
    for late in [says("x"), ScheduleChange::Cancel] {
        let late = change(bed, &alice, sent.id, late).await;
        assert!(matches!(late, Err(StoreError::NoLongerScheduled(_))), "it is out: {late:?}");
    }
    // What was refused a moment ago may still be locked, and is taken the next time.
    let mut taken = take(bed).await;
    for _ in 0..100 {
        if taken.len() < 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            taken.extend(take(bed).await);
        }
    }
    assert_eq!(taken.len(), 10);
    for Due { sender, draft } in &taken {
        let kept = bed.store.append(sender, draft).await.expect("she takes part");
        assert_eq!(kept.created, draft.id != sent.id);
        let done = finish(bed, draft.id, Ok(())).await;
        assert_eq!((done.value.status, &done.value.message), (ScheduleStatus::Sent, &None));
        assert_eq!(event(&done.envelopes[0])["type"], "scheduled_message.sent");
        let again = finish(bed, draft.id, Ok(())).await;
        assert!(!again.created && again.envelopes.is_empty());
    }
    let kept = bed.store.messages(&bob, group.id, &NEWEST).await.expect("his");
    assert_eq!((kept.len(), kept[9].seq), (10, Seq(10)));
    bed.execute("update scheduled_messages set claimed_until = null").await;
    assert!(take(bed).await.is_empty() && waiting(bed, &alice).await.is_empty());
}

pub async fn a_scheduled_message_changes_until_it_is_taken_and_leaves_no_text_when_cancelled(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let kept = scheduled(bed, &alice, &plan(group.id, "a secret", 3_600)).await.value;
    let other = change(bed, &alice, kept.id, says("another secret")).await.expect("hers");
    assert_eq!((other.created, other.value.version), (true, 2));
    let again = change(bed, &alice, kept.id, says("another secret")).await.expect("hers");
    assert!(!again.created && again.envelopes.is_empty());
    let soon = Timestamp::from_micros(Timestamp::now().as_micros() + 60_000_000);
    let moved = ScheduleChange::Change { send_at: Some(soon), message_text: None };
    let moved = change(bed, &alice, kept.id, moved).await.expect("hers").value;
    assert_eq!((moved.send_at, moved.message.expect("it waits").message_text), (soon, "another secret".to_owned()));
    for (caller, id) in [(&bob, kept.id), (&alice, MessageId::new())] {
        let refused = change(bed, caller, id, says("x")).await;
        assert!(matches!(refused, Err(StoreError::NotScheduled(_))), "{refused:?}");
    }
    let gone = change(bed, &alice, kept.id, ScheduleChange::Cancel).await.expect("hers");
    assert_eq!((gone.value.status, &gone.value.message), (ScheduleStatus::Cancelled, &None));
    assert!(entry(&gone.envelopes[0]).redacts, "windows forget what it said");
    assert_eq!(event(&gone.envelopes[0])["type"], "scheduled_message.deleted");
    for told in bed.page(&feed_of("alice"), 0, usize::MAX / 2).await.entries {
        assert!(!event(&told).to_string().contains("secret"), "{told:?}");
    }
    let again = change(bed, &alice, kept.id, ScheduleChange::Cancel).await.expect("hers");
    assert!(!again.created && again.envelopes.is_empty());
    let late = change(bed, &alice, kept.id, says("x")).await;
    assert!(matches!(late, Err(StoreError::NoLongerScheduled(_))), "{late:?}");

    let due = scheduled(bed, &alice, &plan(group.id, "now", -1)).await.value;
    assert_eq!(take(bed).await.len(), 1);
    for late in [says("x"), ScheduleChange::Cancel] {
        let late = change(bed, &alice, due.id, late).await;
        assert!(matches!(late, Err(StoreError::NoLongerScheduled(_))), "{late:?}");
    }
}

pub async fn what_is_refused_is_kept_with_its_reason_and_can_wait_again(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let kept = scheduled(bed, &bob, &plan(group.id, "good morning", -1)).await.value;
    let removal = ConversationChangeDraft {
        conversation_id: group.id,
        change: ConversationChange::Remove(bob.user.clone()),
        trace: TraceId::random(),
    };
    bed.store.change_conversation(&alice, &removal).await.expect("she owns it");
    let taken = take(bed).await;
    let error = bed.store.append(&taken[0].sender, &taken[0].draft).await.expect_err("he is out");
    assert!(matches!(error, StoreError::NoConversation(_)), "{error:?}");
    let refusal = Refusal { code: "not_found".to_owned(), detail: error.to_string() };
    let refused = finish(bed, kept.id, Err(refusal.clone())).await;
    assert_eq!((refused.value.status, refused.value.refusal.as_ref()), (ScheduleStatus::Refused, Some(&refusal)));
    assert_eq!(refused.value.message, kept.message);
    let said = event(&refused.envelopes[0]);
    assert_eq!(
        (&said["type"], &said["data"]["refusal"]["code"]),
        (&"scheduled_message.updated".into(), &"not_found".into())
    );
    assert!(take(bed).await.is_empty());
    assert_eq!(waiting(bed, &bob).await, [refused.value]);
    let again = ScheduleChange::Change { send_at: None, message_text: None };
    let again = change(bed, &bob, kept.id, again).await.expect("his own");
    assert_eq!((again.created, again.value.status, again.value.refusal), (true, ScheduleStatus::Scheduled, None));
    assert_eq!(take(bed).await.len(), 1);
}

pub async fn a_person_schedules_at_most_a_hundred_and_lists_them_the_next_first(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    for number in 0..100 {
        scheduled(bed, &alice, &plan(group.id, &number.to_string(), 1_000 - number)).await;
    }
    let refused = bed.store.schedule(&alice, &plan(group.id, "one more", 1)).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { limit: 100, .. })), "{refused:?}");
    let mut found: Vec<Scheduled> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.send_at.as_micros(), last.id));
        let page = bed.store.all_scheduled(&alice, &SchedulePage { after, limit: 30 }).await.expect("hers");
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let texts: Vec<_> = found.iter().filter_map(|one| Some(one.message.as_ref()?.message_text.clone())).collect();
    assert_eq!(texts, (0..100).rev().map(|number| number.to_string()).collect::<Vec<_>>());
    change(bed, &alice, found[0].id, ScheduleChange::Cancel).await.expect("hers");
    scheduled(bed, &alice, &plan(group.id, "one more", 1)).await;
}
