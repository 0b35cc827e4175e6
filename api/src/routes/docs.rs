//! `/docs`, `/openapi.json`, `/asyncapi.json`: what can be said here, for people and for programs.
//!
//! The page is one file of ours, like every page here.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::Value;

use crate::routes::pages::page;
use crate::state::App;

/// The page.
const PAGE: &str = include_str!("../../assets/docs.html");
/// The description of the sockets. A test compares it with the code.
const ASYNCAPI: &str = include_str!("../../assets/asyncapi.json");

/// What both descriptions are.
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];

/// The routes of this file.
pub fn routes(openapi: &Value) -> Router<App> {
    let openapi: Arc<str> = openapi.to_string().into();
    Router::new()
        .route("/docs", page(PAGE))
        .route("/openapi.json", get(move || async move { (JSON, openapi.to_string()) }))
        .route("/asyncapi.json", get(move || async move { (JSON, ASYNCAPI) }))
}
