//! Free ports.
//!
//! Taken from below the range that the kernel gives to outgoing connections, so that a server that is restarted finds its
//! port still free.

use std::collections::HashMap;
use std::net::{TcpListener, UdpSocket};
use std::sync::Mutex;

use rand::RngExt as _;

/// Where ports are looked for: above what services use, below `net.ipv4.ip_local_port_range`.
const RANGE: std::ops::Range<u16> = 11_000..32_000;

/// What this process gave out; a port is never given twice, since its server may just be restarting. The UDP port of the same
/// number tells other processes that run tests.
static GIVEN: Mutex<Option<HashMap<u16, UdpSocket>>> = Mutex::new(None);

/// A port of 127.0.0.1 on which nothing listens, and which no test has been given that still runs.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn free() -> u16 {
    let mut given = GIVEN.lock().expect("nobody panics while holding it");
    let given = given.get_or_insert_default();
    let candidates = std::iter::repeat_with(|| rand::rng().random_range(RANGE)).take(10_000);
    for port in candidates {
        let Ok(sign) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port, sign);
            return port;
        }
    }
    panic!("no free port in {RANGE:?}");
}
