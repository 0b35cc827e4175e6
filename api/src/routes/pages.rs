//! Pages: each one file of ours that loads nothing from elsewhere, and the plain one at `/`.
//!
//! Their policy lets the browser run that file's one script and one style only, named by their hashes.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::routing::{MethodRouter, get};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::state::App;

/// The page at `/`: where everything is, and a socket to try.
const HOME: &str = include_str!("../../assets/home.html");

/// The routes of this file.
pub fn routes() -> Router<App> {
    Router::new().route("/", page(HOME))
}

/// Serves a page that has one `<script>` and one `<style>`.
pub fn page(html: &'static str) -> MethodRouter<App> {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash_of(html, "script"),
        hash_of(html, "style"),
    );
    get(async move || {
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        ];
        (headers, html)
    })
}

/// The source expression of a page's one `element`, by CSP Level 3, section 2.3.1.
fn hash_of(html: &str, element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let content =
        html.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(content, _)| content);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)))
}
