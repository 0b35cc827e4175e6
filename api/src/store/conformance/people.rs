//! Promises about people.

#![expect(missing_docs, reason = "the names are the promises")]

use futures_util::future::join_all;
use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::ids::{Seq, TraceId};

use super::{Bed, conversation_draft, entry, event, feed_of, guest, message_draft, person, user};
use crate::model::{
    Block, BlockDraft, Change, ChangeDraft, ConversationChange, ConversationChangeDraft, ConversationType, Privacy,
    PrivacyChange, User, UserDraft,
};
use crate::store::{BlockPage, Kept, MessagePage, MessagePart, SearchPage, StoreError};

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

async fn set_block(bed: &Bed, caller: &Caller, name: &str, blocks: bool) -> Kept<Option<Block>> {
    let draft = BlockDraft { user_id: user(name), blocks, trace: TraceId::random() };
    bed.store.set_block(caller, &draft).await.expect("anybody may")
}

fn is_blocked<T: std::fmt::Debug>(refused: &Result<T, StoreError>) {
    assert!(matches!(refused, Err(StoreError::Blocked)), "{refused:?}");
}

pub async fn between_two_of_whom_one_blocks_the_other_nothing_direct_is_sent(bed: &Bed) {
    let (alice, bob, carol) = (guest("alice"), guest("bob"), guest("carol"));
    let start = async |caller: &Caller, other: &str| {
        bed.store.create_conversation(caller, &conversation_draft(ConversationType::Direct, &[other])).await
    };
    let change = async |caller: &Caller, message_id, change| {
        bed.store.change(caller, &ChangeDraft { message_id, change, trace: TraceId::random() }).await
    };
    let direct = start(&alice, "bob").await.expect("nobody blocks anybody").value;
    let keyed = message_draft(direct.id, "before", Some("k"));
    let before = bed.store.append(&bob, &keyed).await.expect("nobody blocks anybody").value;
    set_block(bed, &alice, "bob", true).await;
    for one in [&alice, &bob] {
        let shows = bed.store.participates(one, direct.id).await.expect("an answer").expect("in it");
        assert!(!shows.signs && shows.receipts);
        is_blocked(&bed.store.append(one, &message_draft(direct.id, "after", None)).await);
        is_blocked(&change(one, before.id, Change::React("x".to_owned())).await);
    }
    is_blocked(&change(&bob, before.id, Change::Edit("after".to_owned(), None)).await);
    assert!(!bed.store.append(&bob, &keyed).await.expect("a repeat succeeds").created);
    assert!(!start(&bob, "alice").await.expect("it is there already").created);
    assert!(change(&bob, before.id, Change::Delete).await.expect("his own").created);
    set_block(bed, &carol, "alice", true).await;
    for refused in [start(&alice, "carol").await, start(&carol, "alice").await] {
        is_blocked(&refused);
    }
    assert_eq!(bed.head(&feed_of("carol")).await, Seq(1), "she is told of what she blocks, and of nothing else");
    let pairs = [("alice", "bob"), ("bob", "alice"), ("bob", "carol"), ("carol", "alice")];
    let pairs = pairs.map(|(one, other)| (user(one), user(other)));
    assert_eq!(bed.store.blocked_pairs(&pairs).await.expect("an answer"), [true, true, false, true]);
    assert!(bed.store.blocked_pairs(&[]).await.expect("an answer").is_empty());
    set_block(bed, &alice, "bob", false).await;
    bed.send(&bob, &direct, "again").await;
    assert!(bed.store.participates(&bob, direct.id).await.expect("an answer").expect("in it").signs);
}

pub async fn a_block_is_told_to_ones_own_devices_alone_and_once(bed: &Bed) {
    let alice = guest("alice");
    let kept = set_block(bed, &alice, "bob", true).await;
    assert_eq!(told(&kept), [feed_of("alice")]);
    let block = kept.value.clone().expect("he is blocked");
    assert_eq!(block.user_id, user("bob"));
    let said = event(&kept.envelopes[0]);
    assert_eq!((&said["type"], &said["data"]["user_id"]), (&"blocks.updated".into(), &"bob".into()));
    assert_eq!(said["data"]["blocked_at"], block.blocked_at.to_string());
    assert_eq!(bed.page(&feed_of("alice"), 0, usize::MAX / 2).await.entries, kept.envelopes);
    let again = set_block(bed, &alice, "bob", true).await;
    assert!(!again.created && again.envelopes.is_empty() && again.value == Some(block), "{again:?}");
    let back = set_block(bed, &alice, "bob", false).await;
    assert!(back.created && back.value.is_none());
    assert_eq!(event(&back.envelopes[0])["data"]["blocked_at"], serde_json::Value::Null);
    assert!(!set_block(bed, &alice, "bob", false).await.created);
    assert_eq!((bed.head(&feed_of("alice")).await, bed.head(&feed_of("bob")).await), (Seq(2), Seq::ZERO));
}

pub async fn presence_is_seen_by_those_who_share_a_conversation_unless_it_is_hidden_or_blocked(bed: &Bed) {
    let (alice, bob, sam) = (guest("alice"), guest("bob"), person("sam", Role::Staff));
    let robot = person("robot", Role::Service);
    let group = bed.group(&alice, &["bob", "carol"]).await;
    let sees = async |caller: &Caller, names: &[&str]| {
        let people: Vec<_> = names.iter().map(|name| user(name)).collect();
        let asked: Vec<_> = people.iter().map(|person| (caller, person)).collect();
        bed.store.sees_presence(&asked).await.expect("an answer")
    };
    assert_eq!(sees(&alice, &["bob", "eve", "alice", "carol"]).await, [true, false, true, true]);
    assert_eq!(sees(&guest("eve"), &["alice", "eve"]).await, [false, true]);
    for trusted in [&sam, &robot] {
        assert_eq!(sees(trusted, &["alice", "eve"]).await, [true, true], "they need share no conversation");
    }
    assert!(sees(&alice, &[]).await.is_empty());

    set_block(bed, &alice, "bob", true).await;
    assert_eq!((sees(&alice, &["bob"]).await, sees(&bob, &["alice", "carol"]).await), (vec![false], vec![false, true]));
    set_block(bed, &alice, "sam", true).await;
    assert_eq!(sees(&sam, &["alice", "bob"]).await, [false, true]);
    set_block(bed, &alice, "bob", false).await;
    assert_eq!(sees(&bob, &["alice"]).await, [true]);

    let change = PrivacyChange { presence: Some(false), ..PrivacyChange::default() };
    let set = bed.store.set_privacy(&alice, &change).await.expect("hers");
    let shows = set.value;
    assert_eq!(
        (set.created, set.envelopes[0].channel.to_string(), set.envelopes.len()),
        (true, "presence:alice".into(), 1)
    );
    let again = bed.store.set_privacy(&alice, &change).await.expect("hers");
    assert!(!again.created && again.envelopes.is_empty(), "a repeat has nobody asked anew");
    let signs = PrivacyChange { signs: Some(false), ..PrivacyChange::default() };
    assert!(
        bed.store.set_privacy(&alice, &signs).await.expect("hers").envelopes.is_empty(),
        "nor what does not concern it"
    );
    bed.store.set_privacy(&alice, &PrivacyChange { signs: Some(true), ..signs }).await.expect("hers");
    assert_eq!(shows, Privacy { presence: false, ..Privacy::default() });
    assert_eq!(bed.store.privacy(&alice).await.expect("hers"), shows);
    for caller in [&bob, &robot] {
        assert_eq!(sees(caller, &["alice"]).await, [false]);
    }
    assert_eq!(sees(&alice, &["alice"]).await, [true], "of oneself one sees it");
    let change = PrivacyChange { presence: Some(true), ..PrivacyChange::default() };
    assert_eq!(bed.store.set_privacy(&alice, &change).await.expect("hers").value, Privacy::default());

    let change = ConversationChange::Remove(user("bob"));
    let draft = ConversationChangeDraft { conversation_id: group.id, change, trace: TraceId::random() };
    bed.store.change_conversation(&alice, &draft).await.expect("she owns it");
    assert_eq!((sees(&alice, &["bob"]).await, sees(&bob, &["alice"]).await), (vec![false], vec![false]));
}

pub async fn what_the_blocked_wrote_is_seen_in_groups_and_not_found(bed: &Bed) {
    let (alice, bob, carol) = (guest("alice"), guest("bob"), guest("carol"));
    let group = bed.group(&alice, &["bob", "carol"]).await;
    bed.send(&bob, &group, "a word of his").await;
    bed.send(&carol, &group, "a word of hers").await;
    set_block(bed, &alice, "bob", true).await;
    bed.send(&bob, &group, "another word of his").await;
    let page = MessagePage { part: MessagePart::Newest { offset: 0 }, limit: 10 };
    assert_eq!(bed.store.messages(&alice, group.id, &page).await.expect("hers").len(), 3);
    let found = async |caller: &Caller| {
        let page = SearchPage { query: "word".parse().expect("a query"), after: None, limit: 10 };
        let hits = bed.store.search(caller, &page).await.expect("anybody may");
        hits.into_iter().map(|hit| hit.message.sender_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found(&alice).await, ["carol"]);
    assert_eq!(found(&bob).await, ["bob", "carol", "bob"]);
    set_block(bed, &alice, "bob", false).await;
    assert_eq!(found(&alice).await, ["bob", "carol", "bob"]);
}

pub async fn those_whom_one_blocks_are_listed_the_last_first(bed: &Bed) {
    let alice = guest("alice");
    for name in ["bob", "carol", "dave"] {
        set_block(bed, &alice, name, true).await;
    }
    bed.execute(
        "update user_blocks set created_at = (select max(created_at) from user_blocks) where blocked_id <> 'bob'",
    )
    .await;
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = BlockPage { after: after.clone(), limit: 1 };
        let Some(block) = bed.store.blocks(&alice, &page).await.expect("her own").pop() else { break };
        after = Some((block.blocked_at.as_micros(), block.user_id.clone()));
        listed.push(block.user_id.to_string());
    }
    assert_eq!(listed, ["carol", "dave", "bob"]);
    assert!(bed.store.blocks(&guest("bob"), &BlockPage { after: None, limit: 9 }).await.expect("his own").is_empty());
}

pub async fn a_person_blocks_at_most_a_thousand(bed: &Bed) {
    let alice = guest("alice");
    for number in 0..1_000 {
        set_block(bed, &alice, &format!("user-{number}"), true).await;
    }
    set_block(bed, &alice, "user-0", true).await;
    let one_more = BlockDraft { user_id: user("one-more"), blocks: true, trace: TraceId::random() };
    let refused = bed.store.set_block(&alice, &one_more).await;
    assert!(matches!(refused, Err(StoreError::LimitExceeded { limit: 1_000, .. })), "{refused:?}");
    assert_eq!(bed.number("select count(*) from user_blocks").await, 1_000);
}
