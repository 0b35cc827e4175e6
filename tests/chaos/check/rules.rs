//! The rules: each looks at all the evidence and names what breaks it.

use std::collections::{HashMap, HashSet};
use std::fmt;

use fleet::journal::{Deed, Outcome, Verified, What};

use super::evidence::{Evidence, Kept};
use super::{company, courses, rooms, unsent};

/// What kind of wrong it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Class {
    /// It was acknowledged and is not kept.
    Lost,
    /// It is kept and was not shown to somebody to whom it should be.
    Unseen,
    /// It was made or shown more than once.
    Duplicate,
    /// It stands or was shown in another order than it was said.
    Reordered,
    /// It was kept or shown, and nobody said it.
    Phantom,
    /// A device shows something else than is kept.
    Stale,
    /// It reached somebody who was not there.
    Leaked,
    /// A count is not what there is to count.
    Drift,
    /// Somebody is said to be here who is not, or the other way round.
    Ghost,
    /// Somebody noticed that a pod was replaced.
    Noticed,
    /// A pod grows without bounds.
    Bloated,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub class: Class,
    pub what: String,
}

/// Everything that is wrong.
pub fn judge(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for (class, rule) in RULES {
        found.extend(rule(evidence).into_iter().map(|what| Violation { class, what }));
    }
    found
}

type Rule = fn(&Evidence) -> Vec<String>;

const RULES: [(Class, Rule); 34] = [
    (Class::Lost, what_was_acknowledged_is_kept),
    (Class::Lost, an_edit_that_was_acknowledged_is_kept),
    (Class::Lost, unsent::what_was_scheduled_is_sent),
    (Class::Lost, unsent::a_draft_that_was_kept_is_there),
    (Class::Lost, numbers_have_no_holes),
    (Class::Lost, what_is_asked_for_is_answered),
    (Class::Lost, company::who_is_not_blocked_is_heard),
    (Class::Unseen, company::who_was_there_is_told),
    (Class::Unseen, what_the_feed_tells_is_shown),
    (Class::Unseen, feeds_are_told_without_holes),
    (Class::Unseen, rooms::rooms_are_told_without_holes),
    (Class::Unseen, rooms::rooms_are_told_to_the_end),
    (Class::Unseen, rooms::nothing_is_forgotten_that_is_remembered),
    (Class::Duplicate, rooms::nothing_is_told_twice_in_a_room),
    (Class::Duplicate, rooms::what_is_said_in_a_room_stands_there_once),
    (Class::Duplicate, a_key_makes_one_message),
    (Class::Duplicate, unsent::what_was_scheduled_is_sent_once),
    (Class::Duplicate, nothing_is_told_twice),
    (Class::Reordered, what_is_said_later_stands_later),
    (Class::Reordered, what_stands_later_is_shown_later),
    (Class::Reordered, rooms::what_one_says_in_a_room_stands_in_order),
    (Class::Phantom, rooms::what_is_told_in_rooms_was_said),
    (Class::Phantom, what_is_kept_was_said),
    (Class::Phantom, what_is_shown_is_kept),
    (Class::Stale, devices_show_what_is_kept),
    (Class::Stale, courses::every_device_begins_anew_after_a_restore),
    (Class::Leaked, rooms::who_is_not_in_a_room_is_not_told),
    (Class::Leaked, company::who_was_not_there_is_not_told),
    (Class::Leaked, company::who_blocks_is_not_told),
    (Class::Drift, counts_are_what_there_is_to_count),
    (Class::Ghost, who_is_here_is_connected),
    (Class::Noticed, courses::no_request_fails_in_an_update),
    (Class::Noticed, courses::connections_end_as_announced_in_an_update),
    (Class::Bloated, courses::gateways_stay_small),
];

/// What was to be said at once, with its conversation and key.
pub fn sends(evidence: &Evidence) -> impl Iterator<Item = (&Deed, &str, &str)> {
    evidence.deeds.iter().filter_map(|deed| deed.what.says().map(|(conversation, key)| (deed, conversation, key)))
}

/// What was said and acknowledged, with what they were told.
pub fn acknowledged(evidence: &Evidence) -> impl Iterator<Item = (&Deed, &str, &str, &str, u64)> {
    sends(evidence)
        .filter_map(|(deed, conversation, key)| deed.made().map(|(id, seq)| (deed, conversation, key, id, seq)))
}

fn what_was_acknowledged_is_kept(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for (deed, conversation, key, id, seq) in acknowledged(evidence) {
        match evidence.messages.get(id) {
            None => wrong.push(format!("{key}: {id} was acknowledged and is not there")),
            Some(kept) => {
                let is_right = kept.seq == seq && kept.conversation_id == conversation && kept.sender_id == deed.who;
                if !is_right {
                    wrong.push(format!("{key}: {id} was acknowledged as number {seq} and is {kept:?}"));
                }
            }
        }
    }
    wrong
}

/// The text of a message is that of an edit which no other edit certainly followed, or the first one if none was acknowledged.
fn an_edit_that_was_acknowledged_is_kept(evidence: &Evidence) -> Vec<String> {
    let mut edits: HashMap<&str, Vec<(&Deed, &str)>> = HashMap::new();
    for deed in &evidence.deeds {
        if let What::Edit { message, text } = &deed.what
            && !matches!(deed.outcome, Outcome::Refused { .. })
        {
            edits.entry(message).or_default().push((deed, text));
        }
    }
    let mut wrong = Vec::new();
    for (message, edits) in edits {
        let Some(kept) = evidence.messages.get(message) else { continue };
        let done: Vec<_> = edits
            .iter()
            .filter(|(deed, _)| matches!(deed.outcome, Outcome::Done { .. }))
            .map(|(deed, _)| *deed)
            .collect();
        if kept.deleted_at.is_some() || done.is_empty() {
            continue;
        }
        let may_stand = edits.iter().filter(|(edit, _)| may_stand(edit, &done));
        if !may_stand.clone().any(|(_, text)| *text == kept.message_text) {
            let last = may_stand.map(|(_, text)| *text).collect::<Vec<_>>();
            wrong.push(format!("{message} says {:?} after {last:?} was acknowledged", kept.message_text));
        }
    }
    wrong
}

/// Whether what a deed wrote may be the last word: none that is done certainly followed.
pub fn may_stand(deed: &Deed, done: &[&Deed]) -> bool {
    done.iter().all(|other| other.asked_at <= deed.answered_at)
}

fn numbers_have_no_holes(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut numbers: HashMap<&str, Vec<u64>> = HashMap::new();
    for kept in evidence.messages.values() {
        numbers.entry(&kept.conversation_id).or_default().push(kept.seq);
    }
    for (channel, entries) in &evidence.entries {
        numbers.entry(channel).or_default().extend(entries.iter().map(|entry| entry.seq));
    }
    for feed in &evidence.feeds {
        let last = evidence.entries.get(&feed.channel).and_then(|entries| entries.last()).map_or(0, |entry| entry.seq);
        if last != feed.seq {
            wrong.push(format!("{} stands at {} and its last entry is {last}", feed.channel, feed.seq));
        }
    }
    for (place, mut numbers) in numbers {
        numbers.sort_unstable();
        if !numbers.iter().copied().eq(1..=numbers.len() as u64) {
            let hole = numbers.iter().zip(1..).find(|(number, expected)| **number != *expected);
            wrong.push(format!("{place}: {hole:?}"));
        }
    }
    wrong
}

fn what_the_feed_tells_is_shown(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        let shown: HashSet<&str> = device.shown.iter().map(|(_, id, _)| id.as_str()).collect();
        let told = match &device.started_over {
            None => evidence.feed_of(&device.user),
            Some(started_over) => {
                // Listed in part is listed whole, and then comes what the feed tells.
                let is_listed = |kept: &&Kept| {
                    let upto = started_over.listed.get(&kept.conversation_id);
                    kept.in_main_line && upto.is_some_and(|upto| kept.seq <= *upto)
                };
                let listed = evidence.messages.values().filter(is_listed).map(|kept| kept.id.as_str());
                let after = started_over.after.map(|after| evidence.feed_after(&device.user, after));
                after.into_iter().flatten().chain(listed).collect()
            }
        };
        let mut missing: Vec<_> = told.into_iter().filter(|id| !shown.contains(id)).collect();
        missing.sort_unstable();
        for id in missing {
            wrong.push(format!("{}'s {} never showed {id}", device.user, device.name));
        }
    }
    wrong
}

fn feeds_are_told_without_holes(evidence: &Evidence) -> Vec<String> {
    let of = |device: &super::evidence::Told| format!("{}'s {}", device.user, device.name);
    (evidence.devices.iter())
        .flat_map(|device| device.holes.iter().map(move |hole| format!("{}: {hole}", of(device))))
        .collect()
}

fn a_key_makes_one_message(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut answers: HashMap<(&str, &str, &str), HashSet<&str>> = HashMap::new();
    for (deed, conversation, key, id, _) in acknowledged(evidence) {
        answers.entry((&deed.who, conversation, key)).or_default().insert(id);
    }
    let mut rows: HashMap<(&str, &str, &str), usize> = HashMap::new();
    for kept in evidence.messages.values() {
        if let Some(key) = &kept.client_message_id {
            *rows.entry((&kept.sender_id, &kept.conversation_id, key)).or_default() += 1;
        }
    }
    for ((who, _, key), ids) in answers.iter().filter(|(_, ids)| ids.len() > 1) {
        wrong.push(format!("{key} of {who} was acknowledged as {ids:?}"));
    }
    for ((who, _, key), count) in rows.iter().filter(|(_, count)| **count > 1) {
        wrong.push(format!("{key} of {who} is kept {count} times"));
    }
    wrong
}

fn nothing_is_told_twice(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        let (mut ids, mut numbers) = (HashSet::new(), HashSet::new());
        for (conversation, id, seq) in &device.shown {
            if !ids.insert(id) || !numbers.insert((conversation, seq)) {
                wrong.push(format!("{}'s {} showed {id} ({seq}) again", device.user, device.name));
            }
        }
        let repeats = device.repeats.iter().map(|repeat| format!("{}'s {}: {repeat}", device.user, device.name));
        wrong.extend(repeats);
    }
    wrong
}

fn what_is_said_later_stands_later(evidence: &Evidence) -> Vec<String> {
    let mut places: HashMap<&str, Vec<(u64, u64, u64, &str)>> = HashMap::new();
    for (deed, conversation, key, _, seq) in acknowledged(evidence) {
        places.entry(conversation).or_default().push((deed.asked_at, deed.answered_at, seq, key));
    }
    let mut wrong = Vec::new();
    for mut sent in places.into_values() {
        sent.sort_unstable();
        let mut answered = sent.clone();
        answered.sort_unstable_by_key(|(_, answered, ..)| *answered);
        let (mut before, mut highest) = (answered.into_iter().peekable(), (0, ""));
        for (asked, _, seq, key) in sent {
            while let Some((_, _, earlier, by)) = before.next_if(|(_, answered, ..)| *answered < asked) {
                highest = highest.max((earlier, by));
            }
            // A repeat of a key is answered with the first number.
            if seq < highest.0 && key != highest.1 {
                wrong.push(format!(
                    "{key} has number {seq} and was said after {} ({}) was answered",
                    highest.1, highest.0
                ));
            }
        }
    }
    wrong
}

fn what_stands_later_is_shown_later(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        let mut last: HashMap<&str, u64> = HashMap::new();
        for (conversation, id, seq) in &device.shown {
            let before = last.entry(conversation).or_default();
            if seq < before {
                wrong.push(format!("{}'s {} showed {id} ({seq}) after number {before}", device.user, device.name));
            }
            *before = (*before).max(*seq);
        }
    }
    wrong
}

/// The texts that each message had: that with which it was sent, as far as that is known, and those to which it was edited.
fn texts(evidence: &Evidence) -> HashMap<&str, HashSet<&str>> {
    let mut texts: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut sent: HashMap<(&str, &str, &str), &str> = HashMap::new();
    for deed in &evidence.deeds {
        match (&deed.what, deed.made()) {
            (What::Send { conversation, key, text, .. }, made) => {
                // Blanks at the ends are not part of what is said.
                sent.insert((&deed.who, conversation, key), text.trim());
                if let Some((id, _)) = made {
                    texts.entry(id).or_default().insert(text.trim());
                }
            }
            (What::Edit { message, text }, _) => {
                texts.entry(message).or_default().insert(text);
            }
            _ => {}
        }
    }
    // Of what nobody can say how it ended, it is known who said it there under which key.
    for kept in evidence.messages.values() {
        let key = kept.client_message_id.as_deref().unwrap_or_default();
        let text = sent.get(&(&*kept.sender_id, &*kept.conversation_id, key));
        texts.entry(&kept.id).or_default().extend(text);
    }
    texts
}

fn what_is_kept_was_said(evidence: &Evidence) -> Vec<String> {
    let mut said: HashMap<(&str, &str, &str), (bool, &What)> = HashMap::new();
    for (deed, conversation, key) in sends(evidence) {
        let was_refused = matches!(deed.outcome, Outcome::Refused { .. });
        let known = said.entry((&deed.who, conversation, key)).or_insert((true, &deed.what));
        known.0 &= was_refused;
    }
    let texts = texts(evidence);
    let was = |id: &str, text: &str| texts.get(id).is_some_and(|texts| texts.contains(text.trim()));
    let mut wrong = Vec::new();
    for kept in evidence.messages.values().filter(|kept| !unsent::was_scheduled(evidence, kept)) {
        let key = kept.client_message_id.as_deref().unwrap_or_default();
        match said.get(&(kept.sender_id.as_str(), kept.conversation_id.as_str(), key)) {
            None => wrong.push(format!("nobody said {kept:?}")),
            Some((true, _)) => wrong.push(format!("{key} was refused and is kept as {}", kept.id)),
            Some((false, what)) => {
                let is_right = match what {
                    What::Send { text, .. } => kept.message_text.trim() == text.trim(),
                    What::Forward { message, .. } => was(message, &kept.message_text),
                    _ => false,
                };
                if kept.deleted_at.is_none() && !is_right && !was(&kept.id, &kept.message_text) {
                    wrong.push(format!("{key} says {:?} and nobody said that", kept.message_text));
                }
            }
        }
    }
    wrong
}

fn what_is_shown_is_kept(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        for (conversation, id, seq) in &device.shown {
            let kept = evidence.messages.get(id);
            if !kept.is_some_and(|kept| kept.conversation_id == *conversation && kept.seq == *seq) {
                wrong.push(format!("{}'s {} showed {id} ({seq}), which is kept as {kept:?}", device.user, device.name));
            }
        }
    }
    wrong
}

/// Whoever was there all the time shows what is kept today; of others only those changes are told that happened while they were.
fn devices_show_what_is_kept(evidence: &Evidence) -> Vec<String> {
    let mut moved: HashSet<(&str, &str)> = HashSet::new();
    for deed in &evidence.deeds {
        if let What::Remove { conversation, user } = &deed.what {
            moved.insert((conversation, user));
        }
    }
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        for (id, (version, text)) in &device.texts {
            let Some(kept) = evidence.messages.get(id) else { continue };
            if moved.contains(&(kept.conversation_id.as_str(), device.user.as_str())) {
                continue;
            }
            if (*version, text.as_str()) != (kept.version, kept.message_text.as_str()) {
                let (user, name) = (&device.user, &device.name);
                let today = (kept.version, &kept.message_text);
                wrong.push(format!("{user}'s {name} shows {id} as {:?} and it is {today:?}", (version, text)));
            }
        }
    }
    for verified in &evidence.verified {
        for (conversation, listed) in &verified.listed {
            let mut kept: Vec<_> = evidence
                .messages
                .values()
                .filter(|kept| kept.conversation_id == *conversation && kept.in_main_line)
                .collect();
            kept.sort_unstable_by_key(|kept| kept.seq);
            if !kept.iter().map(|kept| &kept.id).eq(listed) {
                wrong.push(format!(
                    "{} is listed {} messages of {conversation}, {} are kept",
                    verified.user,
                    listed.len(),
                    kept.len()
                ));
            }
        }
    }
    wrong
}

/// What is kept and can never be read is lost all the same.
fn what_is_asked_for_is_answered(evidence: &Evidence) -> Vec<String> {
    let refused = |verified: &Verified| {
        verified.refused.iter().map(|complaint| format!("{} is refused {complaint}", verified.user)).collect::<Vec<_>>()
    };
    evidence.verified.iter().flat_map(refused).collect()
}

fn counts_are_what_there_is_to_count(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    for verified in &evidence.verified {
        if let Some(answer) = &verified.answer
            && answer["is_exact"] != true
        {
            wrong.push(format!("{}: {}", verified.user, answer["drifts"]));
        }
    }
    for device in &evidence.devices {
        for (conversation, (version, count)) in &device.counts {
            let member = evidence.members.iter().find(|member| {
                member.conversation_id == *conversation && member.user_id == device.user && member.left_at.is_none()
            });
            // What was counted before they came anew is not told again.
            let came = device.came.get(conversation).copied().unwrap_or_default();
            if let Some(member) = member.filter(|member| member.unread_count != *count && came < *version) {
                let (user, name, kept) = (&device.user, &device.name, member.unread_count);
                wrong.push(format!("{user}'s {name} counts {count} in {conversation} and {kept} are kept"));
            }
        }
    }
    wrong
}

fn who_is_here_is_connected(evidence: &Evidence) -> Vec<String> {
    let wrong = evidence.here.iter().filter(|here| here.is_connected != (here.state == "online"));
    wrong
        .map(|here| {
            let truth = if here.is_connected { "connected" } else { "gone" };
            format!("{} is {truth} and said to be {:?}", here.user, here.state)
        })
        .collect()
}
