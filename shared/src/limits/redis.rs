//! Turns counted in Redis: one key for each who does something, gone by itself once everything is earned back.
//!
//! By the server's clock, so that pods need not agree on theirs. Calls of different tasks share one connection and are written
//! one behind the other, so that a storm of them waits for no more than one answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::scripts::Script;

use super::{Deed, Doer, Limiter, Rate, Turn};
use crate::broker::BrokerError;
use crate::broker::redis::{Call, Commands, Names, garbled};

/// Turns that the fleet counts.
pub(crate) struct RedisLimiter {
    commands: Arc<Commands>,
    names: Names,
    take: Script,
}

impl RedisLimiter {
    pub(crate) fn new(commands: Arc<Commands>, names: Names) -> Self {
        Self { commands, names, take: Script::from_lua(include_str!("take.lua")) }
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn take(&self, who: &Doer, deed: Deed, rate: Rate) -> Result<Turn, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.turns(who, deed));
        call.text(rate.each().as_micros().to_string());
        call.text(rate.whole().as_micros().to_string());
        let wait: u64 = self.commands.run(&self.take, call).await?.convert().map_err(garbled)?;
        Ok(if wait == 0 { Turn::Taken } else { Turn::Wait(Duration::from_micros(wait)) })
    }
}
