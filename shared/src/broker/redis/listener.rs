//! From fred's receiver into the pump's queue, and nothing else.
//!
//! fred overwrites what is not taken in time, so that this task must never wait.

use bytes::Bytes;
use fred::prelude::Value;
use fred::types::Message;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::metrics::{Cause, Metrics};
use super::names::Names;
use super::probe::Heard;
use crate::broker::{Delivering, Delivery, Gap};
use crate::channel::Channel;
use crate::envelope::Envelope;
use crate::ids::PodId;

/// Moves what is heard into the pump's queue.
pub(super) struct Listener {
    pub(super) messages: Receiver<Message>,
    pub(super) delivering: Delivering,
    pub(super) heard: Heard,
    pub(super) pod: PodId,
    pub(super) metrics: Metrics,
}

impl Listener {
    pub(super) async fn run(mut self) {
        loop {
            match self.messages.recv().await {
                Ok(message) => self.hear(message),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "envelopes came faster than they were taken");
                    self.metrics.gap(Cause::Lagged);
                    self.delivering.offer(Delivery::Gap(Gap::Everything));
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn hear(&self, message: Message) {
        self.heard.note(&message.server);
        let bytes = match message.value {
            Value::Bytes(bytes) => bytes,
            Value::String(text) => text.into_inner(),
            _ => Bytes::new(),
        };
        match Envelope::decode(&bytes) {
            // Whoever may speak on one channel says nothing on another.
            Ok(envelope) if !Names::are_of(&message.channel, &envelope.channel) => {
                self.metrics.undecodable.increment(1)
            }
            Ok(envelope) if envelope.channel == Channel::Pod(self.pod) => {}
            Ok(envelope) => {
                self.metrics.received.increment(1);
                if !self.delivering.offer(Delivery::Envelope(envelope)) {
                    self.metrics.overrun.increment(1);
                }
            }
            Err(_) => self.metrics.undecodable.increment(1),
        }
    }
}
