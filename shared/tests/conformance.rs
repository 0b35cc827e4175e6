//! The promises of the broker, of the rooms' history, of presence, of limits and of tickets, put to every implementation over real servers.

use std::sync::Arc;

use async_trait::async_trait;
use fleet::servers::redis::Redis;
use shared::broker::Linked;
use shared::broker::conformance::{Pod, Stage, flood};
use shared::broker::memory::MemoryBroker;
use shared::broker::redis::{RedisSettings, open};
use shared::channel::Channel;
use shared::history::memory::MemoryHistory;
use shared::limits::memory::MemoryLimiter;
use shared::presence::memory::MemoryPresence;
use shared::tickets::memory::MemoryTickets;

mod broker {
    use super::*;
    shared::broker_conformance!(
        memory: Memory,
        redis_standalone: Standalone,
        redis_sentinel: Sentinel,
        redis_cluster: Cluster,
    );
}

mod history {
    use super::*;
    shared::history_conformance!(
        memory: Memory,
        redis_standalone: Standalone,
        redis_sentinel: Sentinel,
        redis_cluster: Cluster,
    );
}

mod presence {
    use super::*;
    shared::presence_conformance!(
        memory: Memory,
        redis_standalone: Standalone,
        redis_sentinel: Sentinel,
        redis_cluster: Cluster,
    );
}

mod limits {
    use super::*;
    shared::limits_conformance!(
        memory: Memory,
        redis_standalone: Standalone,
        redis_sentinel: Sentinel,
        redis_cluster: Cluster,
    );
}

mod tickets {
    use super::*;
    shared::tickets_conformance!(
        memory: Memory,
        redis_standalone: Standalone,
        redis_sentinel: Sentinel,
        redis_cluster: Cluster,
    );
}

/// One process. All it can suffer is a pump that does not keep up.
#[derive(Clone)]
struct Memory {
    place: MemoryBroker,
    history: Arc<MemoryHistory>,
    presence: Arc<MemoryPresence>,
    limiter: Arc<MemoryLimiter>,
    tickets: Arc<MemoryTickets>,
}

#[async_trait]
impl Stage for Memory {
    async fn set() -> Self {
        let place = MemoryBroker::default();
        let history = Arc::new(MemoryHistory::new(place.clone()));
        let presence = Arc::new(MemoryPresence::new(place.clone()));
        Self { history, presence, limiter: Arc::default(), tickets: Arc::default(), place }
    }

    async fn pod(&self) -> Pod {
        let Self { place, history, presence, limiter, tickets } = self.clone();
        Pod { link: place.link(), history, presence, limiter, tickets }
    }

    async fn lose_the_link(&self, heard: &Channel) {
        flood(&self.pod().await, heard).await;
    }

    async fn kill_the_subscribers(&self, heard: &Channel) {
        flood(&self.pod().await, heard).await;
    }

    async fn move_the_slot(&self, heard: &Channel) {
        flood(&self.pod().await, heard).await;
    }
}

async fn pod(redis: &Redis) -> Pod {
    let settings = RedisSettings::new(&redis.url(), "conformance").expect("settings");
    let Linked { link, history, presence, limiter, tickets } = open(&settings).await;
    Pod { link, history, presence, limiter, tickets }
}

/// One server.
struct Standalone(Redis);

#[async_trait]
impl Stage for Standalone {
    async fn set() -> Self {
        Self(Redis::standalone().await.expect("a redis"))
    }

    async fn pod(&self) -> Pod {
        pod(&self.0).await
    }

    async fn lose_the_link(&self, _: &Channel) {
        self.0.kill();
        self.0.restart_empty().await.expect("a restart");
    }

    async fn kill_the_subscribers(&self, _: &Channel) {
        self.0.kill_subscribers().await.expect("a kill");
    }

    // Without slots the nearest is a server that ends every connection, as one does that is moved to another machine.
    async fn move_the_slot(&self, _: &Channel) {
        self.0.kill_subscribers().await.expect("a kill");
        self.0.cli(0, &["CLIENT", "KILL", "TYPE", "normal"]).await.expect("a kill");
    }
}

/// A primary and a replica behind a Sentinel.
struct Sentinel(Redis);

#[async_trait]
impl Stage for Sentinel {
    async fn set() -> Self {
        Self(Redis::sentinel().await.expect("a redis with a sentinel"))
    }

    async fn pod(&self) -> Pod {
        pod(&self.0).await
    }

    async fn lose_the_link(&self, _: &Channel) {
        self.0.fail_over().await.expect("a failover");
    }

    async fn kill_the_subscribers(&self, _: &Channel) {
        self.0.kill_subscribers().await.expect("a kill");
    }

    // Without slots the nearest is another primary.
    async fn move_the_slot(&self, _: &Channel) {
        self.0.fail_over().await.expect("a failover");
    }
}

/// Three masters.
struct Cluster(Redis);

#[async_trait]
impl Stage for Cluster {
    async fn set() -> Self {
        Self(Redis::cluster().await.expect("a cluster"))
    }

    async fn pod(&self) -> Pod {
        pod(&self.0).await
    }

    async fn lose_the_link(&self, _: &Channel) {
        self.0.kill();
        self.0.restart_empty().await.expect("a restart");
    }

    async fn kill_the_subscribers(&self, _: &Channel) {
        self.0.kill_subscribers().await.expect("a kill");
    }

    async fn move_the_slot(&self, heard: &Channel) {
        let slot = self.0.cli(0, &["CLUSTER", "KEYSLOT", &heard.bucket().to_string()]).await.expect("a slot");
        self.0.move_slot(slot.parse().expect("a number")).await.expect("a move");
    }
}
