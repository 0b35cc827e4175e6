//! Promises about whom messages call.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::ids::{MessageId, Seq, TraceId};

use super::{Bed, event, feed_of, guest, message_draft, user};
use crate::model::{
    Change, ChangeDraft, Conversation, ConversationChange, ConversationChangeDraft, MarkerDraft, MarkerMove, Mentions,
    Message, Unread,
};
use crate::store::{Kept, StoreError};

fn people(names: &[&str]) -> Mentions {
    Mentions { mentioned_users: names.iter().map(|name| user(name)).collect(), mentioned_everyone: false }
}

fn everyone() -> Mentions {
    Mentions { mentioned_everyone: true, ..Mentions::default() }
}

async fn calls(
    bed: &Bed,
    sender: &Caller,
    conversation: &Conversation,
    mentions: Mentions,
) -> Result<Kept<Message>, StoreError> {
    let draft = super::MessageDraft { mentions, ..message_draft(conversation.id, "@dora and the others", None) };
    bed.store.append(sender, &draft).await
}

async fn change(bed: &Bed, caller: &Caller, id: MessageId, change: Change) -> Result<Kept<Message>, StoreError> {
    bed.store.change(caller, &ChangeDraft { message_id: id, change, trace: TraceId::random() }).await
}

/// What is unread to somebody, and what of it calls them.
async fn unread(bed: &Bed, reader: &Caller) -> (u64, u64) {
    let Unread { totals, items, .. } = bed.store.unread(reader).await.expect("their own");
    assert_eq!(totals.mentions, items.iter().map(|marker| marker.unread_mention_count).sum::<u64>());
    (totals.messages, totals.mentions)
}

pub async fn a_mention_is_said_beside_the_text_and_never_read_out_of_it(bed: &Bed) {
    let (alice, bob, dora) = (guest("alice"), guest("bob"), guest("dora"));
    let group = bed.group(&alice, &["bob", "dora"]).await;
    let sent = calls(bed, &alice, &group, people(&["bob"])).await.expect("he is in it");
    assert_eq!(sent.value.mentions, people(&["bob"]));
    assert_eq!(bed.store.message(&dora, sent.value.id).await.expect("hers to see").mentions, people(&["bob"]));
    let told = &sent.envelopes[0];
    assert_eq!(event(told)["data"]["mentioned_users"], serde_json::json!(["bob"]));
    assert_eq!(bed.page(&feed_of("alice"), 1, usize::MAX / 2).await.entries, std::slice::from_ref(told));
    assert_eq!((unread(bed, &bob).await, unread(bed, &dora).await), ((1, 1), (1, 0)));
    let all = calls(bed, &alice, &group, everyone()).await.expect("all are in it");
    assert_eq!(event(&all.envelopes[0])["data"]["mentioned_everyone"], true);
    assert_eq!((unread(bed, &bob).await, unread(bed, &dora).await), ((2, 2), (2, 1)));
    assert_eq!(unread(bed, &alice).await, (0, 0));
}

pub async fn only_participants_are_mentioned(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob", "carol"]).await;
    let removal = ConversationChangeDraft {
        conversation_id: group.id,
        change: ConversationChange::Remove(user("carol")),
        trace: TraceId::random(),
    };
    bed.store.change_conversation(&alice, &removal).await.expect("her own");
    for stranger in ["carol", "eve"] {
        let refused = calls(bed, &alice, &group, people(&["bob", stranger])).await;
        assert!(matches!(&refused, Err(StoreError::NotIn(who)) if *who == user(stranger)), "{refused:?}");
    }
    let sent = calls(bed, &alice, &group, people(&["bob"])).await.expect("he is in it").value;
    assert_eq!(sent.seq, Seq(1), "a refused message leaves no hole");
    let refused = change(bed, &alice, sent.id, Change::Edit("again".to_owned(), Some(people(&["eve"])))).await;
    assert!(matches!(refused, Err(StoreError::NotIn(_))), "{refused:?}");
}

pub async fn an_edit_calls_others_and_a_deleted_message_nobody(bed: &Bed) {
    let (alice, bob, dora) = (guest("alice"), guest("bob"), guest("dora"));
    let group = bed.group(&alice, &["bob", "dora"]).await;
    let sent = calls(bed, &alice, &group, people(&["bob"])).await.expect("he is in it").value;
    let edit = |mentions| Change::Edit(sent.message_text.clone(), mentions);
    let same = change(bed, &alice, sent.id, edit(Some(people(&["bob"])))).await.expect("her own");
    assert!(!same.created && same.envelopes.is_empty());
    let others = change(bed, &alice, sent.id, edit(Some(people(&["dora"])))).await.expect("her own");
    assert_eq!((others.created, &others.value.mentions, others.value.version), (true, &people(&["dora"]), 2));
    assert_eq!(others.value.edited_at, None, "its text is the same");
    assert_eq!((unread(bed, &bob).await, unread(bed, &dora).await), ((1, 0), (1, 1)));
    let text = change(bed, &alice, sent.id, Change::Edit("see below".to_owned(), None)).await.expect("her own");
    assert_eq!(
        (&text.value.mentions, text.value.version),
        (&people(&["dora"]), 3),
        "they stay unless others are given"
    );
    let hidden = change(bed, &dora, sent.id, Change::Hide).await.expect("hers to see");
    assert_eq!((hidden.value.mentions, unread(bed, &dora).await), (Mentions::default(), (0, 0)));
    let deleted = change(bed, &alice, sent.id, Change::Delete).await.expect("her own");
    assert_eq!(deleted.value.mentions, Mentions::default());
}

pub async fn reading_counts_what_still_calls_the_reader(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for mentions in [people(&["bob"]), everyone(), Mentions::default(), people(&["alice", "bob"])] {
        calls(bed, &alice, &group, mentions).await.expect("they are in it");
    }
    let mark = |to| MarkerDraft { conversation_id: group.id, to, trace: TraceId::random() };
    for (to, left) in [
        (MarkerMove::ReadUpTo(Some(Seq(1))), (3, 2)),
        (MarkerMove::ReadUpTo(Some(Seq(1))), (3, 2)),
        (MarkerMove::ReadUpTo(Some(Seq(3))), (1, 1)),
        (MarkerMove::UnreadFrom(Seq(1)), (4, 3)),
        (MarkerMove::ReadUpTo(None), (0, 0)),
    ] {
        let read = bed.store.mark(&bob, &mark(to)).await.expect("his own").value;
        assert_eq!((read.unread_count, read.unread_mention_count), left, "{to:?}");
        assert_eq!(unread(bed, &bob).await, left, "{to:?}");
    }
    let stats = bed.store.stats(&bob).await.expect("his own");
    assert_eq!(stats.unread.mentions, 0);
}
