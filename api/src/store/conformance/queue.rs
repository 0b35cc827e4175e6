//! Promises about the conversations that any of the staff may answer.

#![expect(missing_docs, reason = "the names are the promises")]

use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::ids::{JobId, TraceId};

use super::{Bed, conversation_draft, event, feed_of, guest, message_draft, person, user};
use crate::model::{
    Conversation, ConversationChange, ConversationChangeDraft, ConversationStatus, ConversationType, JobDraft, JobKind,
    JobState, ParticipantRole,
};
use crate::store::{ConversationPage, Kept, StoreError};

const STAFF: Channel = Channel::Role(Role::Staff);
const ADMIN: Channel = Channel::Role(Role::Admin);
const EVERYBODYS: ConversationPage = ConversationPage { everybodys: true, ..ConversationPage::ALL };

async fn ask(bed: &Bed, caller: &Caller, others: &[&str]) -> Kept<Conversation> {
    let draft = conversation_draft(ConversationType::GuestStaff, others);
    bed.store.create_conversation(caller, &draft).await.expect("a guest may ask")
}

async fn change(
    bed: &Bed,
    caller: &Caller,
    conversation: &Conversation,
    change: ConversationChange,
) -> Result<Kept<Conversation>, StoreError> {
    let draft = ConversationChangeDraft { conversation_id: conversation.id, change, trace: TraceId::random() };
    bed.store.change_conversation(caller, &draft).await
}

/// Makes somebody known to work here, as their first request does.
async fn at_work(bed: &Bed, name: &str) -> Caller {
    let colleague = person(name, Role::Staff);
    let draft = conversation_draft(ConversationType::StaffStaff, &["somebody"]);
    bed.store.create_conversation(&colleague, &draft).await.expect("staff may");
    colleague
}

fn told(kept: &Kept<Conversation>) -> Vec<Channel> {
    kept.envelopes.iter().map(|told| told.channel.clone()).collect()
}

pub async fn a_guest_who_names_no_colleague_is_seen_by_all_of_them_at_once(bed: &Bed) {
    let (alice, maria) = (guest("alice"), at_work(bed, "maria").await);
    let before = bed.head(&STAFF).await.0;
    let asked = ask(bed, &alice, &[]).await;
    assert_eq!(asked.value.queued_at, Some(asked.value.created_at));
    assert_eq!(told(&asked), [ADMIN, STAFF, feed_of("alice")]);
    assert_eq!(bed.page(&STAFF, before, usize::MAX / 2).await.entries, [asked.envelopes[1].clone()]);
    // A guest beside her is no colleague; a colleague is, and then nobody else is bothered.
    assert!(ask(bed, &alice, &["bob"]).await.value.queued_at.is_some());
    let named = ask(bed, &alice, &["maria"]).await;
    assert_eq!((named.value.queued_at, told(&named)), (None, vec![feed_of("alice"), feed_of("maria")]));
    let group = bed.group(&alice, &["bob"]).await;
    assert_eq!(group.queued_at, None);
    let waiting = ConversationPage { queued: Some(true), ..EVERYBODYS };
    let listed = bed.store.conversations(&maria, &waiting).await.expect("staff see all");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1].id, asked.value.id);
    let refused = bed.store.conversations(&alice, &waiting).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
}

pub async fn of_those_who_claim_a_conversation_one_gets_it(bed: &Bed) {
    let alice = guest("alice");
    let asked = ask(bed, &alice, &[]).await.value;
    bed.send(&alice, &asked, "is anybody there?").await;
    let mut claims = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (store, colleague) =
            (std::sync::Arc::clone(&bed.store), person(&format!("colleague-{number}"), Role::Staff));
        let draft = ConversationChangeDraft {
            conversation_id: asked.id,
            change: ConversationChange::Claim,
            trace: TraceId::random(),
        };
        claims.spawn(async move { (colleague.clone(), store.change_conversation(&colleague, &draft).await) });
    }
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for (colleague, outcome) in claims.join_all().await {
        match outcome {
            Ok(kept) => winners.push((colleague, kept)),
            Err(StoreError::AssignedTo(first)) => losers.push(first),
            Err(other) => panic!("{other:?}"),
        }
    }
    let [(winner, kept)] = winners.as_slice() else { panic!("{} have it", winners.len()) };
    assert_eq!(losers, vec![winner.user.clone(); 7]);
    assert_eq!((kept.value.queued_at, kept.value.assigned_to.as_ref()), (None, Some(&winner.user)));
    assert_eq!(told(kept), [ADMIN, STAFF, feed_of("alice"), Channel::User(winner.user.clone())]);
    let said = event(&kept.envelopes[1]);
    assert_eq!(
        (&said["type"], &said["data"]["assigned_to"]),
        (&"conversation.assigned".into(), &winner.user.as_str().into())
    );
    // They take part now; what was said before is read.
    let theirs = bed.store.conversation(winner, asked.id).await.expect("theirs");
    let member = theirs.participants.iter().find(|member| member.user_id == winner.user).expect("in it");
    assert_eq!((member.role, theirs.unread_count), (ParticipantRole::Staff, 0));
    bed.send(winner, &asked, "yes").await;
    let again = change(bed, winner, &asked, ConversationChange::Claim).await.expect("theirs already");
    assert!(!again.created && again.envelopes.is_empty());
}

pub async fn a_colleague_can_be_made_to_look_after_it_and_it_can_go_back(bed: &Bed) {
    let (alice, maria) = (guest("alice"), person("maria", Role::Staff));
    let paul = at_work(bed, "paul").await;
    let asked = ask(bed, &alice, &[]).await.value;
    change(bed, &maria, &asked, ConversationChange::Claim).await.expect("she works here");
    let moved = change(bed, &maria, &asked, ConversationChange::Assign(user("paul"))).await.expect("staff may");
    assert_eq!(moved.value.assigned_to, Some(user("paul")));
    assert_eq!(moved.value.participants.len(), 3);
    let his = ConversationPage { assigned_to: Some(user("paul")), ..EVERYBODYS };
    assert_eq!(bed.store.conversations(&maria, &his).await.expect("staff see all").len(), 1);
    // Who looks after it hands it over first, and leaves then.
    let refused = change(bed, &paul, &asked, ConversationChange::Remove(user("paul"))).await;
    assert!(matches!(&refused, Err(StoreError::AssignedTo(who)) if *who == user("paul")), "{refused:?}");
    let released = change(bed, &paul, &asked, ConversationChange::Release).await.expect("staff may");
    assert!(released.value.queued_at.is_some() && released.value.assigned_to.is_none());
    assert_eq!(event(&released.envelopes[0])["type"], "conversation.queued");
    assert!(!change(bed, &maria, &asked, ConversationChange::Release).await.expect("staff may").created);
    change(bed, &paul, &asked, ConversationChange::Remove(user("paul"))).await.expect("he may leave");
    change(bed, &paul, &asked, ConversationChange::Claim).await.expect("and come again");
    bed.send(&paul, &asked, "here I am").await;
}

pub async fn only_the_staff_decide_who_looks_after_what(bed: &Bed) {
    let (alice, maria) = (guest("alice"), at_work(bed, "maria").await);
    let asked = ask(bed, &alice, &["bob"]).await.value;
    for refused in [ConversationChange::Claim, ConversationChange::Assign(user("maria")), ConversationChange::Release] {
        let refused = change(bed, &alice, &asked, refused).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
    let refused = change(bed, &person("mailer", Role::Service), &asked, ConversationChange::Claim).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    let refused = change(bed, &maria, &asked, ConversationChange::Assign(user("bob"))).await;
    assert!(matches!(&refused, Err(StoreError::NotStaff(who)) if *who == user("bob")), "{refused:?}");
    let group = bed.group(&alice, &["bob"]).await;
    let refused = change(bed, &maria, &group, ConversationChange::Claim).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    let closed = ConversationChange::Update { subject: None, status: Some(ConversationStatus::Closed), metadata: None };
    change(bed, &alice, &asked, closed).await.expect("she owns it");
    let refused = change(bed, &maria, &asked, ConversationChange::Claim).await;
    assert!(matches!(refused, Err(StoreError::Closed(_))), "{refused:?}");
}

pub async fn staff_list_everybodys_conversations_page_by_page(bed: &Bed) {
    let (alice, maria) = (guest("alice"), person("maria", Role::Staff));
    let mut started = Vec::new();
    for _ in 0..5 {
        started.push(bed.group(&alice, &["bob"]).await.id);
    }
    // The order is that of their beginnings: what is said meanwhile moves nothing from one page to another.
    let draft = message_draft(started[0], "news", None);
    bed.store.append(&alice, &draft).await.expect("she is in it");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = ConversationPage { limit: 2, after, ..EVERYBODYS };
        let items = bed.store.conversations(&maria, &page).await.expect("staff see all");
        let Some(last) = items.last() else { break };
        after = Some((0, last.id));
        seen.extend(items.iter().map(|conversation| conversation.id));
    }
    started.reverse();
    assert_eq!(seen, started);
    assert_eq!(bed.store.conversations(&maria, &ConversationPage::ALL).await.expect("her own"), []);
}

pub async fn whoever_is_erased_looks_after_nothing_any_more(bed: &Bed) {
    let (alice, maria, ada) = (guest("alice"), at_work(bed, "maria").await, person("ada", Role::Admin));
    let asked = ask(bed, &alice, &[]).await.value;
    change(bed, &maria, &asked, ConversationChange::Claim).await.expect("she works here");
    let erase = JobDraft { id: JobId::new(), kind: JobKind::Erase, user_id: user("maria"), trace: TraceId::random() };
    let job = bed.store.start_job(&ada, &erase).await.expect("admins may").value.id;
    while bed.store.erase_next(job).await.expect("a step").value.state != JobState::Done {}
    let seen = bed.store.conversation(&alice, asked.id).await.expect("hers");
    assert!(seen.queued_at.is_some() && seen.assigned_to.is_none(), "{seen:?}");
    let refused = change(bed, &ada, &asked, ConversationChange::Assign(user("maria"))).await;
    assert!(matches!(&refused, Err(StoreError::Erased(who)) if *who == user("maria")), "{refused:?}");
}
