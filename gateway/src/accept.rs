//! The accept loop: TCP connections in, HTTP/1.1 requests to the router, upgrades to the doors.
//!
//! Ours, because a stranger's socket costs something before anybody knows who it is: headers must come in time and fit, and a
//! system without free descriptors must not make the loop spin.

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, Chain, Join, join};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt as _;

use crate::doors::{Admitted, Doors, Later};
use crate::handshake::Headers;
use crate::opening::opened;

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 8_192;
/// How long a request's headers may take.
const HEADERS: Duration = Duration::from_secs(10);
/// How long data may stay unacknowledged by a peer's kernel.
const VANISHED: Duration = Duration::from_secs(60);
/// The smallest buffer that hyper knows: headers must fit into it.
const HEADER_BYTES: usize = 16 * 1024;
/// Headers of a request that opens a socket; one with more goes through the router.
const HEADERS_AT_MOST: usize = 64;
/// What a head needs as a rule, its token included.
const HEAD: usize = 1_024;
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

/// What is served to whoever connects.
#[derive(Clone)]
pub struct Site {
    /// Requests.
    pub router: Router,
    /// The doors of a gateway, where there is one.
    pub doors: Option<Doors>,
}

impl From<Router> for Site {
    fn from(router: Router) -> Self {
        Self { router, doors: None }
    }
}

/// Serves `site` to whoever connects, until `stop`. Requests under way are finished; upgraded connections are not waited for,
/// they belong to their sessions.
pub async fn serve(listener: TcpListener, site: Site, stop: CancellationToken) {
    let requests = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (site, stop, under_way) = (site.clone(), stop.clone(), requests.token());
                tokio::spawn(opened(serve_requests_of(stream, peer.ip(), site, stop, under_way)));
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

/// Serves requests, with `under_way` held meanwhile. If the first one opens a socket, as a rule, no HTTP server is set up for it, and what
/// serves the socket is answered. Whatever else comes first, and every refusal, is the router's, and so are sockets that come later.
async fn serve_requests_of(
    mut stream: TcpStream,
    peer: IpAddr,
    site: Site,
    stop: CancellationToken,
    under_way: TaskTrackerToken,
) -> Option<impl Future<Output = ()>> {
    let mut read = Vec::new();
    if let Some(doors) = site.doors {
        let first = tokio::select! {
            () = stop.cancelled() => return None,
            first = tokio::time::timeout(HEADERS, first_request(&mut stream, peer, &mut read, &doors)) => first.ok()?,
        };
        match first {
            Some((head, Ok(admitted))) => {
                read.drain(..head);
                // Then it is the sessions that wait for it, and not the requests.
                let socket = doors.enter(admitted, stream, read).await;
                drop(under_way);
                return socket;
            }
            // There is room for it in the buffer of a connection that has been told nothing yet.
            Some((_, Err(later))) => {
                drop(stream.try_write(&later.encode()));
                return None;
            }
            None => {}
        }
    }
    // Boxed, because whoever opens a socket at once needs none of it.
    Box::pin(serve_requests(rewind(stream, read), peer, site.router, stop)).await;
    drop(under_way);
    None
}

/// Reads the head of the first request and asks the doors: its length, and who comes in, or later. `None` when that is nobody;
/// what was read is in `read` always.
async fn first_request(
    stream: &mut TcpStream,
    peer: IpAddr,
    read: &mut Vec<u8>,
    doors: &Doors,
) -> Option<(usize, Result<Admitted, Later>)> {
    read.reserve(HEAD);
    while read.len() < HEADER_BYTES {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_AT_MOST];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(read) {
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(head)) => {
                return admit(doors, peer, &request).map(|admitted| (head, admitted));
            }
            Err(_) => return None,
        }
    }
    None
}

/// Who comes in with a `GET` of HTTP/1.1.
fn admit(doors: &Doors, peer: IpAddr, request: &httparse::Request<'_, '_>) -> Option<Result<Admitted, Later>> {
    if request.method != Some("GET") || request.version != Some(1) {
        return None;
    }
    let mut headers = Headers::default();
    request.headers.iter().for_each(|header| headers.note(header.name, header.value));
    doors.admit(peer, request.path?, &headers)
}

/// A TCP stream whose beginning has been read already.
type Rewound = Join<Chain<Cursor<Vec<u8>>, OwnedReadHalf>, OwnedWriteHalf>;

fn rewind(stream: TcpStream, read: Vec<u8>) -> Rewound {
    let (reader, writer) = stream.into_split();
    join(Cursor::new(read).chain(reader), writer)
}

/// The TCP stream of an upgraded connection, and what was read behind the request; `None` when another server accepted it.
pub(crate) fn take_over(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Rewound>>().ok()?;
    let (reader, writer) = parts.io.into_inner().into_inner();
    Some((reader.into_inner().1.reunite(writer).ok()?, parts.read_buf))
}

/// Where the connection of a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

async fn serve_requests(stream: Rewound, peer: IpAddr, router: Router, stop: CancellationToken) {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), answer)
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
