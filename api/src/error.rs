//! Problems: how the api tells outsiders what went wrong, as RFC 9457 has it.
//!
//! Handlers answer with a [`Problem`]; the outermost layer of the router writes it, with the id of the request, and logs the
//! cause of what is our own fault once. Nobody outside sees that cause.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use shared::access::TokenError;
use shared::limits::{self, TooMany};
use shared::protocol::ErrorCode;

use crate::store::StoreError;

/// How long a caller who was told `unavailable` waits before trying again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a request was not done, on its way to the caller.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ErrorCode,
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    wait: Duration,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field of the body, the parameter or the header.
    #[schema(examples("message_text"))]
    pub field: String,
    /// What is wrong with it.
    #[schema(examples("must be 1 to 16384 characters"))]
    pub detail: String,
}

/// A problem as it is written: RFC 9457 with a code, a remedy and the fields concerned.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Where the code is explained.
    #[serde(rename = "type")]
    #[schema(examples("/docs#bad_request"))]
    pub kind: String,
    /// The code in words.
    #[schema(examples("bad request"))]
    pub title: String,
    /// The HTTP status.
    #[schema(examples(400))]
    pub status: u16,
    /// What programs decide by.
    pub code: String,
    /// What exactly went wrong, for people.
    #[schema(examples("message_text must be 1 to 16384 characters"))]
    pub detail: String,
    /// What the caller can do.
    pub remedy: String,
    /// Names the request in our logs.
    pub request_id: String,
    /// What is wrong with which field; empty when no field is to blame.
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A problem with the status and the remedy of its code.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.status()).expect("the table has valid statuses");
        Self { code, status, detail: detail.into(), errors: Vec::new(), wait: AGAIN, cause: None }
    }

    /// A request with these wrong fields.
    #[must_use]
    pub fn fields(code: ErrorCode, errors: Vec<FieldError>) -> Self {
        let each = errors.iter().map(|FieldError { field, detail }| format!("{field} {detail}"));
        let detail = each.collect::<Vec<_>>().join("; ");
        Self { errors, ..Self::new(code, detail) }
    }

    /// A request with one wrong field.
    #[must_use]
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::fields(ErrorCode::BadRequest, vec![FieldError { field: field.to_owned(), detail: detail.into() }])
    }

    /// A fault of ours. The caller learns nothing of `cause`; the log does.
    #[must_use]
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorCode::Internal, "something broke here, the request is not to blame").because(cause)
    }

    /// What programs decide by.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The same problem with a status finer than its code's.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same problem with what caused it, for the log.
    pub(crate) fn because(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into().into()), ..self }
    }

    /// Writes the problem for the caller, and logs its cause.
    #[must_use]
    pub fn write(self, request_id: &str) -> Response {
        let Self { code, status, detail, errors, wait, cause } = self;
        let cause = chain(cause.as_deref().map(|cause| cause as &dyn Error));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(request_id, cause, "{detail}");
        } else if status.is_server_error() {
            tracing::error!(request_id, cause, "{detail}");
        }
        let document = ProblemDocument {
            kind: format!("/docs#{code}"),
            title: code.as_str().replace('_', " "),
            status: status.as_u16(),
            code: code.to_string(),
            detail,
            remedy: code.remedy().to_owned(),
            request_id: request_id.to_owned(),
            errors,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(code, ErrorCode::RateLimited | ErrorCode::Unavailable) {
            headers.insert(RETRY_AFTER, HeaderValue::from(limits::seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Leaves the problem with the response; [`Problem::write`] makes the body once the request's id is at hand.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: Option<&dyn Error>) -> String {
    let mut texts = Vec::new();
    let mut next = error;
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts.join(": ")
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NoConversation(_)
            | StoreError::NoMessage(_)
            | StoreError::NothingUnsent(_)
            | StoreError::NotScheduled(_)
            | StoreError::NotIn(_)
            | StoreError::NotStaff(_)
            | StoreError::NoUser(_)
            | StoreError::NoReport(_)
            | StoreError::NoJob(_)
            | StoreError::NoAttachment(_) => ErrorCode::NotFound,
            StoreError::Deleted(_)
            | StoreError::NotComplete(_)
            | StoreError::AttachedElsewhere(_)
            | StoreError::NotVoice(_)
            | StoreError::Decided(_)
            | StoreError::Erased(_)
            | StoreError::OtherJob(_)
            | StoreError::NoLongerScheduled(_)
            | StoreError::AssignedTo(_) => ErrorCode::Conflict,
            StoreError::NotARoot(_) => ErrorCode::BadRequest,
            StoreError::NotAParticipant(_) => ErrorCode::NotAParticipant,
            StoreError::Closed(_) => ErrorCode::ConversationClosed,
            StoreError::KeyReused => ErrorCode::KeyReused,
            StoreError::Banned(_) => ErrorCode::Banned,
            StoreError::Blocked => ErrorCode::Blocked,
            StoreError::Forbidden(_) => ErrorCode::Forbidden,
            StoreError::LimitExceeded { .. } => ErrorCode::LimitExceeded,
            StoreError::Unavailable(_) => ErrorCode::Unavailable,
            StoreError::Unfit(_) => return Self::new(ErrorCode::Unavailable, "this pod is not ready").because(error),
            StoreError::Broken(_) => return Self::internal(error),
        };
        Self::new(code, error.to_string()).because(error)
    }
}

impl From<TooMany> for Problem {
    fn from(error: TooMany) -> Self {
        Self { wait: error.wait, ..Self::new(ErrorCode::RateLimited, error.to_string()) }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
