//! Promises about threads.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{MessageId, Seq, TraceId};

use super::{Bed, entry, event, feed_of, guest, message_draft, person, user};
use crate::model::{
    Change, ChangeDraft, Conversation, ConversationChange, ConversationChangeDraft, InThread, Mentions, Message,
    MessageDraft, ThreadChange, ThreadChangeDraft, ThreadMarker,
};
use crate::store::{Kept, MessagePage, MessagePart, StoreError, ThreadPage, UnreadPage};

/// The newest of all.
const ALL: MessagePage = MessagePage { part: MessagePart::Newest { offset: 0 }, limit: 100 };

/// A message in the thread of another one.
fn reply_draft(root: &Message, text: &str) -> MessageDraft {
    let in_thread = Some(InThread { root: root.id, also_in_conversation: false });
    MessageDraft { in_thread, ..message_draft(root.conversation_id, text, None) }
}

async fn answers(bed: &Bed, sender: &Caller, root: &Message) -> Kept<Message> {
    bed.store.append(sender, &reply_draft(root, "an answer")).await.expect("a participant may answer")
}

async fn change(bed: &Bed, caller: &Caller, root: MessageId, change: ThreadChange) -> Kept<ThreadMarker> {
    let draft = ThreadChangeDraft { root, change, trace: TraceId::random() };
    bed.store.change_thread(caller, &draft).await.expect("a participant may")
}

async fn change_message(bed: &Bed, caller: &Caller, message_id: MessageId, change: Change) -> Kept<Message> {
    let draft = ChangeDraft { message_id, change, trace: TraceId::random() };
    bed.store.change(caller, &draft).await.expect("they may")
}

/// What is unread to somebody: in main lines, and in threads with what calls them anywhere.
async fn unread(bed: &Bed, reader: &Caller) -> (u64, u64, u64) {
    let unread = bed.store.unread(reader).await.expect("their own");
    let checks = bed.store.verify_unread(reader, &UnreadPage::default()).await.expect("their own");
    assert!(checks.iter().all(|check| check.is_exact()), "{checks:?}");
    assert_eq!(unread.totals.thread_replies, checks.iter().map(|check| check.threads_counted).sum::<u64>());
    (unread.totals.messages, unread.totals.thread_replies, unread.totals.mentions)
}

async fn main_line(bed: &Bed, reader: &Caller, conversation: &Conversation) -> Vec<u64> {
    let messages = bed.store.messages(reader, conversation.id, &ALL).await.expect("theirs to see");
    messages.iter().map(|message| message.seq.0).collect()
}

async fn three(bed: &Bed) -> ([Caller; 3], Conversation, Message) {
    let people = [guest("alice"), guest("bob"), guest("carol")];
    let group = bed.group(&people[0], &["bob", "carol"]).await;
    let root = bed.send(&people[0], &group, "who knows?").await.value;
    (people, group, root)
}

pub async fn a_reply_is_told_to_everyone_and_stands_in_its_thread_alone(bed: &Bed) {
    let ([alice, bob, carol], group, root) = three(bed).await;
    let sent = answers(bed, &bob, &root).await;
    assert_eq!((sent.value.seq, sent.value.thread_root_id), (Seq(2), Some(root.id)));
    // To her whose message was answered it is unread in the thread; to who does not follow it nowhere.
    let counts = |name: &str| {
        let told = sent.envelopes.iter().find(|told| told.channel == feed_of(name)).expect("everyone is told");
        assert_eq!(event(told)["data"]["thread_root_id"], root.id.to_string());
        assert_eq!(event(told)["data"]["thread"]["reply_count"], 1);
        assert!(entry(told).body.counts_thread());
        entry(told).unread.map(|unread| unread.count)
    };
    assert_eq!((counts("alice"), counts("bob"), counts("carol")), (Some(1), Some(0), None));
    for (name, at) in [("alice", 2), ("bob", 2), ("carol", 2)] {
        let told = sent.envelopes.iter().find(|told| told.channel == feed_of(name)).expect("everyone is told");
        assert_eq!(bed.page(&feed_of(name), at, usize::MAX / 2).await.entries, std::slice::from_ref(told));
    }
    assert_eq!(unread(bed, &alice).await, (0, 1, 0));
    assert_eq!((unread(bed, &bob).await, unread(bed, &carol).await), ((1, 0, 0), (1, 0, 0)));

    assert_eq!(main_line(bed, &alice, &group).await, [1]);
    let shown = bed.store.conversation(&carol, group.id).await.expect("hers");
    assert_eq!(shown.last_message.map(|last| last.id), Some(root.id));
    let (thread, replies) = bed.store.thread(&carol, root.id, &ALL).await.expect("hers to see");
    assert_eq!((thread.marker.following, replies), (false, vec![sent.value]));
    assert_eq!(thread.root.thread.map(|thread| thread.reply_count), Some(1));

    // Said in the conversation too, it counts there and nowhere else.
    let in_thread = Some(InThread { root: root.id, also_in_conversation: true });
    let draft = MessageDraft { in_thread, ..message_draft(group.id, "for all", None) };
    let both = bed.store.append(&carol, &draft).await.expect("hers").value;
    assert!(both.also_in_conversation && !both.is_aside());
    assert_eq!((unread(bed, &alice).await, unread(bed, &bob).await), ((1, 1, 0), (2, 0, 0)));
    assert_eq!(main_line(bed, &alice, &group).await, [1, 3]);
    assert_eq!(bed.store.thread(&bob, root.id, &ALL).await.expect("his").1.len(), 2);
    let last = bed.store.conversation(&bob, group.id).await.expect("his").last_message;
    assert_eq!(last.map(|last| last.id), Some(both.id));
}

pub async fn a_thread_is_read_on_its_own_and_that_is_told_to_ones_own_devices_alone(bed: &Bed) {
    let ([alice, bob, _], group, root) = three(bed).await;
    for _ in 0..3 {
        answers(bed, &bob, &root).await;
    }
    assert_eq!(unread(bed, &alice).await, (0, 3, 0));
    let read = change(bed, &alice, root.id, ThreadChange::ReadUpTo(Some(Seq(3)))).await;
    assert_eq!((read.value.thread_unread_count, read.value.last_read_seq), (1, Seq(3)));
    let [told] = read.envelopes.as_slice() else { panic!("{:?}", read.envelopes) };
    assert_eq!((told.channel.clone(), entry(told).unread), (feed_of("alice"), None));
    let said = event(told);
    assert_eq!(
        (&said["type"], &said["data"]["thread_unread_count"], said["data"].get("unread_count")),
        (&"thread.updated".into(), &1.into(), None)
    );
    let before = entry(told).seq.0 - 1;
    assert_eq!(bed.page(&feed_of("alice"), before, usize::MAX / 2).await.entries, std::slice::from_ref(told));
    // Back it does not go, and the same again tells nobody.
    for again in [Some(Seq(1)), Some(Seq(3))] {
        let again = change(bed, &alice, root.id, ThreadChange::ReadUpTo(again)).await;
        assert_eq!((again.created, again.envelopes.len(), again.value.last_read_seq), (false, 0, Seq(3)));
    }
    let read = change(bed, &alice, root.id, ThreadChange::ReadUpTo(None)).await.value;
    assert_eq!((read.thread_unread_count, unread(bed, &alice).await), (0, (0, 0, 0)));
    // What is unread in the main line stays so: the two are read apart.
    assert_eq!(unread(bed, &bob).await, (1, 0, 0));
    bed.send(&alice, &group, "and now?").await;
    assert_eq!(unread(bed, &bob).await, (2, 0, 0));
}

pub async fn who_answers_is_called_or_was_answered_follows_until_they_do_not_want_to(bed: &Bed) {
    let ([alice, bob, carol], group, root) = three(bed).await;
    let mut draft = reply_draft(&root, "@carol knows");
    draft.mentions = Mentions { mentioned_users: vec![user("carol")], mentioned_everyone: false };
    bed.store.append(&bob, &draft).await.expect("she is in it");
    assert_eq!((unread(bed, &carol).await, unread(bed, &alice).await), ((1, 1, 1), (0, 1, 0)));
    answers(bed, &alice, &root).await;
    assert_eq!((unread(bed, &bob).await, unread(bed, &carol).await), ((1, 1, 0), (1, 2, 1)));

    let gone = change(bed, &carol, root.id, ThreadChange::Unfollow).await;
    assert_eq!((gone.value.following, gone.envelopes.len()), (false, 1));
    assert_eq!(event(&gone.envelopes[0])["data"]["following"], false);
    assert_eq!(unread(bed, &carol).await, (1, 0, 0));
    answers(bed, &bob, &root).await;
    assert_eq!(unread(bed, &carol).await, (1, 0, 0));
    // Who follows it anew finds everything read, and hears what comes.
    let back = change(bed, &carol, root.id, ThreadChange::Follow).await;
    assert_eq!((back.value.following, back.value.thread_unread_count), (true, 0));
    assert!(!change(bed, &carol, root.id, ThreadChange::Follow).await.created);
    answers(bed, &bob, &root).await;
    assert_eq!(unread(bed, &carol).await, (1, 1, 0));
    // A thread can be followed before there is one.
    let lonely = bed.send(&bob, &group, "anyone?").await.value;
    change(bed, &carol, lonely.id, ThreadChange::Follow).await;
    answers(bed, &alice, &lonely).await;
    assert_eq!(unread(bed, &carol).await, (2, 2, 0));
    // An edit that calls somebody has them follow.
    let ([alice, bob, carol], _, root) = three(bed).await;
    let reply = answers(bed, &bob, &root).await.value;
    let calls = Mentions { mentioned_users: vec![user("carol")], mentioned_everyone: false };
    change_message(bed, &bob, reply.id, Change::Edit("@carol".to_owned(), Some(calls))).await;
    let (thread, _) = bed.store.thread(&carol, root.id, &ALL).await.expect("hers");
    assert_eq!((thread.marker.thread_unread_count, thread.marker.thread_unread_mention_count), (1, 1));
    answers(bed, &alice, &root).await;
    let (thread, _) = bed.store.thread(&carol, root.id, &ALL).await.expect("hers");
    assert_eq!((thread.marker.thread_unread_count, thread.marker.thread_unread_mention_count), (2, 1));
    // One that calls whom it called before has nobody follow who does not want to.
    change(bed, &carol, root.id, ThreadChange::Unfollow).await;
    let both = Mentions { mentioned_users: vec![user("alice"), user("carol")], mentioned_everyone: false };
    change_message(bed, &bob, reply.id, Change::Edit("@alice @carol".to_owned(), Some(both))).await;
    assert!(!bed.store.thread(&carol, root.id, &ALL).await.expect("hers").0.marker.following);
}

pub async fn a_deleted_or_hidden_reply_counts_no_longer(bed: &Bed) {
    let ([alice, bob, _], _, root) = three(bed).await;
    let [first, second, third] =
        [answers(bed, &bob, &root).await, answers(bed, &bob, &root).await, answers(bed, &bob, &root).await];
    assert_eq!(unread(bed, &alice).await, (0, 3, 0));
    let deleted = change_message(bed, &bob, first.value.id, Change::Delete).await;
    assert_eq!(deleted.value.thread.map(|thread| (thread.reply_count, thread.version)), Some((2, 4)));
    let told = deleted.envelopes.iter().find(|told| told.channel == feed_of("alice")).expect("she is told");
    assert_eq!((entry(told).unread.map(|unread| unread.count), entry(told).body.counts_thread()), (Some(2), true));
    change_message(bed, &alice, second.value.id, Change::Hide).await;
    assert_eq!(unread(bed, &alice).await, (0, 1, 0));
    // What is hidden from her is deleted for all: it does not count a second time.
    change_message(bed, &bob, second.value.id, Change::Delete).await;
    assert_eq!(unread(bed, &alice).await, (0, 1, 0));
    change(bed, &alice, root.id, ThreadChange::ReadUpTo(None)).await;
    change_message(bed, &bob, third.value.id, Change::Delete).await;
    assert_eq!(unread(bed, &alice).await, (0, 0, 0));
    let (thread, replies) = bed.store.thread(&alice, root.id, &ALL).await.expect("hers");
    assert_eq!((thread.root.thread.map(|thread| thread.reply_count), replies.len()), (Some(0), 3));
    assert!(replies.iter().all(|reply| reply.message_text.is_empty()));
}

pub async fn only_a_message_of_the_main_line_begins_a_thread(bed: &Bed) {
    let ([alice, bob, _], group, root) = three(bed).await;
    let reply = answers(bed, &bob, &root).await.value;
    let refused = bed.store.append(&alice, &reply_draft(&reply, "deeper")).await;
    assert!(matches!(refused, Err(StoreError::NotARoot(id)) if id == reply.id), "{refused:?}");
    let refused = bed.store.thread(&alice, reply.id, &ALL).await;
    assert!(matches!(refused, Err(StoreError::NotARoot(id)) if id == reply.id), "{refused:?}");
    let follow = ThreadChangeDraft { root: reply.id, change: ThreadChange::Follow, trace: TraceId::random() };
    let refused = bed.store.change_thread(&alice, &follow).await;
    assert!(matches!(refused, Err(StoreError::NotARoot(id)) if id == reply.id), "{refused:?}");

    let elsewhere = bed.group(&alice, &["bob"]).await;
    let draft = MessageDraft { conversation_id: elsewhere.id, ..reply_draft(&root, "over there") };
    let refused = bed.store.append(&alice, &draft).await;
    assert!(matches!(refused, Err(StoreError::NoMessage(id)) if id == root.id), "{refused:?}");
    change_message(bed, &alice, root.id, Change::Delete).await;
    let refused = bed.store.append(&alice, &reply_draft(&root, "too late")).await;
    assert!(matches!(refused, Err(StoreError::Deleted(id)) if id == root.id), "{refused:?}");
    // The next number shows that what was refused took none.
    assert_eq!(bed.send(&alice, &group, "on").await.value.seq, Seq(3));
}

pub async fn people_outside_see_no_thread_and_who_leaves_follows_none(bed: &Bed) {
    let ([alice, bob, _], group, root) = three(bed).await;
    answers(bed, &bob, &root).await;
    let (eve, maria) = (guest("eve"), person("maria", Role::Staff));
    let follow = ThreadChangeDraft { root: root.id, change: ThreadChange::Follow, trace: TraceId::random() };
    let refused = bed.store.thread(&eve, root.id, &ALL).await;
    assert!(matches!(refused, Err(StoreError::NoMessage(_))), "{refused:?}");
    let refused = bed.store.change_thread(&eve, &follow).await;
    assert!(matches!(refused, Err(StoreError::NoMessage(_))), "{refused:?}");
    let page = ThreadPage { following: false, after: None, limit: 10 };
    let refused = bed.store.threads(&eve, group.id, &page).await;
    assert!(matches!(refused, Err(StoreError::NoConversation(_))), "{refused:?}");
    // Staff look, and take part in nothing by that.
    assert_eq!(bed.store.thread(&maria, root.id, &ALL).await.expect("staff see all").1.len(), 1);
    let refused = bed.store.change_thread(&maria, &follow).await;
    assert!(matches!(refused, Err(StoreError::NotAParticipant(_))), "{refused:?}");

    let people = async |caller: &Caller, change| {
        let draft = ConversationChangeDraft { conversation_id: group.id, change, trace: TraceId::random() };
        bed.store.change_conversation(caller, &draft).await.expect("they may");
    };
    people(&bob, ConversationChange::Remove(user("bob"))).await;
    answers(bed, &alice, &root).await;
    people(&alice, ConversationChange::Add(user("bob"), None)).await;
    assert_eq!(unread(bed, &bob).await, (0, 0, 0));
    assert!(!bed.store.thread(&bob, root.id, &ALL).await.expect("his again").0.marker.following);
}

pub async fn threads_are_listed_the_last_answered_first_and_read_page_by_page(bed: &Bed) {
    let ([alice, bob, carol], group, first) = three(bed).await;
    let second = bed.send(&bob, &group, "another question").await.value;
    for root in [&first, &second, &first] {
        for _ in 0..3 {
            answers(bed, &carol, root).await;
        }
    }
    let list = async |following, after| {
        let page = ThreadPage { following, after, limit: 1 };
        bed.store.threads(&alice, group.id, &page).await.expect("hers to see")
    };
    let newest = list(false, None).await;
    assert_eq!(newest[0].root.id, first.id);
    let place = newest[0].root.thread.map(|thread| (thread.last_reply_at.as_micros(), first.id));
    let next = list(false, place).await;
    assert_eq!((next[0].root.id, next[0].marker.following), (second.id, false));
    let place = next[0].root.thread.map(|thread| (thread.last_reply_at.as_micros(), second.id));
    assert!(list(false, place).await.is_empty());
    assert_eq!(list(true, None).await[0].root.id, first.id);
    assert!(list(true, place).await.is_empty());

    let part = async |part, limit| {
        let (_, replies) = bed.store.thread(&alice, first.id, &MessagePage { part, limit }).await.expect("hers");
        replies.iter().map(|reply| reply.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(part(MessagePart::Newest { offset: 0 }, 4).await, [5, 9, 10, 11]);
    assert_eq!(part(MessagePart::Before(Seq(9)), 2).await, [4, 5]);
    assert_eq!(part(MessagePart::After(Seq(5)), 2).await, [9, 10]);
    assert_eq!(part(MessagePart::Around(Seq(9)), 4).await, [4, 5, 9, 10]);
    // In the main line the replies between are not there, and not counted.
    let third = bed.send(&bob, &group, "a third").await.value;
    let main = async |part, limit| {
        let messages = bed.store.messages(&alice, group.id, &MessagePage { part, limit }).await.expect("hers");
        messages.iter().map(|message| message.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(main(MessagePart::Newest { offset: 0 }, 2).await, [2, third.seq.0]);
    assert_eq!(main(MessagePart::Newest { offset: 1 }, 2).await, [1, 2]);
    assert_eq!(main(MessagePart::Newest { offset: 3 }, 2).await, [0_u64; 0]);
    assert_eq!(main(MessagePart::After(Seq(2)), 2).await, [third.seq.0]);
    assert_eq!(main(MessagePart::Around(Seq(7)), 4).await, [1, 2, third.seq.0]);
}

pub async fn a_send_and_a_read_of_a_thread_cannot_each_miss_the_other(bed: &Bed) {
    let ([alice, bob, _], _, root) = three(bed).await;
    answers(bed, &bob, &root).await;
    for _ in 0..20 {
        let (_, read) =
            tokio::join!(answers(bed, &bob, &root), change(bed, &alice, root.id, ThreadChange::ReadUpTo(None)));
        assert!(read.value.thread_unread_count <= 1);
        let (_, threads, _) = unread(bed, &alice).await;
        assert!(threads <= 1, "{threads}");
    }
    change(bed, &alice, root.id, ThreadChange::ReadUpTo(None)).await;
    assert_eq!(unread(bed, &alice).await, (0, 0, 0));
}
