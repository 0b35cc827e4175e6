//! The rules of who is in a conversation, and of who talks with whom: whoever is there is told, and nobody else.

use std::collections::{HashMap, HashSet};

use fleet::journal::{Deed, Outcome, What};

use super::evidence::Evidence;
use super::rules::{acknowledged, sends};

/// The deeds that made something so, or undid it, in the order in which they were asked for.
fn moves(evidence: &Evidence, makes: impl Fn(&Deed) -> Option<bool>) -> Vec<(&Deed, bool)> {
    let mut moves: Vec<_> = (evidence.deeds.iter())
        .filter(|deed| !matches!(deed.outcome, Outcome::Refused { .. }))
        .filter_map(|deed| makes(deed).map(|so| (deed, so)))
        .collect();
    moves.sort_by_key(|(deed, _)| deed.asked_at);
    moves
}

/// When somebody came into a conversation and went.
fn comings_and_goings<'a>(evidence: &'a Evidence, conversation: &str, user: &str) -> Vec<(&'a Deed, bool)> {
    moves(evidence, |deed| match &deed.what {
        What::Add { conversation: place, user: who } if place == conversation && who == user => Some(true),
        What::Remove { conversation: place, user: who } if place == conversation && who == user => Some(false),
        _ => None,
    })
}

/// When somebody blocked somebody, and when no longer.
fn blockings<'a>(evidence: &'a Evidence, by: &str, other: &str) -> Vec<(&'a Deed, bool)> {
    moves(evidence, |deed| match &deed.what {
        What::Block { user, back } if deed.who == by && user == other => Some(!back),
        _ => None,
    })
}

/// How long after it was answered something may be done once more that was asked for several times, in microseconds.
const STRAGGLES: u64 = 10_000_000;

/// Whether something certainly was so from one moment to another, or certainly was not.
fn was_so(moves: &[(&Deed, bool)], began: bool, from: u64, to: u64) -> Option<bool> {
    let mut is_so = began;
    for (deed, makes) in moves {
        let ends = match deed.outcome {
            Outcome::Unknown => u64::MAX,
            // What was not answered at first may be done after what was.
            _ if deed.attempts > 1 => deed.answered_at + STRAGGLES,
            _ => deed.answered_at,
        };
        if ends <= from {
            is_so = *makes;
        } else if deed.asked_at <= to {
            return None;
        }
    }
    Some(is_so)
}

/// Of each acknowledged message and each person who is or was in its conversation: whether they certainly were there when it was
/// sent, or certainly not, and whether their feed tells of it.
fn witnesses<'a>(evidence: &'a Evidence, mut judge: impl FnMut(&'a str, &'a str, &'a str, bool, bool)) {
    let feeds: HashMap<&str, HashSet<&str>> =
        evidence.members.iter().map(|member| (member.user_id.as_str(), evidence.feed_of(&member.user_id))).collect();
    for (conversation, began) in &evidence.run.members {
        let sent: Vec<_> = acknowledged(evidence).filter(|(_, place, ..)| place == conversation).collect();
        for member in evidence.members.iter().filter(|member| member.conversation_id == *conversation) {
            let user = member.user_id.as_str();
            let moves = comings_and_goings(evidence, conversation, user);
            for (deed, _, key, id, _) in &sent {
                if let Some(there) =
                    was_so(&moves, began.iter().any(|who| who == user), deed.asked_at, deed.answered_at)
                {
                    judge(user, key, id, there, feeds[user].contains(id));
                }
            }
        }
    }
}

pub fn who_was_there_is_told(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    witnesses(evidence, |user, key, id, there, told| {
        if there && !told {
            wrong.push(format!("{key} ({id}) is not in the feed of {user}, who was there"));
        }
    });
    wrong
}

pub fn who_was_not_there_is_not_told(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    witnesses(evidence, |user, key, id, there, told| {
        if !there && told {
            wrong.push(format!("{key} ({id}) is in the feed of {user}, who was not there"));
        }
    });
    for device in &evidence.devices {
        let feed = evidence.feed_of(&device.user);
        // Whoever is in a conversation may read all of it, and does when they start over.
        let listed = |conversation: &str, seq: u64| {
            let listed = device.started_over.as_ref().and_then(|started_over| started_over.listed.get(conversation));
            listed.is_some_and(|upto| seq <= *upto)
        };
        let told = device.shown.iter().filter(|(conversation, _, seq)| !listed(conversation, *seq));
        for (_, id, seq) in told.filter(|(_, id, _)| !feed.contains(id.as_str())) {
            wrong.push(format!("{}'s {} shows {id} ({seq}), which is not in their feed", device.user, device.name));
        }
    }
    wrong
}

/// Of what was said between two who talk directly: what came of it, and whether one of them certainly blocked the other meanwhile, or
/// certainly neither did.
fn between_two<'a>(evidence: &'a Evidence, mut judge: impl FnMut(&'a Deed, &'a str, bool)) {
    for (conversation, two) in &evidence.run.members {
        let [one, other] = &two[..] else { continue };
        let blocks = [blockings(evidence, one, other), blockings(evidence, other, one)];
        for (deed, _, key) in sends(evidence).filter(|(_, place, _)| place == conversation) {
            let blocks = blocks.each_ref().map(|moves| was_so(moves, false, deed.asked_at, deed.answered_at));
            match blocks {
                [Some(false), Some(false)] => judge(deed, key, false),
                [Some(true), _] | [_, Some(true)] => judge(deed, key, true),
                _ => {}
            }
        }
    }
}

pub fn who_blocks_is_not_told(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    between_two(evidence, |deed, key, is_blocked| {
        if is_blocked && deed.made().is_some() {
            wrong.push(format!("{key} of {} was taken while one of the two blocked the other", deed.who));
        }
    });
    wrong
}

pub fn who_is_not_blocked_is_heard(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    between_two(evidence, |deed, key, is_blocked| {
        if !is_blocked && matches!(&deed.outcome, Outcome::Refused { code, .. } if code == "blocked") {
            wrong.push(format!("{key} of {} was refused as blocked while neither blocked the other", deed.who));
        }
    });
    wrong
}
