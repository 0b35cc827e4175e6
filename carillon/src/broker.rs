//! The loudspeaker, opened: in this process, or Redis.

use std::sync::Arc;

use shared::broker::Link;
use shared::broker::memory::MemoryBroker;
use shared::broker::redis::{self, RedisSettings};
use shared::history::History;
use shared::history::memory::MemoryHistory;
use shared::presence::Presence;
use shared::presence::memory::MemoryPresence;

use crate::settings::Settings;

/// Where the pods of this process meet.
#[derive(Clone)]
pub enum Broker {
    /// In this process.
    Memory(MemoryBroker, Arc<MemoryHistory>, Arc<MemoryPresence>),
    /// At a Redis.
    Redis(RedisSettings),
}

impl Broker {
    /// Chooses by `redis_url`.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let redis = &settings.redis;
        if redis.redis_url.scheme() == "memory" {
            let place = MemoryBroker::default();
            let history = Arc::new(MemoryHistory::new(place.clone()));
            return Ok(Self::Memory(place.clone(), history, Arc::new(MemoryPresence::new(place))));
        }
        Ok(Self::Redis(RedisSettings::new(redis.redis_url.reveal(), &redis.redis_prefix)?))
    }

    /// Connects one role. Returns even while Redis is away: what is lost then is reported as a gap.
    pub async fn link(&self) -> (Link, Arc<dyn History>, Arc<dyn Presence>) {
        match self {
            Self::Memory(place, history, presence) => {
                (place.link(), Arc::clone(history) as Arc<dyn History>, Arc::clone(presence) as Arc<dyn Presence>)
            }
            Self::Redis(settings) => redis::open(settings).await,
        }
    }
}
