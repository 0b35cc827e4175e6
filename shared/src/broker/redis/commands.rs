//! The connection for commands: scripts that publish, keep and read.
//!
//! It stands where the api's announcer and the rooms' history leave the pod. Everything has a deadline, and what waits is
//! bounded in bytes: more is refused, not queued.

use bytes::Bytes;
use fred::clients::WithOptions;
use fred::prelude::{Client, ClientLike, Error, ErrorKind, LuaInterface, Options, Value};
use fred::types::scripts::Script;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::settings::{RedisSettings, keep_connected};
use crate::broker::BrokerError;

/// Bytes of commands that may be under way.
const UNDER_WAY: u32 = 16 * 1024 * 1024;

/// A connection to Redis for commands. Dropping it closes it.
pub(crate) struct Commands {
    client: WithOptions<Client>,
    room: Semaphore,
    _connected: AbortOnDropHandle<()>,
}

/// One call of a script: its keys, which share a slot, and its arguments.
#[derive(Default)]
pub(crate) struct Call {
    pub(crate) keys: Vec<String>,
    pub(crate) arguments: Vec<Value>,
    bytes: usize,
}

impl Call {
    pub(crate) fn key(&mut self, key: String) {
        self.bytes += key.len();
        self.keys.push(key);
    }

    pub(crate) fn text(&mut self, argument: String) {
        self.bytes += argument.len();
        self.arguments.push(argument.into());
    }

    pub(crate) fn bytes(&mut self, argument: Bytes) {
        self.bytes += argument.len();
        self.arguments.push(Value::Bytes(argument));
    }
}

impl Commands {
    /// Begins to connect.
    pub(crate) fn connect(settings: &RedisSettings) -> Self {
        let client = settings.client();
        let connected = keep_connected(client.clone());
        // While the link is down a command fails at once. One that was under way when it broke may be sent again, though it was done.
        // Scripts have to bear that: a publish in a room with history is done once, one without may be heard twice, and a ticket that
        // was taken in is lost.
        let client = client.with_options(&Options { fail_fast: true, ..Options::default() });
        Self { client, room: Semaphore::new(UNDER_WAY as usize), _connected: connected }
    }

    /// Waits for the first connection, or for the first failure that fred does not try again.
    pub(crate) async fn connected(&self) {
        let _ = self.client.wait_for_connect().await;
    }

    /// Whether keys of one call must share a slot.
    pub(crate) fn is_clustered(&self) -> bool {
        self.client.is_clustered()
    }

    /// Runs `script`, by its hash where the server knows it.
    pub(crate) async fn run(&self, script: &Script, call: Call) -> Result<Value, BrokerError> {
        let weight = u32::try_from(call.bytes).unwrap_or(UNDER_WAY).min(UNDER_WAY);
        let _room = self.room.try_acquire_many(weight).map_err(|_| BrokerError::Overloaded)?;
        let Call { keys, arguments, .. } = call;
        let answer = match self.client.evalsha(script.sha1().clone(), keys.clone(), arguments.clone()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                let lua = script.lua().expect("our scripts are made from their text").clone();
                self.client.eval(lua, keys, arguments).await
            }
            answer => answer,
        };
        answer.map_err(unavailable)
    }
}

/// Redis answered what our scripts do not answer.
pub(crate) fn garbled(error: impl std::error::Error + Send + Sync + 'static) -> BrokerError {
    BrokerError::Unavailable(Box::new(error))
}

/// What a failed command means to the caller.
pub(super) fn unavailable(error: Error) -> BrokerError {
    match error.kind() {
        ErrorKind::Backpressure => BrokerError::Overloaded,
        _ => BrokerError::Unavailable(Box::new(error)),
    }
}
