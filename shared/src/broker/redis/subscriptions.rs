//! The connection for what is heard, one per Redis node.
//!
//! fred carries it and gets parts of it wrong. It counts one answer per command where Redis gives one per channel, so that a
//! command with several channels confirms others that were never subscribed: hence each command here names one channel, many are
//! under way at once, and the name in the last answer of each connection is compared. It drops the notice that a slot's
//! subscriptions ended, and its own resubscribing is silent: hence the [`keeper`](super::keeper).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fred::clients::{SubscriberClient, WithOptions};
use fred::prelude::{ClientLike, ClusterInterface, Error, ErrorKind, FredResult, Options, PubsubInterface, Server};
use fred::types::cluster::ClusterRouting;
use fred::types::{ClusterHash, CustomCommand, Resp3Frame};
use fred::util::redis_keyslot;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use super::names::Names;
use crate::channel::Bucket;

/// How long fred may take to look at the cluster or to reconnect.
const LOOK: Duration = Duration::from_secs(2);

/// Channels subscribed at once: one round trip.
const AT_ONCE: usize = 512;

/// Subscribes and unsubscribes names.
pub(super) struct Subscriptions {
    client: WithOptions<SubscriberClient>,
}

impl Subscriptions {
    pub(super) fn new(client: &SubscriberClient) -> Self {
        // While the link is down a command fails at once: the keeper subscribes everything again afterwards.
        Self { client: client.with_options(&Options { fail_fast: true, ..Options::default() }) }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// Subscribes `names`; Redis has confirmed each when this returns.
    pub(super) async fn hear(&self, names: &[String]) -> FredResult<()> {
        for names in names.chunks(AT_ONCE) {
            let last = self.last_of_each_connection(names);
            let hear = |(at, name): (usize, &String)| {
                let name = name.clone();
                let checks = last.contains(&at);
                async move { if checks { self.hear_surely(&name).await } else { self.client.ssubscribe(name).await } }
            };
            try_join_all(names.iter().enumerate().map(hear)).await?;
        }
        Ok(())
    }

    /// Which of `names` are asked for last on their connection. In a cluster that is not told by a name, but whichever has a
    /// bucket has all of it.
    fn last_of_each_connection(&self, names: &[String]) -> BTreeSet<usize> {
        if !self.client.is_clustered() {
            return names.len().checked_sub(1).into_iter().collect();
        }
        let last: BTreeMap<_, _> =
            names.iter().enumerate().map(|(at, name)| (redis_keyslot(name.as_bytes()), at)).collect();
        last.into_values().collect()
    }

    /// Subscribes `name` and compares the answer's. Answers come in the order of the commands: were one of them missing or one
    /// too many, the last would be another's. This also sends what fred has held back to write it together.
    async fn hear_surely(&self, name: &str) -> FredResult<()> {
        let command = CustomCommand::new_static("SSUBSCRIBE", ClusterHash::FirstKey, false);
        let answer = self.client.custom_raw(command, vec![name]).await?;
        if let Resp3Frame::Push { data, .. } | Resp3Frame::Array { data, .. } = &answer
            && let [what, which, ..] = &data[..]
            && text(what) == b"ssubscribe"
            && text(which) == name.as_bytes()
        {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Protocol, format!("subscribing was answered with {answer:?}")))
    }

    /// Unsubscribes names by their buckets. Does not wait: what still comes is no harm.
    pub(super) async fn leave(&self, names: BTreeMap<Bucket, Vec<String>>) {
        let groups: Vec<Vec<String>> = match self.client.is_clustered() {
            true => names.into_values().collect(),
            false => vec![names.into_values().flatten().collect()],
        };
        for names in groups.iter().flat_map(|group| group.chunks(AT_ONCE)) {
            // It fails only without a connection, and without one nothing is subscribed.
            let _ = self.client.sunsubscribe(names.to_vec()).await;
        }
    }

    /// Looks at the cluster's present layout. `None` without a cluster or an answer.
    pub(super) async fn look(&self) -> Option<ClusterRouting> {
        if !self.client.is_clustered() || !self.is_connected() {
            return None;
        }
        timeout(LOOK, self.client.sync_cluster()).await.ok()?.ok()?;
        self.routing()
    }

    /// The cluster's layout as fred knows it. `None` without a cluster.
    pub(super) fn routing(&self) -> Option<ClusterRouting> {
        self.client.cached_cluster_state()
    }

    /// The one server there is without a cluster.
    pub(super) fn server(&self) -> Option<Server> {
        self.client.active_connections().pop()
    }

    /// Makes new connections where the old ones carry nothing, although they look well.
    pub(super) async fn restart(&self) {
        let _ = timeout(LOOK, self.client.force_reconnection()).await;
    }
}

fn text(frame: &Resp3Frame) -> &[u8] {
    match frame {
        Resp3Frame::BlobString { data, .. } | Resp3Frame::SimpleString { data, .. } => data,
        _ => &[],
    }
}

/// Names by bucket, as [`Subscriptions::leave`] takes them.
pub(super) fn by_bucket<'a>(
    names: &Names,
    channels: impl IntoIterator<Item = &'a crate::channel::Channel>,
) -> BTreeMap<Bucket, Vec<String>> {
    let mut groups: BTreeMap<Bucket, Vec<String>> = BTreeMap::new();
    for channel in channels {
        groups.entry(channel.bucket()).or_default().push(names.channel(channel));
    }
    groups
}
