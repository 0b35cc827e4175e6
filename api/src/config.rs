//! What an operator may say about api pods and workers.

use std::net::SocketAddr;

use shared::config::{Address, ByteSize, Secret};

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

shared::settings! {
    /// Where files that are sent along with messages are kept. See `docs/attachments.md`.
    pub struct AttachmentSettings("attachments") {
        /// `file://folder`, which all api pods and workers share, or `s3://bucket/prefix`. Without one:
        /// `file://./data/attachments` for one process, and no attachments for a fleet.
        pub url: Option<Address>,
        /// The largest file.
        pub max_bytes: ByteSize = "25MiB" in ByteSize(1 << 10)..=ByteSize(1 << 30),
        /// Where the bucket is, if it is not Amazon's: `https://minio.example:9000`. Clients must reach it by this name.
        pub s3_endpoint: Option<Address>,
        /// The region of the bucket.
        pub s3_region: String = "us-east-1",
        /// Names the key. Without one the credentials of the machine that the pod runs on are asked for.
        pub s3_access_key_id: Option<String>,
        /// The key itself.
        pub s3_secret_access_key: Option<Secret>,
    }
}
