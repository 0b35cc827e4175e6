//! The settings that several roles share.

use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{Address, Secret, Value, choice};

crate::settings! {
    /// Where a process listens, and how it ends.
    pub struct PodSettings("") {
        /// The address that clients, or nginx, reach. Without one: 127.0.0.1 with port 8000 for all roles in one process,
        /// 8001 for an api, 8002 for a gateway, 8003 for a worker. `/healthz`, `/readyz` and `/metrics` are served here too.
        pub listen: Option<SocketAddr>,
        /// How long a process that is told to stop goes on serving who is there. Keep it well below the time after which
        /// your supervisor kills: Kubernetes waits 30 seconds.
        pub drain_window: Duration = "20s" in Duration::ZERO..=Duration::from_secs(3_600),
    }
}

crate::settings! {
    /// What is logged.
    pub struct LogSettings("") {
        /// `pretty` to read at a terminal, `json` for machines.
        pub log_format: LogFormat = "pretty",
        /// How much: `error`, `warn`, `info`, `debug` or `trace`, for all or by module, like `info,gateway=debug`.
        pub log_level: LogLevel = "info" or "RUST_LOG",
    }
}

crate::settings! {
    /// The broker between the pods.
    pub struct RedisSettings("") {
        /// `memory://` for one process that plays all roles; `redis://`, `rediss://`, `redis-sentinel://` or
        /// `redis-cluster://` for a fleet. The password may stand in it.
        pub redis_url: Address = "memory://",
        /// The start of every key and channel, so that several fleets can share one Redis.
        pub redis_prefix: String = "carillon",
    }
}

crate::settings! {
    /// What gateways and api pods know of each other.
    pub struct InternalSettings("") {
        /// Where a gateway asks: the internal listeners of api pods, like `http://api-1:8081,http://api-2:8081`.
        pub api_url: Vec<Address>,
        /// Gateways show it to api pods. Without one it is derived from `jwt_secret`.
        pub internal_secret: Option<Secret>,
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people at a terminal.
    Pretty,
    /// One JSON object per line.
    Json,
}

impl Value for LogFormat {
    const FORM: &'static str = "pretty or json";

    fn parse(text: &str) -> Option<Self> {
        choice(&[("pretty", Self::Pretty), ("json", Self::Json)], text)
    }

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// A filter of log lines that was read without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// The filter as `tracing-subscriber` reads it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for LogLevel {
    const FORM: &'static str = "error, warn, info, debug, trace or off, also by module, like info,gateway=debug";

    fn parse(text: &str) -> Option<Self> {
        // A word that is no level would be taken for the name of a module, and silence the rest.
        let known = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        let good = text.split(',').all(known) && EnvFilter::builder().parse(text).is_ok();
        good.then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
