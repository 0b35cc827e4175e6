//! WebSocket (RFC 6455) over TCP.
//!
//! tungstenite reads, answers pings and keeps the closing handshake. It never touches the socket when writing: what it
//! writes goes into [`Line::control`], and this file alone writes to the socket, so that shared frames go out as they are and
//! control frames stand between frames and never inside one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use shared::cursor::Cursor;
use shared::protocol::CloseCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Incoming, Transport};
use crate::clock;
use crate::frame::{LONGEST_HEADER, WholeFrame, put_text_header};
use crate::metrics::METRICS;

/// What a connection reads at once. Commands are short, and every idle connection pays for this.
const READ_BUFFER: usize = 256;
/// What tungstenite may hold back. It holds nothing, because a [`Line`] takes everything.
const CONTROL: usize = 4 * 1024;
/// How long a message may be under way, from its first byte to its last.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// Whoever broke a rule and sends nothing for so long has heard why, or never will.
const QUIET: Duration = Duration::from_millis(250);
/// Bytes of a control frame beside its payload: a header and a mask.
const CONTROL_HEADER: usize = 6;

/// Bytes that may stay in front of a joined stretch once they are written.
const WRITTEN_KEPT: usize = 32 * 1024;

/// A client behind a WebSocket.
pub struct WebSocket {
    socket: WebSocketStream<Line>,
    /// Whether tungstenite has taken all that came, so that only the socket can have more.
    has_read_all: bool,
    /// Why nothing more of what the client sends is taken.
    over: Option<Over>,
    pending: Pending,
}

/// Why nothing more of what a client sends is taken.
enum Over {
    /// It has closed.
    Closed,
    /// It broke a rule, and is quiet when this has passed.
    Broken(Pin<Box<Sleep>>),
}

/// Bytes on their way to the socket.
#[derive(Default)]
struct Pending {
    /// One shared frame, when nothing else waits: written without copying it.
    shared: Bytes,
    /// Frames joined into one stretch, from `written` on.
    joined: Vec<u8>,
    written: usize,
}

/// The TCP stream as tungstenite sees it: reading is real, writing is kept aside.
struct Line {
    stream: TcpStream,
    control: Vec<u8>,
    unfinished: Unfinished,
}

/// How much was read of a message that is not whole yet, so that one that never ends is noticed: in pieces of a byte or of
/// none, it stays below every limit of length.
struct Unfinished {
    read: usize,
    /// When its first byte was read, in milliseconds of the gateway's clock.
    since: u64,
    /// What a message may take with the headers of its pieces.
    most: usize,
}

impl WebSocket {
    /// Takes over an upgraded connection: `answer` is still to be written before any frame, `read` came with the handshake.
    /// Longer frames than `longest` are refused.
    pub async fn new(stream: TcpStream, answer: Vec<u8>, read: Vec<u8>, longest: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let unfinished = Unfinished { read: 0, since: 0, most: 2 * longest };
        let line = Line { stream, control: Vec::new(), unfinished };
        let socket = WebSocketStream::from_partially_read(line, read, Role::Server, Some(config)).await;
        // Not a buffer of the pool: whoever waits to come in holds no more than this.
        let pending = Pending { joined: answer, ..Pending::default() };
        Self { socket, has_read_all: false, over: None, pending }
    }

    /// Hands a control frame to tungstenite, which puts it into [`Line::control`].
    fn say(&mut self, message: Message) {
        let mut socket = Pin::new(&mut self.socket);
        // To whoever is closing nothing more is said, but what their own close is answered with.
        let _ = socket.as_mut().start_send(message);
        let _ = socket.poll_flush(&mut Context::from_waker(Waker::noop()));
        self.take_control();
    }

    /// Moves control frames behind what is pending, which ends with a whole frame always.
    fn take_control(&mut self) {
        let control = &mut self.socket.get_mut().control;
        if !control.is_empty() {
            let control = std::mem::take(control);
            self.pending.joined().extend_from_slice(&control);
        }
    }
}

impl Pending {
    const fn len(&self) -> usize {
        self.shared.len() + self.joined.len() - self.written
    }

    /// The stretch to which another frame is joined.
    fn joined(&mut self) -> &mut Vec<u8> {
        if self.joined.capacity() == 0 {
            self.joined = buffers::take();
        }
        // To a client that takes less than comes, this never runs empty: what is written must go all the same.
        if self.written >= WRITTEN_KEPT {
            self.joined.drain(..self.written);
            self.written = 0;
        }
        if !self.shared.is_empty() {
            let shared = std::mem::take(&mut self.shared);
            self.joined.extend_from_slice(&shared);
        }
        &mut self.joined
    }

    fn poll_write(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let rest = if self.shared.is_empty() { &self.joined[self.written..] } else { &self.shared[..] };
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
            METRICS.writes.increment(1);
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if self.shared.is_empty() {
                self.written += count;
            } else {
                self.shared.advance(count);
            }
        }
        self.shared = Bytes::new();
        self.written = 0;
        buffers::give(std::mem::take(&mut self.joined));
        Poll::Ready(Ok(()))
    }
}

impl Transport for WebSocket {
    fn load(&mut self, frame: WholeFrame) {
        if self.pending.len() == 0 {
            self.pending.shared = frame.into_encoded();
        } else {
            self.pending.joined().extend_from_slice(frame.encoded());
        }
    }

    fn load_entry(&mut self, body: &[u8], tail: &[u8], _: &Cursor) {
        let joined = self.pending.joined();
        joined.reserve(LONGEST_HEADER + body.len() + tail.len());
        put_text_header(joined, body.len() + tail.len());
        joined.extend_from_slice(body);
        joined.extend_from_slice(tail);
    }

    fn load_ping(&mut self) {
        self.say(Message::Ping(Bytes::new()));
    }

    fn load_close(&mut self, code: CloseCode) {
        let reason = Utf8Bytes::from_static(code.reason());
        self.say(Message::Close(Some(CloseFrame { code: code.code().into(), reason })));
    }

    fn loaded(&self) -> usize {
        self.pending.len()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pending.poll_write(&mut self.socket.get_mut().stream, cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if let Some(over) = &mut self.over {
            // Nobody reads behind the end before our own close is written.
            return self.socket.get_mut().poll_end(over, cx);
        }
        // Who is woken to write has nothing to read as a rule, and tungstenite takes long to find that out.
        if self.has_read_all {
            ready!(self.socket.get_ref().stream.poll_read_ready(cx)).ok();
        }
        let read = Pin::new(&mut self.socket).poll_next(cx);
        self.has_read_all = read.is_pending();
        if let Poll::Ready(Some(Ok(message))) = &read {
            self.socket.get_mut().unfinished.take(message);
        }
        self.take_control();
        let incoming = match ready!(read) {
            Some(Ok(Message::Text(text))) => Incoming::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(_))) => Incoming::Binary,
            Some(Ok(Message::Pong(_))) => Incoming::Pong,
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => Incoming::Ping,
            Some(Ok(Message::Close(_))) | None => Incoming::Closed,
            Some(Err(error)) => refuse(&error),
        };
        self.over = match incoming {
            Incoming::Closed => Some(Over::Closed),
            Incoming::Broken(_) => Some(Over::Broken(Box::pin(sleep(QUIET)))),
            _ => None,
        };
        Poll::Ready(incoming)
    }
}

/// Which rule was broken.
fn refuse(error: &Error) -> Incoming {
    match error {
        Error::Io(error) => match error.kind() {
            io::ErrorKind::InvalidData => Incoming::Broken(CloseCode::TooLarge),
            io::ErrorKind::TimedOut => Incoming::Broken(CloseCode::Silent),
            _ => Incoming::Closed,
        },
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Incoming::Broken(CloseCode::TooLarge),
        Error::Utf8(_) => Incoming::Broken(CloseCode::InvalidText),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Incoming::Closed,
        Error::Protocol(_) | Error::WriteBufferFull(_) | Error::AttackAttempt => Incoming::Broken(CloseCode::Protocol),
        _ => Incoming::Closed,
    }
}

impl Line {
    /// Reads what still comes, for nobody, until the client is gone, and tells it that nothing more is said: it waits for the server to
    /// end the connection (RFC 6455, section 7.1.1). Whoever broke a rule is told when they are quiet: if something unread is left when
    /// the connection ends, a kernel or nginx answers with a reset, which overtakes our close.
    fn poll_end(&mut self, over: &mut Over, cx: &mut Context<'_>) -> Poll<Incoming> {
        let mut forgotten = [0; 4 * 1024];
        let mut buffer = ReadBuf::new(&mut forgotten);
        while let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Incoming::Closed);
            }
            buffer.clear();
            if let Over::Broken(quiet) = over {
                quiet.as_mut().reset(Instant::now() + QUIET);
            }
        }
        if let Over::Broken(quiet) = over {
            ready!(quiet.as_mut().poll(cx));
        }
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).ok();
        Poll::Pending
    }
}

impl Unfinished {
    /// Counts what was read. `InvalidData` when it is too much for one message, `TimedOut` when it comes too slowly.
    fn count(&mut self, read: usize, now: u64) -> io::Result<()> {
        if self.read == 0 {
            self.since = now;
        }
        self.read += read;
        if self.read > self.most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let is_slow = now - self.since > UNDER_WAY.as_millis() as u64;
        if is_slow { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Takes out of the account what has become whole.
    fn take(&mut self, message: &Message) {
        self.read = match message {
            // Control frames come between the pieces of a message too, and do not end it.
            Message::Ping(payload) | Message::Pong(payload) => self.read.saturating_sub(CONTROL_HEADER + payload.len()),
            _ => 0,
        };
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.unfinished.count(buf.filled().len() - before, clock::millis()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.control.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Buffers for joining frames, kept per thread: a connection has one only while it writes.
mod buffers {
    use std::cell::RefCell;

    const SIZE: usize = 64 * 1024;
    const KEPT: usize = 8;

    thread_local! {
        static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take() -> Vec<u8> {
        FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(SIZE))
    }

    pub(super) fn give(mut buffer: Vec<u8>) {
        if (SIZE..=4 * SIZE).contains(&buffer.capacity()) {
            buffer.clear();
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(buffer);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn what_is_written_is_forgotten_though_something_always_waits() {
        let mut pending = Pending::default();
        for _ in 0..1_000 {
            pending.joined().extend_from_slice(&[0; 10_000]);
            pending.written = pending.joined.len() - 1;
            assert_eq!(pending.len(), 1);
        }
        assert!(pending.joined.capacity() <= 128 * 1024, "{}", pending.joined.capacity());
    }

    /// A client that has sent `frame`, its socket, and what that has read.
    async fn ends_with(frame: &[u8]) -> (TcpStream, WebSocket, Incoming) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("somebody comes");
        let mut socket = WebSocket::new(stream, Vec::new(), Vec::new(), 1_024).await;
        client.write_all(frame).await.expect("written");
        let read = poll_fn(|cx| socket.poll_read(cx)).await;
        (client, socket, read)
    }

    /// Closes a socket whose client sends `pings` first, and more when it was told the end. All are read, so that no reset overtakes
    /// `close`.
    async fn is_told(mut client: TcpStream, mut socket: WebSocket, code: CloseCode, close: &[u8], pings: usize) {
        socket.load_close(code);
        poll_fn(|cx| socket.poll_write(cx)).await.expect("written");
        let reading = tokio::spawn(async move { poll_fn(|cx| socket.poll_read(cx)).await });
        let mut heard = vec![0; close.len()];
        client.read_exact(&mut heard).await.expect("a close");
        assert_eq!(heard, close);
        for _ in 0..pings {
            client.write_all(PING).await.expect("somebody reads");
            let said = Instant::now();
            sleep(QUIET / 10).await;
            if said.elapsed() > QUIET / 2 {
                // The machine stood still, and so the client was quiet.
                break;
            }
            let more = client.try_read(&mut heard).map_err(|error| error.kind());
            assert_eq!(more, Err(io::ErrorKind::WouldBlock), "it is not told while it sends");
        }
        assert_eq!(client.read(&mut heard).await.expect("the end, and no reset"), 0);
        for _ in 0..1_000 {
            client.write_all(PING).await.expect("somebody reads");
        }
        assert!(!reading.is_finished());
        drop(client);
        assert_eq!(reading.await.expect("it ends"), Incoming::Closed);
    }

    /// Masked with nothing, as all of them.
    const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];

    #[tokio::test]
    async fn whoever_goes_on_after_their_close_is_read_to_the_end_so_that_no_reset_overtakes_the_answer() {
        let (client, socket, read) = ends_with(&[0x88, 0x80, 0, 0, 0, 0]).await;
        assert_eq!(read, Incoming::Closed);
        is_told(client, socket, CloseCode::Normal, &[0x88, 0], 0).await;
    }

    #[tokio::test]
    async fn whoever_broke_a_rule_is_told_the_end_once_they_are_quiet() {
        let (client, socket, read) = ends_with(&[0x83, 0x80, 0, 0, 0, 0]).await;
        assert_eq!(read, Incoming::Broken(CloseCode::Protocol));
        is_told(client, socket, CloseCode::Protocol, b"\x88\x10\x03\xeaprotocol error", 20).await;
    }

    #[test]
    fn a_message_that_does_not_end_is_noticed_by_its_bytes_and_by_its_time_whatever_comes_in_between() {
        let mut unfinished = Unfinished { read: 0, since: 0, most: 100 };
        for now in 0..100_000 {
            unfinished.count(60, now).expect("a message of its own");
            unfinished.take(&Message::text("whole"));
            unfinished.count(8, now).expect("a ping");
            unfinished.take(&Message::Ping(Bytes::from_static(b"hi")));
        }
        unfinished.count(60, 0).expect("a piece");
        unfinished.count(6, 0).expect("a pong");
        unfinished.take(&Message::Pong(Bytes::new()));
        assert_eq!(unfinished.count(60, 0).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
        unfinished.take(&Message::text("whole"));
        unfinished.count(1, 0).expect("a piece");
        unfinished.count(1, 30_000).expect("another");
        assert_eq!(unfinished.count(1, 30_001).map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }
}
