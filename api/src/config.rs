//! What an operator may say about api pods and workers.

use std::net::SocketAddr;
use std::time::Duration;

use shared::config::Address;

shared::settings! {
    /// Where things are kept, and the api's door for gateways.
    pub struct DatabaseSettings("") {
        /// `sqlite://path` for one process that plays all roles; `postgres://user:password@host/name` for a fleet. Without
        /// one: `sqlite://./data/carillon.db` for one process, a problem for a fleet.
        pub database_url: Option<Address>,
        /// Where gateways ask api pods. Must never be reachable from outside.
        pub internal_listen: SocketAddr = "127.0.0.1:8081",
    }
}

shared::settings! {
    /// How an api pod or a worker uses the database, and what it allows.
    pub struct ApiSettings("api") {
        /// Connections to PostgreSQL that one pod holds at most. All pods together must stay below its `max_connections`.
        pub database_connections: u32 = "16" in 2..=1_000,
        /// How long a request waits for one of them before the answer is 503.
        pub database_wait: Duration = "2s" in Duration::from_millis(100)..=Duration::from_secs(30),
        /// People in one conversation at most; latency is promised up to 20. A larger audience is a room.
        pub max_participants: u32 = "250" in 2..=1_000,
        /// How long entries of feeds are kept. Devices away for longer start from a snapshot; messages are kept.
        pub retention: Duration = "90d" in Duration::from_secs(3_600)..=Duration::from_secs(3_650 * 86_400),
    }
}
