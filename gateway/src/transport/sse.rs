//! Server-sent events (WHATWG HTML, section 9.2) as the body of an HTTP answer.
//!
//! For clients that only listen and cannot open a socket. An entry's cursor is the event's `id`, so that a browser that
//! reconnects shows it as `Last-Event-ID` and continues by itself. There is no close code: the stream ends, and the client
//! comes back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use shared::cursor::Cursor;
use shared::protocol::CloseCode;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::{Incoming, Transport};
use crate::frame::WholeFrame;

/// A client behind an event stream.
pub struct EventStream {
    body: PollSender<Bytes>,
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
    pending: Vec<u8>,
    /// A heartbeat was written and not yet counted as a sign of life: nothing answers it but the connection itself.
    beat: bool,
}

impl EventStream {
    /// A stream and the body that carries it. One joined write may wait for the client; the next waits for that.
    pub fn new() -> (Self, Body) {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
        let closed = sender.clone();
        let gone = Box::pin(async move { closed.closed().await });
        let chunks =
            futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|chunk| chunk.map(Ok::<_, io::Error>)));
        (Self { body: PollSender::new(sender), gone, pending: Vec::new(), beat: false }, Body::from_stream(chunks))
    }

    fn load_event(&mut self, id: Option<&Cursor>, parts: [&[u8]; 2]) {
        if let Some(cursor) = id {
            self.pending.extend_from_slice(format!("id: {cursor}\n").as_bytes());
        }
        // JSON as we write it has no line breaks outside of strings, and none unescaped inside.
        self.pending.extend_from_slice(b"data: ");
        parts.iter().for_each(|part| self.pending.extend_from_slice(part));
        self.pending.extend_from_slice(b"\n\n");
    }
}

impl Transport for EventStream {
    fn load(&mut self, frame: WholeFrame) {
        self.load_event(None, [frame.text(), &[]]);
    }

    fn load_entry(&mut self, body: &[u8], tail: &[u8], cursor: &Cursor) {
        self.load_event(Some(cursor), [body, tail]);
    }

    fn load_ping(&mut self) {
        self.pending.extend_from_slice(b": ping\n\n");
        self.beat = true;
    }

    fn load_close(&mut self, code: CloseCode) {
        self.pending.extend_from_slice(format!(": {} {}\n\n", code.code(), code.reason()).as_bytes());
    }

    fn loaded(&self) -> usize {
        self.pending.len()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.pending.is_empty() {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            ready!(self.body.poll_reserve(cx)).map_err(gone)?;
            self.body.send_item(std::mem::take(&mut self.pending).into()).map_err(gone)?;
            if self.beat {
                // The client took it: that is the sign of life, and reading tells it.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if self.beat && self.pending.is_empty() {
            self.beat = false;
            // No pong: that would acknowledge, and a buffer on the way is not the client.
            return Poll::Ready(Incoming::Alive);
        }
        self.gone.as_mut().poll(cx).map(|()| Incoming::Closed)
    }
}
