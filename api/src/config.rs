//! What an operator may say about api pods and workers.

use std::net::SocketAddr;

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
    /// How an api pod or a worker uses the database.
    pub struct ApiSettings("api") {
        /// Connections to PostgreSQL that one pod holds at most. All pods together must stay below its `max_connections`.
        pub database_connections: u32 = "16" in 2..=1_000,
    }
}
