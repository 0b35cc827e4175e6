//! What surrounds every request: its id, its trace, its deadline, its figures, and the words for its failure.
//!
//! On the line it stands before every route and after it. Whatever happens inside, a panic included, the caller gets an
//! answer within [`DEADLINE`], or where bytes are sent and looked at within that route's own, and that answer names the request.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use shared::ids::{IdempotencyKey, TraceId};
use shared::protocol::ErrorCode;
use shared::upstream::TRACE_HEADER;
use tracing::Instrument;

use crate::error::Problem;
use crate::routes::attachments;

/// How long a request may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with the key under which a creating request happens once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How a request is named in logs and across the fleet.
#[derive(Debug, Clone)]
pub struct Name {
    /// Names this request: the caller's `X-Request-Id` if it is a sane one, else ours.
    pub id: String,
    /// Names what the request is part of: from `traceparent` or a gateway, else ours.
    pub trace: TraceId,
}

impl Name {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let id = text(REQUEST_ID.as_str()).filter(|id| is_sane(id)).map(ToOwned::to_owned);
        let parent = text(TRACEPARENT.as_str()).and_then(TraceId::from_traceparent);
        let trace = parent.or_else(|| text(TRACE_HEADER)?.parse().ok());
        Self {
            id: id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
            trace: trace.unwrap_or_else(TraceId::random),
        }
    }

    /// A `traceparent` for the answer, with a span id of ours.
    fn traceparent(&self) -> String {
        let span = uuid::Uuid::new_v4().as_u64_pair().0;
        format!("00-{}-{span:016x}-01", self.trace)
    }
}

fn is_sane(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&id.len()) && id.bytes().all(allowed)
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

/// The `Idempotency-Key` of a request: sent again with the same key, it happens once.
#[derive(Debug, Clone)]
pub struct Once(pub Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
        let key = value.to_str().ok().and_then(|text| text.parse().ok());
        let problem = || Problem::field("Idempotency-Key", "must be 1 to 128 characters of visible ASCII");
        key.map(|key| Self(Some(key))).ok_or_else(problem)
    }
}

/// Surrounds a request. The outermost layer of every router.
pub async fn surround(mut request: Request, next: Next) -> Response {
    let name = Name::of(request.headers());
    let method = method(request.method());
    let route = request.extensions().get().map_or_else(|| "none".to_owned(), |path: &MatchedPath| path.as_str().into());
    let span = tracing::debug_span!("request", id = name.id, trace = %name.trace, method, route);
    request.extensions_mut().insert(name.clone());

    let began = Instant::now();
    let deadline = attachments::deadline(request.method(), &route).unwrap_or(DEADLINE);
    let response = answer(next.run(request), deadline).instrument(span.clone()).await;
    let response = span.in_scope(|| worded(response, &name));
    count(method, route, response.status(), began.elapsed());
    response
}

/// The route's answer, or ours when it panics or is late.
async fn answer(run: impl Future<Output = Response>, deadline: Duration) -> Response {
    match tokio::time::timeout(deadline, AssertUnwindSafe(run).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => Problem::internal("a route panicked").into_response(),
        Err(_late) => Problem::new(ErrorCode::Unavailable, "no answer was found in time").into_response(),
    }
}

/// The response with its problem, if it has one, put into words, and with the request's names.
fn worded(mut response: Response, name: &Name) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // What the router already said, `allow` above all, stays.
        let said = std::mem::take(response.headers_mut());
        response = problem.write(&name.id);
        for (header, value) in said {
            if let Some(header) = header {
                response.headers_mut().entry(header).or_insert(value);
            }
        }
    }
    for (header, value) in [(REQUEST_ID, name.id.clone()), (TRACEPARENT, name.traceparent())] {
        let value = HeaderValue::try_from(value).expect("ids are visible ASCII");
        response.headers_mut().insert(header, value);
    }
    response
}

/// Counts by the template of the route, never by the path: a path holds ids.
fn count(method: &'static str, route: String, status: StatusCode, took: Duration) {
    let labels = [("method", method.into()), ("route", route), ("status", status.as_str().to_owned())];
    metrics::counter!("carillon_http_requests_total", &labels).increment(1);
    metrics::histogram!("carillon_http_request_duration_seconds", &labels).record(took);
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn only_a_sane_request_id_is_taken_over() {
        let named = |id: &'static str| Name::of(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(id))])).id;
        assert_eq!(named("req-1.a_B"), "req-1.a_B");
        for id in ["", "two words", "a\"b", "x;y"] {
            assert_ne!(named(id), id);
        }
    }

    async fn asked(path: &str) -> (StatusCode, Response) {
        let slow = get(|| async { tokio::time::sleep(2 * DEADLINE).await });
        let broken = get(async || -> StatusCode { panic!("of no concern to the caller") });
        let router = Router::new().route("/slow", slow).route("/broken", broken);
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.layer(from_fn(surround)).oneshot(request).await.expect("routers answer");
        (response.status(), response)
    }

    async fn text(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a short body");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_route_is_answered_for_with_503() {
        let (status, response) = asked("/slow").await;
        assert_eq!(
            (status, &response.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().expect("a value"))
        );
        assert!(text(response).await.contains(r#""code":"unavailable""#));
    }

    #[tokio::test]
    async fn a_panic_is_answered_for_with_500_and_hides_its_cause() {
        let (status, response) = asked("/broken").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        let text = text(response).await;
        assert!(text.contains(r#""code":"internal""#) && !text.contains("of no concern"), "{text}");
    }

    #[test]
    fn a_trace_comes_from_traceparent_or_from_a_gateway() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let gateway = (HeaderName::from_static(TRACE_HEADER), HeaderValue::from_static(trace));
        for headers in [[(TRACEPARENT, parent)], [gateway]] {
            assert_eq!(Name::of(&HeaderMap::from_iter(headers)).trace.to_string(), trace);
        }
    }
}
