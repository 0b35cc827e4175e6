//! The doors: the paths at which sockets and event streams are opened, and what a client brings with it.
//!
//! What can be refused before the upgrade is refused with a status; who it is is found out behind it, where a browser can be
//! told by a close code.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use shared::ids::UserId;
use shared::limits::{TooMany, millis, seconds};
use shared::protocol::{ErrorCode, Since};
use shared::tickets::Ticket;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::accept::{Peer, take_over};
use crate::address;
use crate::connection::{Client, DeviceType, Door};
use crate::handshake::{Headers, NotAHandshake, Query, Switch};
use crate::opening::opened;
use crate::pod::Pod;
use crate::transport::sse::EventStream;
use crate::transport::websocket::WebSocket;
use crate::turnstile::Full;
use crate::welcome::{Pass, Visit, receive};

/// Longest `app_version`, in bytes.
const LONGEST_VERSION: usize = 64;

/// What the doors need.
#[derive(Clone)]
pub struct Doors {
    /// The gateway behind them.
    pub pod: Arc<Pod>,
    /// The tasks that are waited for when the pod stops.
    pub sessions: TaskTracker,
}

/// Where the door for notifications is, up to the user's id.
const NOTIFICATIONS: &str = "/ws/notifications/";
/// Where the main doors are.
const MAIN: [&str; 2] = ["/api/v1/ws", "/ws/connect"];

/// The paths at which sockets are opened.
pub fn router(doors: Doors) -> Router {
    let [main, connect] = MAIN;
    Router::new()
        .route(main, get(main_door))
        .route(connect, get(main_door))
        .route(&format!("{NOTIFICATIONS}{{user_id}}"), get(notifications_door))
        .route("/api/v1/events", get(stream_door))
        .with_state(doors)
}

async fn main_door(State(doors): State<Doors>, request: Request<Body>) -> Result<Response, Turned> {
    open(doors, Door::Main, None, request).await
}

async fn notifications_door(
    State(doors): State<Doors>,
    Path(user_id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Turned> {
    open(doors, Door::Notifications, Some(user_id.into()), request).await
}

/// The door for those who only listen: an event stream instead of a socket, refused by status and not by close code.
async fn stream_door(State(doors): State<Doors>, request: Request<Body>) -> Result<Response, Turned> {
    let pod = &doors.pod;
    if !pod.is_open() {
        return Err(unavailable().into());
    }
    let headers = Headers::of(request.headers());
    if !headers.is_allowed_origin(&pod.settings.allowed_origins) {
        return Err(problem(ErrorCode::Forbidden, "this origin may not open streams", None).into());
    }
    let mut query = Query::read(request.uri().query().unwrap_or_default());
    if let Some(cursor) = headers.last_event_id {
        query.since = Some(cursor.into());
    }
    let visit = visit(Door::Main, query, &headers);
    let mut visit = visit.map_err(|detail| problem(ErrorCode::BadRequest, &detail, None))?;
    visit.passing = Some(pod.turnstile.pass()?);
    doors.knock(doors.address(&request, &headers)).await?;
    let missing = || problem(ErrorCode::Unauthorized, "a token is missing", None);
    let pass = visit.pass.take().ok_or_else(missing)?;
    // First the place: a ticket is spent once it is looked at.
    let mut place = pod.take_place().ok_or_else(unavailable)?;
    let caller = pass.believe(pod).await.map_err(|error| {
        let wait = error.may_pass().then(|| pod.turnstile.come_back().wait);
        problem(error.code(), &error.to_string(), wait)
    })?;
    if visit.user_id.as_ref().is_some_and(|user| *user != caller.user) {
        return Err(problem(ErrorCode::Forbidden, "user_id is not the token's", None).into());
    }
    pass.count(pod, &caller).await?;
    let seat = pod.limits.sit(&caller).await?;
    visit.caller = Some(Box::new(caller));
    place.seat = seat;
    visit.place = Some(place);
    let (stream, body) = EventStream::new();
    doors.sessions.spawn(receive(Arc::clone(pod), visit, stream));
    Ok(([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Answers an upgrade that came through the router, behind other requests of its connection as a rule. `user_id` is what the
/// path says.
async fn open(
    doors: Doors,
    door: Door,
    user_id: Option<Cow<'_, str>>,
    mut request: Request<Body>,
) -> Result<Response, Turned> {
    // Whoever routes a `GET` gives it the `HEAD` as well.
    if request.method() != Method::GET || request.version() < Version::HTTP_11 {
        return Err(refuse(NotAHandshake::NotWebSocket).into());
    }
    let query = Query::read(request.uri().query().unwrap_or_default());
    let query = Query { user_id: user_id.or(query.user_id), ..query };
    let headers = Headers::of(request.headers());
    let address = doors.address(&request, &headers);
    let (visit, switch) = doors.check(door, query, &headers)?;
    doors.knock(address).await?;
    let upgrade = hyper::upgrade::on(&mut request);
    doors.sessions.clone().spawn(opened(async move {
        // A client that left before the upgrade is no loss.
        let upgraded = upgrade.await.ok()?;
        let Some((stream, read)) = take_over(upgraded) else {
            tracing::error!("the connection cannot be taken over: serve the doors with this crate's accept loop");
            return None;
        };
        Some(doors.open_socket(visit, Vec::new(), stream, read.into()).await)
    }));
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = switch.headers().fold(answer, |answer, (name, value)| answer.header(name, value));
    Ok(answer.body(Body::empty()).expect("every header of it is plain text"))
}

/// Somebody who may come in.
pub(crate) struct Admitted {
    visit: Visit,
    address: IpAddr,
    /// The answer to the upgrade, still to be written.
    answer: Vec<u8>,
}

impl Doors {
    /// Checks a request for a socket: who comes in, or later; `None` is whatever the router has to answer.
    pub(crate) fn admit(&self, peer: IpAddr, target: &str, headers: &Headers<'_>) -> Option<Result<Admitted, Later>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut query = Query::read(query);
        let door = if MAIN.contains(&path) {
            Door::Main
        } else {
            // An id with an escape in it is none, until the router has decoded it.
            query.user_id = Some(path.strip_prefix(NOTIFICATIONS)?.into());
            Door::Notifications
        };
        let (visit, switch) = match self.check(door, query, headers) {
            Ok(admitted) => admitted,
            Err(Turned::Away(_)) => return None,
            Err(Turned::Back(later)) => return Some(Err(later)),
        };
        let address = address::client(peer, headers.forwarded_for, &self.pod.settings.trusted_proxies);
        Some(Ok(Admitted { visit, address, answer: switch.encode() }))
    }

    /// Checks what has to be right before the upgrade; answers what the client brought, and the upgrade.
    fn check(&self, door: Door, query: Query<'_>, headers: &Headers<'_>) -> Result<(Visit, Switch), Turned> {
        if !self.pod.is_open() {
            return Err(unavailable().into());
        }
        let switch = headers.switch().map_err(refuse)?;
        if !headers.is_allowed_origin(&self.pod.settings.allowed_origins) {
            return Err(problem(ErrorCode::Forbidden, "this origin may not open sockets", None).into());
        }
        let mut visit = visit(door, query, headers).map_err(|detail| problem(ErrorCode::BadRequest, &detail, None))?;
        // Whoever has yet to send a token comes in with it.
        if visit.pass.is_some() {
            visit.passing = Some(self.pod.turnstile.pass()?);
        }
        visit.place = self.pod.take_place();
        Ok((visit, switch))
    }

    /// The address of whoever sent a request.
    fn address(&self, request: &Request<Body>, headers: &Headers<'_>) -> IpAddr {
        let peer = request.extensions().get().map_or(IpAddr::from([0, 0, 0, 0]), |Peer(peer)| *peer);
        address::client(peer, headers.forwarded_for, &self.pod.settings.trusted_proxies)
    }

    /// Counts a connection from `address`, unless there were too many of late.
    async fn knock(&self, address: IpAddr) -> Result<(), TooMany> {
        self.pod.limits.check_address(address).await
    }

    /// Lets in whoever was admitted, whose connection is `stream` and has `read` waiting, and answers what serves them until they are
    /// gone.
    pub(crate) async fn enter(
        self,
        admitted: Admitted,
        stream: TcpStream,
        read: Vec<u8>,
    ) -> Option<impl Future<Output = ()>> {
        let Admitted { visit, address, answer } = admitted;
        match self.knock(address).await {
            Ok(()) => Some(self.open_socket(visit, answer, stream, read).await),
            // There is room for it in the buffer of a connection that has been told nothing yet.
            Err(error) => {
                drop(stream.try_write(&Later::from(error).encode()));
                None
            }
        }
    }

    async fn open_socket(
        self,
        visit: Visit,
        answer: Vec<u8>,
        stream: TcpStream,
        read: Vec<u8>,
    ) -> impl Future<Output = ()> {
        let Self { pod, sessions } = self;
        // By itself the kernel holds megabytes for a client that takes nothing. Without the bound it is served all the same.
        let _ = SockRef::from(&stream).set_send_buffer_size(pod.settings.socket_buffer_bytes.0 / 2);
        let socket = WebSocket::new(stream, answer, read, pod.settings.max_frame_bytes.0).await;
        sessions.track_future(receive(pod, visit, socket))
    }
}

/// Says what is wrong with a handshake.
fn refuse(why: NotAHandshake) -> Response {
    match why {
        NotAHandshake::NotWebSocket => {
            let mut answer = problem(ErrorCode::BadRequest, "open a WebSocket (version 13) here", None);
            *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
            let headers = answer.headers_mut();
            headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, header::HeaderValue::from_static("13"));
            answer
        }
        NotAHandshake::NoKey => {
            problem(ErrorCode::BadRequest, "Sec-WebSocket-Key is missing or not 16 bytes of base64", None)
        }
        NotAHandshake::Body => problem(ErrorCode::BadRequest, "a request for a socket has no body", None),
    }
}

/// Reads what the client brought.
fn visit(door: Door, query: Query<'_>, headers: &Headers<'_>) -> Result<Visit, String> {
    if headers.doubled {
        return Err("a header came twice that may come once".to_owned());
    }
    let Query { user_id, device_id, device_type, app_version, since, token, ticket } = query;
    let user_id = user_id.map(|id| id.parse::<UserId>()).transpose().map_err(|error| format!("user_id: {error}"))?;
    let device_id = device_id.map(|id| id.parse()).transpose().map_err(|error| format!("device_id: {error}"))?;
    let device_type = device_type.map(|text| parse_device_type(&text)).transpose()?;
    if app_version.as_ref().is_some_and(|version| version.len() > LONGEST_VERSION) {
        return Err(format!("app_version: at most {LONGEST_VERSION} bytes"));
    }
    let since = since.filter(|since| !since.is_empty()).map(Cow::into_owned);
    if let Some(Err(error)) = since.as_deref().map(str::parse::<Since>) {
        return Err(format!("since: {error}"));
    }
    let client = Client { device_id, device_type, app_version: app_version.map(Into::into) };
    let token = headers.bearer().map(Cow::Borrowed).or(token).or_else(|| headers.offered().map(Cow::Borrowed));
    let pass = match (token, ticket) {
        (Some(token), _) => Some(Pass::Token(token.into_owned())),
        (None, Some(ticket)) => {
            let ticket = ticket.parse::<Ticket>().map_err(|error| format!("ticket: {error}"))?;
            Some(Pass::Ticket { ticket, origin: headers.origin.map(str::to_owned) })
        }
        (None, None) => None,
    };
    Ok(Visit {
        is_local: headers.is_local(),
        door,
        pass,
        caller: None,
        user_id,
        since,
        client,
        passing: None,
        place: None,
    })
}

fn parse_device_type(text: &str) -> Result<DeviceType, String> {
    match text {
        "mobile" => Ok(DeviceType::Mobile),
        "desktop" => Ok(DeviceType::Desktop),
        "tablet" => Ok(DeviceType::Tablet),
        _ => Err("device_type: one of mobile, desktop, tablet".to_owned()),
    }
}

/// Who does not come in.
enum Turned {
    /// For good.
    Away(Box<Response>),
    /// For now.
    Back(Later),
}

impl From<Response> for Turned {
    fn from(refusal: Response) -> Self {
        Self::Away(Box::new(refusal))
    }
}

impl From<Full> for Turned {
    fn from(full: Full) -> Self {
        Self::Back(full.into())
    }
}

impl From<TooMany> for Turned {
    fn from(error: TooMany) -> Self {
        Self::Back(error.into())
    }
}

impl IntoResponse for Turned {
    fn into_response(self) -> Response {
        match self {
            Self::Away(refusal) => *refusal,
            Self::Back(Later { code, detail, wait }) => problem(code, &detail, Some(wait)),
        }
    }
}

/// Why somebody has to come back later, and when.
pub(crate) struct Later {
    code: ErrorCode,
    detail: String,
    wait: Duration,
}

impl From<TooMany> for Later {
    fn from(error: TooMany) -> Self {
        Self { code: ErrorCode::RateLimited, detail: error.to_string(), wait: error.wait }
    }
}

impl From<Full> for Later {
    fn from(full: Full) -> Self {
        // Not 503: a proxy would take that for a pod that is gone, and send nobody there for a while.
        Self { code: ErrorCode::RateLimited, detail: full.to_string(), wait: full.wait }
    }
}

impl Later {
    /// The answer as it is written to a connection that is closed then.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let status = status(self.code);
        let body = body(self.code, &self.detail, Some(self.wait));
        let seconds = seconds(self.wait);
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM}\r\nretry-after: {seconds}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    }
}

fn unavailable() -> Response {
    problem(ErrorCode::Unavailable, "this pod takes no sockets", Some(Duration::from_secs(1)))
}

/// The media type of RFC 9457.
const PROBLEM: &str = "application/problem+json";

/// A refusal like the api's.
fn problem(code: ErrorCode, detail: &str, wait: Option<Duration>) -> Response {
    let body = body(code, detail, wait);
    let mut answer = (status(code), [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
    if let Some(wait) = wait {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds(wait).into());
    }
    answer
}

fn body(code: ErrorCode, detail: &str, wait: Option<Duration>) -> String {
    let mut body = json!({
        "type": "about:blank",
        "title": status(code).canonical_reason(),
        "status": code.status(),
        "code": code,
        "detail": detail,
        "remedy": code.remedy(),
    });
    if let Some(wait) = wait {
        body["retry_after_ms"] = millis(wait).into();
    }
    body.to_string()
}

fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status()).expect("the table has valid statuses")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(query: &str, header: Option<(&str, &'static str)>) -> Result<Visit, String> {
        let mut headers = Headers::default();
        if let Some((name, value)) = header {
            headers.note(name, value.as_bytes());
        }
        visit(Door::Main, Query::read(query), &headers)
    }

    #[test]
    fn a_garbled_cursor_is_refused_before_it_is_asked_about_and_an_empty_one_is_none() {
        let since = |since: &str| brought(&format!("since={since}"), None).map(|visit| visit.since);
        assert_eq!(since(""), Ok(None));
        assert_eq!(since("now"), Ok(Some("now".to_owned())));
        assert!(since("garbled").is_err() && since(&"A".repeat(15_000)).is_err());
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        let token = |query: &str, header| match brought(query, header).ok()?.pass? {
            Pass::Token(token) => Some(token),
            Pass::Ticket { ticket, .. } => Some(ticket.reveal()),
        };
        let (bearer, offered) =
            (("authorization", "Bearer a.b.c"), ("sec-websocket-protocol", "carillon.v1, bearer.g.h.i"));
        assert_eq!(token("", Some(bearer)).as_deref(), Some("a.b.c"));
        assert_eq!(token("token=d.e.f", None).as_deref(), Some("d.e.f"));
        assert_eq!(token("", Some(offered)).as_deref(), Some("g.h.i"));
        // The query before the subprotocols, the header before both.
        assert_eq!(token("token=d.e.f", Some(offered)).as_deref(), Some("d.e.f"));
        assert_eq!(token("token=d.e.f", Some(bearer)).as_deref(), Some("a.b.c"));
        assert_eq!(token("", None), None);
        // Whoever shows a token needs no ticket.
        let ticket = "A".repeat(43);
        assert_eq!(token(&format!("ticket={ticket}"), None), Some(ticket.clone()));
        assert_eq!(token(&format!("ticket={ticket}&token=d.e.f"), None).as_deref(), Some("d.e.f"));
        assert!(brought("ticket=garbled", None).is_err());
    }
}
