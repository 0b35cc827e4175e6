//! The rules of courses that a run can take besides faults, and of what a gateway weighs.

use std::collections::HashMap;

use fleet::journal::{Course, Deed};

use super::evidence::Evidence;

/// What a gateway may weigh, in KiB, beside its program: what it weighs by itself, and the full queues of the few connections of a
/// run, several times over. One that keeps what its slow readers do not read is beyond it within a run.
const WEIGHT: u64 = 128 * 1024;

/// Whoever followed the old count is told that there is another one.
pub fn every_device_begins_anew_after_a_restore(evidence: &Evidence) -> Vec<String> {
    if evidence.run.restored.is_none() {
        return Vec::new();
    }
    let is_told = |resyncs: &[String]| resyncs.iter().any(|reason| reason == "epoch");
    let untold = evidence.devices.iter().filter(|device| device.started_over.is_none() || !is_told(&device.resyncs));
    untold
        .map(|device| format!("{}'s {} was told to start over for {:?}", device.user, device.name, device.resyncs))
        .collect()
}

/// How it looks to a client that nginx, which reads its configuration anew, ends a connection just as it is used again: as the end of
/// an answer before it began, or as a reset. A pod that ends one nginx answers for.
const ENDED_BY_NGINX: [&str; 2] = ["IncompleteMessage", "SendRequest, hyper::Error(Io, Os { code: 104"];

/// What is asked while pods are replaced is answered at once.
pub fn no_request_fails_in_an_update(evidence: &Evidence) -> Vec<String> {
    if evidence.run.course != Course::Update {
        return Vec::new();
    }
    let is_ours = |why: &String| !ENDED_BY_NGINX.iter().any(|end| why.contains(end));
    let is_ours = |deed: &&Deed| deed.failure.as_ref().is_some_and(is_ours);
    let repeated = evidence.deeds.iter().filter(|deed| deed.attempts > 1).filter(is_ours);
    let failure = |deed: &Deed| deed.failure.clone().unwrap_or_default();
    repeated
        .map(|deed| format!("{} asked {} times for {:?}: {}", deed.who, deed.attempts, deed.what, failure(deed)))
        .collect()
}

/// Connections to a pod that is replaced end with 1012 alone.
pub fn connections_end_as_announced_in_an_update(evidence: &Evidence) -> Vec<String> {
    if evidence.run.course != Course::Update {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for device in &evidence.devices {
        for close in device.closes.iter().filter(|close| **close != Some(1012)) {
            let how = close.map_or_else(|| "without a word".to_owned(), |code| format!("with {code}"));
            wrong.push(format!("a connection of {}'s {} ended {how}", device.user, device.name));
        }
    }
    wrong
}

/// No gateway weighs more than it may, whatever its clients do not read.
pub fn gateways_stay_small(evidence: &Evidence) -> Vec<String> {
    let mut heaviest: HashMap<&str, u64> = HashMap::new();
    for memory in &evidence.memory {
        let most = heaviest.entry(&memory.pod).or_default();
        *most = memory.kib.max(*most);
    }
    let heavy = heaviest.into_iter().filter(|(_, kib)| *kib > WEIGHT);
    heavy.map(|(pod, kib)| format!("{pod} weighed {kib} KiB")).collect()
}
