//! The three paths every role answers: is it alive, can it work, how is it doing.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::drain::Drain;
use crate::telemetry::Metrics;

/// Asks a role whether it can do its work: nothing, or every reason why not.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// `/healthz`, `/readyz` and `/metrics`.
///
/// Healthy is whoever answers. Ready is who is not draining and has no reason against it among `checks`; the others answer
/// 503 with all reasons. Checks should be quick and remember their answer for a moment.
pub fn router(metrics: Metrics, drain: Drain, checks: Vec<Readiness>) -> Router {
    let ready = move || {
        let (drain, checks) = (drain.clone(), checks.clone());
        async move { readiness(&drain, &checks).await }
    };
    let metrics = move || async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()) };
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn readiness(drain: &Drain, checks: &[Readiness]) -> Response {
    let mut reasons = Vec::new();
    if drain.draining().is_cancelled() {
        reasons.push("draining".to_owned());
    }
    for check in checks {
        reasons.extend(check().await);
    }
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({ "status": "ready" }))).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unready", "reasons": reasons }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn asked(drain: &Drain, checks: &[Readiness]) -> (StatusCode, String) {
        let answer = readiness(drain, checks).await;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 10_000).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("JSON"))
    }

    #[tokio::test]
    async fn a_pod_is_ready_when_nothing_speaks_against_it() {
        let (drain, good): (_, Readiness) = (Drain::default(), Arc::new(|| Box::pin(async { Vec::new() })));
        let bad: Readiness = Arc::new(|| Box::pin(async { vec!["the database does not answer".to_owned()] }));
        assert_eq!(asked(&drain, &[Arc::clone(&good)]).await, (StatusCode::OK, r#"{"status":"ready"}"#.into()));
        drain.begin();
        let (status, body) = asked(&drain, &[good, bad]).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, r#"{"reasons":["draining","the database does not answer"],"status":"unready"}"#);
    }
}
