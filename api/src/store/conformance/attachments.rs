//! Promises about attachments.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::Role;
use shared::ids::{AttachmentId, Seq};

use super::{Bed, event, feed_of, guest, message_draft, person};
use crate::attachments::model::{
    Attachment, AttachmentDraft, AttachmentKind, AttachmentState, Dimensions, FiledAttachment, Found,
};
use crate::model::{Conversation, Message, MessageDraft, MessageType};
use crate::store::{Kept, MessagePage, MessagePart, StoreError};

fn draft(name: &str, key: Option<&str>) -> AttachmentDraft {
    AttachmentDraft {
        id: AttachmentId::new(),
        file_name: name.to_owned(),
        file_type: "audio/ogg".to_owned(),
        file_size: 7,
        kind: AttachmentKind::Voice,
        sha256: None,
        duration_ms: Some(2_500),
        waveform: Some(vec![0, 255]),
        idempotency_key: key.map(|key| key.parse().expect("test keys are keys")),
    }
}

fn found() -> Found {
    Found { sha256: "ab".repeat(32), picture: Some(Dimensions { width: 40, height: 30 }) }
}

async fn reserved(bed: &Bed, uploader: &Caller, name: &str) -> AttachmentId {
    bed.store.reserve(uploader, &draft(name, None)).await.expect("reserved").value.shown.id
}

async fn completed(bed: &Bed, uploader: &Caller, name: &str) -> AttachmentId {
    let id = reserved(bed, uploader, name).await;
    bed.store.complete_attachment(uploader, id, &found()).await.expect("completed");
    id
}

async fn send(
    bed: &Bed,
    sender: &Caller,
    conversation: &Conversation,
    attachment_ids: &[AttachmentId],
) -> Result<Kept<Message>, StoreError> {
    let mut draft = message_draft(conversation.id, "", None);
    draft.attachment_ids = attachment_ids.to_vec();
    bed.store.append(sender, &draft).await
}

async fn seen(bed: &Bed, caller: &Caller, id: AttachmentId) -> Option<FiledAttachment> {
    match bed.store.attachment(Some(caller), id).await {
        Ok(seen) => Some(seen),
        Err(StoreError::NoAttachment(missing)) if missing == id => None,
        Err(error) => panic!("{error}"),
    }
}

pub async fn a_place_is_reserved_once_per_key(bed: &Bed) {
    let alice = guest("alice");
    let first = bed.store.reserve(&alice, &draft("a", Some("k"))).await.expect("reserved");
    let again = bed.store.reserve(&alice, &draft("a", Some("k"))).await.expect("repeated");
    assert!(first.created && !again.created);
    assert_eq!(again.value, first.value);
    assert_eq!((first.value.state, &first.value.uploader_id), (AttachmentState::Reserved, &alice.user));
    let shown = &first.value.shown;
    assert_eq!(
        (shown.file_size, shown.duration_ms, shown.waveform.as_deref()),
        (7, Some(2_500), Some([0, 255].as_slice()))
    );
    let other = bed.store.reserve(&alice, &draft("b", Some("k"))).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
}

pub async fn an_attachment_is_its_uploaders_until_a_message_brings_it(bed: &Bed) {
    let (alice, bob, eve) = (guest("alice"), guest("bob"), guest("eve"));
    let (staff, service) = (person("sam", Role::Staff), person("robot", Role::Service));
    let group = bed.group(&alice, &["bob"]).await;
    let id = completed(bed, &alice, "a").await;
    assert!(seen(bed, &alice, id).await.is_some());
    for other in [&bob, &eve, &staff, &service] {
        assert!(seen(bed, other, id).await.is_none(), "{}", other.user);
        let theirs = bed.store.complete_attachment(other, id, &found()).await;
        assert!(matches!(theirs, Err(StoreError::NoAttachment(_))), "{theirs:?}");
    }
    send(bed, &alice, &group, &[id]).await.expect("sent");
    for one in [&alice, &bob, &staff, &service] {
        assert_eq!(seen(bed, one, id).await.expect("seen").state, AttachmentState::Attached, "{}", one.user);
    }
    assert!(seen(bed, &eve, id).await.is_none());
    bed.execute("update conversation_participants set left_at = joined_at where user_id = 'alice'").await;
    assert!(seen(bed, &alice, id).await.is_none(), "whoever left sees what others see outside");
}

pub async fn a_message_brings_attachments_in_order_and_shows_them_ever_after(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let (one, two) = (completed(bed, &alice, "one").await, completed(bed, &alice, "two").await);
    let sent = send(bed, &alice, &group, &[two, one]).await.expect("sent");
    let shown = &sent.value.attachments;
    assert_eq!(shown.iter().map(|shown| shown.id).collect::<Vec<_>>(), [two, one]);
    let Attachment { file_name, width, height, url, thumbnail_url, .. } = &shown[0];
    assert_eq!((file_name.as_str(), *width, *height), ("two", Some(40), Some(30)));
    assert_eq!(url, &format!("/api/v1/attachments/{two}/content"));
    assert_eq!(thumbnail_url.as_ref(), Some(&format!("/api/v1/attachments/{two}/thumbnail")));
    let page = MessagePage { part: MessagePart::Newest { offset: 0 }, limit: 10 };
    let read = bed.store.messages(&guest("bob"), group.id, &page).await.expect("read");
    assert_eq!(read, std::slice::from_ref(&sent.value));
    let conversation = bed.store.conversation(&guest("bob"), group.id).await.expect("read");
    assert_eq!(conversation.last_message.as_ref(), Some(&sent.value));
    let entries = bed.page(&feed_of("bob"), 1, 10_000).await.entries;
    assert_eq!(event(&entries[0]), event(&sent.envelopes[1]));
    assert_eq!(event(&entries[0])["data"]["attachments"][1]["file_name"], "one");
}

pub async fn attaching_is_all_or_nothing(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let good = completed(bed, &alice, "good").await;
    let waiting = reserved(bed, &alice, "waiting").await;
    let foreign = completed(bed, &bob, "foreign").await;
    let missing = AttachmentId::new();
    let refused = send(bed, &alice, &group, &[good, waiting]).await;
    assert!(matches!(refused, Err(StoreError::NotComplete(id)) if id == waiting), "{refused:?}");
    for none in [foreign, missing] {
        let refused = send(bed, &alice, &group, &[good, none]).await;
        assert!(matches!(refused, Err(StoreError::NoAttachment(id)) if id == none), "{refused:?}");
    }
    assert_eq!(seen(bed, &alice, good).await.expect("seen").state, AttachmentState::Complete);
    assert_eq!(bed.number("select count(*) from messages").await, 0);
    let sent = send(bed, &alice, &group, &[good]).await.expect("sent");
    assert_eq!(sent.value.seq, Seq(1), "what was refused left no hole");
    let again = send(bed, &alice, &group, &[good]).await;
    assert!(matches!(again, Err(StoreError::AttachedElsewhere(id)) if id == good), "{again:?}");
}

pub async fn of_two_messages_that_want_one_attachment_one_gets_it(bed: &Bed) {
    let alice = guest("alice");
    let (here, there) = (bed.group(&alice, &["bob"]).await, bed.group(&alice, &["carol"]).await);
    for _ in 0..10 {
        let (one, two) = (completed(bed, &alice, "one").await, completed(bed, &alice, "two").await);
        let (forwards, backwards) = ([one, two], [two, one]);
        let (first, second) = tokio::join!(send(bed, &alice, &here, &forwards), send(bed, &alice, &there, &backwards));
        let lost = match (first, second) {
            (Ok(_), lost) | (lost, Ok(_)) => lost,
            both => panic!("one of them can be sent: {both:?}"),
        };
        assert!(matches!(lost, Err(StoreError::AttachedElsewhere(_))), "{lost:?}");
    }
}

pub async fn a_voice_message_brings_only_what_was_spoken(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let kept = AttachmentDraft { kind: AttachmentKind::File, ..draft("a", None) };
    let file = bed.store.reserve(&alice, &kept).await.expect("reserved").value.shown.id;
    bed.store.complete_attachment(&alice, file, &found()).await.expect("completed");
    let voice = completed(bed, &alice, "b").await;
    let says =
        |id, message_type| MessageDraft { message_type, attachment_ids: vec![id], ..message_draft(group.id, "", None) };
    let refused = bed.store.append(&alice, &says(file, MessageType::Voice)).await;
    assert!(matches!(refused, Err(StoreError::NotVoice(id)) if id == file), "{refused:?}");
    let said = bed.store.append(&alice, &says(voice, MessageType::Voice)).await.expect("it was spoken").value;
    assert_eq!((said.message_type, said.attachments[0].duration_ms), (MessageType::Voice, Some(2_500)));
    let sent = bed.store.append(&alice, &says(file, MessageType::File)).await.expect("it is a file").value;
    assert_eq!((sent.seq, sent.message_type), (Seq(2), MessageType::File));
}

pub async fn a_deleted_message_shows_no_attachments(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let id = completed(bed, &alice, "a").await;
    send(bed, &alice, &group, &[id]).await.expect("sent");
    bed.execute("update messages set deleted_at = created_at").await;
    let page = MessagePage { part: MessagePart::Newest { offset: 0 }, limit: 10 };
    let read = bed.store.messages(&guest("bob"), group.id, &page).await.expect("read");
    assert_eq!(read[0].attachments, []);
    assert!(seen(bed, &guest("bob"), id).await.is_none());
    let linked = bed.store.attachment(None, id).await;
    assert!(matches!(linked, Err(StoreError::NoAttachment(_))), "{linked:?}");
}

pub async fn completing_twice_is_completing_once(bed: &Bed) {
    let alice = guest("alice");
    let id = reserved(bed, &alice, "a").await;
    let first = bed.store.complete_attachment(&alice, id, &found()).await.expect("completed");
    let other = Found { sha256: "cd".repeat(32), picture: None };
    assert_eq!(bed.store.complete_attachment(&alice, id, &other).await.expect("completed"), first);
    assert_eq!((first.state, first.sha256), (AttachmentState::Complete, Some("ab".repeat(32))));
}

pub async fn a_person_has_at_most_a_hundred_that_no_message_has(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    for _ in 0..99 {
        reserved(bed, &alice, "a").await;
    }
    let last = completed(bed, &alice, "last").await;
    let refused = bed.store.reserve(&alice, &draft("one more", None)).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { limit: 100, .. })), "{refused:?}");
    reserved(bed, &guest("bob"), "his own").await;
    send(bed, &alice, &group, &[last]).await.expect("sent");
    reserved(bed, &alice, "one more").await;
}

pub async fn what_no_message_brought_in_a_day_is_given_up_and_forgotten(bed: &Bed) {
    let alice = guest("alice");
    let group = bed.group(&alice, &["bob"]).await;
    let kept = completed(bed, &alice, "kept").await;
    send(bed, &alice, &group, &[kept]).await.expect("sent");
    let mut old = vec![reserved(bed, &alice, "reserved").await, completed(bed, &alice, "complete").await];
    old.sort_unstable();
    assert_eq!(bed.store.expire_attachments(10).await.expect("asked"), []);
    bed.age_attachments().await;
    let young = completed(bed, &alice, "young").await;
    for _ in 0..2 {
        let mut given_up = bed.store.expire_attachments(10).await.expect("asked");
        given_up.sort_unstable();
        assert_eq!(given_up, old, "until they are forgotten");
    }
    assert_eq!(bed.store.expire_attachments(1).await.expect("asked").len(), 1);
    let late = send(bed, &alice, &group, &old).await;
    assert!(matches!(late, Err(StoreError::NoAttachment(_))), "{late:?}");
    bed.store.forget_attachments(&[old[0], old[1], young, kept]).await.expect("forgotten");
    assert!(seen(bed, &alice, old[0]).await.is_none() && seen(bed, &alice, old[1]).await.is_none());
    assert!(seen(bed, &alice, young).await.is_some() && seen(bed, &alice, kept).await.is_some());
    assert_eq!(bed.store.expire_attachments(10).await.expect("asked"), []);
}

pub async fn a_link_shows_only_what_is_complete(bed: &Bed) {
    let alice = guest("alice");
    let (waiting, complete) = (reserved(bed, &alice, "waiting").await, completed(bed, &alice, "complete").await);
    let linked = bed.store.attachment(None, waiting).await;
    assert!(matches!(linked, Err(StoreError::NoAttachment(_))), "{linked:?}");
    assert_eq!(bed.store.attachment(None, complete).await.expect("linked").shown.id, complete);
}
