//! Promises about revocations.

#![expect(missing_docs, reason = "the names are the promises")]

use std::time::Duration;

use futures_util::future::join_all;
use shared::access::{CLOCKS_DIFFER, Caller, Revoked, RevokedTokens};
use shared::channel::{Channel, Role};
use shared::ids::{Epoch, RevocationId, Seq, TraceId};
use shared::time::Timestamp;
use shared::upstream::RevokedAfter;

use super::{Bed, entry, guest, person, user};
use crate::model::{BanDraft, Revocation, RevocationDraft};
use crate::store::{Kept, RevocationPage, StoreError};

fn all_of(name: &str) -> RevocationDraft {
    RevocationDraft {
        id: RevocationId::new(),
        user_id: user(name),
        token_id: None,
        issued_until: None,
        reason: Some("stolen".to_owned()),
        expires_at: Timestamp::now().plus(Duration::from_secs(3_600)),
        idempotency_key: None,
        trace: TraceId::random(),
    }
}

fn one_of(name: &str, token: &str) -> RevocationDraft {
    RevocationDraft { token_id: Some(token.to_owned()), ..all_of(name) }
}

fn until(name: &str, moment: Timestamp) -> RevocationDraft {
    RevocationDraft { issued_until: Some(moment), ..all_of(name) }
}

async fn revoke(bed: &Bed, caller: &Caller, draft: &RevocationDraft) -> Kept<Revocation> {
    bed.store.revoke(caller, draft).await.expect("theirs to revoke")
}

/// What was revoked after there, over all pages, and where that ends.
async fn revoked_after(bed: &Bed, mut after: RevokedAfter) -> (Vec<Revoked>, RevokedAfter) {
    let mut revoked = Vec::new();
    loop {
        let page = bed.store.revoked_after(&after).await.expect("pods may ask");
        (revoked, after) = ([revoked, page.revoked].concat(), page.next);
        if !page.more {
            return (revoked, after);
        }
    }
}

pub async fn a_revocation_is_told_to_the_pods_once_and_read_from_where_they_are(bed: &Bed) {
    let (alice, robot) = (guest("alice"), person("robot", Role::Service));
    let (nothing, start) = revoked_after(bed, RevokedAfter::default()).await;
    assert_eq!((nothing, start), (vec![], RevokedAfter { epoch: Some(bed.epoch().await), after: Seq::ZERO }));
    let first = revoke(bed, &alice, &one_of("alice", "phone")).await;
    assert!(first.created);
    let [told] = first.envelopes.as_slice() else { panic!("one feed is told: {first:?}") };
    assert_eq!((&told.channel, entry(told).seq), (&Channel::Fleet, Seq(1)));
    assert_eq!(bed.page(&Channel::Fleet, 0, usize::MAX / 2).await.entries, first.envelopes);
    assert!(bed.store.recent_heads().await.expect("read").heads.contains(&(Channel::Fleet, Seq(1))));
    let second = revoke(bed, &robot, &all_of("bob")).await;
    let (both, end) = revoked_after(bed, start).await;
    assert_eq!(both, [first.value.revoked(), second.value.revoked()]);
    assert_eq!(end.after, Seq(2));
    assert_eq!(revoked_after(bed, RevokedAfter { after: Seq(1), ..end }).await.0, [second.value.revoked()]);
    assert_eq!(revoked_after(bed, end).await, (vec![], end));
    // A number that means nothing today is none.
    for lost in [RevokedAfter { epoch: Some(Epoch(1)), ..end }, RevokedAfter { after: Seq(99), ..end }] {
        assert_eq!(revoked_after(bed, lost).await, (both.clone(), end));
    }
    let again = revoke(bed, &robot, &one_of("alice", "phone")).await;
    assert!(!again.created && again.envelopes.is_empty() && again.value == first.value, "{again:?}");
    assert_eq!(bed.head(&Channel::Fleet).await, Seq(2));
}

pub async fn of_all_tokens_the_later_moment_counts_and_a_key_counts_once(bed: &Bed) {
    let alice = guest("alice");
    let now = Timestamp::now();
    let (sooner, later) = (now.plus(Duration::from_secs(1)), now.plus(Duration::from_secs(2)));
    let first = revoke(bed, &alice, &until("alice", sooner)).await;
    assert_eq!((first.created, first.value.issued_until, first.value.token_id.as_ref()), (true, Some(sooner), None));
    assert!(!revoke(bed, &alice, &until("alice", now)).await.created, "it says nothing new");
    let second = revoke(bed, &alice, &until("alice", later)).await;
    assert_eq!((second.created, second.value.id, second.value.issued_until), (true, first.value.id, Some(later)));
    let (revoked, _) = revoked_after(bed, RevokedAfter::default()).await;
    let [Revoked { tokens: RevokedTokens::IssuedUntil(moment), .. }] = revoked.as_slice() else {
        panic!("{revoked:?}")
    };
    assert_eq!(*moment, later);
    // Those who race leave the latest moment, and nothing is told without a number of its own.
    let moments = (3..23).map(|seconds| now.plus(Duration::from_secs(seconds))).rev();
    let drafts: Vec<_> = moments.map(|moment| until("alice", moment)).collect();
    let raced = join_all(drafts.iter().map(|draft| revoke(bed, &alice, draft))).await;
    let told = raced.iter().filter(|kept| kept.created).count() as u64;
    assert_eq!(bed.head(&Channel::Fleet).await, Seq(2 + told));
    let (revoked, _) = revoked_after(bed, RevokedAfter::default()).await;
    assert_eq!(revoked[0].tokens, RevokedTokens::IssuedUntil(now.plus(Duration::from_secs(22))));
    // Without a moment it is now, and as clocks differ a little more. The same key is the same now.
    let keyed = RevocationDraft { idempotency_key: Some("k".parse().expect("a key")), ..all_of("bob") };
    let robot = person("robot", Role::Service);
    let kept = revoke(bed, &robot, &keyed).await;
    assert!(kept.value.issued_until.is_some_and(|moment| moment >= now.plus(CLOCKS_DIFFER)));
    let again = revoke(bed, &robot, &RevocationDraft { id: RevocationId::new(), ..keyed.clone() }).await;
    assert!(!again.created && again.value == kept.value, "{again:?}");
    let other = bed.store.revoke(&robot, &RevocationDraft { user_id: user("carol"), ..keyed }).await;
    assert!(matches!(other, Err(StoreError::KeyReused)), "{other:?}");
}

pub async fn everybody_revokes_their_own_tokens_and_admins_everybodys(bed: &Bed) {
    for other in [guest("bob"), person("sam", Role::Staff)] {
        for draft in [all_of("alice"), one_of("alice", "phone")] {
            let refused = bed.store.revoke(&other, &draft).await;
            assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
        }
    }
    let (alice, ada, robot) = (guest("alice"), person("ada", Role::Admin), person("robot", Role::Service));
    revoke(bed, &alice, &one_of("alice", "phone")).await;
    revoke(bed, &ada, &one_of("alice", "desk")).await;
    // Whoever may do nothing else may still log out.
    let ban = Some(("spam".to_owned(), None));
    let ban = BanDraft { user_id: user("alice"), ban, trace: TraceId::random() };
    bed.store.set_ban(&ada, &ban).await.expect("admins ban everybody");
    revoke(bed, &alice, &all_of("alice")).await;
    revoke(bed, &robot, &all_of("ada")).await;
    let listed = async |caller: &Caller, user_id| {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = RevocationPage { user_id: Clone::clone(&user_id), after, limit: 2 };
            let revocations = bed.store.revocations(caller, &page).await?;
            let Some(last) = revocations.last() else { return Ok::<_, StoreError>(listed) };
            after = Some((last.revoked_at.as_micros(), last.id));
            listed.extend(revocations.into_iter().map(|one| (one.user_id.to_string(), one.token_id)));
        }
    };
    let row = |name: &str, token: Option<&str>| (name.to_owned(), token.map(str::to_owned));
    let alices = [row("alice", None), row("alice", Some("desk")), row("alice", Some("phone"))];
    for caller in [&ada, &robot] {
        let all = listed(caller, None).await.expect("admins may");
        assert_eq!(all, [&[row("ada", None)], alices.as_slice()].concat());
        assert_eq!(listed(caller, Some(user("alice"))).await.expect("admins may"), alices);
    }
    for caller in [&alice, &person("sam", Role::Staff)] {
        let refused = listed(caller, None).await;
        assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
    }
}

pub async fn a_person_has_at_most_a_hundred_single_tokens_revoked(bed: &Bed) {
    let alice = guest("alice");
    for number in 0..100 {
        revoke(bed, &alice, &one_of("alice", &format!("t{number}"))).await;
    }
    let more = bed.store.revoke(&alice, &one_of("alice", "one too many")).await;
    assert!(matches!(more, Err(StoreError::LimitExceeded { limit: 100, .. })), "{more:?}");
    assert!(!revoke(bed, &alice, &one_of("alice", "t7")).await.created);
    assert!(
        revoke(bed, &alice, &all_of("alice")).await.created
            && revoke(bed, &guest("bob"), &one_of("bob", "t")).await.created
    );
}

pub async fn what_was_revoked_is_read_in_pages_and_forgotten_an_hour_after_it_is_over(bed: &Bed) {
    let robot = person("robot", Role::Service);
    bed.fill_revocations(1_100).await;
    let first = bed.store.revoked_after(&RevokedAfter::default()).await.expect("pods may ask");
    assert_eq!((first.revoked.len(), first.more, first.next.after), (1_000, true, Seq(1_000)));
    let (all, end) = revoked_after(bed, RevokedAfter::default()).await;
    assert_eq!((all.len(), end.after), (1_100, Seq(1_100)));
    assert_eq!(bed.store.forget_revocations(2_000).await.expect("a worker may"), 0);
    bed.expire_revocations("u10%").await;
    assert_eq!(bed.store.forget_revocations(100).await.expect("a worker may"), 100);
    assert_eq!(bed.store.forget_revocations(100).await.expect("a worker may"), 11);
    let (left, same_end) = revoked_after(bed, RevokedAfter::default()).await;
    assert_eq!((left.len(), same_end), (1_100 - 111, end), "whoever is behind goes on where the feed is");
    // What a key revoked may be forgotten; then it is revoked anew.
    let keyed = RevocationDraft { idempotency_key: Some("k".parse().expect("a key")), ..all_of("u10") };
    assert!(revoke(bed, &robot, &keyed).await.created);
    bed.expire_revocations("u10").await;
    bed.store.forget_revocations(100).await.expect("a worker may");
    assert!(revoke(bed, &robot, &RevocationDraft { id: RevocationId::new(), ..keyed }).await.created);
}
