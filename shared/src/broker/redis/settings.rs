//! Where Redis is, and how fred is to behave there.
//!
//! Both clients reconnect for ever, notice a server that no longer answers, and bound what waits for them. The numbers are
//! ours: fred's defaults are no reconnection, no deadline, no bound, and 32 messages for a slow reader.

use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::prelude::{Client, ClientLike, Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, TcpConfig};
use fred::types::RespVersion;
use fred::types::config::UnresponsiveConfig;
use tokio_util::task::AbortOnDropHandle;

/// The schemes a URL may have.
const SCHEMES: [&str; 6] = ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];

/// How long a command may take, waiting included.
pub(crate) const COMMAND: Duration = Duration::from_secs(2);

/// How long a server may owe an answer before its connection is given up.
const UNRESPONSIVE: Duration = Duration::from_secs(3);

/// Commands that may wait for fred's task.
const WAITING: usize = 16_384;

/// Messages that may wait between fred and the listener. fred overwrites the oldest when there are more.
const HEARD: usize = 65_536;

/// Where Redis is and which part of it is ours.
#[derive(Clone)]
pub struct RedisSettings {
    config: Config,
    prefix: String,
}

/// Settings that no Redis can be reached with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisSettings {
    /// The URL is malformed. It is not repeated here: it may hold a password.
    #[error(
        "not a redis url ({0}): one of redis://host:port, redis-sentinel://host:port?sentinelServiceName=name, \
             redis-cluster://host:port?node=host:port, or rediss with TLS"
    )]
    Url(String),
    /// The prefix would disturb the names.
    #[error("a redis prefix is up to 64 characters of A-Z a-z 0-9 _ . : -")]
    Prefix,
}

impl RedisSettings {
    /// Reads a URL as CONTRACT.md names them. Every name in Redis begins with `prefix`; pods of one fleet share it.
    ///
    /// # Errors
    ///
    /// When the URL is malformed or the prefix has braces or other characters that names do not have.
    pub fn new(url: &str, prefix: &str) -> Result<Self, InvalidRedisSettings> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(plain) {
            return Err(InvalidRedisSettings::Prefix);
        }
        if !url.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme)) {
            return Err(InvalidRedisSettings::Url("unknown scheme".to_owned()));
        }
        let config = Config::from_url(url).map_err(|error| InvalidRedisSettings::Url(error.details().to_owned()))?;
        // A Redis that is down at the start is like one that goes down later: tried again.
        let config = Config { version: RespVersion::RESP3, fail_fast: false, ..config };
        Ok(Self { config, prefix: prefix.to_owned() })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A client for commands, not yet connected.
    pub(super) fn client(&self) -> Client {
        let performance = PerformanceConfig { default_command_timeout: COMMAND, ..PerformanceConfig::default() };
        Client::new(self.config.clone(), Some(performance), Some(connection()), Some(policy()))
    }

    /// A client for subscriptions, not yet connected.
    pub(super) fn subscriber(&self) -> SubscriberClient {
        let performance = PerformanceConfig {
            default_command_timeout: COMMAND,
            broadcast_channel_capacity: HEARD,
            ..PerformanceConfig::default()
        };
        SubscriberClient::new(self.config.clone(), Some(performance), Some(connection()), Some(policy()))
    }
}

/// Connects `client` and keeps it connected for as long as the answer is held.
pub(super) fn keep_connected(client: impl ClientLike + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            // fred's task ends only on errors it thinks nobody can mend, such as a broken promise of the protocol.
            let ended = AbortOnDropHandle::new(client.connect()).await;
            tracing::error!(?ended, "the connection to redis gave up; starting over");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }))
}

fn connection() -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: COMMAND,
        internal_command_timeout: COMMAND,
        max_command_buffer_len: WAITING,
        unresponsive: UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_secs(1) },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    }
}

fn policy() -> ReconnectPolicy {
    let for_ever = 0;
    let mut policy = ReconnectPolicy::new_exponential(for_ever, 50, 1_000, 2);
    policy.set_jitter(50);
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_redis_has_a_url() {
        for url in [
            "redis://127.0.0.1:6379",
            "redis://user:secret@redis/3",
            "redis-sentinel://a:26379/0?sentinelServiceName=carillon&node=b:26379",
            "redis-cluster://a:7000?node=b:7000&node=c:7000",
        ] {
            assert!(RedisSettings::new(url, "carillon").is_ok(), "{url}");
        }
    }

    #[test]
    fn malformed_urls_and_prefixes_are_refused_without_telling_the_password() {
        for url in
            ["", "redis", "http://a:1", "redis://", "redis://a:port", "redis-sentinel://u:secret@a:1", "memory://"]
        {
            let error = RedisSettings::new(url, "carillon").err().expect(url);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        for prefix in ["", "a{b}", "two words", &"x".repeat(65)] {
            assert_eq!(RedisSettings::new("redis://a", prefix).err(), Some(InvalidRedisSettings::Prefix));
        }
    }
}
