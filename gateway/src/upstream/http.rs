//! The wire between pods: HTTP to the internal listeners of the api pods.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Request, Response};
use bytes::Bytes;

use super::{UpstreamError, Wire};

/// Longest that one pod may take before another is asked.
const ONE_POD: Duration = Duration::from_secs(2);

/// The internal listeners of the api pods, asked in turn.
pub struct HttpWire {
    client: reqwest::Client,
    pods: Vec<reqwest::Url>,
    next: AtomicUsize,
}

impl HttpWire {
    /// A wire to these pods, such as `http://api-1:8081`.
    ///
    /// # Errors
    ///
    /// When the client cannot be built.
    pub fn new(pods: Vec<reqwest::Url>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_millis(500))
            .timeout(ONE_POD)
            .pool_max_idle_per_host(64)
            .build()?;
        Ok(Self { client, pods, next: AtomicUsize::new(0) })
    }

    async fn call_one(&self, pod: &reqwest::Url, request: &Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
        let mut url = pod.clone();
        url.set_path(request.uri().path());
        let answer = self
            .client
            .request(request.method().clone(), url)
            .headers(request.headers().clone())
            .body(request.body().clone())
            .send()
            .await?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = answer.bytes().await?;
        Ok(response)
    }
}

#[async_trait]
impl Wire for HttpWire {
    async fn call(&self, request: Request<Bytes>, repeatable: bool) -> Result<Response<Bytes>, UpstreamError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut last_error = None;
        for turn in 0..self.pods.len() {
            let pod = &self.pods[first.wrapping_add(turn) % self.pods.len()];
            match self.call_one(pod, &request).await {
                // A pod that is stopping or waits for its database says so; another may be better off.
                Ok(answer) if repeatable && answer.status().is_server_error() && turn + 1 < self.pods.len() => {}
                Ok(answer) => return Ok(answer),
                // A pod that was not even reached has done nothing.
                Err(error) if repeatable || error.is_connect() => last_error = Some(error),
                Err(error) => return Err(UpstreamError::Unavailable(Some(error.into()))),
            }
        }
        Err(UpstreamError::Unavailable(last_error.map(Into::into)))
    }
}
