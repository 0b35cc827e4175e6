//! What the routes of one api pod share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use shared::access::Verifier;
use shared::config::Secret;
use shared::limits::Limits;
use shared::presence::Presence;
use shared::protocol::ErrorCode;
use shared::tickets::Tickets;
use shared::upstream::Heads;

use crate::announce::Announcer;
use crate::attachments::{Blobs, Links};
use crate::error::Problem;
use crate::fresh::Fresh;
use crate::publish::Publisher;
use crate::store::Store;

/// How long the recent heads count: gateways poll them every 500 ms.
const HEADS: Duration = Duration::from_millis(250);

/// Where attachments go, and how large they may be.
#[derive(Debug, Clone)]
pub struct Attachments {
    /// Where their bytes are.
    pub blobs: Blobs,
    /// Bytes of the largest.
    pub max_bytes: u64,
}

/// What an api pod shares with the others of its fleet, beside the store.
pub struct Beside {
    /// Who is here, as gateways say.
    pub presence: Arc<dyn Presence>,
    /// How often people may do what.
    pub limits: Limits,
    /// Whose tickets are.
    pub tickets: Arc<dyn Tickets>,
}

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
    /// Who is here.
    pub presence: Arc<dyn Presence>,
    /// How often people may do what.
    pub limits: Limits,
    /// Whose tickets are.
    pub tickets: Arc<dyn Tickets>,
    /// What a gateway must know to be answered.
    pub internal_secret: Secret,
    /// Makes links to attachments.
    pub links: Links,
    attachments: Option<Attachments>,
    recent: Fresh<Result<Arc<Heads>, Problem>>,
}

impl App {
    /// A pod that keeps things in `store`, announces through `announcer`, believes the tokens that `verifier` does, stands beside
    /// others as `beside` says, and answers gateways that know `internal_secret`. Without `attachments` it takes none.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        announcer: Announcer,
        verifier: Verifier,
        beside: Beside,
        internal_secret: Secret,
        attachments: Option<Attachments>,
    ) -> Self {
        let publisher = Publisher::new(Arc::clone(&store), announcer);
        let recent = Fresh::for_each(HEADS);
        let links = Links::new(&internal_secret);
        let Beside { presence, limits, tickets } = beside;
        Self(Arc::new(Inner {
            store,
            publisher,
            verifier,
            presence,
            limits,
            tickets,
            internal_secret,
            links,
            attachments,
            recent,
        }))
    }

    /// Where attachments go.
    ///
    /// # Errors
    ///
    /// `unsupported` where nobody configured a place.
    pub fn attachments(&self) -> Result<&Attachments, Problem> {
        self.attachments.as_ref().ok_or_else(|| {
            let detail =
                "attachments are not offered here: their storage is not configured (CARILLON_ATTACHMENTS__URL)";
            Problem::new(ErrorCode::Unsupported, detail).with_status(StatusCode::SERVICE_UNAVAILABLE)
        })
    }

    /// The heads of the feeds that grew lately, at most 250 ms old.
    ///
    /// # Errors
    ///
    /// When the store could not say.
    pub async fn recent_heads(&self) -> Result<Arc<Heads>, Problem> {
        self.recent.get(async { Ok(Arc::new(self.store.recent_heads().await?)) }).await
    }
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
