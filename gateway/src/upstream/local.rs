//! The wire within one process: the api's internal router, called without a socket.

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::{UpstreamError, Wire};

/// The internal router of an api in this process.
pub struct LocalWire(pub Router);

#[async_trait]
impl Wire for LocalWire {
    async fn call(&self, request: Request<Bytes>, _repeatable: bool) -> Result<Response<Bytes>, UpstreamError> {
        let answer = match self.0.clone().oneshot(request.map(Body::from)).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| UpstreamError::Unavailable(Some(error.into())))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
