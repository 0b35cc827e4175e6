//! Tickets in Redis: one key for each, gone once it was taken in or by itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::types::scripts::Script;

use super::{Holder, Ticket, Tickets};
use crate::broker::BrokerError;
use crate::broker::redis::{Call, Commands, Names, garbled};

/// Tickets that the fleet made out.
pub(crate) struct RedisTickets {
    commands: Arc<Commands>,
    names: Names,
    keep: Script,
    take: Script,
}

impl RedisTickets {
    pub(crate) fn new(commands: Arc<Commands>, names: Names) -> Self {
        let keep = Script::from_lua("return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])");
        let take = Script::from_lua("return redis.call('GETDEL', KEYS[1])");
        Self { commands, names, keep, take }
    }
}

#[async_trait]
impl Tickets for RedisTickets {
    async fn keep(&self, ticket: &Ticket, holder: &Holder, lasts: Duration) -> Result<(), BrokerError> {
        let mut call = Call::default();
        call.key(self.names.ticket(&ticket.stub()));
        call.bytes(serde_json::to_vec(holder).map_err(garbled)?.into());
        call.text(lasts.as_millis().to_string());
        self.commands.run(&self.keep, call).await.map(drop)
    }

    async fn take(&self, ticket: &Ticket) -> Result<Option<Holder>, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.ticket(&ticket.stub()));
        let kept: Option<Bytes> = self.commands.run(&self.take, call).await?.convert().map_err(garbled)?;
        kept.map(|kept| serde_json::from_slice(&kept).map_err(garbled)).transpose()
    }
}
