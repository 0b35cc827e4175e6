//! The accept loop: TCP connections in, HTTP/1.1 requests to the router, upgrades to the doors.
//!
//! Ours, because a stranger's socket costs something before anybody knows who it is: headers must come in time and fit, and a
//! system without free descriptors must not make the loop spin.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 8_192;
/// How long a request's headers may take.
const HEADERS: Duration = Duration::from_secs(10);
/// How long data may stay unacknowledged by a peer's kernel.
const VANISHED: Duration = Duration::from_secs(60);
/// The smallest buffer that hyper knows: headers must fit into it.
const HEADER_BYTES: usize = 16 * 1024;
/// How long to rest when the system has no descriptor for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Listens on `address` with a long backlog, so that a storm of reconnects is not refused.
///
/// # Errors
///
/// When the address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Whoever is accepted inherits both. Frames are joined by us; the kernel must not wait for more.
    socket.set_tcp_nodelay(true)?;
    // A peer that vanished without a word is given up by the kernel too, where nothing of ours waits for it.
    socket.set_tcp_user_timeout(Some(VANISHED))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `router` to whoever connects, until `stop`. Requests under way are finished; upgraded connections are not waited
/// for, they belong to their sessions.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let requests = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                requests.spawn(serve_one(stream, router.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    drop(listener);
    requests.close();
    requests.wait().await;
}

async fn serve_one(stream: TcpStream, router: Router, stop: CancellationToken) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(Entrance::new(stream)), answer)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // A peer that breaks off in the middle of a request is its own loss.
            let _ = connection.await;
        }
    }
}

/// How an answer to an upgrade begins.
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

/// A TCP stream that keeps back the answer to an upgrade, so that it leaves in one write with the first frame behind it: in
/// a profile that second write was an eighth of letting a client in.
pub struct Entrance {
    stream: TcpStream,
    kept: Vec<u8>,
}

impl Entrance {
    const fn new(stream: TcpStream) -> Self {
        Self { stream, kept: Vec::new() }
    }

    /// The stream, and the answer that is still to be written to it.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.kept)
    }

    fn keeps(&self, bytes: &[u8]) -> bool {
        !self.kept.is_empty() || bytes.starts_with(SWITCHING)
    }
}

impl AsyncRead for Entrance {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Entrance {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.keeps(bytes) {
            self.kept.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.keeps(first)) {
            slices.iter().for_each(|slice| self.kept.extend_from_slice(slice));
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
