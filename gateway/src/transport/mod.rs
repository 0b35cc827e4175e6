//! How frames reach a client and commands come from it.
//!
//! On the line the transport stands last: after it there is only the socket. Frames arrive in the order they were loaded;
//! after closing nothing does. Both directions are polled by the connection's one task, so that an idle connection costs one
//! small state and no second task.

pub mod sse;
pub mod websocket;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use shared::cursor::Cursor;
use shared::protocol::CloseCode;

use crate::frame::WholeFrame;

/// How long a client has to take its close. Whoever takes nothing is not waited for any longer.
const FAREWELL: Duration = Duration::from_secs(1);

/// The way to one client and back.
pub trait Transport: Send + Unpin + 'static {
    /// Takes a whole frame to be written.
    fn load(&mut self, frame: WholeFrame);

    /// Takes an entry: the frame whose payload is `body` and then `tail`, after which the client stands at `cursor`.
    fn load_entry(&mut self, body: &[u8], tail: &[u8], cursor: &Cursor);

    /// Takes a ping to be written.
    fn load_ping(&mut self);

    /// Takes a close to be written; nothing may be loaded after it. A client that closed first is answered with its own.
    fn load_close(&mut self, code: CloseCode);

    /// Bytes that are loaded and not yet written.
    fn loaded(&self) -> usize;

    /// Writes what is loaded, joined into as few writes as the client takes. Ready when all of it is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits for the client. What the transport itself owes the client then (a pong) is loaded.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming>;
}

/// Closes with `code`, behind what is loaded, and waits until the client is gone.
pub async fn close<T: Transport>(transport: &mut T, code: CloseCode) {
    transport.load_close(code);
    let gone = async {
        let written = poll_fn(|cx| transport.poll_write(cx)).await;
        while written.is_ok() && poll_fn(|cx| transport.poll_read(cx)).await != Incoming::Closed {}
    };
    let _ = tokio::time::timeout(FAREWELL, gone).await;
}

/// What comes from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text frame.
    Text(String),
    /// A frame of a kind that is not understood; the connection goes on.
    Binary,
    /// A question whether we are here; the transport answers it.
    Ping,
    /// The answer to a ping.
    Pong,
    /// A sign of life.
    Alive,
    /// The client said goodbye, or is gone.
    Closed,
    /// The client broke a rule of the transport; the connection ends with this code.
    Broken(CloseCode),
}
