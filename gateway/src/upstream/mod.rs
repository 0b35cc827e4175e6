//! What a gateway asks of the api: heads, differences, permission, sending, acknowledgements.
//!
//! The questions and answers are `shared::upstream`; here they are put and taken. How they travel is the one thing that
//! differs, and so the one seam: [`Wire`], between pods over HTTP, in one process by calling the api's router. Every call has
//! a deadline; what does not come in time is [`UpstreamError::Unavailable`], and the caller relies on trying later.

pub mod http;
pub mod local;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use shared::access::Caller;
use shared::channel::Channel;
use shared::ids::TraceId;
use shared::protocol::ErrorCode;
use shared::upstream::{
    Acknowledgement, CALLER_HEADER, Differences, DifferencesAfter, Heads, HeadsOf, Question, RecentHeads, RevokedAfter,
    RevokedPage, SECRET_HEADER, TRACE_HEADER, Verdict,
};

/// Longest that an answer may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// How a request reaches an api pod and its answer comes back.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Carries one request. `repeatable` says that it may be carried to a second pod if the first did not answer.
    async fn call(&self, request: Request<Bytes>, repeatable: bool) -> Result<Response<Bytes>, UpstreamError>;
}

/// The api, as a gateway sees it.
#[derive(Clone)]
pub struct Upstream {
    wire: Arc<dyn Wire>,
    secret: Arc<str>,
}

/// Why the api did not answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No pod answered in time. Whether it was done is unknown.
    #[error("no api pod answered in time")]
    Unavailable(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// A pod answered something else than was asked: another version, another secret.
    #[error("the api answered {0} to an internal request: check that versions and CARILLON_INTERNAL_SECRET agree")]
    Strange(StatusCode),
}

/// Why what a client asked for was not done.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// Which error the client hears.
    pub code: ErrorCode,
    /// What exactly was wrong.
    pub detail: String,
    /// When trying again makes sense.
    #[serde(skip)]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    fn unavailable() -> Self {
        Self { code: ErrorCode::Unavailable, detail: "no api pod answered in time".into(), retry_after_ms: Some(1_000) }
    }
}

impl Upstream {
    /// The api at the other end of `wire`, where `secret` proves that the gateway belongs to the fleet.
    #[must_use]
    pub fn new(wire: Arc<dyn Wire>, secret: &str) -> Self {
        Self { wire, secret: secret.into() }
    }

    /// The heads of all feeds that grew lately, and whether they are announced.
    pub async fn recent_heads(&self) -> Result<RecentHeads, UpstreamError> {
        self.ask(Method::GET, "heads", Bytes::new()).await
    }

    /// The heads of these channels; at most 1,000.
    pub async fn heads(&self, channels: Vec<Channel>) -> Result<Heads, UpstreamError> {
        self.ask(Method::POST, "heads", json(&HeadsOf { channels })).await
    }

    /// What came in feeds after numbers.
    pub async fn differences(&self, after: &DifferencesAfter) -> Result<Differences, UpstreamError> {
        let answer = self.call(Method::POST, "differences", json(after), |_| {}, true).await?;
        match answer.status() {
            StatusCode::OK => {
                Differences::decode(answer.into_body()).map_err(|error| UpstreamError::Unavailable(Some(error.into())))
            }
            status => Err(refused(status)),
        }
    }

    /// What was revoked after a number of the feed of the fleet.
    pub async fn revoked_after(&self, after: &RevokedAfter) -> Result<RevokedPage, UpstreamError> {
        self.ask(Method::POST, "revocations", json(after)).await
    }

    /// Verdicts on questions, in order; at most 1,000.
    pub async fn authorise(&self, questions: &[Question]) -> Result<Vec<Verdict>, UpstreamError> {
        let verdicts: Vec<Verdict> = self.ask(Method::POST, "authorise", json(&questions)).await?;
        if verdicts.len() == questions.len() { Ok(verdicts) } else { Err(UpstreamError::Strange(StatusCode::OK)) }
    }

    /// Sends a message for `caller`. The answer is the message as REST answers it.
    pub async fn send(&self, caller: &Caller, trace: TraceId, draft: &RawValue) -> Result<Box<RawValue>, Refusal> {
        // Carried once: without a client_message_id, twice could be two messages.
        self.speak("send", caller, trace, draft, false).await
    }

    /// Marks a conversation as read by `caller`. The answer is the marker as REST answers it.
    pub async fn read(&self, caller: &Caller, trace: TraceId, marker: &RawValue) -> Result<Box<RawValue>, Refusal> {
        self.speak("read", caller, trace, marker, true).await
    }

    /// Asks for something in `caller`'s name.
    async fn speak(
        &self,
        path: &str,
        caller: &Caller,
        trace: TraceId,
        body: &RawValue,
        repeatable: bool,
    ) -> Result<Box<RawValue>, Refusal> {
        let body = Bytes::copy_from_slice(body.get().as_bytes());
        let speaks_for = |headers: &mut axum::http::HeaderMap| {
            let caller = serde_json::to_string(caller).expect("a caller is always JSON");
            // A name can hold any character; a header cannot. The api takes it with its escapes.
            if let Ok(caller) = axum::http::HeaderValue::try_from(escape_ascii(&caller)) {
                headers.insert(CALLER_HEADER, caller);
            }
            if let Ok(trace) = axum::http::HeaderValue::try_from(trace.to_string()) {
                headers.insert(TRACE_HEADER, trace);
            }
        };
        let answer =
            self.call(Method::POST, path, body, speaks_for, repeatable).await.map_err(|_| Refusal::unavailable())?;
        if answer.status().is_success() {
            return serde_json::from_slice(answer.body()).map_err(|_| Refusal::unavailable());
        }
        let seconds =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let refusal = serde_json::from_slice(answer.body()).unwrap_or_else(|_| Refusal::unavailable());
        Err(Refusal { retry_after_ms: seconds.map(|seconds| seconds * 1_000), ..refusal })
    }

    /// Hands over what devices have received.
    pub async fn acknowledge(&self, acknowledgements: &[Acknowledgement]) -> Result<(), UpstreamError> {
        let answer = self.call(Method::POST, "acks", json(&acknowledgements), |_| {}, true).await?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer.status())) }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, UpstreamError> {
        let answer = self.call(method, path, body, |_| {}, true).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|_| UpstreamError::Strange(StatusCode::OK))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        add_headers: impl FnOnce(&mut axum::http::HeaderMap),
        repeatable: bool,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/internal/v1/{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(SECRET_HEADER, self.secret.as_ref())
            .body(body)
            .map_err(|error| UpstreamError::Unavailable(Some(error.into())))?;
        add_headers(request.headers_mut());
        tokio::time::timeout(DEADLINE, self.wire.call(request, repeatable))
            .await
            .map_err(|_| UpstreamError::Unavailable(None))?
    }
}

fn json(body: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(body).expect("the questions are always JSON").into()
}

/// A pod that is overloaded or not ready is another matter than one that does not understand.
fn refused(status: StatusCode) -> UpstreamError {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        UpstreamError::Unavailable(None)
    } else {
        UpstreamError::Strange(status)
    }
}

/// Writes what is not ASCII in a JSON text as escapes, so that it can stand in a header.
fn escape_ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    let mut units = [0_u16; 2];
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_text_is_the_same_json() {
        let name = "Zoë 🔔 \"x\"";
        let json = serde_json::to_string(name).expect("a text");
        let escaped = escape_ascii(&json);
        assert!(escaped.is_ascii());
        assert_eq!(serde_json::from_str::<String>(&escaped).expect("JSON"), name);
    }
}
