//! Promises about conversations and messages.

#![expect(missing_docs, reason = "the names are the promises")]

use std::collections::BTreeSet;

use futures_util::future::join_all;
use shared::channel::Role;
use shared::ids::{ConversationId, MessageId, Seq};

use super::{Bed, conversation_draft, entry, feed_of, guest, message_draft, person};
use crate::model::{ConversationStatus, ConversationType, MessageType, ParticipantRole};
use crate::store::{ConversationPage, MessagePage, MessagePart, StoreError};

pub(super) const NEWEST: MessagePage = MessagePage { part: MessagePart::Newest { offset: 0 }, limit: 100 };
const ALL: ConversationPage = ConversationPage { limit: 100, ..ConversationPage::ALL };

pub async fn numbers_have_no_holes(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    for number in 1..=5 {
        let kept = bed.send(&alice, &group, "hello").await;
        assert_eq!(kept.value.seq, Seq(number));
        let feeds: Vec<_> = kept.envelopes.iter().map(|told| (told.channel.clone(), entry(told).seq)).collect();
        // Both feeds began with the conversation itself.
        assert_eq!(feeds, [(feed_of("alice"), Seq(number + 1)), (feed_of("bob"), Seq(number + 1))]);
    }
}

pub async fn a_repeat_by_key_answers_the_first_message(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let first = bed.store.append(&alice, &message_draft(group.id, "once", Some("k"))).await.expect("sent");
    let again = bed.store.append(&alice, &message_draft(group.id, "once", Some("k"))).await.expect("repeated");
    assert!(first.created && !again.created && again.envelopes.is_empty());
    assert_eq!(again.value, first.value);
    // The key is the sender's own: another's is another message.
    let other = bed.store.append(&guest("bob"), &message_draft(group.id, "mine", Some("k"))).await.expect("sent");
    assert_eq!(other.value.seq, Seq(2));
}

pub async fn a_repeat_succeeds_after_closing_and_leaving(bed: &Bed) {
    let bob = guest("bob");
    let group = bed.group(&guest("alice"), &["bob"]).await;
    let first = bed.store.append(&bob, &message_draft(group.id, "once", Some("k"))).await.expect("sent");
    bed.execute("update conversations set status = 'closed'").await;
    bed.execute("update conversation_participants set left_at = joined_at where user_id = 'bob'").await;
    let again = bed.store.append(&bob, &message_draft(group.id, "once", Some("k"))).await.expect("repeated");
    assert_eq!(again.value, first.value);
    let fresh = bed.store.append(&bob, &message_draft(group.id, "twice", Some("k2"))).await;
    assert!(matches!(fresh, Err(StoreError::NoConversation(_))), "{fresh:?}");
}

pub async fn twenty_racing_repeats_make_one_message(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let drafts: Vec<_> = (0..20).map(|_| message_draft(group.id, "once", Some("k"))).collect();
    let kept = join_all(drafts.iter().map(|draft| bed.store.append(&alice, draft))).await;
    let kept: Vec<_> = kept.into_iter().map(|kept| kept.expect("each repeat succeeds")).collect();
    assert_eq!(kept.iter().filter(|kept| kept.created).count(), 1);
    assert!(kept.iter().all(|again| again.value == kept[0].value));
    assert_eq!(bed.head(&feed_of("bob")).await, Seq(2));
}

pub async fn another_body_under_the_key_is_refused(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    bed.store.append(&alice, &message_draft(group.id, "this", Some("k"))).await.expect("sent");
    let other = bed.store.append(&alice, &message_draft(group.id, "that", Some("k"))).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    let draft = |subject: &str| {
        let mut draft = conversation_draft(ConversationType::Group, &["bob"]);
        draft.idempotency_key = "c".parse().ok();
        draft.subject = Some(subject.to_owned());
        draft
    };
    bed.store.create_conversation(&alice, &draft("this")).await.expect("started");
    let other = bed.store.create_conversation(&alice, &draft("that")).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
}

pub async fn fifty_concurrent_senders_get_dense_numbers_in_commit_order(bed: &Bed) {
    let names: Vec<String> = (0..50).map(|n| format!("u{n}")).collect();
    let others: Vec<&str> = names.iter().skip(1).map(String::as_str).collect();
    let group = bed.group(&guest("u0"), &others).await;
    let sent = join_all(names.iter().map(|name| async {
        let mut numbers = Vec::new();
        for text in ["first", "second"] {
            numbers.push(bed.send(&guest(name), &group, text).await.value.seq);
        }
        numbers
    }))
    .await;
    assert!(sent.iter().all(|own| own[0] < own[1]), "of two messages the one acknowledged first is lower: {sent:?}");
    let all: BTreeSet<_> = sent.iter().flatten().copied().collect();
    assert_eq!(all, (1..=100).map(Seq).collect());
    for name in [&names[0], &names[25], &names[49]] {
        let page = bed.page(&feed_of(name), 1, usize::MAX / 2).await;
        let told: Vec<_> = page.entries.iter().map(|told| super::event(told)["data"]["seq"].as_u64()).collect();
        assert_eq!(told, (1..=100).map(Some).collect::<Vec<_>>(), "the feed of {name} is in commit order");
    }
}

pub async fn what_a_write_returned_every_later_read_sees(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    assert_eq!(bed.store.conversation(&alice, group.id).await.expect("hers"), group);
    assert_eq!(group.metadata["booking"], 7);
    let owner = &group.participants[0];
    assert_eq!((owner.user_id.as_str(), owner.role), ("alice", ParticipantRole::Owner));
    for _ in 0..20 {
        let sent = bed.send(&alice, &group, "read me, \"bob\" \\ \u{1f514}").await.value;
        let read = bed.store.messages(&bob, group.id, &NEWEST).await.expect("his");
        assert_eq!(read.last(), Some(&sent));
        let seen = bed.store.conversation(&bob, group.id).await.expect("his");
        assert_eq!(seen.last_message.as_ref(), Some(&sent));
        assert_eq!(seen.last_message_at, Some(sent.created_at));
        assert_eq!(seen.unread_count, sent.seq.0);
    }
}

pub async fn a_direct_conversation_is_made_once_however_many_race(bed: &Bed) {
    let pairs: Vec<_> = (0..20)
        .map(|n| if n % 2 == 0 { (guest("alice"), "bob") } else { (guest("bob"), "alice") })
        .map(|(caller, other)| (caller, conversation_draft(ConversationType::Direct, &[other])))
        .collect();
    let made = join_all(pairs.iter().map(|(caller, draft)| bed.store.create_conversation(caller, draft))).await;
    let made: Vec<_> = made.into_iter().map(|made| made.expect("each gets it")).collect();
    assert_eq!(made.iter().filter(|made| made.created).count(), 1);
    assert!(made.iter().all(|again| again.value.id == made[0].value.id));
    assert_eq!(bed.head(&feed_of("alice")).await, Seq(1));
}

pub async fn a_conversation_is_made_once_per_key(bed: &Bed) {
    let alice = guest("alice");
    let draft = || {
        let mut draft = conversation_draft(ConversationType::Group, &["bob", "carol"]);
        draft.idempotency_key = "k".parse().ok();
        draft
    };
    let drafts: Vec<_> = (0..20).map(|_| draft()).collect();
    let made = join_all(drafts.iter().map(|draft| bed.store.create_conversation(&alice, draft))).await;
    let made: Vec<_> = made.into_iter().map(|made| made.expect("each gets it")).collect();
    assert_eq!(made.iter().filter(|made| made.created).count(), 1);
    assert!(made.iter().all(|again| again.value.id == made[0].value.id));
    let bobs = bed.store.create_conversation(&guest("bob"), &draft()).await.expect("his own key");
    assert!(bobs.created);
}

pub async fn a_message_is_made_once_per_request_key(bed: &Bed) {
    let alice = guest("alice");
    let (here, there) = (bed.group(&alice, &["bob"]).await, bed.group(&alice, &["carol"]).await);
    let draft = |conversation: ConversationId, own_key: Option<&str>| {
        let mut draft = message_draft(conversation, "once", own_key);
        draft.idempotency_key = "k".parse().ok();
        draft
    };
    let drafts: Vec<_> = (0..20).map(|_| draft(here.id, None)).collect();
    let kept = join_all(drafts.iter().map(|draft| bed.store.append(&alice, draft))).await;
    let kept: Vec<_> = kept.into_iter().map(|kept| kept.expect("each repeat succeeds")).collect();
    assert_eq!(kept.iter().filter(|kept| kept.created).count(), 1);
    assert!(kept.iter().all(|again| again.value == kept[0].value));
    for other in [draft(there.id, None), draft(here.id, Some("own"))] {
        let other = bed.store.append(&alice, &other).await;
        assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    }
    // A message that the sender's own key made is what the request's key answers from then on.
    let own = bed.store.append(&alice, &message_draft(there.id, "mine", Some("own"))).await.expect("sent").value;
    let mut again = message_draft(there.id, "mine", Some("own"));
    again.idempotency_key = "k2".parse().ok();
    for _ in 0..2 {
        assert_eq!(bed.store.append(&alice, &again).await.expect("repeated").value, own);
    }
    let bobs = bed.store.append(&guest("bob"), &draft(here.id, None)).await.expect("his own key");
    assert!(bobs.created);
}

pub async fn people_outside_a_conversation_see_nothing(bed: &Bed) {
    let (alice, eve) = (guest("alice"), guest("eve"));
    let group = bed.group(&alice, &["bob"]).await;
    bed.send(&alice, &group, "secret").await;
    let none = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::NoConversation(_))));
    none(bed.store.conversation(&eve, group.id).await.map(drop));
    none(bed.store.messages(&eve, group.id, &NEWEST).await.map(drop));
    none(bed.store.append(&eve, &message_draft(group.id, "let me in", None)).await.map(drop));
    none(bed.store.append(&eve, &message_draft(ConversationId::new(), "hello?", None)).await.map(drop));
    assert_eq!(bed.store.conversations(&eve, &ALL).await.expect("hers"), []);
    assert_eq!(bed.store.snapshot(&eve).await.expect("hers").conversations, []);
    assert!(bed.store.participates(&eve, group.id).await.expect("an answer").is_none());
    assert!(bed.store.participates(&guest("bob"), group.id).await.expect("an answer").is_some());
    bed.execute("update conversation_participants set left_at = joined_at where user_id = 'bob'").await;
    none(bed.store.messages(&guest("bob"), group.id, &NEWEST).await.map(drop));
    assert!(bed.store.participates(&guest("bob"), group.id).await.expect("an answer").is_none());
}

pub async fn staff_see_every_conversation_and_send_where_they_take_part(bed: &Bed) {
    let group = bed.group(&guest("alice"), &["bob"]).await;
    bed.send(&guest("alice"), &group, "help").await;
    for role in [Role::Staff, Role::Admin, Role::Service] {
        let someone = person("sam", role);
        assert_eq!(bed.store.conversation(&someone, group.id).await.expect("seen").unread_count, 0);
        assert_eq!(bed.store.messages(&someone, group.id, &NEWEST).await.expect("seen").len(), 1);
        assert!(bed.store.participates(&someone, group.id).await.expect("an answer").is_some());
        let sent = bed.store.append(&someone, &message_draft(group.id, "here", None)).await;
        assert!(matches!(sent, Err(StoreError::NotAParticipant(_))), "{sent:?}");
    }
    let sam = person("sam", Role::Staff);
    let draft = conversation_draft(ConversationType::GuestStaff, &["alice"]);
    let own = bed.store.create_conversation(&sam, &draft).await.expect("started").value;
    let mut draft = message_draft(own.id, "the pool opens at nine", None);
    draft.message_type = MessageType::System;
    let sent = bed.store.append(&sam, &draft).await.expect("staff may").value;
    assert_eq!(sent.message_type, MessageType::System);
    // Whoever was once seen as staff joins as staff.
    let draft = conversation_draft(ConversationType::GuestStaff, &["sam", "zoe"]);
    let joined = bed.store.create_conversation(&guest("bob"), &draft).await.expect("started").value;
    let role = |name| joined.participants.iter().find(|who| who.user_id.as_str() == name).map(|who| who.role);
    assert_eq!(role("sam"), Some(ParticipantRole::Staff));
    assert_eq!(role("zoe"), Some(ParticipantRole::Participant));
    bed.execute("update conversation_participants set left_at = joined_at").await;
    let left = bed.store.conversation(&sam, group.id).await.expect("seen though everyone left");
    assert!(left.participants.is_empty());
}

pub async fn a_closed_conversation_takes_no_messages(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    bed.execute("update conversations set status = 'archived'").await;
    bed.send(&alice, &group, "put away, not closed").await;
    bed.execute("update conversations set status = 'closed'").await;
    let sent = bed.store.append(&alice, &message_draft(group.id, "too late", None)).await;
    assert!(matches!(sent, Err(StoreError::Closed(id)) if id == group.id), "{sent:?}");
    assert_eq!(bed.store.conversation(&alice, group.id).await.expect("hers").status, ConversationStatus::Closed);
}

pub async fn a_reply_stays_in_its_conversation(bed: &Bed) {
    let alice = guest("alice");
    let (here, there) = (bed.group(&alice, &["bob"]).await, bed.group(&alice, &["carol"]).await);
    let question = bed.send(&alice, &here, "well?").await.value;
    let reply = |to, conversation| {
        let mut draft = message_draft(conversation, "well.", None);
        draft.reply_to = Some(to);
        draft
    };
    let answer = bed.store.append(&alice, &reply(question.id, here.id)).await.expect("sent").value;
    assert_eq!(answer.reply_to, Some(question.id));
    for draft in [reply(question.id, there.id), reply(MessageId::new(), here.id)] {
        let sent = bed.store.append(&alice, &draft).await;
        assert!(matches!(sent, Err(StoreError::NoMessage(_))), "{sent:?}");
    }
}

pub async fn roles_limit_what_may_be_started_and_sent(bed: &Bed) {
    let alice = guest("alice");
    for (kind, others) in
        [(ConversationType::StaffStaff, vec!["bob"]), (ConversationType::Direct, vec!["bob", "carol"])]
    {
        let made = bed.store.create_conversation(&alice, &conversation_draft(kind, &others)).await;
        assert!(matches!(made, Err(StoreError::Forbidden(_))), "{made:?}");
    }
    let group = bed.group(&alice, &["bob"]).await;
    for message_type in [MessageType::System, MessageType::Automated] {
        let mut draft = message_draft(group.id, "I am the system", None);
        draft.message_type = message_type;
        let sent = bed.store.append(&alice, &draft).await;
        assert!(matches!(sent, Err(StoreError::Forbidden(_))), "{sent:?}");
    }
}

pub async fn a_conversation_has_at_most_250_participants(bed: &Bed) {
    let names: Vec<String> = (0..250).map(|n| format!("u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let full = bed.group(&guest("alice"), &names[..249]).await;
    assert_eq!(full.participants.len(), 250);
    assert_eq!(bed.send(&guest("alice"), &full, "all of you").await.envelopes.len(), 250);
    let draft = conversation_draft(ConversationType::Group, &names);
    let made = bed.store.create_conversation(&guest("alice"), &draft).await;
    assert!(matches!(made, Err(StoreError::LimitExceeded { limit: 250, .. })), "{made:?}");
}

pub async fn unread_counts_equal_the_recount(bed: &Bed) {
    let names = ["u0", "u1", "u2", "u3"];
    let groups = [bed.group(&guest("u0"), &names[1..]).await, bed.group(&guest("u1"), &["u0"]).await];
    join_all((0..40).map(|n| {
        let (sender, group) = (guest(names[n % 2]), &groups[n % 3 % 2]);
        async move { bed.send(&sender, group, "count me").await }
    }))
    .await;
    let wrong = "select count(*) from conversation_participants p where unread_count <> (
         select count(*) from messages m
         where m.conversation_id = p.conversation_id and m.sender_id <> p.user_id and m.seq > p.last_read_seq)";
    assert_eq!(bed.number(wrong).await, 0);
    let last = bed.send(&guest("u1"), &groups[0], "the last").await;
    for told in &last.envelopes {
        let unread = entry(told).unread.expect("a message changes a count");
        let caller = guest(told.channel.to_string().trim_start_matches("user:"));
        assert_eq!(unread.count, bed.store.conversation(&caller, groups[0].id).await.expect("seen").unread_count);
        assert_eq!(unread.version, entry(told).seq);
    }
    let totals = bed.store.snapshot(&guest("u0")).await.expect("theirs").unread;
    let listed = bed.store.conversations(&guest("u0"), &ALL).await.expect("theirs");
    assert_eq!(totals.messages, listed.iter().map(|conversation| conversation.unread_count).sum::<u64>());
    assert_eq!(totals.version, bed.head(&feed_of("u0")).await);
}

pub async fn pages_of_messages_are_oldest_first(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    for number in 1..=9 {
        bed.send(&alice, &group, &number.to_string()).await;
    }
    for (part, expected) in [
        (MessagePart::Newest { offset: 0 }, vec![6, 7, 8, 9]),
        (MessagePart::Newest { offset: 7 }, vec![1, 2]),
        (MessagePart::Before(Seq(4)), vec![1, 2, 3]),
        (MessagePart::After(Seq(4)), vec![5, 6, 7, 8]),
        (MessagePart::After(Seq(9)), vec![]),
        (MessagePart::Around(Seq(5)), vec![3, 4, 5, 6]),
    ] {
        let page = bed.store.messages(&alice, group.id, &MessagePage { part, limit: 4 }).await.expect("hers");
        assert_eq!(page.iter().map(|message| message.seq.0).collect::<Vec<_>>(), expected, "{part:?}");
    }
}

pub async fn conversations_are_listed_the_last_active_first(bed: &Bed) {
    let alice = guest("alice");
    let mut made = Vec::new();
    for other in ["b", "c", "d", "e"] {
        made.push(bed.group(&alice, &[other]).await.id);
    }
    let first = bed.store.conversation(&alice, made[0]).await.expect("hers");
    bed.send(&alice, &first, "bump").await;
    let list = |page: ConversationPage| {
        let alice = alice.clone();
        async move {
            let listed = bed.store.conversations(&alice, &page).await.expect("hers");
            listed.into_iter().map(|one| (one.id, one.last_message_at.unwrap_or(one.created_at))).collect::<Vec<_>>()
        }
    };
    let ids = |listed: &[(ConversationId, _)]| listed.iter().map(|one| one.0).collect::<Vec<_>>();
    let all = list(ALL).await;
    assert_eq!(ids(&all), [made[0], made[3], made[2], made[1]]);
    let after = Some((all[1].1.as_micros(), all[1].0));
    assert_eq!(ids(&list(ConversationPage { after, ..ALL }).await), [made[2], made[1]]);
    assert_eq!(ids(&list(ConversationPage { offset: 1, limit: 2, ..ALL }).await), [made[3], made[2]]);
    assert_eq!(list(ConversationPage { kind: Some(ConversationType::Direct), ..ALL }).await, []);
    assert_eq!(list(ConversationPage { status: Some(ConversationStatus::Active), ..ALL }).await.len(), 4);
}

pub async fn a_refused_write_leaves_no_hole(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&alice, &group, "one").await.value;
    // The same id again breaks a constraint after numbers were taken, and the whole write is undone.
    let mut draft = message_draft(group.id, "two", None);
    draft.id = sent.id;
    bed.store.append(&alice, &draft).await.expect_err("an id is given once");
    let next = bed.send(&alice, &group, "two").await;
    assert_eq!(next.value.seq, Seq(2));
    assert_eq!(entry(&next.envelopes[0]).seq, Seq(3));
}

pub async fn what_was_numbered_is_not_deleted(bed: &Bed) {
    let group = bed.group(&guest("alice"), &["bob"]).await;
    bed.send(&guest("alice"), &group, "here to stay").await;
    for sql in ["delete from messages", "update messages set seq = seq + 1", "delete from feeds"] {
        bed.try_execute(sql).await.expect_err(sql);
    }
}

pub async fn a_snapshot_is_from_one_moment(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let sending = async {
        for _ in 0..50 {
            bed.send(&alice, &group, "on and on").await;
        }
    };
    let looking = async {
        for _ in 0..50 {
            let snapshot = bed.store.snapshot(&guest("bob")).await.expect("his");
            let newest = snapshot.conversations[0].last_message.as_ref().map_or(0, |message| message.seq.0);
            // Every entry of bob's feed but the first is a message.
            assert_eq!(snapshot.cursor.positions.user.0, newest + 1);
            assert_eq!((snapshot.unread.messages, snapshot.unread.version.0), (newest, newest + 1));
        }
    };
    futures_util::future::join(sending, looking).await;
    let snapshot = bed.store.snapshot(&guest("bob")).await.expect("his");
    assert_eq!((snapshot.cursor.owner.as_str(), snapshot.cursor.role), ("bob", Role::Guest));
    assert_eq!(snapshot.cursor.epoch, bed.epoch().await);
}
