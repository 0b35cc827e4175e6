//! The settings that several roles share.

use std::net::SocketAddr;

use super::{Address, Secret, Value, choice};

crate::settings! {
    /// Where a role listens.
    pub struct ListenSettings("") {
        /// The address that clients, or nginx, reach. Without one: 127.0.0.1 with port 8000 for all roles in one process,
        /// 8001 for an api, 8002 for a gateway, 8003 for a worker. `/healthz`, `/readyz` and `/metrics` are served here too.
        pub listen: Option<SocketAddr>,
    }
}

crate::settings! {
    /// What is logged.
    pub struct LogSettings("") {
        /// `pretty` to read at a terminal, `json` for machines.
        pub log_format: LogFormat = "pretty",
        /// How much: `error`, `warn`, `info`, `debug` or `trace`, for all or by module, like `info,gateway=debug`.
        pub log_level: String = "info",
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
