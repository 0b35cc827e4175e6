//! The loudspeaker, opened: in this process, or Redis.

use std::sync::Arc;

use shared::broker::Linked;
use shared::broker::memory::MemoryBroker;
use shared::broker::redis::{self, RedisSettings};
use shared::history::memory::MemoryHistory;
use shared::limits::memory::MemoryLimiter;
use shared::presence::memory::MemoryPresence;
use shared::tickets::memory::MemoryTickets;

use crate::settings::Settings;

/// Where the pods of this process meet.
#[derive(Clone)]
pub enum Broker {
    /// In this process.
    Memory(MemoryBroker, Arc<MemoryHistory>, Arc<MemoryPresence>, Arc<MemoryLimiter>, Arc<MemoryTickets>),
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
            let presence = Arc::new(MemoryPresence::new(place.clone()));
            return Ok(Self::Memory(place, history, presence, Arc::default(), Arc::default()));
        }
        Ok(Self::Redis(RedisSettings::new(redis.redis_url.reveal(), &redis.redis_prefix)?))
    }

    /// Connects one role. Returns even while Redis is away: what is lost then is reported as a gap.
    pub async fn link(&self) -> Linked {
        match self {
            Self::Memory(place, history, presence, limiter, tickets) => Linked {
                link: place.link(),
                history: history.clone(),
                presence: presence.clone(),
                limiter: limiter.clone(),
                tickets: tickets.clone(),
            },
            Self::Redis(settings) => redis::open(settings).await,
        }
    }
}
