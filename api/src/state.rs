//! What the routes of one api pod share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use shared::access::Verifier;
use shared::config::Secret;
use shared::ops::Readiness;
use shared::upstream::Heads;

use crate::announce::Announcer;
use crate::error::Problem;
use crate::fresh::Fresh;
use crate::publish::Publisher;
use crate::store::Store;

/// How long the recent heads count: gateways poll them every 500 ms.
const HEADS: Duration = Duration::from_millis(250);
/// How long a look at the database's health counts.
const HEALTH: Duration = Duration::from_secs(1);
/// How long the database may take to say how it is.
const CHECK: Duration = Duration::from_secs(2);

/// One api pod. Clones are the same pod.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// What the pod stands on.
pub struct Inner {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Keeps drafts and tells the fleet.
    pub publisher: Publisher,
    /// Says who a token's bearer is.
    pub verifier: Verifier,
    /// What a gateway must know to be answered.
    pub internal_secret: Secret,
    recent: Fresh<Result<Arc<Heads>, Problem>>,
    health: Fresh<Vec<String>>,
}

impl App {
    /// A pod that keeps things in `store`, announces through `announcer`, believes the tokens that `verifier` does, and
    /// answers gateways that know `internal_secret`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, announcer: Announcer, verifier: Verifier, internal_secret: Secret) -> Self {
        let publisher = Publisher::new(Arc::clone(&store), announcer);
        let (recent, health) = (Fresh::for_each(HEADS), Fresh::for_each(HEALTH));
        Self(Arc::new(Inner { store, publisher, verifier, internal_secret, recent, health }))
    }

    /// The heads of the feeds that grew lately, at most 250 ms old.
    ///
    /// # Errors
    ///
    /// When the store could not say.
    pub async fn recent_heads(&self) -> Result<Arc<Heads>, Problem> {
        self.recent.get(async { Ok(Arc::new(self.store.recent_heads().await?)) }).await
    }

    /// Says what keeps the pod from its work, as of a second ago at most: a database that does not answer, has another
    /// schema, or does not commit durably. Redis has no say in it.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let app = self.clone();
        Arc::new(move || {
            let app = app.clone();
            Box::pin(async move { app.health.get(app.troubles()).await })
        })
    }

    async fn troubles(&self) -> Vec<String> {
        match tokio::time::timeout(CHECK, self.store.check()).await {
            Ok(Ok(())) => Vec::new(),
            Ok(Err(error)) => vec![error.to_string()],
            Err(_) => vec!["the database did not answer in time".to_owned()],
        }
    }
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
