//! The doors: the handshake of RFC 6455 section 4, the event stream, and what a client brings with it.
//!
//! What can be refused before the upgrade is refused with a status; who it is is found out behind it, where a browser can be
//! told by a close code.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use shared::ids::UserId;
use shared::protocol::{ErrorCode, Since};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::server::write_response;
use tokio_util::task::TaskTracker;

use crate::accept::take_over;
use crate::connection::{Client, DeviceType, Door};
use crate::pod::Pod;
use crate::transport::sse::EventStream;
use crate::transport::websocket::WebSocket;
use crate::welcome::{Visit, receive};

/// The subprotocol we speak; a token may stand beside it as `bearer.<jwt>`.
const SUBPROTOCOL: &str = "carillon.v1";
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

type Params = HashMap<String, String>;

/// The paths at which sockets are opened.
pub fn router(doors: Doors) -> Router {
    Router::new()
        .route("/api/v1/ws", get(main_door))
        .route("/ws/connect", get(main_door))
        .route("/ws/notifications/{user_id}", get(notifications_door))
        .route("/api/v1/events", get(stream_door))
        .with_state(doors)
}

async fn main_door(State(doors): State<Doors>, Query(params): Query<Params>, request: Request<Body>) -> Response {
    let user_id = params.get("user_id").cloned();
    open(doors, Door::Main, user_id, params, request)
}

async fn notifications_door(
    State(doors): State<Doors>,
    Path(user_id): Path<String>,
    Query(params): Query<Params>,
    request: Request<Body>,
) -> Response {
    open(doors, Door::Notifications, Some(user_id), params, request)
}

/// The door for those who only listen: an event stream instead of a socket, refused by status and not by close code.
async fn stream_door(State(doors): State<Doors>, Query(mut params): Query<Params>, request: Request<Body>) -> Response {
    let Doors { pod, sessions } = doors;
    if !pod.is_open() {
        return unavailable();
    }
    if !is_allowed_origin(request.headers(), &pod.settings.allowed_origins) {
        return problem(ErrorCode::Forbidden, "this origin may not open streams");
    }
    if let Some(cursor) = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()) {
        params.insert("since".to_owned(), cursor.to_owned());
    }
    let mut visit = match visit(Door::Main, params.get("user_id").cloned(), params, request.headers()) {
        Ok(visit) => visit,
        Err(detail) => return problem(ErrorCode::BadRequest, &detail),
    };
    let caller = match &visit.token {
        Some(token) => pod.verifier.verify(token).await,
        None => return problem(ErrorCode::Unauthorized, "a token is missing"),
    };
    match caller {
        Ok(caller) if visit.user_id.as_ref().is_none_or(|user| *user == caller.user) => {}
        Ok(_) => return problem(ErrorCode::Forbidden, "user_id is not the token's"),
        Err(error) => return problem(error.code(), &error.to_string()),
    }
    visit.place = pod.take_place();
    if visit.place.is_none() {
        return unavailable();
    }
    let (stream, body) = EventStream::new();
    sessions.clone().spawn(async move { receive(pod, visit, stream, &sessions).await });
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// Answers an upgrade that came through the router, behind other requests of its connection as a rule.
fn open(doors: Doors, door: Door, user_id: Option<String>, params: Params, mut request: Request<Body>) -> Response {
    let (visit, switch) = match doors.check(door, user_id, params, request.headers()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    doors.sessions.clone().spawn(async move {
        // A client that left before the upgrade is no loss.
        let Ok(upgraded) = upgrade.await else { return };
        let Some((stream, read)) = take_over(upgraded) else {
            tracing::error!("the connection cannot be taken over: serve the doors with this crate's accept loop");
            return;
        };
        doors.enter(Admitted { visit, answer: Vec::new() }, stream, &read).await;
    });
    switch
}

/// Somebody who may come in.
pub(crate) struct Admitted {
    visit: Visit,
    /// The answer to the upgrade, still to be written.
    answer: Vec<u8>,
}

impl Doors {
    /// Checks a request for a socket; `None` is whatever the router has to answer.
    pub(crate) fn admit(&self, request: &Request<()>) -> Option<Admitted> {
        let Query(params) = Query::<Params>::try_from_uri(request.uri()).ok()?;
        let (door, user_id) = match request.uri().path() {
            "/api/v1/ws" | "/ws/connect" => (Door::Main, params.get("user_id").cloned()),
            // An id with an escape in it is none, until the router has decoded it.
            path => (Door::Notifications, Some(path.strip_prefix("/ws/notifications/")?.to_owned())),
        };
        let (visit, switch) = self.check(door, user_id, params, request.headers()).ok()?;
        let mut answer = Vec::new();
        write_response(&mut answer, &switch).expect("every header of it is plain text");
        Some(Admitted { visit, answer })
    }

    /// Checks what has to be right before the upgrade; answers what the client brought, and the upgrade.
    fn check(
        &self,
        door: Door,
        user_id: Option<String>,
        params: Params,
        headers: &HeaderMap,
    ) -> Result<(Visit, Response), Box<Response>> {
        if !self.pod.is_open() {
            return Err(unavailable().into());
        }
        let accept = handshake(headers)?;
        if !is_allowed_origin(headers, &self.pod.settings.allowed_origins) {
            return Err(problem(ErrorCode::Forbidden, "this origin may not open sockets").into());
        }
        let mut visit =
            visit(door, user_id, params, headers).map_err(|detail| problem(ErrorCode::BadRequest, &detail))?;
        visit.place = self.pod.take_place();
        let speaks_ours = subprotocols(headers).any(|name| name == SUBPROTOCOL);
        Ok((visit, switch(&accept, speaks_ours)))
    }

    /// Lets in whoever was admitted, whose connection is `stream` and has `read` waiting.
    pub(crate) async fn enter(self, admitted: Admitted, stream: TcpStream, read: &[u8]) {
        let Self { pod, sessions } = self;
        let Admitted { visit, answer } = admitted;
        let socket = WebSocket::new(stream, answer, read, pod.settings.max_frame_bytes.0).await;
        sessions.track_future(receive(pod, visit, socket, &sessions)).await;
    }
}

/// Checks the handshake and answers its `Sec-WebSocket-Accept`.
fn handshake(headers: &HeaderMap) -> Result<String, Box<Response>> {
    let has = |name: header::HeaderName, token: &str| {
        headers.get_all(name).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
        })
    };
    if !has(header::CONNECTION, "upgrade")
        || !has(header::UPGRADE, "websocket")
        || !has(header::SEC_WEBSOCKET_VERSION, "13")
    {
        let mut answer = problem(ErrorCode::BadRequest, "open a WebSocket (version 13) here");
        *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
        let headers = answer.headers_mut();
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, header::HeaderValue::from_static("13"));
        return Err(answer.into());
    }
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) if key.len() == 24 => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(problem(ErrorCode::BadRequest, "Sec-WebSocket-Key is missing or not 16 bytes of base64").into()),
    }
}

fn switch(accept: &str, speaks_ours: bool) -> Response {
    let mut answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    if speaks_ours {
        answer = answer.header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    }
    answer.body(Body::empty()).expect("every header above is plain text")
}

/// Reads what the client brought. The texts are copied: a header keeps the whole read buffer of its request alive.
fn visit(door: Door, user_id: Option<String>, mut params: Params, headers: &HeaderMap) -> Result<Visit, String> {
    let user_id = user_id.map(|id| id.parse::<UserId>()).transpose().map_err(|error| format!("user_id: {error}"))?;
    let device_id = params.remove("device_id").map(|id| id.parse()).transpose();
    let device_type = params.remove("device_type").map(|text| device_type(&text)).transpose()?;
    let app_version = params.remove("app_version");
    if app_version.as_ref().is_some_and(|version| version.len() > LONGEST_VERSION) {
        return Err(format!("app_version: at most {LONGEST_VERSION} bytes"));
    }
    let since = params.remove("since").filter(|since| !since.is_empty());
    if let Some(Err(error)) = since.as_deref().map(str::parse::<Since>) {
        return Err(format!("since: {error}"));
    }
    let client = Client {
        device_id: device_id.map_err(|error| format!("device_id: {error}"))?,
        device_type,
        app_version: app_version.map(Into::into),
    };
    let token = bearer(headers)
        .or_else(|| params.remove("token"))
        .or_else(|| subprotocols(headers).find_map(|name| name.strip_prefix("bearer.").map(str::to_owned)));
    Ok(Visit { is_local: is_local(headers), door, token, user_id, since, client, place: None })
}

/// Whether the request was sent to a loopback name or address.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn device_type(text: &str) -> Result<DeviceType, String> {
    match text {
        "mobile" => Ok(DeviceType::Mobile),
        "desktop" => Ok(DeviceType::Desktop),
        "tablet" => Ok(DeviceType::Tablet),
        _ => Err("device_type: one of mobile, desktop, tablet".to_owned()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a page may open a socket. Only browsers send `Origin`, and only they carry somebody else's pages.
fn is_allowed_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if allowed.is_empty() {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let page = origin.split_once("://").map(|(_, host)| host);
        return page.is_some() && page == host;
    }
    allowed.iter().any(|each| each == "*" || each.eq_ignore_ascii_case(origin))
}

fn unavailable() -> Response {
    let mut answer = problem(ErrorCode::Unavailable, "this pod takes no sockets");
    answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    answer
}

/// A refusal as problem JSON (RFC 9457), like the api's.
fn problem(code: ErrorCode, detail: &str) -> Response {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": code.status(),
        "code": code,
        "detail": detail,
        "remedy": code.remedy(),
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), header::HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_page_of_another_host_may_not_open_a_socket_unless_allowed() {
        let ours = headers(&[("host", "chat.example:8000"), ("origin", "http://chat.example:8000")]);
        let theirs = headers(&[("host", "chat.example:8000"), ("origin", "https://evil.example")]);
        let allowed = ["https://evil.example".to_owned()];
        assert!(is_allowed_origin(&headers(&[("host", "x")]), &[]));
        assert!(is_allowed_origin(&ours, &[]) && !is_allowed_origin(&theirs, &[]));
        assert!(is_allowed_origin(&theirs, &allowed) && !is_allowed_origin(&ours, &allowed));
    }

    #[test]
    fn a_garbled_cursor_is_refused_before_it_is_asked_about_and_an_empty_one_is_none() {
        let since = |since: &str| {
            let params = Params::from([("since".to_owned(), since.to_owned())]);
            visit(Door::Main, None, params, &headers(&[])).map(|visit| visit.since)
        };
        assert_eq!(since(""), Ok(None));
        assert_eq!(since("now"), Ok(Some("now".to_owned())));
        assert!(since("garbled").is_err() && since(&"A".repeat(15_000)).is_err());
    }

    #[test]
    fn only_a_loopback_name_is_local() {
        for host in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.1"] {
            assert!(is_local(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example:8000", "10.0.0.1:8000", ""] {
            assert!(!is_local(&headers(&[("host", host)])), "{host}");
        }
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        let params = |token: &str| Params::from([("token".to_owned(), token.to_owned())]);
        let token =
            |params, headers: &HeaderMap| visit(Door::Main, None, params, headers).ok().and_then(|visit| visit.token);
        assert_eq!(token(Params::new(), &headers(&[("authorization", "Bearer a.b.c")])).as_deref(), Some("a.b.c"));
        assert_eq!(token(params("d.e.f"), &headers(&[])).as_deref(), Some("d.e.f"));
        let offered = headers(&[("sec-websocket-protocol", "carillon.v1, bearer.g.h.i")]);
        assert_eq!(token(Params::new(), &offered).as_deref(), Some("g.h.i"));
        assert_eq!(token(Params::new(), &headers(&[])), None);
    }
}
