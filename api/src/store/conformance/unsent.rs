//! Promises about what people have written and not sent.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{ConversationId, MessageId, TraceId};

use super::{Bed, entry, event, feed_of, guest, person, user};
use crate::model::{ConversationChange, ConversationChangeDraft, Unsent, UnsentDraft, Writing};
use crate::store::{Kept, StoreError, UnsentPage};

pub(super) fn writes(conversation_id: ConversationId, text: &str) -> UnsentDraft {
    let writing = Writing { message_text: text.to_owned(), reply_to: None };
    UnsentDraft { conversation_id, writing: Some(writing), only_version: None, trace: TraceId::random() }
}

fn clears(conversation_id: ConversationId, only_version: Option<u64>) -> UnsentDraft {
    UnsentDraft { conversation_id, writing: None, only_version, trace: TraceId::random() }
}

async fn kept(bed: &Bed, writer: &Caller, draft: &UnsentDraft) -> Kept<Option<Unsent>> {
    bed.store.keep_unsent(writer, draft).await.expect("a participant may write")
}

/// What a draft says, and its version.
fn says(unsent: &Unsent) -> (Option<&str>, u64) {
    (unsent.message_text.as_deref(), unsent.version)
}

pub async fn a_draft_is_kept_for_ones_own_devices_alone(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&bob, &group, "when?").await.value;
    let first = kept(bed, &alice, &writes(group.id, "at ni")).await;
    assert_eq!((first.created, says(first.value.as_ref().expect("kept"))), (true, (Some("at ni"), 1)));
    let [told] = first.envelopes.as_slice() else { panic!("only she is told: {first:?}") };
    let said = event(told);
    assert_eq!(
        (&told.channel, &said["type"], &said["version"]),
        (&feed_of("alice"), &"draft.updated".into(), &1.into())
    );
    assert_eq!(said["data"]["message_text"], "at ni", "{said}");
    let after = entry(told).seq.0 - 1;
    assert_eq!(bed.page(&feed_of("alice"), after, usize::MAX / 2).await.entries, std::slice::from_ref(told));

    let mut answer = writes(group.id, "at nine");
    answer.writing.as_mut().expect("she writes").reply_to = Some(sent.id);
    let second = kept(bed, &alice, &answer).await;
    assert_eq!(bed.store.unsent(&alice, group.id).await.expect("hers"), second.value.expect("kept"));
    let again = kept(bed, &alice, &answer).await;
    assert!(!again.created && again.envelopes.is_empty());
    let others = bed.store.unsent(&bob, group.id).await;
    assert!(matches!(others, Err(StoreError::NothingUnsent(_))), "{others:?}");

    let gone = kept(bed, &alice, &clears(group.id, None)).await;
    assert_eq!(says(&gone.value.expect("it was there")), (None, 3));
    assert_eq!(event(&gone.envelopes[0])["type"], "draft.deleted");
    assert!(entry(&gone.envelopes[0]).redacts, "windows forget what it said");
    for told in bed.page(&feed_of("alice"), 0, usize::MAX / 2).await.entries {
        assert!(!event(&told).to_string().contains("at ni"), "{told:?}");
    }
    let again = kept(bed, &alice, &clears(group.id, None)).await;
    assert!(!again.created && again.envelopes.is_empty());
    let never = kept(bed, &bob, &clears(group.id, None)).await;
    assert!(!never.created && never.value.is_none());
    let anew = kept(bed, &alice, &writes(group.id, "or ten")).await;
    assert_eq!(says(&anew.value.expect("kept")), (Some("or ten"), 4), "versions go on");

    let foreign = bed.store.keep_unsent(&guest("eve"), &writes(group.id, "x")).await;
    assert!(matches!(foreign, Err(StoreError::NoConversation(_))), "{foreign:?}");
    let foreign = bed.store.keep_unsent(&person("sam", Role::Staff), &writes(group.id, "x")).await;
    assert!(matches!(foreign, Err(StoreError::NotAParticipant(_))), "{foreign:?}");
    answer.writing.as_mut().expect("she writes").reply_to = Some(MessageId::new());
    let nothing = bed.store.keep_unsent(&alice, &answer).await;
    assert!(matches!(nothing, Err(StoreError::NoMessage(_))), "{nothing:?}");
}

pub async fn a_draft_is_cleared_only_as_it_was_meant(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    for text in ["at ni", "at nine"] {
        kept(bed, &alice, &writes(group.id, text)).await;
    }
    let other = kept(bed, &alice, &clears(group.id, Some(1))).await;
    assert!(!other.created && other.envelopes.is_empty());
    assert_eq!(says(&bed.store.unsent(&alice, group.id).await.expect("it stays")), (Some("at nine"), 2));
    assert!(kept(bed, &alice, &clears(group.id, Some(2))).await.created);
    let gone = bed.store.unsent(&alice, group.id).await;
    assert!(matches!(gone, Err(StoreError::NothingUnsent(_))), "{gone:?}");
    let nowhere = UnsentDraft { only_version: Some(1), ..writes(bed.group(&alice, &["bob"]).await.id, "x") };
    assert!(!kept(bed, &alice, &nowhere).await.created, "nothing there has that version");
}

pub async fn drafts_are_listed_the_last_changed_first(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let mut groups = Vec::new();
    for _ in 0..5 {
        let group = bed.group(&bob, &["alice"]).await;
        kept(bed, &alice, &writes(group.id, "x")).await;
        groups.push(group);
    }
    kept(bed, &alice, &writes(groups[1].id, "y")).await;
    kept(bed, &alice, &clears(groups[2].id, None)).await;
    let removal = ConversationChangeDraft {
        conversation_id: groups[3].id,
        change: ConversationChange::Remove(user("alice")),
        trace: TraceId::random(),
    };
    bed.store.change_conversation(&bob, &removal).await.expect("he owns it");
    let mut found: Vec<Unsent> = Vec::new();
    loop {
        let after = found.last().map(|last| (last.updated_at.as_micros(), last.conversation_id));
        let page = bed.store.all_unsent(&alice, &UnsentPage { after, limit: 2 }).await.expect("hers");
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let places: Vec<_> = found.iter().map(|unsent| unsent.conversation_id).collect();
    assert_eq!(places, [groups[1].id, groups[4].id, groups[0].id]);
    assert!(bed.store.all_unsent(&bob, &UnsentPage { after: None, limit: 2 }).await.expect("his").is_empty());
}
