//! The self-probe: a pod that has heard nothing for a while says something to itself.
//!
//! It goes through the same publishing and the same subscriptions as everything else. When the pod does not hear itself, what
//! others say is lost too, however healthy the connections look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::types::config::Server;

use crate::channel::{Bucket, Channel};
use crate::envelope::{Content, Envelope};
use crate::ids::{PodId, TraceId};
use crate::time::Timestamp;

/// How long a node may be silent before the pod probes it.
const SILENCE: Duration = Duration::from_secs(3);

/// How long a probe may be under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// When each node was last heard, by whatever came.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<HashMap<Server, Instant>>>);

impl Heard {
    /// Notes that `server` spoke just now.
    pub(super) fn note(&self, server: &Server) {
        let mut heard = self.0.lock().expect("no holder panics");
        match heard.get_mut(server) {
            Some(at) => *at = Instant::now(),
            None => drop(heard.insert(server.clone(), Instant::now())),
        }
    }

    fn last(&self, server: &Server) -> Option<Instant> {
        self.0.lock().expect("no holder panics").get(server).copied()
    }
}

/// The nodes that are probed, and the probes under way.
pub(super) struct Probes {
    heard: Heard,
    nodes: Vec<Probed>,
}

struct Probed {
    server: Server,
    bucket: Bucket,
    heard: Instant,
    asked: Option<Instant>,
}

/// What is to be done about the nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// A probe is due on these buckets.
    pub(super) due: Vec<Bucket>,
    /// A probe stayed unanswered.
    pub(super) lost: bool,
}

impl Probes {
    pub(super) const fn new(heard: Heard) -> Self {
        Self { heard, nodes: Vec::new() }
    }

    /// Probes these nodes from here on, each through a bucket that lives there.
    pub(super) fn follow(&mut self, nodes: Vec<(Server, Bucket)>) {
        let now = Instant::now();
        let follow = |(server, bucket)| Probed { server, bucket, heard: now, asked: None };
        self.nodes = nodes.into_iter().map(follow).collect();
    }

    /// The buckets whose probe channel must be subscribed.
    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> {
        self.nodes.iter().map(|node| node.bucket)
    }

    /// Looks which nodes are silent. Those that are due count as asked.
    pub(super) fn examine(&mut self, now: Instant) -> Findings {
        let mut findings = Findings::default();
        for node in &mut self.nodes {
            node.heard = self.heard.last(&node.server).unwrap_or(node.heard).max(node.heard);
            match node.asked {
                Some(asked) if node.heard >= asked => node.asked = None,
                Some(asked) if now.duration_since(asked) >= PATIENCE => {
                    findings.lost = true;
                    node.asked = None;
                }
                Some(_) => {}
                None if now.duration_since(node.heard) >= SILENCE => {
                    findings.due.push(node.bucket);
                    node.asked = Some(now);
                }
                None => {}
            }
        }
        findings
    }
}

/// What a pod says to itself.
pub(super) fn probe(pod: PodId) -> Envelope {
    Envelope {
        channel: Channel::Pod(pod),
        committed_at: Timestamp::now(),
        trace: TraceId::random(),
        content: Content::Pods(Bytes::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_asked_and_found_lost_when_it_does_not_answer() {
        let (server, bucket) = (Server::new("redis", 1), Channel::All.bucket());
        let heard = Heard::default();
        let mut probes = Probes::new(heard.clone());
        probes.follow(vec![(server.clone(), bucket)]);
        let begin = Instant::now();

        assert_eq!(probes.examine(begin), Findings::default());
        assert_eq!(probes.examine(begin + SILENCE), Findings { due: vec![bucket], lost: false });
        assert_eq!(probes.examine(begin + SILENCE), Findings::default(), "one probe at a time");
        assert_eq!(probes.examine(begin + SILENCE + PATIENCE), Findings { due: vec![], lost: true });

        heard.note(&server);
        assert_eq!(probes.examine(Instant::now()), Findings::default(), "whatever is heard will do");
    }
}
