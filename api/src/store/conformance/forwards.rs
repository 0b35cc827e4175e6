//! Promises about what is said again elsewhere.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{AttachmentId, MessageId, TraceId};

use super::{Bed, event, guest, message_draft, person};
use crate::attachments::model::{AttachmentDraft, AttachmentKind, Found};
use crate::model::{
    Change, ChangeDraft, Conversation, ConversationChange, ConversationChangeDraft, Message, MessageDraft, MessageType,
};
use crate::store::{Kept, StoreError};

async fn forward(
    bed: &Bed,
    caller: &Caller,
    source: MessageId,
    to: &Conversation,
    key: Option<&str>,
) -> Result<Kept<Message>, StoreError> {
    let draft = MessageDraft { forwards: Some(source), ..message_draft(to.id, "", key) };
    bed.store.append(caller, &draft).await
}

async fn change(bed: &Bed, caller: &Caller, id: MessageId, change: Change) -> Result<Kept<Message>, StoreError> {
    bed.store.change(caller, &ChangeDraft { message_id: id, change, trace: TraceId::random() }).await
}

async fn speaks(bed: &Bed, speaker: &Caller, conversation: &Conversation) -> Message {
    let reserved = AttachmentDraft {
        id: AttachmentId::new(),
        file_name: "a.ogg".to_owned(),
        file_type: "audio/ogg".to_owned(),
        file_size: 7,
        kind: AttachmentKind::Voice,
        sha256: None,
        duration_ms: Some(2_500),
        waveform: None,
        idempotency_key: None,
    };
    bed.store.reserve(speaker, &reserved).await.expect("reserved");
    let found = Found { sha256: "ab".repeat(32), picture: None };
    bed.store.complete_attachment(speaker, reserved.id, &found).await.expect("completed");
    let draft = MessageDraft {
        message_type: MessageType::Voice,
        attachment_ids: vec![reserved.id],
        ..message_draft(conversation.id, "listen", None)
    };
    bed.store.append(speaker, &draft).await.expect("sent").value
}

pub async fn a_forwarded_message_stays_as_it_was_whatever_becomes_of_the_other(bed: &Bed) {
    let (alice, bob, carol) = (guest("alice"), guest("bob"), guest("carol"));
    let (here, there) = (bed.group(&alice, &["bob"]).await, bed.group(&bob, &["carol"]).await);
    let source = bed.send(&alice, &here, "first words").await.value;
    let kept = forward(bed, &bob, source.id, &there, None).await.expect("he sees it and is in there");
    let said = &kept.value;
    assert_eq!(
        (said.message_text.as_str(), &said.sender_id, said.conversation_id),
        ("first words", &bob.user, there.id)
    );
    let from = said.forwarded_from.as_ref().expect("it says whose words they are");
    assert_eq!((from.message_id, &from.sender_id, from.created_at), (source.id, &alice.user, source.created_at));
    let told = event(&kept.envelopes[0]);
    assert_eq!(told["data"]["forwarded_from"]["sender_id"], "alice", "{told}");
    change(bed, &alice, source.id, Change::Edit("second words".to_owned(), None)).await.expect("her own");
    change(bed, &alice, source.id, Change::Delete).await.expect("her own");
    assert_eq!(bed.store.message(&carol, said.id).await.expect("hers to see"), *said);

    let back = forward(bed, &carol, said.id, &bed.group(&carol, &["dora"]).await, None).await.expect("hers to see");
    assert_eq!(back.value.forwarded_from.as_ref(), Some(from), "the words stay those of who said them first");
    let refused = change(bed, &bob, said.id, Change::Edit("other words".to_owned(), None)).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    let deleted = change(bed, &bob, said.id, Change::Delete).await.expect("his own").value;
    assert_eq!((deleted.message_text.as_str(), deleted.forwarded_from), ("", None));
}

pub async fn only_what_one_sees_is_forwarded_and_only_to_where_one_takes_part(bed: &Bed) {
    let (alice, bob, eve) = (guest("alice"), guest("bob"), guest("eve"));
    let (here, there) = (bed.group(&alice, &["bob"]).await, bed.group(&eve, &["carol"]).await);
    let source = bed.send(&alice, &here, "for us").await.value;
    let foreign = forward(bed, &eve, source.id, &there, None).await;
    assert!(matches!(foreign, Err(StoreError::NoMessage(id)) if id == source.id), "{foreign:?}");
    let elsewhere = forward(bed, &bob, source.id, &there, None).await;
    assert!(matches!(elsewhere, Err(StoreError::NoConversation(_))), "{elsewhere:?}");
    change(bed, &bob, source.id, Change::Hide).await.expect("his to see");
    let hidden = forward(bed, &bob, source.id, &here, None).await;
    assert!(matches!(hidden, Err(StoreError::NoMessage(_))), "{hidden:?}");
    change(bed, &alice, source.id, Change::Delete).await.expect("her own");
    let deleted = forward(bed, &alice, source.id, &here, None).await;
    assert!(matches!(deleted, Err(StoreError::Deleted(_))), "{deleted:?}");
    let next = bed.send(&alice, &here, "next").await.value;
    assert_eq!(next.seq.0, 2, "a refused message leaves no hole");
    // What the system said is said again by a person.
    let sam = person("sam", Role::Staff);
    let theirs = bed.group(&sam, &["alice"]).await;
    let draft = MessageDraft { message_type: MessageType::System, ..message_draft(theirs.id, "maintenance", None) };
    let system = bed.store.append(&sam, &draft).await.expect("staff may").value;
    let again = forward(bed, &alice, system.id, &here, None).await.expect("hers to see").value;
    assert_eq!((again.message_type, again.message_text.as_str()), (MessageType::Text, "maintenance"));
}

pub async fn a_message_is_forwarded_once_per_key(bed: &Bed) {
    let alice = guest("alice");
    let (here, there) = (bed.group(&alice, &["bob"]).await, bed.group(&alice, &["carol"]).await);
    let (one, two) = (bed.send(&alice, &here, "one").await.value, bed.send(&alice, &here, "two").await.value);
    let first = forward(bed, &alice, one.id, &there, Some("k")).await.expect("forwarded");
    change(bed, &alice, one.id, Change::Delete).await.expect("her own");
    let again = forward(bed, &alice, one.id, &there, Some("k")).await.expect("repeated");
    assert!(first.created && !again.created && again.envelopes.is_empty());
    assert_eq!(again.value, first.value);
    let other = forward(bed, &alice, two.id, &there, Some("k")).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    let once = |source, to: &Conversation| MessageDraft {
        forwards: Some(source),
        idempotency_key: Some("once".parse().expect("a key")),
        ..message_draft(to.id, "", None)
    };
    let first = bed.store.append(&alice, &once(two.id, &there)).await.expect("forwarded");
    let again = bed.store.append(&alice, &once(two.id, &there)).await.expect("repeated");
    assert!(first.created && !again.created && again.value == first.value);
    let other = bed.store.append(&alice, &once(two.id, &here)).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
    bed.store.append(&alice, &once(first.value.id, &here)).await.expect("another path has keys of its own");
}

pub async fn what_a_message_brought_is_seen_wherever_it_is_forwarded_to(bed: &Bed) {
    let (alice, bob, carol, eve) = (guest("alice"), guest("bob"), guest("carol"), guest("eve"));
    let (here, there) = (bed.group(&alice, &["bob"]).await, bed.group(&bob, &["carol"]).await);
    let source = speaks(bed, &alice, &here).await;
    let id = source.attachments[0].id;
    let sees = async |caller: &Caller| bed.store.attachment(Some(caller), id).await.is_ok();
    assert!(!sees(&carol).await);
    let kept = forward(bed, &bob, source.id, &there, None).await.expect("he sees it").value;
    assert_eq!((kept.message_type, &kept.attachments), (MessageType::Voice, &source.attachments));
    change(bed, &alice, source.id, Change::Delete).await.expect("her own");
    assert_eq!(bed.store.message(&carol, kept.id).await.expect("hers to see").attachments, source.attachments);
    assert!(sees(&carol).await && sees(&bob).await && !sees(&eve).await && !sees(&alice).await);
    assert!(bed.store.attachment(None, id).await.is_ok(), "a link shows it");
    let leaving = ConversationChangeDraft {
        conversation_id: there.id,
        change: ConversationChange::Remove(carol.user.clone()),
        trace: TraceId::random(),
    };
    bed.store.change_conversation(&carol, &leaving).await.expect("anybody may leave");
    assert!(!sees(&carol).await);
    change(bed, &bob, kept.id, Change::Delete).await.expect("his own");
    assert!(!sees(&bob).await && bed.store.attachment(None, id).await.is_err());
}
