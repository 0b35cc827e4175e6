//! Turns counted in Redis: one key for each who does something, gone by itself once everything is earned back. And seats: a sorted
//! set for each person, gone by itself once nobody holds any.
//!
//! By the server's clock, so that pods need not agree on theirs. Calls of different tasks share one connection and are written
//! one behind the other, so that a storm of them waits for no more than one answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::scripts::Script;
use uuid::Uuid;

use super::{Deed, Doer, Limiter, Rate, Turn};
use crate::broker::BrokerError;
use crate::broker::redis::{Call, Commands, Names, garbled};
use crate::ids::UserId;

/// Turns that the fleet counts.
pub(crate) struct RedisLimiter {
    commands: Arc<Commands>,
    names: Names,
    take: Script,
    hold: Script,
    go_on: Script,
    leave: Script,
}

impl RedisLimiter {
    pub(crate) fn new(commands: Arc<Commands>, names: Names) -> Self {
        Self {
            commands,
            names,
            take: Script::from_lua(include_str!("take.lua")),
            hold: Script::from_lua(include_str!("hold.lua")),
            go_on: Script::from_lua(include_str!("go_on.lua")),
            leave: Script::from_lua("return redis.call('ZREM', KEYS[1], ARGV[1])"),
        }
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

    async fn hold(&self, user: &UserId, seat: Uuid, most: u32, lasts: Duration) -> Result<bool, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.seats(user));
        call.text(seat.to_string());
        call.text(most.to_string());
        call.text(lasts.as_millis().to_string());
        let is_held: i64 = self.commands.run(&self.hold, call).await?.convert().map_err(garbled)?;
        Ok(is_held == 1)
    }

    async fn go_on_holding(&self, user: &UserId, seats: &[Uuid], lasts: Duration) -> Result<(), BrokerError> {
        let mut call = Call::default();
        call.key(self.names.seats(user));
        call.text(lasts.as_millis().to_string());
        seats.iter().for_each(|seat| call.text(seat.to_string()));
        self.commands.run(&self.go_on, call).await.map(drop)
    }

    async fn leave(&self, user: &UserId, seat: Uuid) -> Result<(), BrokerError> {
        let mut call = Call::default();
        call.key(self.names.seats(user));
        call.text(seat.to_string());
        self.commands.run(&self.leave, call).await.map(drop)
    }
}
