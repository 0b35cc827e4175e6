//! What stands in for others in tests: somebody, their connection, a repairer, and an api that never answers.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{Request, Response};
use bytes::Bytes;
use shared::access::{AccessSettings, Caller, Verifier};
use shared::channel::Role;
use shared::config::Secret;
use shared::history::History;
use shared::presence::Presence;
use shared::time::Timestamp;

use crate::behind::Behind;
use crate::connection::{Connection, Door};
use crate::hub::Hub;
use crate::repair::Repairer;
use crate::revocations::Revocations;
use crate::upstream::{Upstream, UpstreamError, Wire};

struct NeverAnswers;

#[async_trait]
impl Wire for NeverAnswers {
    async fn call(&self, _: Request<Bytes>, _: bool) -> Result<Response<Bytes>, UpstreamError> {
        std::future::pending().await
    }
}

/// An api that never answers.
pub fn silent_api() -> Upstream {
    Upstream::new(Arc::new(NeverAnswers), "secret")
}

/// A guest.
pub fn guest(name: &str) -> Caller {
    let (user, expires_at) = (name.parse().expect("an id"), Timestamp::now());
    Caller { user, role: Role::Guest, name: None, token_id: None, issued_at: None, expires_at }
}

/// The connection of a guest.
pub fn connection(name: &str) -> Arc<Connection> {
    Arc::new(Connection::new(&guest(name), Door::Main, 65_536))
}

/// A repairer that asks an api that never answers.
pub fn repairer(
    hub: &Arc<Hub>,
    behind: &Arc<Behind>,
    history: Arc<dyn History>,
    presence: Arc<dyn Presence>,
) -> Repairer {
    let access = AccessSettings { jwt_secret: Some(Secret::new("secret")), ..AccessSettings::default() };
    let verifier = Verifier::new(&access).expect("a key");
    let revocations = Arc::new(Revocations::new(verifier, Arc::clone(hub), Arc::clone(behind)));
    let (hub, behind, upstream) = (Arc::clone(hub), Arc::clone(behind), silent_api());
    Repairer { hub, behind, revocations, upstream, history, presence, unknown: HashMap::new() }
}
