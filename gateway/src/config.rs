//! The gateway's settings.

use std::time::Duration;

use shared::config::ByteSize;

use crate::address::Network;
use crate::policy::Namespace;

shared::settings! {
    /// How a gateway holds its sockets.
    pub struct GatewaySettings("gateway") {
        /// Whether sockets are opened at all; otherwise gateways answer 503.
        pub enabled: bool = "true" or "WEBSOCKET_ENABLED",
        /// Most sockets at once in one pod. One more is closed with 1013. Mind the limit of open files.
        pub max_connections: usize = "100000" or "WEBSOCKET_MAX_CONNECTIONS",
        /// Clients that come in at the same time in one pod: from the handshake until they are live. One more is told when to
        /// come back, before its token is looked at.
        pub max_arrivals: usize = "1000" in 1..=100_000,
        /// How often each client is asked whether it is still there. Who does not answer is gone within two intervals. A bare
        /// number is seconds.
        pub heartbeat_interval: Duration = "30s" or "WEBSOCKET_HEARTBEAT_INTERVAL" in Duration::from_millis(200)..=Duration::from_secs(3_600),
        /// Close connections whose client sent nothing of its own for so long. Without one, silence alone closes nothing.
        pub inactive_after: Option<Duration>,
        /// How long a client that connects without a token may take to send one.
        pub auth_timeout: Duration = "5s" in Duration::from_millis(100)..=Duration::from_secs(60),
        /// Bytes of events that may wait for one connection before it is caught up by its position instead.
        pub send_queue_bytes: ByteSize = "64KiB" in ByteSize(4 * 1024)..=ByteSize(16 << 20),
        /// Bytes that the kernel may hold besides for a connection whose client takes nothing, as it counts them.
        pub socket_buffer_bytes: ByteSize = "64KiB" in ByteSize(4 * 1024)..=ByteSize(16 << 20),
        /// Longest message that is read; a longer one ends its connection. A connection may hold as much for as long as it lives.
        /// Commands have 1 MiB at most, and a longer one is answered with `too_large`.
        pub max_frame_bytes: ByteSize = "64KiB" in ByteSize(1024)..=ByteSize(16 << 20),
        /// Most rooms that one connection is in.
        pub max_subscriptions: usize = "128",
        /// Commands that one connection may send in a second, over time; twice that at once. It is closed when 200 were refused
        /// in a row, and after four times as many mistakes, 200 at least; one of them is forgiven in a second.
        pub commands_per_second: u32 = "50" in 1..=100_000,
        /// How long a client may take nothing before it is told to come back with its cursor.
        pub stall_timeout: Duration = "30s" in Duration::from_millis(200)..=Duration::from_secs(3_600),
        /// Origins that browsers may open sockets from, such as `https://app.example.com`; `*` for any. Without one, only
        /// pages of the same host may.
        pub allowed_origins: Vec<String>,
        /// Proxies whose `X-Forwarded-For` is believed, as addresses or ranges. Without one, a client's address is where its
        /// connection comes from.
        pub trusted_proxies: Vec<Network>,
        /// The rooms there are: a name in which one `*` at the end stands for any rest; who may join and who may publish
        /// (`anyone`, `participants`, `invited`, `staff`, `service`, `nobody`); and how many publishes are remembered for how
        /// long, if any. The first that fits counts; a room that fits none does not exist.
        pub rooms: Vec<Namespace> = "tour_* anyone anyone 100/1h, conversation:* participants participants",
    }
}
