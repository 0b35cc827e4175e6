//! Promises about reports and bans.

#![expect(missing_docs, reason = "the names are the promises")]

use futures_util::future::join_all;
use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::ids::{MessageId, ReportId, Seq, TraceId};
use shared::protocol::ErrorCode;
use shared::time::Timestamp;
use shared::upstream::{Arrival, Verdict};

use super::schedule::{self, plan};
use super::unsent::writes;
use super::{Bed, conversation_draft, entry, event, feed_of, guest, message_draft, person, user};
use crate::model::{
    BanDraft, Change, ChangeDraft, ConversationType, DecisionDraft, Report, ReportDraft, ReportReason, ReportState,
    ScheduleChange, User,
};
use crate::store::{Kept, ReportPage, StoreError};

async fn report(
    bed: &Bed,
    caller: &Caller,
    message_id: MessageId,
    reason: ReportReason,
) -> Result<Kept<Report>, StoreError> {
    let note = Some("asks for my card".to_owned());
    bed.store
        .report(caller, &ReportDraft { id: ReportId::new(), message_id, reason, note, trace: TraceId::random() })
        .await
}

async fn decide(bed: &Bed, caller: &Caller, id: ReportId, state: ReportState) -> Result<Kept<Report>, StoreError> {
    bed.store.decide_report(caller, &DecisionDraft { id, state, note: None, trace: TraceId::random() }).await
}

async fn set_ban(
    bed: &Bed,
    caller: &Caller,
    name: &str,
    ban: Option<(&str, Option<Timestamp>)>,
) -> Result<Kept<User>, StoreError> {
    let ban = ban.map(|(reason, end)| (reason.to_owned(), end));
    bed.store.set_ban(caller, &BanDraft { user_id: user(name), ban, trace: TraceId::random() }).await
}

fn sam() -> Caller {
    person("sam", Role::Staff)
}

fn in_an_hour() -> Timestamp {
    Timestamp::from_micros(Timestamp::now().as_micros() + 3_600_000_000)
}

fn told<T>(kept: &Kept<T>) -> Vec<Channel> {
    kept.envelopes.iter().map(|told| told.channel.clone()).collect()
}

pub async fn a_report_is_told_to_staff_once_per_person_and_message(bed: &Bed) {
    let (alice, bob, carol) = (guest("alice"), guest("bob"), guest("carol"));
    let group = bed.group(&alice, &["bob", "carol"]).await;
    let sent = bed.send(&bob, &group, "your card number?").await.value;
    let kept = report(bed, &alice, sent.id, ReportReason::Fraud).await.expect("hers to see");
    let made = &kept.value;
    assert_eq!((made.state, made.sender_id.as_str(), made.reporter_id.as_str()), (ReportState::Open, "bob", "alice"));
    let staff = [Role::Admin, Role::Staff].map(Channel::Role);
    assert_eq!(told(&kept), staff);
    let said = event(&kept.envelopes[0]);
    assert_eq!((&said["type"], &said["data"]["reason"]), (&"report.created".into(), &"fraud".into()));
    assert!(!said.to_string().contains("card"), "{said}");
    assert_eq!(bed.page(&staff[1], 0, usize::MAX / 2).await.entries, [kept.envelopes[1].clone()]);
    assert_eq!(bed.head(&feed_of("bob")).await, Seq(2), "its sender is not told");
    let racing = join_all((0..10).map(|_| report(bed, &carol, sent.id, ReportReason::Spam))).await;
    assert_eq!(racing.iter().filter(|kept| kept.as_ref().is_ok_and(|kept| kept.created)).count(), 1, "{racing:?}");
    let again = report(bed, &alice, sent.id, ReportReason::Hate).await.expect("it is reported already");
    assert!(!again.created && again.envelopes.is_empty() && again.value == kept.value, "{again:?}");
    let own = report(bed, &bob, sent.id, ReportReason::Spam).await;
    assert!(matches!(own, Err(StoreError::Forbidden(_))), "{own:?}");
    let strange = report(bed, &guest("eve"), sent.id, ReportReason::Spam).await;
    assert!(matches!(strange, Err(StoreError::NoMessage(_))), "{strange:?}");
    let delete = ChangeDraft { message_id: sent.id, change: Change::Delete, trace: TraceId::random() };
    bed.store.change(&bob, &delete).await.expect("his own");
    let late = report(bed, &sam(), sent.id, ReportReason::Spam).await;
    assert!(matches!(late, Err(StoreError::Deleted(_))), "{late:?}");
    assert!(!report(bed, &alice, sent.id, ReportReason::Fraud).await.expect("a repeat succeeds").created);
}

pub async fn of_those_who_decide_a_report_at_once_one_does(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let sent = bed.send(&bob, &group, "spam").await.value;
    let id = report(bed, &alice, sent.id, ReportReason::Spam).await.expect("hers to see").value.id;
    for outsider in [&alice, &bob] {
        let refused = decide(bed, outsider, id, ReportState::Resolved).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
    let staff: Vec<_> = (0..6).map(|n| person(&format!("staff-{n}"), Role::Staff)).collect();
    let states = [ReportState::Resolved, ReportState::Dismissed];
    let racing = staff.iter().zip(states.into_iter().cycle()).map(|(one, state)| decide(bed, one, id, state));
    let racing = join_all(racing).await;
    let (won, lost): (Vec<_>, Vec<_>) = racing.into_iter().partition(Result::is_ok);
    let [Ok(won)] = won.as_slice() else { panic!("one decides: {won:?}") };
    assert!(lost.iter().all(|lost| matches!(lost, Err(StoreError::Decided(found)) if *found == id)), "{lost:?}");
    assert!(won.value.decided_at.is_some());
    let winner = person(won.value.decided_by.as_ref().expect("somebody did").as_str(), Role::Staff);
    let again = decide(bed, &winner, id, won.value.state).await.expect("it is so already");
    assert!(!again.created && again.envelopes.is_empty() && again.value == won.value, "{again:?}");
    let feed = Channel::Role(Role::Staff);
    let entries = bed.page(&feed, 0, usize::MAX / 2).await.entries;
    assert_eq!(entries.last(), won.envelopes.last());
    // Whoever reads of the report today reads how it was decided.
    assert_eq!((entries.len(), &event(&entries[0])["version"]), (2, &2.into()));
    let nothing = decide(bed, &sam(), ReportId::new(), ReportState::Resolved).await;
    assert!(matches!(nothing, Err(StoreError::NoReport(_))), "{nothing:?}");
}

pub async fn reports_are_listed_to_staff_the_oldest_first_with_their_messages(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        let sent = bed.send(&bob, &group, text).await.value;
        ids.push(report(bed, &alice, sent.id, ReportReason::Spam).await.expect("hers to see").value.id);
    }
    decide(bed, &sam(), ids[1], ReportState::Dismissed).await.expect("it is open");
    let listed = async |state| {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = ReportPage { state, after, limit: 1 };
            let Some((report, message)) = bed.store.reports(&sam(), &page).await.expect("staff may").pop() else {
                break;
            };
            after = Some((report.created_at.as_micros(), report.id));
            listed.push(message.message_text);
        }
        listed
    };
    assert_eq!(listed(None).await, ["one", "two", "three"]);
    assert_eq!(listed(Some(ReportState::Open)).await, ["one", "three"]);
    assert_eq!(listed(Some(ReportState::Dismissed)).await, ["two"]);
    for outsider in [&alice, &bob] {
        let refused = bed.store.reports(outsider, &ReportPage { state: None, after: None, limit: 9 }).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
}

pub async fn whoever_is_banned_changes_nothing_and_does_not_arrive_until_the_ban_ends(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    let keyed = message_draft(group.id, "before", Some("k"));
    let before = bed.store.append(&bob, &keyed).await.expect("he takes part").value;
    let hers = bed.send(&alice, &group, "hers").await.value;
    let later = plan(group.id, "later", 3_600);
    let later = bed.store.schedule(&bob, &later).await.expect("he takes part").value;
    let end = in_an_hour();
    let kept = set_ban(bed, &sam(), "bob", Some(("spam", Some(end)))).await.expect("staff ban guests");
    assert!(kept.created && kept.value.ban.as_ref().is_some_and(|ban| ban.expires_at == Some(end)), "{kept:?}");
    let is_banned = |refused: Result<(), StoreError>| {
        assert!(matches!(refused, Err(StoreError::Banned(Some(until))) if until == end), "{refused:?}");
    };
    let change = async |message_id, change| {
        bed.store.change(&bob, &ChangeDraft { message_id, change, trace: TraceId::random() }).await.map(drop)
    };
    is_banned(bed.store.append(&bob, &message_draft(group.id, "after", None)).await.map(drop));
    for kind in [ConversationType::Group, ConversationType::Direct] {
        is_banned(bed.store.create_conversation(&bob, &conversation_draft(kind, &["carol"])).await.map(drop));
    }
    is_banned(change(before.id, Change::Edit("after".to_owned(), None)).await);
    is_banned(change(hers.id, Change::React("x".to_owned())).await);
    is_banned(report(bed, &bob, hers.id, ReportReason::Spam).await.map(drop));
    is_banned(bed.store.schedule(&bob, &plan(group.id, "after", 3_600)).await.map(drop));
    is_banned(schedule::change(bed, &bob, later.id, ScheduleChange::Cancel).await.map(drop));
    is_banned(bed.store.keep_unsent(&bob, &writes(group.id, "after")).await.map(drop));
    assert!(!bed.store.append(&bob, &keyed).await.expect("a repeat succeeds").created);
    // Whether something exists that is not theirs to see, they learn as little as everybody.
    let hidden = bed.group(&alice, &["carol"]).await;
    let strange = bed.store.append(&bob, &message_draft(hidden.id, "hello", None)).await;
    assert!(matches!(strange, Err(StoreError::NoConversation(_))), "{strange:?}");
    for message_id in [bed.send(&alice, &hidden, "hers").await.value.id, MessageId::new()] {
        is_banned(change(message_id, Change::React("x".to_owned())).await);
    }
    assert!(bed.store.conversation(&bob, group.id).await.is_ok(), "he reads");
    let arrive = async || {
        let arrival = Arrival { caller: bob.clone(), device_id: None, since: None };
        bed.store.arrive(&[arrival]).await.expect("an answer").remove(0)
    };
    assert_eq!(arrive().await, Verdict::Denied { code: ErrorCode::Banned });
    bed.execute("update users set ban_expires_at = banned_at where id = 'bob'").await;
    assert!(matches!(arrive().await, Verdict::Arrived { .. }));
    bed.send(&bob, &group, "again").await;
    assert_eq!(bed.store.user(&bob, &bob.user).await.expect("himself").ban, None);
}

pub async fn a_ban_is_told_to_the_banned_once_and_closes_their_connections(bed: &Bed) {
    bed.group(&guest("alice"), &["bob"]).await;
    let ban = async |reason, end| set_ban(bed, &sam(), "bob", Some((reason, end))).await.expect("staff ban guests");
    let kept = ban("spam", None).await;
    assert_eq!(told(&kept), [feed_of("bob")]);
    assert!(entry(&kept.envelopes[0]).closes);
    let said = event(&kept.envelopes[0]);
    assert_eq!((&said["type"], &said["data"]["reason"]), (&"user.banned".into(), &"spam".into()));
    assert_eq!(bed.page(&feed_of("bob"), 1, usize::MAX / 2).await.entries, kept.envelopes);
    let again = ban("spam", None).await;
    assert!(!again.created && again.envelopes.is_empty() && again.value == kept.value, "{again:?}");
    let longer = ban("more spam", Some(in_an_hour())).await;
    let since = |kept: &Kept<User>| kept.value.ban.as_ref().expect("he is banned").banned_at;
    assert!(longer.created && since(&longer) == since(&kept));
    let lifted = set_ban(bed, &sam(), "bob", None).await.expect("staff may");
    assert!(lifted.created && lifted.value.ban.is_none() && !entry(&lifted.envelopes[0]).closes);
    assert!(!set_ban(bed, &sam(), "bob", None).await.expect("staff may").created);
    // As of today there is no ban.
    let first = &bed.page(&feed_of("bob"), 1, usize::MAX / 2).await.entries[0];
    assert_eq!(event(first)["data"]["reason"], serde_json::Value::Null);
    assert_eq!(bed.head(&feed_of("alice")).await, Seq(1), "nobody else is told");
}

pub async fn staff_ban_guests_and_admins_ban_everybody(bed: &Bed) {
    bed.group(&sam(), &["bob"]).await;
    let why = Some(("spam", None));
    for refused in [
        set_ban(bed, &guest("bob"), "alice", why).await,
        set_ban(bed, &person("tina", Role::Staff), "sam", why).await,
        set_ban(bed, &person("tina", Role::Staff), "sam", None).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
    let ada = person("ada", Role::Admin);
    set_ban(bed, &ada, "sam", why).await.expect("admins ban staff");
    let banned = set_ban(bed, &sam(), "bob", why).await;
    assert!(matches!(banned, Err(StoreError::Banned(None))), "{banned:?}");
    set_ban(bed, &person("robot", Role::Service), "never-seen", why).await.expect("any id is a person");
    // Who banned somebody is told to staff only, and of a ban nobody else.
    let seen = async |caller: Caller| bed.store.user(&caller, &user("sam")).await.expect("theirs to see").ban;
    assert_eq!(seen(ada.clone()).await.expect("banned").banned_by, Some(ada.user));
    assert_eq!(seen(guest("bob")).await, None);
    set_ban(bed, &person("robot", Role::Service), "bob", why).await.expect("services ban");
    let own = bed.store.user(&guest("bob"), &user("bob")).await.expect("himself").ban.expect("banned");
    assert_eq!((own.reason.as_str(), own.banned_by), ("spam", None));
}
