//! Promises about markers and counts.

#![expect(missing_docs, reason = "the names are the promises")]

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::cursor::Positions;
use shared::envelope::{Content, Envelope};
use shared::ids::{ConversationId, MessageId, Seq, TraceId};
use shared::upstream::Acknowledgement;

use super::{Bed, entry, event, feed_of, guest, message_draft, person, user};
use crate::model::{
    Change, ChangeDraft, Conversation, ConversationChange, ConversationChangeDraft, InThread, MarkerDraft, MarkerMove,
    Mentions, MessageDraft, Privacy, PrivacyChange, ReadMarker, ThreadChange, ThreadChangeDraft,
};
use crate::store::{Kept, StoreError, UnreadPage};

fn marker(conversation_id: ConversationId, to: MarkerMove) -> MarkerDraft {
    MarkerDraft { conversation_id, to, trace: TraceId::random() }
}

async fn reads(bed: &Bed, reader: &Caller, conversation: &Conversation, up_to: Option<u64>) -> Kept<ReadMarker> {
    let draft = marker(conversation.id, MarkerMove::ReadUpTo(up_to.map(Seq)));
    bed.store.mark(reader, &draft).await.expect("a participant may read")
}

fn room_of(conversation: &Conversation) -> Channel {
    Channel::Room(format!("conversation:{}", conversation.id).parse().expect("a room"))
}

/// What a sign says.
fn sign(envelope: &Envelope) -> serde_json::Value {
    let Content::Sign(body) = &envelope.content else { panic!("{envelope:?}") };
    serde_json::from_slice(&[body.as_bytes().as_ref(), b"}"].concat()).expect("JSON")
}

/// Acknowledges everything in somebody's own feed up to a number, with one of their devices, and answers what others are shown.
async fn receives(bed: &Bed, user: &Caller, up_to: u64) -> Vec<Envelope> {
    let positions = Positions { user: Seq(up_to), ..Positions::default() };
    let (device_id, epoch) = (Some("phone".parse().expect("an id")), bed.epoch().await);
    let (user, role) = (user.user.clone(), user.role);
    let acknowledgement = Acknowledgement { user, role, device_id, epoch, positions, unfiltered: true };
    bed.store.acknowledge(&[acknowledgement]).await.expect("noted")
}

/// How far somebody has received and read a conversation, as `reader` sees it.
async fn receipts(bed: &Bed, reader: &Caller, conversation: &Conversation, user: &Caller) -> (u64, u64) {
    let seen = bed.store.conversation(reader, conversation.id).await.expect("in it");
    let one = seen.participants.iter().find(|one| one.user_id == user.user).expect("in it");
    (one.last_delivered_seq.0, one.last_read_seq.0)
}

pub async fn what_a_device_acknowledges_is_delivered_and_the_others_are_shown_it(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let (first, second) = (bed.group(&alice, &["bob"]).await, bed.group(&alice, &["bob"]).await);
    // In bob's feed: 1 and 2 are the groups, 3 and 4 messages of the first, 5 his own, 6 of the second.
    for text in ["one", "two"] {
        bed.send(&alice, &first, text).await;
    }
    bed.send(&bob, &first, "three").await;
    bed.send(&alice, &second, "hello").await;
    assert_eq!(receives(bed, &bob, 2).await, [], "nothing of it was a message");
    let shown = receives(bed, &bob, 3).await;
    assert_eq!(shown.iter().map(|shown| shown.channel.clone()).collect::<Vec<_>>(), [room_of(&first)]);
    let said = sign(&shown[0]);
    assert_eq!((&said["type"], &said["data"]["user_id"]), (&"receipt.updated".into(), &"bob".into()));
    assert_eq!((&said["data"]["last_delivered_seq"], &said["data"]["last_read_seq"]), (&1.into(), &0.into()));
    assert_eq!(receives(bed, &bob, 3).await, [], "twice is once");
    let mut rooms: Vec<_> = receives(bed, &bob, u64::MAX).await.into_iter().map(|shown| shown.channel).collect();
    rooms.sort();
    let mut expected = vec![room_of(&first), room_of(&second)];
    expected.sort();
    assert_eq!(rooms, expected);
    assert_eq!(receipts(bed, &alice, &first, &bob).await, (2, 0));
    assert_eq!(receipts(bed, &alice, &second, &bob).await, (1, 0));
    // What was read was received, and receiving it later takes nothing back.
    let third = bed.group(&alice, &["bob"]).await;
    bed.send(&alice, &third, "hello").await;
    reads(bed, &bob, &third, None).await;
    assert_eq!(receives(bed, &bob, u64::MAX).await, []);
    assert_eq!(receipts(bed, &alice, &third, &bob).await, (1, 1));
}

pub async fn who_shows_no_receipts_is_seen_without_any_and_counts_as_before(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    bed.send(&alice, &group, "one").await;
    reads(bed, &bob, &group, None).await;
    assert_eq!(receipts(bed, &alice, &group, &bob).await, (1, 1));
    assert_eq!(bed.store.privacy(&bob).await.expect("his"), Privacy::default());
    let change = PrivacyChange { receipts: Some(false), ..PrivacyChange::default() };
    let shows = bed.store.set_privacy(&bob, &change).await.expect("his").value;
    assert_eq!(
        (shows, bed.store.privacy(&bob).await.expect("his")),
        (Privacy { receipts: false, ..Privacy::default() }, shows)
    );
    assert_eq!(receipts(bed, &alice, &group, &bob).await, (0, 0), "it holds for what was shown before");
    assert_eq!(receipts(bed, &bob, &group, &bob).await, (1, 1), "to himself he shows it");
    bed.send(&alice, &group, "two").await;
    assert_eq!(receives(bed, &bob, u64::MAX).await, []);
    let read = reads(bed, &bob, &group, None).await;
    assert_eq!((read.value.unread_count, read.envelopes.len()), (0, 1), "only his own devices are told");
    // Neither where he comes later nor in what is told of a conversation to all in it.
    let other = bed.group(&bob, &["alice"]).await;
    bed.send(&alice, &other, "hello").await;
    reads(bed, &bob, &other, None).await;
    assert_eq!(receipts(bed, &alice, &other, &bob).await, (0, 0));
    let change = ConversationChange::Update { subject: Some(Some("new".into())), status: None, metadata: None };
    let draft = ConversationChangeDraft { conversation_id: other.id, change, trace: TraceId::random() };
    let changed = bed.store.change_conversation(&bob, &draft).await.expect("his");
    let told = event(&changed.envelopes[0]);
    let his = told["data"]["participants"].as_array().expect("people").iter().find(|one| one["user_id"] == "bob");
    assert_eq!(his.expect("in it")["last_read_seq"], 0, "{told}");
    let change = PrivacyChange { receipts: Some(true), signs: Some(false), presence: None };
    assert!(!bed.store.set_privacy(&bob, &change).await.expect("his").value.signs);
    assert_eq!(receipts(bed, &alice, &group, &bob).await, (2, 2));
    let shows = bed.store.participates(&bob, group.id).await.expect("an answer").expect("in it");
    assert!(!shows.signs);
}

pub async fn reading_moves_the_marker_forwards_and_tells_only_ones_own_devices(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for text in ["one", "two", "three"] {
        bed.send(&alice, &group, text).await;
    }
    let read = reads(bed, &bob, &group, Some(2)).await;
    assert!(read.created);
    let at = Seq(5);
    assert_eq!((read.value.last_read_seq, read.value.unread_count, read.value.unread_version), (Seq(2), 1, at));
    let [told, shown] = read.envelopes.as_slice() else { panic!("{:?}", read.envelopes) };
    assert_eq!(shown.channel, room_of(&group));
    assert_eq!(sign(shown)["data"]["last_read_seq"], 2);
    assert_eq!((&told.channel, entry(told).seq), (&feed_of("bob"), at));
    let said = event(told);
    assert_eq!((&said["type"], &said["data"]["last_read_seq"]), (&"message.read".into(), &2.into()));
    assert_eq!(entry(told).unread.map(|unread| (unread.count, unread.version)), Some((1, at)));
    assert_eq!(bed.head(&feed_of("alice")).await, Seq(4), "nobody else's feed grows");
    assert_eq!(
        bed.page(&feed_of("bob"), 4, usize::MAX / 2).await.entries,
        std::slice::from_ref(told),
        "it reads as it was announced"
    );

    for repeat in [Some(2), Some(1)] {
        let again = reads(bed, &bob, &group, repeat).await;
        assert!(!again.created && again.envelopes.is_empty());
        assert_eq!(again.value, read.value);
    }
    let all = reads(bed, &bob, &group, None).await.value;
    assert_eq!((all.last_read_seq, all.unread_count), (Seq(3), 0));
    let beyond = reads(bed, &bob, &group, Some(u64::MAX)).await;
    assert!(!beyond.created, "there is nothing beyond the newest message");
}

pub async fn a_marker_goes_back_only_when_asked_to(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for text in ["one", "two", "three"] {
        bed.send(&alice, &group, text).await;
    }
    reads(bed, &bob, &group, None).await;
    let unread = marker(group.id, MarkerMove::UnreadFrom(Seq(2)));
    let back = bed.store.mark(&bob, &unread).await.expect("his own marker");
    assert!(back.created);
    assert_eq!((back.value.last_read_seq, back.value.unread_count), (Seq(1), 2));
    let ahead = bed.store.mark(&bob, &marker(group.id, MarkerMove::UnreadFrom(Seq(3)))).await.expect("his own");
    assert!(!ahead.created && ahead.value.last_read_seq == Seq(1));
    let seen = bed.store.conversation(&alice, group.id).await.expect("hers");
    let bobs = seen.participants.iter().find(|participant| participant.user_id == bob.user).expect("he is in");
    assert_eq!((bobs.last_read_seq, bobs.last_delivered_seq, bobs.version), (Seq(1), Seq(3), 3));
}

pub async fn only_participants_have_a_marker(bed: &Bed) {
    let group = bed.group(&guest("alice"), &["bob"]).await;
    let draft = marker(group.id, MarkerMove::ReadUpTo(None));
    let refused = bed.store.mark(&guest("eve"), &draft).await;
    assert!(matches!(refused, Err(StoreError::NoConversation(_))), "{refused:?}");
    let refused = bed.store.mark(&person("maria", Role::Staff), &draft).await;
    assert!(matches!(refused, Err(StoreError::NotAParticipant(_))), "{refused:?}");
    let nowhere = marker(ConversationId::new(), MarkerMove::ReadUpTo(None));
    let refused = bed.store.mark(&person("maria", Role::Staff), &nowhere).await;
    assert!(matches!(refused, Err(StoreError::NoConversation(_))), "{refused:?}");
}

pub async fn a_send_and_a_read_cannot_each_miss_the_other(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    let group = bed.group(&alice, &["bob"]).await;
    for _ in 0..10 {
        let sends = join_all((0..5).map(|_| bed.send(&alice, &group, "now")));
        let read = join_all((0..5).map(|_| reads(bed, &bob, &group, None)));
        futures_util::future::join(sends, read).await;
        let checks = bed.store.verify_unread(&bob, &UnreadPage::default()).await.expect("his own");
        assert_eq!(checks[0].kept.unread_count, checks[0].counted);
    }
}

pub async fn counts_are_compared_page_by_page_without_holes(bed: &Bed) {
    let (alice, bob) = (guest("alice"), guest("bob"));
    for _ in 0..5 {
        let group = bed.group(&alice, &["bob"]).await;
        bed.send(&alice, &group, "hello").await;
    }
    let all = bed.store.verify_unread(&bob, &UnreadPage::default()).await.expect("his own");
    assert_eq!(all.len(), 5);
    let (mut seen, mut after) = (Vec::new(), None);
    for expected in [2, 2, 1, 0] {
        let page = UnreadPage { after, limit: Some(2) };
        let checks = bed.store.verify_unread(&bob, &page).await.expect("his own");
        assert_eq!(checks.len(), expected);
        after = checks.last().map(|check| check.kept.conversation_id).or(after);
        seen.extend(checks);
    }
    assert_eq!(seen, all);
}

/// How many people, conversations, and deeds in each.
const PEOPLE: usize = 50;
const PLACES: usize = 20;
const DEEDS: usize = 500;

/// One thing that somebody does to the message with a number, or to nothing in particular.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Send,
    Mention(Option<usize>),
    /// In the thread of that message; in the conversation too, and calling somebody.
    Answer(u64, bool, Option<usize>),
    /// Another text for the message with a number, which calls somebody.
    Call(u64, usize),
    ReadThread(u64, u64),
    Follow(u64),
    Unfollow(u64),
    Read(u64),
    Unread(u64),
    Delete(u64),
    Hide(u64),
    Leave,
    ComeBack,
}

/// A message of the model.
struct Said {
    id: MessageId,
    sender: usize,
    /// The number of the message in whose thread it stands, and whether in the conversation too.
    in_thread: Option<(u64, bool)>,
    /// Whom it calls: nobody, everybody, or somebody.
    calls: Option<Option<usize>>,
    is_deleted: bool,
    hidden_from: HashSet<usize>,
}

impl Said {
    fn by(sender: usize, id: MessageId, calls: Option<Option<usize>>) -> Self {
        Self { id, sender, in_thread: None, calls, is_deleted: false, hidden_from: HashSet::new() }
    }

    /// The number of the message in whose thread alone it stands, 0 for the main line.
    fn line(&self) -> u64 {
        self.in_thread.filter(|(_, also)| !also).map_or(0, |(root, _)| root)
    }
}

/// A conversation as simple as can be: what the store must agree with.
#[derive(Default)]
struct Model {
    messages: Vec<Said>,
    /// The marker of everyone in it.
    markers: HashMap<usize, u64>,
    /// The markers of those who follow the thread of the message with a number.
    followers: HashMap<(u64, usize), u64>,
}

impl Model {
    /// What is unread to somebody, and what of it calls them.
    fn unread(&self, person: usize) -> (u64, u64) {
        self.unread_in(0, person, self.markers[&person])
    }

    /// What is unread to somebody in all threads that they follow.
    fn unread_apart(&self, person: usize) -> u64 {
        let followed = self.followers.iter().filter(|((_, who), _)| *who == person);
        followed.map(|((root, _), marker)| self.unread_in(*root, person, *marker).0).sum()
    }

    fn unread_in(&self, line: u64, person: usize, marker: u64) -> (u64, u64) {
        let later = self.messages.iter().skip(marker as usize).filter(|said| said.line() == line);
        let unread: Vec<_> = later
            .filter(|said| said.sender != person && !said.is_deleted && !said.hidden_from.contains(&person))
            .collect();
        let calling = unread.iter().filter(|said| said.calls.is_some_and(|who| who.is_none_or(|who| who == person)));
        (unread.len() as u64, calling.count() as u64)
    }

    /// Adds an answer, and those who follow its thread from then on.
    fn answer(&mut self, root: u64, said: Said) {
        let is_first = !self.messages.iter().any(|other| other.in_thread.is_some_and(|(of, _)| of == root));
        let answered = is_first.then(|| self.messages[root as usize - 1].sender);
        let before = self.messages.len() as u64;
        for person in [Some(said.sender), said.calls.flatten(), answered].into_iter().flatten() {
            if self.markers.contains_key(&person) {
                self.followers.entry((root, person)).or_insert(before);
            }
        }
        self.messages.push(said);
    }

    /// The message with a number, if it may begin a thread.
    fn root(&self, seq: u64) -> Option<&Said> {
        self.messages.get(seq as usize - 1).filter(|said| said.in_thread.is_none())
    }
}

pub async fn counts_equal_a_simple_model_after_ten_thousand_deeds(bed: &Bed) {
    let deed = prop_oneof![
        4 => Just(Deed::Send),
        2 => proptest::option::of(0..PEOPLE).prop_map(Deed::Mention),
        3 => (0_u64..200).prop_map(Deed::Read),
        1 => (1_u64..200).prop_map(Deed::Unread),
        1 => (1_u64..200).prop_map(Deed::Delete),
        1 => (1_u64..200).prop_map(Deed::Hide),
        // Of few threads, so that much happens in each.
        4 => (1_u64..20, any::<bool>(), proptest::option::of(0..PEOPLE)).prop_map(|(root, also, who)| Deed::Answer(root, also, who)),
        2 => (1_u64..200, 0..PEOPLE).prop_map(|(seq, who)| Deed::Call(seq, who)),
        1 => (1_u64..20, 0_u64..200).prop_map(|(root, seq)| Deed::ReadThread(root, seq)),
        1 => (1_u64..20).prop_map(Deed::Follow),
        1 => (1_u64..20).prop_map(Deed::Unfollow),
        1 => Just(Deed::Leave),
        1 => Just(Deed::ComeBack),
    ];
    let deeds = proptest::collection::vec((0..PEOPLE, deed), DEEDS);
    let mut runner = TestRunner::default();
    // Conversations are changed side by side, so that the feeds and counts of one person are written from many at once.
    let places = (0..PLACES).map(|place| {
        let deeds = deeds.new_tree(&mut runner).expect("nothing is filtered out").current();
        async move { agree(bed, place, &deeds).await }
    });
    join_all(places.collect::<Vec<_>>()).await;
    for person in 0..PEOPLE {
        let checks =
            bed.store.verify_unread(&guest(&format!("u{person}")), &UnreadPage::default()).await.expect("their own");
        assert!(checks.iter().all(|check| check.is_exact()), "u{person}: {checks:?}");
    }
}

/// Does all of it in one conversation, and compares everyone's count with the model.
async fn agree(bed: &Bed, place: usize, deeds: &[(usize, Deed)]) {
    let (owner, staff) = (guest(&format!("owner-{place}")), person("maria", Role::Staff));
    let first: Vec<usize> = (0..8).map(|number| (place * 7 + number * 5) % PEOPLE).collect();
    let names: Vec<String> = first.iter().map(|number| format!("u{number}")).collect();
    let group = bed.group(&owner, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut model = Model { markers: first.iter().map(|person| (*person, 0)).collect(), ..Model::default() };
    for (person, deed) in deeds {
        let caller = guest(&format!("u{person}"));
        let is_in = model.markers.contains_key(person);
        let newest = model.messages.len() as u64;
        match *deed {
            Deed::ComeBack if !is_in => {
                let change = ConversationChange::Add(caller.user.clone(), None);
                change_people(bed, &owner, &group, change).await;
                model.markers.insert(*person, newest);
            }
            Deed::Send if is_in => {
                let id = bed.send(&caller, &group, "hello").await.value.id;
                model.messages.push(Said::by(*person, id, None));
            }
            Deed::Mention(who) if is_in && who.is_none_or(|who| model.markers.contains_key(&who)) => {
                let mentioned_users = who.iter().map(|who| user(&format!("u{who}"))).collect();
                let mentions = Mentions { mentioned_users, mentioned_everyone: who.is_none() };
                let draft = MessageDraft { mentions, ..message_draft(group.id, "you", None) };
                let id = bed.store.append(&caller, &draft).await.expect("they are all in it").value.id;
                model.messages.push(Said::by(*person, id, Some(who)));
            }
            Deed::Answer(seq, also_in_conversation, who)
                if is_in && who.is_none_or(|who| model.markers.contains_key(&who)) =>
            {
                let Some(root) = model.root(seq) else { continue };
                let mentioned_users = who.iter().map(|who| user(&format!("u{who}"))).collect();
                let mentions = Mentions { mentioned_users, mentioned_everyone: false };
                let in_thread = Some(InThread { root: root.id, also_in_conversation });
                let draft = MessageDraft { mentions, in_thread, ..message_draft(group.id, "so", None) };
                let sent = bed.store.append(&caller, &draft).await;
                if root.is_deleted {
                    assert!(matches!(sent, Err(StoreError::Deleted(_))), "{sent:?}");
                    continue;
                }
                let said = Said::by(*person, sent.expect("they are all in it").value.id, who.map(Some));
                model.answer(seq, Said { in_thread: Some((seq, also_in_conversation)), ..said });
            }
            Deed::Call(seq, who) if seq <= newest && model.markers.contains_key(&who) => {
                let said = &model.messages[seq as usize - 1];
                if said.is_deleted || !model.markers.contains_key(&said.sender) {
                    continue;
                }
                let mentions = Mentions { mentioned_users: vec![user(&format!("u{who}"))], mentioned_everyone: false };
                let sender = guest(&format!("u{}", said.sender));
                change_message(bed, &sender, said.id, Change::Edit("you".to_owned(), Some(mentions))).await;
                if let Some((root, _)) = said.in_thread.filter(|_| said.calls.flatten() != Some(who)) {
                    model.followers.entry((root, who)).or_insert(seq - 1);
                }
                model.messages[seq as usize - 1].calls = Some(Some(who));
            }
            Deed::ReadThread(root, seq) if is_in && model.root(root).is_some() => {
                change_thread(bed, &caller, &model, root, ThreadChange::ReadUpTo(Some(Seq(seq)))).await;
                if let Some(own) = model.followers.get_mut(&(root, *person)) {
                    *own = (*own).max(seq.min(newest));
                }
            }
            Deed::Follow(root) if is_in && model.root(root).is_some() => {
                change_thread(bed, &caller, &model, root, ThreadChange::Follow).await;
                model.followers.entry((root, *person)).or_insert(newest);
            }
            Deed::Unfollow(root) if is_in && model.root(root).is_some() => {
                change_thread(bed, &caller, &model, root, ThreadChange::Unfollow).await;
                model.followers.remove(&(root, *person));
            }
            Deed::Read(seq) if is_in => {
                reads(bed, &caller, &group, Some(seq)).await;
                let own = model.markers.entry(*person).or_default();
                *own = (*own).max(seq.min(newest));
            }
            Deed::Unread(seq) if is_in => {
                let draft = marker(group.id, MarkerMove::UnreadFrom(Seq(seq)));
                bed.store.mark(&caller, &draft).await.expect("their own");
                let own = model.markers.entry(*person).or_default();
                *own = (*own).min(seq - 1);
            }
            Deed::Delete(seq) if seq <= newest => {
                change_message(bed, &staff, model.messages[seq as usize - 1].id, Change::Delete).await;
                model.messages[seq as usize - 1].is_deleted = true;
            }
            Deed::Hide(seq) if is_in && seq <= newest => {
                change_message(bed, &caller, model.messages[seq as usize - 1].id, Change::Hide).await;
                model.messages[seq as usize - 1].hidden_from.insert(*person);
            }
            Deed::Leave if is_in => {
                change_people(bed, &caller, &group, ConversationChange::Remove(caller.user.clone())).await;
                model.markers.remove(person);
                model.followers.retain(|(_, who), _| who != person);
            }
            _ => {}
        }
    }
    for (person, marker) in &model.markers {
        let checks =
            bed.store.verify_unread(&guest(&format!("u{person}")), &UnreadPage::default()).await.expect("their own");
        let check = checks.iter().find(|check| check.kept.conversation_id == group.id).expect("they are in it");
        let kept = (check.kept.last_read_seq, (check.kept.unread_count, check.kept.unread_mention_count));
        assert_eq!(kept, (Seq(*marker), model.unread(*person)), "u{person} in {place}: {deeds:?}");
        assert_eq!(check.threads_kept, model.unread_apart(*person), "u{person} in {place}: {deeds:?}");
        let threads = bed.store.unread(&guest(&format!("u{person}"))).await.expect("their own").thread_items;
        for ((root, _), marker) in model.followers.iter().filter(|((_, who), _)| who == person) {
            let id = model.messages[*root as usize - 1].id;
            let kept = threads.iter().find(|thread| thread.thread_root_id == id);
            let kept = kept.map_or((0, 0), |kept| (kept.thread_unread_count, kept.thread_unread_mention_count));
            assert_eq!(
                kept,
                model.unread_in(*root, *person, *marker),
                "u{person} in thread {root} of {place}: {deeds:?}"
            );
        }
    }
}

async fn change_thread(bed: &Bed, caller: &Caller, model: &Model, root: u64, change: ThreadChange) {
    let root = model.root(root).expect("it begins a thread").id;
    let draft = ThreadChangeDraft { root, change, trace: TraceId::random() };
    bed.store.change_thread(caller, &draft).await.expect("they may");
}

async fn change_people(bed: &Bed, caller: &Caller, group: &Conversation, change: ConversationChange) {
    let draft = ConversationChangeDraft { conversation_id: group.id, change, trace: TraceId::random() };
    bed.store.change_conversation(caller, &draft).await.expect("they may");
}

async fn change_message(bed: &Bed, caller: &Caller, message_id: MessageId, change: Change) {
    let draft = ChangeDraft { message_id, change, trace: TraceId::random() };
    bed.store.change(caller, &draft).await.expect("they may");
}
