//! A client in the same process, for tests: what is written can be read, and what is said is heard.
//!
//! It can refuse to take anything, as a slow reader does.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use shared::protocol::CloseCode;

use super::{Incoming, Transport};
use crate::frame::WholeFrame;

/// The gateway's end.
pub struct MemoryTransport {
    shared: Arc<Shared>,
    loaded: VecDeque<Written>,
    bytes: usize,
}

/// The client's end.
#[derive(Clone)]
pub struct MemoryClient(Arc<Shared>);

/// What the gateway wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// A text frame.
    Text(String),
    /// A ping.
    Ping,
    /// The end.
    Close(CloseCode),
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    gateway: AtomicWaker,
    changed: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    written: VecDeque<Written>,
    said: VecDeque<Incoming>,
    stalled: bool,
}

/// A new pair.
#[must_use]
pub fn pair() -> (MemoryTransport, MemoryClient) {
    let shared = Arc::new(Shared::default());
    (MemoryTransport { shared: Arc::clone(&shared), loaded: VecDeque::new(), bytes: 0 }, MemoryClient(shared))
}

impl MemoryClient {
    /// Says something.
    pub fn say(&self, incoming: Incoming) {
        self.0.state.lock().said.push_back(incoming);
        self.0.gateway.wake();
    }

    /// Stops or starts taking frames.
    pub fn stall(&self, stalled: bool) {
        self.0.state.lock().stalled = stalled;
        self.0.gateway.wake();
    }

    /// The next thing written.
    pub async fn next(&self) -> Written {
        loop {
            let changed = self.0.changed.notified();
            if let Some(written) = self.0.state.lock().written.pop_front() {
                return written;
            }
            changed.await;
        }
    }
}

impl Transport for MemoryTransport {
    fn load(&mut self, frame: &WholeFrame) {
        self.load_parts(frame.text(), &[]);
    }

    fn load_parts(&mut self, body: &[u8], tail: &[u8]) {
        let text = String::from_utf8_lossy(&[body, tail].concat()).into_owned();
        self.bytes += text.len();
        self.loaded.push_back(Written::Text(text));
    }

    fn load_ping(&mut self) {
        self.loaded.push_back(Written::Ping);
    }

    fn load_close(&mut self, code: CloseCode) {
        self.loaded.push_back(Written::Close(code));
    }

    fn loaded(&self) -> usize {
        self.bytes + self.loaded.len()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.gateway.register(cx.waker());
        let mut state = self.shared.state.lock();
        if state.stalled && !self.loaded.is_empty() {
            return Poll::Pending;
        }
        if !self.loaded.is_empty() {
            state.written.extend(self.loaded.drain(..));
            self.bytes = 0;
            self.shared.changed.notify_one();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        self.shared.gateway.register(cx.waker());
        match self.shared.state.lock().said.pop_front() {
            Some(incoming) => Poll::Ready(incoming),
            None => Poll::Pending,
        }
    }
}
