//! Which node of a cluster has which bucket.
//!
//! Redis ends the subscriptions of a slot that moves, and fred does not pass that on. Comparing owners finds it.

use fred::types::cluster::ClusterRouting;
use fred::types::config::Server;

use super::names::Names;
use crate::channel::Bucket;

/// The owner of every bucket, as far as known.
#[derive(Default)]
pub(super) struct Owners(Vec<Option<Server>>);

impl Owners {
    pub(super) fn new(routing: &ClusterRouting) -> Self {
        Self(Bucket::all().map(|bucket| routing.get_server(Names::slot(bucket)).cloned()).collect())
    }

    /// The buckets that have another owner in `newer`.
    pub(super) fn moved(&self, newer: &Self) -> Vec<Bucket> {
        let pairs = self.0.iter().zip(&newer.0);
        Bucket::all()
            .zip(pairs)
            .filter(|(_, (old, new))| old.is_some() && old != new)
            .map(|(bucket, _)| bucket)
            .collect()
    }

    /// A bucket of each node.
    pub(super) fn samples(&self) -> Vec<(Server, Bucket)> {
        let mut samples: Vec<(Server, Bucket)> = Vec::new();
        for (bucket, owner) in Bucket::all().zip(&self.0) {
            if let Some(owner) = owner
                && samples.iter().all(|(known, _)| known != owner)
            {
                samples.push((owner.clone(), bucket));
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::BUCKETS;

    fn owners(of: impl Fn(usize) -> Option<u16>) -> Owners {
        Owners((0..usize::from(BUCKETS)).map(|bucket| of(bucket).map(|port| Server::new("redis", port))).collect())
    }

    #[test]
    fn a_bucket_with_another_owner_has_moved() {
        let before = owners(|bucket| Some(bucket as u16 % 3));
        let after = owners(|bucket| if bucket == 7 { Some(9) } else { Some(bucket as u16 % 3) });
        assert_eq!(before.moved(&after).iter().map(|bucket| bucket.index()).collect::<Vec<_>>(), [7]);
        assert!(before.moved(&before).is_empty());
        assert!(Owners::default().moved(&after).is_empty());
    }

    #[test]
    fn every_node_is_sampled_once() {
        let owners = owners(|bucket| (bucket > 1).then_some(bucket as u16 % 3));
        let samples: Vec<_> =
            owners.samples().into_iter().map(|(server, bucket)| (server.port, bucket.index())).collect();
        assert_eq!(samples, [(2, 2), (0, 3), (1, 4)]);
    }
}
