//! Whether the rules find what is wrong, and only that.

use std::collections::BTreeMap;

use fleet::client::STARTED_OVER;
use fleet::journal::{Course, Deed, Here, Memory, Outcome, Restored, RoomAtEnd, Run, Said, Verified, What};
use serde_json::json;

use crate::evidence::{Entry, Evidence, Feed, Kept, Later, Member, Told, Unsent};
use crate::rooms::REMEMBERED;
use crate::rules::{Class, judge};

/// Ann does something, and has it after five microseconds.
fn deed(asked_at: u64, what: What) -> Deed {
    let outcome = Outcome::Done { id: None, seq: None };
    Deed { asked_at, answered_at: asked_at + 5, who: "ann".to_owned(), what, attempts: 1, failure: None, outcome }
}

/// Ann says two things to bob; all is right.
fn right() -> Evidence {
    let send = |number: u64| {
        let (conversation, key, text) = ("c".to_owned(), format!("ann-{number}"), format!("text {number}"));
        let mut deed = deed(number * 10, What::Send { conversation, key, text, thread: None, calls: false });
        deed.outcome = Outcome::Done { id: Some(format!("m{number}")), seq: Some(number) };
        deed
    };
    let kept = |number: u64| Kept {
        id: format!("m{number}"),
        conversation_id: "c".to_owned(),
        seq: number,
        sender_id: "ann".to_owned(),
        message_text: format!("text {number}"),
        client_message_id: Some(format!("ann-{number}")),
        version: 1,
        in_main_line: true,
        deleted_at: None,
    };
    let entry = |seq: u64| Entry {
        channel: "user:bob".to_owned(),
        seq,
        kind: "new_message".to_owned(),
        message_id: Some(format!("m{seq}")),
    };
    let member = |user: &str, unread_count| Member {
        conversation_id: "c".to_owned(),
        user_id: user.to_owned(),
        left_at: None,
        unread_count,
    };
    let verified = |user: &str| Verified {
        user: user.to_owned(),
        answer: Some(json!({ "is_exact": true })),
        listed: vec![("c".to_owned(), vec!["m1".to_owned(), "m2".to_owned()])],
        refused: Vec::new(),
    };
    Evidence {
        run: Run {
            seed: 1,
            seconds: 1,
            redis: "standalone".to_owned(),
            sabotage: None,
            course: Course::Faults,
            faults: Vec::new(),
            missed: Vec::new(),
            restored: None,
            members: vec![("c".to_owned(), vec!["bob".to_owned()])],
        },
        deeds: vec![send(1), send(2)],
        said: Vec::new(),
        rooms: Vec::new(),
        devices: vec![Told::of("bob".to_owned(), "phone".to_owned(), &[frame(1), frame(2)])],
        messages: [kept(1), kept(2)].into_iter().map(|kept| (kept.id.clone(), kept)).collect(),
        members: vec![member("bob", 2)],
        entries: BTreeMap::from([("user:bob".to_owned(), vec![entry(1), entry(2)])]),
        later: Vec::new(),
        unsent: Vec::new(),
        feeds: vec![Feed { channel: "user:bob".to_owned(), seq: 2 }],
        verified: vec![verified("bob")],
        here: vec![Here { user: "bob".to_owned(), is_connected: true, state: "online".to_owned() }],
        memory: vec![Memory { pod: "gateway-1".to_owned(), kib: 30_000 }],
    }
}

fn frame(seq: u64) -> serde_json::Value {
    json!({
        "type": "new_message", "version": 1, "channel": "user:bob", "seq": seq, "prev": seq - 1, "cursor": "c",
        "data": {
            "conversation_id": "c", "message_id": format!("m{seq}"), "seq": seq, "message_text": format!("text {seq}"),
            "unread_count": seq, "unread_version": seq,
        },
    })
}

fn told(frames: &[serde_json::Value]) -> Vec<Told> {
    vec![Told::of("bob".to_owned(), "phone".to_owned(), frames)]
}

/// The classes that are found when something is changed.
fn found(change: impl FnOnce(&mut Evidence)) -> Vec<Class> {
    let mut evidence = right();
    change(&mut evidence);
    let mut classes: Vec<_> = judge(&evidence).into_iter().map(|violation| violation.class).collect();
    classes.dedup();
    classes
}

#[test]
fn what_is_right_is_found_right() {
    assert_eq!(judge(&right()), []);
}

#[test]
fn what_is_lost_is_found() {
    let without_the_last = |evidence: &mut Evidence| {
        evidence.messages.remove("m2");
    };
    assert!(found(without_the_last).contains(&Class::Lost));
    assert!(found(|evidence| evidence.feeds[0].seq = 3).contains(&Class::Lost));
    let edit = |evidence: &mut Evidence| {
        evidence.deeds.push(deed(50, What::Edit { message: "m1".to_owned(), text: "another".to_owned() }));
    };
    assert_eq!(found(edit), [Class::Lost]);
    let refused = |evidence: &mut Evidence| {
        evidence.verified[0].refused.push("GET /api/v1/messages/conversations: 500".to_owned());
    };
    assert_eq!(found(refused), [Class::Lost]);
}

#[test]
fn what_was_scheduled_and_is_not_sent_is_found() {
    let scheduled = |evidence: &mut Evidence, id: &str| {
        let (conversation, key, text) = ("c".to_owned(), "ann-9".to_owned(), "text 2".to_owned());
        evidence.deeds[1].what = What::Schedule { conversation, key, text, at: String::new() };
        evidence.deeds[1].outcome = Outcome::Done { id: Some(id.to_owned()), seq: None };
        evidence.messages.get_mut("m2").expect("there").client_message_id = None;
    };
    assert_eq!(found(|evidence| scheduled(evidence, "m2")), []);
    let twice = |evidence: &mut Evidence| {
        scheduled(evidence, "m2");
        evidence.messages.get_mut("m1").expect("there").message_text = "text 2".to_owned();
    };
    assert!(found(twice).contains(&Class::Duplicate));
    let refused = |evidence: &mut Evidence| {
        scheduled(evidence, "m9");
        let later = |status: &str| Later { id: "m9".to_owned(), status: status.to_owned() };
        evidence.later = vec![later("refused")];
    };
    assert_eq!(found(refused), []);
    let waits = |evidence: &mut Evidence| {
        refused(evidence);
        evidence.later[0].status = "scheduled".to_owned();
    };
    assert_eq!(found(waits), [Class::Lost]);
}

#[test]
fn a_draft_that_is_lost_is_found() {
    let kept = |text: &'static str| {
        move |evidence: &mut Evidence| {
            evidence.deeds.push(deed(50, What::Draft { conversation: "c".to_owned(), text: "not yet".to_owned() }));
            let (user_id, conversation_id) = ("ann".to_owned(), "c".to_owned());
            evidence.unsent = vec![Unsent { user_id, conversation_id, message_text: Some(text.to_owned()) }];
        }
    };
    assert_eq!(found(kept("not yet")), []);
    assert_eq!(found(kept("another")), [Class::Lost]);
}

#[test]
fn what_is_unseen_is_found() {
    assert!(found(|evidence| evidence.devices = told(&[frame(1)])).contains(&Class::Unseen));
    let mut skipping = frame(2);
    skipping["prev"] = 5.into();
    assert!(found(|evidence| evidence.devices = told(&[frame(1), skipping])).contains(&Class::Unseen));
    let untold = |evidence: &mut Evidence| {
        evidence.entries.get_mut("user:bob").expect("there").pop();
        evidence.feeds[0].seq = 1;
        evidence.devices = told(&[frame(1)]);
    };
    assert!(found(untold).contains(&Class::Unseen));
}

#[test]
fn what_is_there_twice_is_found() {
    assert!(found(|evidence| evidence.devices = told(&[frame(1), frame(1), frame(2)])).contains(&Class::Duplicate));
    let again = |evidence: &mut Evidence| {
        evidence.messages.get_mut("m2").expect("there").client_message_id = Some("ann-1".to_owned());
    };
    assert!(found(again).contains(&Class::Duplicate));
}

#[test]
fn another_order_is_found() {
    assert!(found(|evidence| evidence.devices = told(&[frame(2), frame(1)])).contains(&Class::Reordered));
    let swapped = |evidence: &mut Evidence| {
        (evidence.deeds[0].asked_at, evidence.deeds[0].answered_at) = (100, 105);
    };
    assert_eq!(found(swapped), [Class::Reordered]);
}

#[test]
fn what_nobody_said_is_found() {
    assert!(found(|evidence| drop(evidence.deeds.pop())).contains(&Class::Phantom));
    let refused = |evidence: &mut Evidence| {
        evidence.deeds[1].outcome = Outcome::Refused { status: 409, code: "conflict".to_owned() };
    };
    assert_eq!(found(refused), [Class::Phantom]);
    let other = |evidence: &mut Evidence| {
        evidence.messages.get_mut("m2").expect("there").message_text = "x".to_owned();
    };
    assert!(found(other).contains(&Class::Phantom));
}

#[test]
fn what_is_stale_is_found() {
    assert_eq!(found(|evidence| evidence.messages.get_mut("m2").expect("there").version = 2), [Class::Stale]);
    assert_eq!(found(|evidence| drop(evidence.verified[0].listed[0].1.pop())), [Class::Stale]);
}

#[test]
fn what_reached_somebody_who_was_not_there_is_found() {
    let left = |evidence: &mut Evidence| {
        let remove = deed(12, What::Remove { conversation: "c".to_owned(), user: "bob".to_owned() });
        evidence.deeds.push(Deed { answered_at: 18, ..remove });
    };
    assert_eq!(found(left), [Class::Leaked]);
}

#[test]
fn what_is_said_to_somebody_who_blocks_is_found() {
    let block = |evidence: &mut Evidence, by: &str, user: &str| {
        evidence.run.members[0].1 = vec!["ann".to_owned(), "bob".to_owned()];
        let block = deed(10, What::Block { user: user.to_owned(), back: false });
        evidence.deeds.push(Deed { who: by.to_owned(), ..block });
    };
    for (by, user) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(found(|evidence| block(evidence, by, user)), [Class::Leaked]);
        let refused = |evidence: &mut Evidence| {
            block(evidence, by, user);
            evidence.deeds[1].outcome = Outcome::Refused { status: 403, code: "blocked".to_owned() };
            evidence.messages.remove("m2");
        };
        assert!(!found(refused).contains(&Class::Leaked));
    }
    assert_eq!(found(|evidence| block(evidence, "bob", "cid")), []);
    let refused_for_nothing = |evidence: &mut Evidence| {
        block(evidence, "bob", "cid");
        evidence.deeds[1].outcome = Outcome::Refused { status: 403, code: "blocked".to_owned() };
    };
    assert!(found(refused_for_nothing).contains(&Class::Lost));
}

#[test]
fn what_is_forwarded_with_other_words_is_found() {
    let forwarded = |text: &'static str| {
        move |evidence: &mut Evidence| {
            let (conversation, key, message) = ("c".to_owned(), "ann-2".to_owned(), "m1".to_owned());
            evidence.deeds[1].what = What::Forward { conversation, key, message };
            evidence.messages.get_mut("m2").expect("there").message_text = text.to_owned();
            evidence.devices[0].texts.get_mut("m2").expect("there").1 = text.to_owned();
        }
    };
    assert_eq!(found(forwarded("text 1")), []);
    // Whoever sent the other one was not answered.
    let unknown = |evidence: &mut Evidence| {
        forwarded("text 1")(evidence);
        evidence.deeds[0].outcome = Outcome::Unknown;
    };
    assert_eq!(found(unknown), []);
    assert_eq!(found(forwarded("text 2")), [Class::Phantom]);
}

#[test]
fn a_ghost_is_found() {
    assert_eq!(found(|evidence| evidence.here[0].is_connected = false), [Class::Ghost]);
    assert_eq!(found(|evidence| evidence.here[0].state = "offline".to_owned()), [Class::Ghost]);
}

#[test]
fn a_device_that_was_not_told_of_a_restore_is_found() {
    let restored = |evidence: &mut Evidence| {
        evidence.run.restored = Some(Restored { copied_at: 30, ended_at: 40 });
    };
    assert_eq!(found(restored), [Class::Stale]);
    let told_so = |evidence: &mut Evidence| {
        restored(evidence);
        let listed = json!({ "c": [["m1", 1], ["m2", 2]] });
        evidence.devices = told(&[
            frame(1),
            json!({ "type": "resync_required", "data": { "reason": "epoch" } }),
            json!({ "type": STARTED_OVER, "messages": listed }),
        ]);
    };
    assert_eq!(found(told_so), []);
    let shows_what_is_lost = |evidence: &mut Evidence| {
        told_so(evidence);
        evidence.devices[0].shown.push(("c".to_owned(), "m3".to_owned(), 3));
    };
    assert!(found(shows_what_is_lost).contains(&Class::Phantom));
}

#[test]
fn an_update_that_is_noticed_is_found() {
    let update = |evidence: &mut Evidence| evidence.run.course = Course::Update;
    assert_eq!(found(update), []);
    let failed = |evidence: &mut Evidence| {
        update(evidence);
        evidence.deeds[0].attempts = 2;
        evidence.deeds[0].failure = Some("503".to_owned());
    };
    assert_eq!(found(failed), [Class::Noticed]);
    let by_nginx = "reqwest::Error { kind: Request, source: hyper_util::client::legacy::Error(SendRequest, hyper::Error(Io, Os { \
                    code: 104, kind: ConnectionReset }))";
    let ended = |evidence: &mut Evidence| {
        failed(evidence);
        evidence.deeds[0].failure = Some(by_nginx.to_owned());
    };
    assert_eq!(found(ended), []);
    for (code, classes) in [(Some(1012), &[][..]), (Some(1011), &[Class::Noticed]), (None, &[Class::Noticed])] {
        let closed = |evidence: &mut Evidence| {
            update(evidence);
            evidence.devices[0].closes.push(code);
        };
        assert_eq!(found(closed), classes);
    }
}

#[test]
fn a_gateway_that_grows_is_found() {
    assert_eq!(found(|evidence| evidence.memory[0].kib = 2_000_000), [Class::Bloated]);
}

#[test]
fn a_count_that_drifts_is_found() {
    assert_eq!(found(|evidence| evidence.members[0].unread_count = 3), [Class::Drift]);
    assert_eq!(found(|evidence| evidence.verified[0].answer = Some(json!({ "is_exact": false }))), [Class::Drift]);
}

/// Ann says three things in a room in which bob is; all is right.
fn in_a_room(frames: &[serde_json::Value]) -> impl Fn(&mut Evidence) {
    let frames = [vec![frame(1), frame(2)], frames.to_vec()].concat();
    move |evidence| {
        let said = |number| Said { who: "ann".to_owned(), room: "r".to_owned(), key: format!("ann-{number}") };
        evidence.said = (1..=REMEMBERED + 3).map(said).collect();
        evidence.devices = told(&frames);
        let wanted_by = vec![("bob".to_owned(), "phone".to_owned())];
        evidence.rooms = vec![RoomAtEnd { room: "r".to_owned(), position: Some("7-3".to_owned()), wanted_by }];
    }
}

fn joined(since: &str, position: Option<&str>, recovered: bool) -> serde_json::Value {
    let data = json!({ "room": "r", "position": position, "recovered": recovered });
    json!({ "type": "ack", "ref": format!("join r {since}"), "data": data })
}

fn word(number: u64) -> serde_json::Value {
    let (position, key) = (format!("7-{number}"), format!("ann-{number}"));
    json!({ "type": "message", "room": "r", "position": position, "sender_id": "ann", "data": { "key": key } })
}

fn dropped(more: &serde_json::Value) -> serde_json::Value {
    let mut data = json!({ "reason": "history", "room": "r" });
    data.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "type": "resync_required", "data": data })
}

#[test]
fn a_room_that_is_told_whole_is_right() {
    let connected = || json!({ "type": "connection_established" });
    let left = || json!({ "type": "ack", "ref": "leave r", "data": { "room": "r" } });
    for frames in [
        vec![joined("", None, true), word(1), word(2), word(3)],
        vec![joined("", Some("7-2"), true), word(1), word(2), word(3)],
        vec![joined("7-1", Some("7-2"), true), word(2), word(3)],
        // Whoever comes back goes on where they stood.
        vec![joined("", None, true), word(1), connected(), joined("7-1", Some("7-3"), true), word(2), word(3)],
        vec![joined("", None, true), word(1), left(), joined("7-1", Some("7-3"), true), word(2), word(3)],
        // What was dropped comes again, and what came meanwhile counts for nothing.
        vec![
            joined("", None, true),
            word(1),
            dropped(&json!({})),
            word(3),
            joined("7-1", Some("7-3"), true),
            word(2),
            word(3),
        ],
        // Another life of a room begins with its first.
        vec![joined("6-9", Some("7-2"), false), dropped(&json!({ "position": null })), word(1), word(2), word(3)],
        // A room that is set back goes on from there.
        vec![joined("", None, true), word(1), word(2), word(3), dropped(&json!({ "position": "7-2" })), word(3)],
    ] {
        assert_eq!(found(in_a_room(&frames)), [], "{frames:?}");
    }
}

#[test]
fn what_goes_wrong_in_rooms_is_found() {
    for (frames, class) in [
        (vec![joined("", None, true), word(1), word(3)], Class::Unseen),
        (vec![joined("", None, true), word(2), word(3)], Class::Unseen),
        (vec![joined("", Some("7-2"), true), word(3)], Class::Unseen),
        (vec![joined("", Some("7-3"), true), word(3)], Class::Unseen),
        // Who joins stands where it was told.
        (vec![joined("", None, true), word(1), joined("7-2", Some("7-3"), true), word(3)], Class::Unseen),
        // What is remembered is not said to be forgotten.
        (
            vec![joined("7-1", Some("7-3"), false), dropped(&json!({ "position": null })), word(1), word(2), word(3)],
            Class::Unseen,
        ),
        (vec![joined("7-1", Some("7-3"), true), word(3)], Class::Unseen),
        (vec![joined("", None, true), word(1), word(2)], Class::Unseen),
        (vec![joined("", Some("7-3"), true)], Class::Unseen),
        (vec![], Class::Unseen),
        (vec![joined("", None, true), word(1), word(2), word(2), word(3)], Class::Duplicate),
        (vec![joined("7-1", Some("7-3"), true), word(1), word(2), word(3)], Class::Duplicate),
        (vec![word(1), joined("7-1", Some("7-3"), true), word(2), word(3)], Class::Leaked),
    ] {
        assert_eq!(found(in_a_room(&frames)), [class], "{frames:?}");
    }
    // Of a room that remembers no more, the first that it does comes first.
    let all = |first: u64| {
        let words = (first..=REMEMBERED + 3).map(word);
        let frames: Vec<_> = std::iter::once(joined("", Some("7-103"), true)).chain(words).collect();
        move |evidence: &mut Evidence| {
            in_a_room(&frames)(evidence);
            evidence.rooms[0].position = Some("7-103".to_owned());
        }
    };
    assert_eq!(found(all(4)), []);
    assert_eq!(found(all(5)), [Class::Unseen]);
    let nobody_could = |evidence: &mut Evidence| {
        all(4)(evidence);
        evidence.rooms[0].position = None;
    };
    assert_eq!(found(nobody_could), [Class::Unseen]);
    // What is remembered is not passed over.
    let passed_over = [joined("", None, true), word(1), dropped(&json!({ "position": "7-2" })), word(3)];
    assert_eq!(found(in_a_room(&passed_over)), [Class::Unseen]);
    let all = [joined("", None, true), word(1), word(2), word(3)];
    let nobody = |evidence: &mut Evidence| {
        in_a_room(&all)(evidence);
        evidence.said.retain(|said| said.key != "ann-3");
    };
    assert_eq!(found(nobody), [Class::Phantom]);
    let ack = |number: u64, position: &str| json!({ "type": "ack", "ref": format!("say ann-{number}"), "data": { "room": "r", "position": position } });
    let elsewhere = [&all[..], &[ack(1, "7-4")]].concat();
    assert_eq!(found(in_a_room(&elsewhere)), [Class::Duplicate]);
    let in_its_place = [&all[..], &[ack(4, "7-3")]].concat();
    assert_eq!(found(in_a_room(&in_its_place)), [Class::Phantom]);
    let swapped = [&all[..], &[ack(2, "7-2"), ack(1, "7-1")]].concat();
    assert_eq!(found(in_a_room(&swapped)), [Class::Reordered]);
}
