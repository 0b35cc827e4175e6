//! Promises about people.

#![expect(missing_docs, reason = "the names are the promises")]

use futures_util::future::join_all;
use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::ids::{Seq, TraceId};

use super::{Bed, conversation_draft, entry, event, feed_of, guest, person, user};
use crate::model::{ConversationType, User, UserDraft};
use crate::store::{Kept, StoreError};

fn profile(id: &str, name: &str) -> UserDraft {
    UserDraft {
        id: user(id),
        role: None,
        name: Some(name.to_owned()),
        avatar_url: Some("https://example.com/a.png".to_owned()),
        email: Some("a@example.com".to_owned()),
        locale: Some("de-CH".to_owned()),
        time_zone: Some("Europe/Zurich".to_owned()),
        trace: TraceId::random(),
    }
}

async fn put(bed: &Bed, draft: &UserDraft) -> Kept<User> {
    bed.store.put_user(&service(), draft).await.expect("services may")
}

fn service() -> Caller {
    person("robot", Role::Service)
}

fn told<T>(kept: &Kept<T>) -> Vec<Channel> {
    let mut channels: Vec<_> = kept.envelopes.iter().map(|told| told.channel.clone()).collect();
    channels.sort();
    channels
}

pub async fn a_profile_is_told_to_the_person_and_to_those_who_share_a_conversation_with_them(bed: &Bed) {
    let alice = guest("alice");
    bed.group(&alice, &["bob", "carol"]).await;
    bed.group(&alice, &["bob", "dave"]).await;
    bed.group(&guest("eve"), &["dave"]).await;
    bed.execute("update conversation_participants set left_at = joined_at where user_id = 'carol'").await;
    let kept = put(bed, &profile("alice", "Alice")).await;
    assert!(kept.created && kept.value.version == 1 && kept.value.updated_at.is_some(), "{kept:?}");
    assert_eq!(told(&kept), ["alice", "bob", "dave"].map(feed_of));
    let bobs = kept.envelopes.iter().find(|told| told.channel == feed_of("bob")).expect("he is told");
    let said = event(bobs);
    assert_eq!((&said["type"], &said["version"]), (&"user.updated".into(), &1.into()));
    assert_eq!((&said["data"]["user_id"], &said["data"]["name"]), (&"alice".into(), &"Alice".into()));
    assert!(!said.to_string().contains("a@example.com"), "{said}");
    assert_eq!(entry(bobs).unread, None);
    assert_eq!(bed.page(&feed_of("bob"), 2, usize::MAX / 2).await.entries, std::slice::from_ref(bobs));
    // Whoever reads it later reads today's profile.
    let next = put(bed, &profile("alice", "Alicia")).await;
    assert_eq!(next.value.version, 2);
    let first = &bed.page(&feed_of("bob"), 2, usize::MAX / 2).await.entries[0];
    assert_eq!((&event(first)["data"]["name"], &event(first)["version"]), (&"Alicia".into(), &2.into()));
    let refused = bed.store.put_user(&person("ada", Role::Admin), &profile("alice", "x")).await;
    assert!(matches!(refused, Err(StoreError::Forbidden(_))), "{refused:?}");
}

pub async fn the_same_profile_again_changes_nothing_and_tells_nobody(bed: &Bed) {
    bed.group(&guest("alice"), &["bob"]).await;
    let draft = profile("alice", "Alice");
    let racing = join_all((0..10).map(|_| put(bed, &draft))).await;
    assert_eq!(racing.iter().filter(|kept| kept.created).count(), 1);
    assert!(racing.iter().all(|kept| kept.value == racing[0].value));
    assert_eq!(bed.head(&feed_of("bob")).await, Seq(2));
    // What is left out is empty from then on, except the role.
    let staff = put(bed, &UserDraft { role: Some(Role::Staff), ..profile("alice", "Alice") }).await.value;
    assert_eq!(staff.role, Role::Staff);
    let bare = UserDraft { avatar_url: None, email: None, locale: None, time_zone: None, ..profile("alice", "Alice") };
    let bare = put(bed, &bare).await.value;
    assert_eq!((bare.role, bare.email, bare.locale, bare.version), (Role::Staff, None, None, 3));
}

pub async fn a_person_is_shown_to_those_they_talk_with_and_their_email_to_themselves_and_staff(bed: &Bed) {
    bed.group(&guest("alice"), &["bob", "carol"]).await;
    bed.execute("update conversation_participants set left_at = joined_at where user_id = 'carol'").await;
    put(bed, &profile("alice", "Alice")).await;
    let alice = user("alice");
    let seen = async |caller: Caller| bed.store.user(&caller, &alice).await;
    for caller in [guest("alice"), person("sam", Role::Staff), person("ada", Role::Admin), service()] {
        assert_eq!(seen(caller).await.expect("theirs to see").email.as_deref(), Some("a@example.com"));
    }
    let bobs = seen(guest("bob")).await.expect("they talk");
    assert_eq!((bobs.email, bobs.name.as_deref(), bobs.version), (None, Some("Alice"), 1));
    for stranger in [guest("carol"), guest("eve")] {
        let refused = seen(stranger).await;
        assert!(matches!(&refused, Err(StoreError::NoUser(id)) if *id == alice), "{refused:?}");
    }
    // Of somebody of whom nothing was ever said there is only an id.
    for caller in [guest("alice"), guest("bob"), person("sam", Role::Staff)] {
        let bob = bed.store.user(&caller, &user("bob")).await.expect("theirs to see");
        assert_eq!((bob.id, bob.role, bob.name, bob.version), (user("bob"), Role::Guest, None, 0));
    }
    let nobody = bed.store.user(&service(), &user("nobody")).await;
    assert!(matches!(nobody, Err(StoreError::NoUser(_))), "{nobody:?}");
}

pub async fn a_name_that_a_service_said_stays_whatever_a_token_says(bed: &Bed) {
    let named = |name: &str| Caller { name: Some(name.to_owned()), ..guest("alice") };
    bed.group(&named("al"), &["bob"]).await;
    let shown = async || bed.store.user(&guest("bob"), &user("alice")).await.expect("they talk");
    assert_eq!(shown().await.name.as_deref(), Some("al"));
    put(bed, &UserDraft { role: Some(Role::Staff), ..profile("alice", "Alice") }).await;
    bed.group(&named("ally"), &["bob"]).await;
    let now = shown().await;
    // The token's role wins over the registered one.
    assert_eq!((now.name.as_deref(), now.role, now.version), (Some("Alice"), Role::Guest, 1));
}

pub async fn a_profile_is_told_to_at_most_250_others_those_last_talked_with(bed: &Bed) {
    let alice = guest("alice");
    let names: Vec<String> = (0..260).map(|n| format!("user-{n:03}")).collect();
    let each: Vec<&str> = names.iter().map(String::as_str).collect();
    for others in each.chunks(130) {
        bed.group(&alice, others).await;
    }
    let direct = conversation_draft(ConversationType::Direct, &["zoe"]);
    bed.store.create_conversation(&alice, &direct).await.expect("anybody may");
    let told = told(&put(bed, &profile("alice", "Alice")).await);
    assert_eq!(told.len(), 251);
    assert!(told.contains(&feed_of("alice")) && told.contains(&feed_of("zoe")) && told.contains(&feed_of("user-259")));
}
