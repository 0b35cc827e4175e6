//! The memory of rooms in Redis: one stream per room, in the slot of the room's channel.
//!
//! One script numbers, keeps and publishes, so that positions are heard in order and are readable once heard.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::types::scripts::Script;

use super::{History, Recovered, Retention, windows};
use crate::broker::BrokerError;
use crate::broker::redis::{COMMAND, Call, Commands, Names, garbled};
use crate::channel::Channel;
use crate::envelope::{Content, Envelope};
use crate::event::{LiveBody, RoomPosition};
use crate::ids::{Epoch, RoomName, Seq, TraceId};
use crate::time::Timestamp;

/// How long a publish that was done is known when it comes again. One that was not answered is sent for a fifth of that; the rest is
/// for servers that stand still and do later what they were sent.
const ANSWERED: Duration = COMMAND.saturating_mul(5);

/// Rooms that Redis remembers.
pub(crate) struct RedisHistory {
    commands: Arc<Commands>,
    names: Names,
    publish: Script,
    read: Script,
    window: Script,
}

impl RedisHistory {
    pub(crate) fn new(commands: Arc<Commands>, names: Names) -> Self {
        let publish = Script::from_lua(include_str!("publish.lua"));
        let read = Script::from_lua(include_str!("read.lua"));
        let window = Script::from_lua(include_str!("window.lua"));
        Self { commands, names, publish, read, window }
    }

    /// The kept envelopes from number `first` on.
    async fn kept(&self, room: &RoomName, first: u64) -> Result<Vec<Envelope>, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.history(room));
        call.text(format!("{first}-0"));
        self.envelopes(&self.read, call).await
    }

    /// The envelopes that `script` answers.
    async fn envelopes(&self, script: &Script, call: Call) -> Result<Vec<Envelope>, BrokerError> {
        let envelopes: Vec<Bytes> = self.commands.run(script, call).await?.convert().map_err(garbled)?;
        envelopes.iter().map(Envelope::decode).collect::<Result<_, _>>().map_err(garbled)
    }
}

#[async_trait]
impl History for RedisHistory {
    async fn publish(
        &self,
        room: &RoomName,
        keep: Retention,
        trace: TraceId,
        body: LiveBody,
    ) -> Result<RoomPosition, BrokerError> {
        let body_bytes = body.as_bytes().clone();
        let content = Content::Live { body, position: None };
        let envelope =
            Envelope { channel: Channel::Room(room.clone()), committed_at: Timestamp::now(), trace, content };
        let mut call = Call::default();
        call.key(self.names.history(room));
        call.key(self.names.channel(&envelope.channel));
        let drawn = Epoch::random();
        call.key(self.names.answer(room, drawn));
        call.text(drawn.to_string());
        call.text(keep.entries.max(1).to_string());
        call.text(keep.age.as_millis().max(1).to_string());
        // The position is the last field of the head; only Redis knows it.
        call.text(format!("{} ", envelope.head().trim_end_matches('\n')));
        call.bytes(body_bytes);
        call.text(ANSWERED.as_millis().to_string());
        let position: String = self.commands.run(&self.publish, call).await?.convert().map_err(garbled)?;
        position.parse().map_err(garbled)
    }

    async fn window(&self, feed: &Channel, epoch: Epoch, after: Seq) -> Result<Vec<Envelope>, BrokerError> {
        let mut call = Call::default();
        call.key(self.names.window(feed, epoch));
        call.text(after.to_string());
        Ok(windows::continuing(self.envelopes(&self.window, call).await?, after))
    }

    async fn read(&self, room: &RoomName, since: Option<&RoomPosition>) -> Result<Recovered, BrokerError> {
        if let Some(since) = since {
            // From the asked entry itself: that it is there, or the one after it, shows that nothing is missing.
            let recovered = Recovered::new(self.kept(room, since.offset.0).await?, Some(since));
            if recovered.complete {
                return Ok(recovered);
            }
        }
        Ok(Recovered::new(self.kept(room, 0).await?, since))
    }
}
