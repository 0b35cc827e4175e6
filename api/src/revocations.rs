//! What is to be revoked, checked; and how this pod follows what was.
//!
//! On the line it stands beside the drafts. An api pod stands on the store, so it reads there what came into the feed of the fleet,
//! and needs no broker for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::access::{CLOCKS_DIFFER, Caller, Verifier};
use shared::ids::{RevocationId, TraceId};
use shared::time::Timestamp;
use shared::upstream::RevokedAfter;
use tokio_util::sync::CancellationToken;

use crate::error::Problem;
use crate::fields::Fields;
use crate::model::RevocationDraft;
use crate::request::Once;
use crate::store::{Store, StoreError};

/// Characters of the longest `jti` that is revoked alone.
const TOKEN_ID: usize = 256;
/// Characters of the longest reason.
const REASON: usize = 500;
/// How much longer than a token counts its revocation is kept: clocks differ, and tokens are believed a little beyond their end.
const MARGIN: Duration = Duration::from_secs(60);

/// Time between two readings.
const POLL: Duration = Duration::from_millis(500);
/// Time between two times at which what is over is forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// Which tokens do not count any more.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({ "reason": "the phone was stolen" }))]
#[expect(dead_code, reason = "only describes the body")]
pub struct NewRevocation {
    /// Whose tokens: the caller's own if it is not said. Those of others admins and services revoke.
    user_id: Option<String>,
    /// Which one: its `jti`. All that were issued until `issued_until` if it is not said.
    #[schema(min_length = 1, max_length = 256)]
    token_id: Option<String>,
    /// Those with an `iat` at or before this moment, and those without any. If it is not said, until now, and as clocks may differ
    /// for five seconds more.
    issued_until: Option<chrono::DateTime<chrono::Utc>>,
    /// Why: 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// Reads a [`NewRevocation`] of a `caller` whose tokens count for `longest` at most.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn revocation(
    mut body: Fields,
    caller: &Caller,
    longest: Duration,
    once: Once,
    trace: TraceId,
) -> Result<RevocationDraft, Problem> {
    let now = Timestamp::now();
    let user_id = body.optional("user_id").unwrap_or_else(|| caller.user.clone());
    let token_id = body.text("token_id", 1..=TOKEN_ID);
    let issued_until: Option<Timestamp> = body.optional("issued_until");
    if issued_until.is_some_and(|moment| moment > now.plus(CLOCKS_DIFFER)) {
        body.wrong("issued_until", "must not lie in the future: who shall get no token at all is banned");
    } else if issued_until.is_some() && token_id.is_some() {
        body.wrong("issued_until", "is for all tokens, and token_id is for one");
    }
    let reason = body.text("reason", 1..=REASON);
    let is_own = user_id == caller.user && token_id.is_some() && token_id == caller.token_id;
    let ends_at = if is_own { caller.expires_at } else { now.plus(longest) };
    let expires_at = ends_at.plus(MARGIN);
    let (id, idempotency_key) = (RevocationId::new(), once.0);
    body.finish(|| {
        Some(RevocationDraft { id, user_id, token_id, issued_until, reason, expires_at, idempotency_key, trace })
    })
}

/// Follows what is revoked, for the tokens that this pod is shown.
pub struct Follower {
    store: Arc<dyn Store>,
    verifier: Verifier,
    next: RevokedAfter,
    swept_at: Instant,
}

impl Follower {
    /// One that has read nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, verifier: Verifier) -> Self {
        Self { store, verifier, next: RevokedAfter::default(), swept_at: Instant::now() }
    }

    /// Reads what was revoked since the last time; the first time everything.
    ///
    /// # Errors
    ///
    /// When the store does not answer. What was not read is read the next time.
    pub async fn read(&mut self) -> Result<(), StoreError> {
        let denylist = self.verifier.denylist();
        loop {
            let page = self.store.revoked_after(&self.next).await?;
            denylist.add(&page.revoked);
            self.next = page.next;
            if !page.more {
                break;
            }
        }
        denylist.complete();
        if self.swept_at.elapsed() > SWEEP {
            self.swept_at = Instant::now();
            let people = denylist.forget_expired(Timestamp::now());
            metrics::gauge!("carillon_revoked_people").set(people as f64);
        }
        Ok(())
    }

    /// Reads twice a second, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut is_behind = false;
        let reading = async {
            loop {
                match self.read().await {
                    Ok(()) => is_behind = false,
                    // Once: while the database is away, everything else says so too.
                    Err(error) if !is_behind => {
                        is_behind = true;
                        tracing::warn!(%error, "what is revoked is not known here for now");
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let _ = stop.run_until_cancelled(reading).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::channel::Role;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(1_000);

    fn read(body: &Value) -> Result<RevocationDraft, Problem> {
        let (user, expires_at) = ("alice".parse().expect("an id"), Timestamp::now().plus(Duration::from_secs(10)));
        let token_id = Some("own".to_owned());
        let caller = Caller { user, role: Role::Guest, name: None, token_id, issued_at: None, expires_at };
        let body = Fields::of_json(body.to_string().as_bytes()).expect("an object");
        revocation(body, &caller, LONGEST, Once(None), TraceId::random())
    }

    #[test]
    fn a_revocation_lasts_as_long_as_a_token_can_match_it() {
        let lasts = |body| read(&body).expect("all is right").expires_at.as_micros() - Timestamp::now().as_micros();
        assert!(lasts(json!({})) > 1_059_000_000);
        assert!(lasts(json!({ "token_id": "another" })) > 1_059_000_000);
        assert!(lasts(json!({ "user_id": "bob", "token_id": "own" })) > 1_059_000_000);
        assert!((69_000_000..=70_000_000).contains(&lasts(json!({ "token_id": "own" }))));
    }

    #[test]
    fn all_tokens_are_those_issued_until_a_moment_that_is_not_ahead() {
        let until = |body| read(&body).expect("all is right").until();
        let now = Timestamp::now();
        assert!(until(json!({})).is_some_and(|moment| moment >= now.plus(CLOCKS_DIFFER)));
        assert_eq!(until(json!({ "issued_until": now })), Some(now));
        assert_eq!(until(json!({ "token_id": "own" })), None);
        for wrong in [
            json!({ "issued_until": now.plus(MARGIN) }),
            json!({ "issued_until": now, "token_id": "own" }),
            json!({ "token_id": "" }),
            json!({ "token_id": "x".repeat(257) }),
            json!({ "user_id": "no id" }),
            json!({ "reason": "" }),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
