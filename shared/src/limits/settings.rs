//! How often is often enough, as an operator may say it.

use super::{Deed, Limit};

crate::settings! {
    /// How often one person may do something, over all pods together: `100/10s` is a hundred at once, and one more every tenth
    /// of a second. `0` is no limit. Services have none.
    pub struct LimitSettings("limits") {
        /// Messages sent or forwarded, over REST and sockets. A repeat under the same key counts too.
        pub sends: Limit = "100/10s",
        /// Attachments announced.
        pub uploads: Limit = "60/5m",
        /// Publishes in rooms.
        pub publishes: Limit = "300/10s",
        /// Rooms joined.
        pub subscriptions: Limit = "600/1m",
        /// Sockets and event streams opened by one person. Many displays may have one account, and all come back when a pod goes.
        pub connects: Limit = "600/1m",
        /// Sockets and event streams that one person has open at the same time. One more is told to come again in half a minute;
        /// those of a gateway that died count for another minute. `0` is no limit.
        pub connections: u32 = "0" in 0..=100_000,
        /// Sockets and event streams opened from one address. Behind a proxy, name it in `gateway.trusted_proxies` first:
        /// without that all clients have the proxy's address. An address may be an office, or a mobile network.
        pub connects_per_address: Limit = "0",
    }
}

impl LimitSettings {
    /// No limit on anything.
    #[must_use]
    pub const fn none() -> Self {
        let none = Limit(None);
        Self {
            sends: none,
            uploads: none,
            publishes: none,
            subscriptions: none,
            connects: none,
            connections: 0,
            connects_per_address: none,
        }
    }

    /// The limit of one person at `deed`.
    #[must_use]
    pub const fn of(&self, deed: Deed) -> Limit {
        match deed {
            Deed::Send => self.sends,
            Deed::Upload => self.uploads,
            Deed::Publish => self.publishes,
            Deed::Subscribe => self.subscriptions,
            Deed::Connect => self.connects,
        }
    }
}
