//! Publishing: one script call carries up to 64 envelopes, each body once.
//!
//! On the line it is the last step before Redis. Envelopes of one channel stay in order: the calls of a bucket follow one
//! another, and only different buckets go side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fred::types::scripts::Script;
use futures_util::future::join_all;

use super::commands::{Call, Commands};
use super::metrics::Metrics;
use super::names::Names;
use crate::broker::BrokerError;
use crate::channel::Bucket;
use crate::envelope::Envelope;
use crate::history::windows;

/// Envelopes in one call. Redis does nothing else while a call runs.
const BATCH: usize = 64;

/// Publishes envelopes.
pub(super) struct Publisher {
    commands: Arc<Commands>,
    names: Names,
    script: Script,
    metrics: Metrics,
}

impl Publisher {
    pub(super) fn new(commands: Arc<Commands>, names: Names, metrics: Metrics) -> Self {
        Self { commands, names, script: Script::from_lua(include_str!("publish.lua")), metrics }
    }

    /// Publishes each envelope on its channel. Answers the first error, when every bucket has been tried.
    pub(super) async fn publish(&self, envelopes: &[Envelope]) -> Result<(), BrokerError> {
        let mut groups: BTreeMap<Option<Bucket>, Vec<(String, &Envelope)>> = BTreeMap::new();
        for envelope in envelopes {
            let group = self.commands.is_clustered().then(|| envelope.channel.bucket());
            groups.entry(group).or_default().push((self.names.channel(&envelope.channel), envelope));
        }
        let groups: Vec<_> = groups.into_values().map(|group| self.in_order(group)).collect();
        join_all(groups).await.into_iter().collect()
    }

    /// Publishes `envelope` under a name of its own: a probe.
    pub(super) async fn publish_as(&self, name: String, envelope: &Envelope) -> Result<(), BrokerError> {
        self.in_order(vec![(name, envelope)]).await
    }

    async fn in_order(&self, group: Vec<(String, &Envelope)>) -> Result<(), BrokerError> {
        let mut left = group.len();
        for batch in group.chunks(BATCH) {
            if let Err(error) = self.commands.run(&self.script, call(&self.names, batch)).await {
                self.metrics.unpublished.increment(left as u64);
                return Err(error);
            }
            left -= batch.len();
            self.metrics.published.increment(batch.len() as u64);
        }
        Ok(())
    }
}

/// The script's arguments: a head, the place of a body and a number for each channel, and behind them the bodies.
fn call(names: &Names, batch: &[(String, &Envelope)]) -> Call {
    let mut call = Call::default();
    let mut bodies: Vec<&Bytes> = Vec::new();
    call.text(windows::ENTRIES.to_string());
    call.text(windows::AGE.as_millis().to_string());
    for (name, envelope) in batch {
        let body = envelope.body();
        // Recipients of one message share its bytes, so that comparing addresses finds them.
        let same = |other: &&Bytes| other.as_ptr() == body.as_ptr() && other.len() == body.len();
        let place = bodies.iter().position(same).unwrap_or_else(|| {
            bodies.push(body);
            bodies.len() - 1
        });
        let kept = windows::place_of(envelope);
        call.key(name.clone());
        // A script must be told every key it touches; what no window keeps names its channel twice.
        call.key(kept.map_or_else(|| name.clone(), |(epoch, _)| names.window(&envelope.channel, epoch)));
        call.text(envelope.head());
        call.text((3 + 3 * batch.len() + place).to_string());
        let sign = if windows::redacts(envelope) { "-" } else { "" };
        call.text(format!("{sign}{}", kept.map_or(0, |(_, seq)| seq.0)));
    }
    bodies.into_iter().for_each(|body| call.bytes(body.clone()));
    call
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Content;
    use crate::ids::TraceId;
    use crate::time::Timestamp;

    #[test]
    fn a_shared_body_travels_once() {
        let [shared, own] = [Bytes::from(vec![b'x'; 100]), Bytes::from(vec![b'y'; 100])];
        let envelopes: Vec<_> = [&shared, &own, &shared]
            .into_iter()
            .map(|body| Envelope {
                channel: crate::channel::Channel::All,
                committed_at: Timestamp::from_micros(0),
                trace: TraceId(1),
                content: Content::Pods(body.clone()),
            })
            .collect();
        let batch: Vec<_> = envelopes.iter().map(|envelope| ("all".to_owned(), envelope)).collect();
        let call = call(&Names::new("carillon"), &batch);
        let arguments: Vec<_> = call.arguments.iter().map(|value| value.as_str().expect("text").into_owned()).collect();
        assert_eq!(arguments.len(), 2 + 3 * 3 + 2);
        assert_eq!([&arguments[3], &arguments[6], &arguments[9]], ["12", "13", "12"]);
        assert_eq!([&arguments[11], &arguments[12]], [&"x".repeat(100), &"y".repeat(100)]);
    }
}
