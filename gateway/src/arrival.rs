//! Arriving: a connection is attached, heard, and placed in its feeds.
//!
//! The order matters: it is registered and its channels are heard before the api is asked for the heads, so that what is
//! committed meanwhile is either in the answer or heard.

use std::sync::Arc;

use shared::access::Caller;
use shared::cursor::Feed;
use shared::upstream::{ResyncReason, Verdict};

use crate::connection::{Connection, Door};
use crate::errand::Start;
use crate::feed::ANNOUNCED;
use crate::interest::Held;
use crate::pod::Pod;

/// Registers a connection and hears its channels.
pub async fn attach(pod: &Pod, caller: &Caller, door: Door) -> (Arc<Connection>, Held) {
    let connection = Arc::new(Connection::new(caller, door, pod.settings.send_queue_bytes.0));
    pod.hub.attach(&connection);
    let feeds = pod.interest.acquire(connection.channels()).await;
    (connection, feeds)
}

/// Where delivery starts, whether that continues what the device had, and why not.
pub type Placed = (Start, bool, Option<ResyncReason>);

/// Where delivery starts; `None` when the user may not connect.
pub fn place_in_feeds(pod: &Pod, connection: &Connection, verdict: &Verdict) -> Option<Placed> {
    let (epoch, positions, heads, resumed, resync) = match *verdict {
        Verdict::Arrived { epoch, start, heads, resumed } => (epoch, start, heads, resumed, None),
        Verdict::Resync { epoch, heads, reason } => (epoch, heads, heads, false, Some(reason)),
        Verdict::Allowed | Verdict::AllowedUnseen | Verdict::Visible { .. } | Verdict::Denied { .. } => return None,
    };
    pod.hub.enter(epoch);
    for feed in Feed::ALL {
        pod.hub.announce(&connection.channel(feed), epoch, heads.get(feed), ANNOUNCED);
    }
    Some((Start { epoch, positions }, resumed, resync))
}
