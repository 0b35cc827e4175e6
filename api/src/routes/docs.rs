//! `/docs`, `/openapi.json`, `/asyncapi.json`: what can be said here, for people and for programs.
//!
//! The page is one file of ours that loads nothing from elsewhere; its policy lets the browser run that one script only.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::state::App;

/// The page.
const PAGE: &str = include_str!("../../assets/docs.html");
/// The description of the sockets. A test compares it with the code.
const ASYNCAPI: &str = include_str!("../../assets/asyncapi.json");

/// What both descriptions are.
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// The policy of the page: only its own script and style, named by their hashes.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style"),
    )
});

/// The routes of this file.
pub fn routes(openapi: &Value) -> Router<App> {
    let openapi: Arc<str> = openapi.to_string().into();
    let page = || async {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, POLICY.as_str()),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (headers, PAGE)
    };
    Router::new()
        .route("/docs", get(page))
        .route("/openapi.json", get(move || async move { (JSON, openapi.to_string()) }))
        .route("/asyncapi.json", get(move || async move { (JSON, ASYNCAPI) }))
}

/// The source expression of the page's one `element`, by CSP Level 3, section 2.3.1.
fn hash_of(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let content =
        PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(content, _)| content);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}
