//! The rules of what is to be said later, and of what is not said yet.

use std::collections::HashMap;

use fleet::journal::{Deed, Outcome, What};

use super::evidence::{Evidence, Kept};
use super::rules::may_stand;

/// What was to be sent later, with its conversation and text.
fn schedules(evidence: &Evidence) -> impl Iterator<Item = (&Deed, &str, &str)> {
    evidence.deeds.iter().filter_map(|deed| match &deed.what {
        What::Schedule { conversation, text, .. } => Some((deed, conversation.as_str(), text.as_str())),
        _ => None,
    })
}

/// Whether a message was to be sent later. One whose time has come while it was asked for again is refused, and sent.
pub fn was_scheduled(evidence: &Evidence, kept: &Kept) -> bool {
    schedules(evidence).any(|(deed, conversation, text)| {
        let was_refused = matches!(deed.outcome, Outcome::Refused { .. }) && deed.attempts == 1;
        !was_refused
            && (deed.who.as_str(), conversation, text)
                == (&*kept.sender_id, &*kept.conversation_id, &*kept.message_text)
    })
}

/// Whatever becomes of those who were to send it. What its sender may not say any more when the time comes is kept as refused.
pub fn what_was_scheduled_is_sent(evidence: &Evidence) -> Vec<String> {
    let status: HashMap<&str, &str> = evidence.later.iter().map(|later| (&*later.id, &*later.status)).collect();
    let mut wrong = Vec::new();
    for (deed, _, text) in schedules(evidence) {
        let Outcome::Done { id: Some(id), .. } = &deed.outcome else { continue };
        let is_sent = evidence.messages.contains_key(id);
        match status.get(id.as_str()) {
            _ if is_sent => {}
            Some(&"refused") => {}
            status => wrong.push(format!("{text} ({id}) was to be sent later and is {status:?}")),
        }
    }
    wrong
}

pub fn what_was_scheduled_is_sent_once(evidence: &Evidence) -> Vec<String> {
    let mut kept: HashMap<&str, usize> = HashMap::new();
    for message in evidence.messages.values() {
        *kept.entry(&message.message_text).or_default() += 1;
    }
    let twice = schedules(evidence).filter(|(.., text)| kept.get(text).is_some_and(|count| *count > 1));
    twice.map(|(.., text)| format!("{text} was to be sent later and is kept {} times", kept[text])).collect()
}

/// What somebody keeps of a conversation is the last they wrote; of one they were taken out of it may be nothing.
pub fn a_draft_that_was_kept_is_there(evidence: &Evidence) -> Vec<String> {
    let mut drafts: HashMap<(&str, &str), Vec<(&Deed, &str)>> = HashMap::new();
    for deed in &evidence.deeds {
        if let What::Draft { conversation, text } = &deed.what
            && !matches!(deed.outcome, Outcome::Refused { .. })
        {
            drafts.entry((&deed.who, conversation)).or_default().push((deed, text));
        }
    }
    let mut wrong = Vec::new();
    for ((who, conversation), drafts) in drafts {
        let is_done = |deed: &&Deed| matches!(deed.outcome, Outcome::Done { .. });
        let done: Vec<&Deed> = drafts.iter().map(|(deed, _)| *deed).filter(is_done).collect();
        let kept = evidence.unsent.iter().find(|one| one.user_id == who && one.conversation_id == conversation);
        let kept = kept.and_then(|kept| kept.message_text.as_deref());
        if done.is_empty() || (kept.is_none() && was_removed(evidence, conversation, who)) {
            continue;
        }
        let mut last = drafts.iter().filter(|(deed, _)| may_stand(deed, &done)).map(|(_, text)| *text);
        if !last.any(|text| Some(text) == kept) {
            wrong.push(format!("{who} keeps {kept:?} of {conversation} and wrote something else last"));
        }
    }
    wrong
}

fn was_removed(evidence: &Evidence, place: &str, who: &str) -> bool {
    let removes = |deed: &Deed| match &deed.what {
        What::Remove { conversation, user } => conversation == place && user == who,
        _ => false,
    };
    evidence.deeds.iter().any(removes)
}
