//! Who calls: a route that takes a [`Caller`] is open only to the bearer of a valid token.
//!
//! The token comes in the `Authorization` header and nowhere else: a URL ends up in logs.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use shared::access::Caller;
use shared::protocol::ErrorCode;

use crate::error::Problem;
use crate::state::App;

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else {
            return Err(unauthorized("one Authorization header is needed"));
        };
        let token = header.to_str().ok().and_then(bearer);
        let token = token.ok_or_else(|| unauthorized("the Authorization header is not `Bearer <token>`"))?;
        Ok(app.verifier.verify(token).await?)
    }
}

/// The token of a header; RFC 7235 lets the scheme be written in any case.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(ErrorCode::Unauthorized, detail)
}
