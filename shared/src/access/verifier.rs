//! The one place where a token becomes a [`Caller`].

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey, decode_header};

use super::jwks::{Jwks, Lookup};
use super::keys::{Key, Rules, Verified};
use super::{AccessError, AccessSettings, Caller, Denylist, TokenError};
use crate::ids::{RoomName, UserId};
use crate::ops::Readiness;
use crate::time::Timestamp;

/// Bytes of the longest token that is looked at.
const LONGEST: usize = 8 * 1024;

/// Verifies tokens with the keys of the configuration. Clones are cheap and share what was fetched.
///
/// The algorithm of a token must be the one its key vouches for. `exp` and `sub` are required, `nbf` and `iat` are checked,
/// `aud` and `iss` are required and checked where configured; clocks may differ by five seconds. A `typ` of another kind of
/// token is refused. No token counts for longer than `jwt_max_lifetime`, or once it was revoked; before the pod has read what
/// was, none counts at all.
#[derive(Debug, Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Keys of the configuration: a token's `kid` does not matter to them.
    fixed: Vec<Key>,
    /// Keys of an identity provider: a token must name its `kid`.
    remote: Option<Jwks>,
    denylist: Arc<Denylist>,
    longest: Duration,
    accepts_bare_users: bool,
}

impl Verifier {
    /// Makes a verifier that believes the keys of `settings`. Fetches nothing yet.
    ///
    /// # Errors
    /// Says which setting is missing or cannot be a key.
    pub fn new(settings: &AccessSettings) -> Result<Self, AccessError> {
        // Should a dependency ever enable the library's other backend too, it would panic on first use without this.
        // An error means that it was done before.
        let _ = aws_lc::DEFAULT_PROVIDER.install_default();
        let rules = Rules::new(settings);
        let mut fixed = Vec::new();
        if let Some(secret) = &settings.jwt_secret {
            if secret.reveal().is_empty() {
                return Err(AccessError::EmptySecret);
            }
            fixed.push(rules.key(Algorithm::HS256, DecodingKey::from_secret(secret.reveal().as_bytes())));
        }
        if let Some(pem) = &settings.jwt_public_key {
            fixed.push(rules.pem(pem)?);
        }
        let remote = settings.jwks_url.as_ref().map(|url| Jwks::new(url.reveal(), rules)).transpose()?;
        if fixed.is_empty() && remote.is_none() {
            return Err(AccessError::NoKey);
        }
        let longest = settings.jwt_max_lifetime;
        let inner = Inner { fixed, remote, denylist: Arc::default(), longest, accepts_bare_users: false };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same keys, for a playground where a `user_id` without a token is believed to be that guest.
    #[must_use]
    pub fn accepting_bare_users(self) -> Self {
        let Inner { fixed, remote, denylist, longest, .. } = &*self.inner;
        let (fixed, remote, denylist) = (fixed.clone(), remote.clone(), Arc::clone(denylist));
        Self { inner: Arc::new(Inner { fixed, remote, denylist, longest: *longest, accepts_bare_users: true }) }
    }

    /// Whether a `user_id` without a token is enough: only where the secret was made up, on loopback.
    #[must_use]
    pub fn accepts_bare_users(&self) -> bool {
        self.inner.accepts_bare_users
    }

    /// What was revoked, for whoever follows that.
    #[must_use]
    pub fn denylist(&self) -> &Denylist {
        &self.inner.denylist
    }

    /// For how long a token counts at most.
    #[must_use]
    pub fn longest_lifetime(&self) -> Duration {
        self.inner.longest
    }

    /// Says that the pod does not know yet what was revoked, as long as that is so.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let denylist = Arc::clone(&self.inner.denylist);
        Arc::new(move || {
            let reason = (!denylist.is_complete()).then(|| TokenError::TooEarly.to_string());
            Box::pin(std::future::ready(reason.into_iter().collect()))
        })
    }

    /// Says who a token's bearer is.
    ///
    /// Waits for nothing but the identity provider, at most three seconds, and only for a `kid` not seen before or keys
    /// that have grown old.
    ///
    /// # Errors
    /// [`TokenError::Expired`] and [`TokenError::Revoked`] only for a token that was good once; [`TokenError::Unavailable`] only
    /// while the identity provider's keys are needed and cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        match self.read(token).await? {
            Verified { caller, room: None } => Ok(caller),
            // An invitation opens a room and nothing else.
            Verified { room: Some(_), .. } => Err(TokenError::Invalid),
        }
    }

    /// Says who may enter which private room with an invitation: a token with a `room` claim.
    ///
    /// # Errors
    /// As [`Verifier::verify`]; a token without the claim is [`TokenError::Invalid`].
    pub async fn verify_invitation(&self, token: &str) -> Result<(UserId, RoomName), TokenError> {
        let Verified { caller, room } = self.read(token).await?;
        room.map(|room| (caller.user, room)).ok_or(TokenError::Invalid)
    }

    /// Whether it is known here what was revoked.
    ///
    /// # Errors
    /// [`TokenError::TooEarly`] when not.
    pub fn knows_revoked(&self) -> Result<(), TokenError> {
        if self.denylist().is_complete() { Ok(()) } else { Err(TokenError::TooEarly) }
    }

    /// Whether somebody may still come in whose token was good a moment ago.
    ///
    /// # Errors
    /// [`TokenError::Expired`] or [`TokenError::Revoked`] when not.
    pub fn still_believes(&self, caller: &Caller) -> Result<(), TokenError> {
        if self.denylist().denies(caller) {
            return Err(TokenError::Revoked);
        }
        if caller.expires_at <= Timestamp::now() { Err(TokenError::Expired) } else { Ok(()) }
    }

    async fn read(&self, token: &str) -> Result<Verified, TokenError> {
        let verified = self.check(token).await?;
        self.knows_revoked()?;
        if self.denylist().denies(&verified.caller) { Err(TokenError::Revoked) } else { Ok(verified) }
    }

    async fn check(&self, token: &str) -> Result<Verified, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Invalid);
        }
        for key in &self.inner.fixed {
            match key.verify(token) {
                Err(TokenError::Invalid) => {}
                answer => return answer,
            }
        }
        let Some(remote) = &self.inner.remote else { return Err(TokenError::Invalid) };
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let Some(kid) = &header.kid else { return Err(TokenError::Invalid) };
        match remote.find(kid, header.alg).await {
            Lookup::Found(key) => key.verify(token),
            Lookup::Unknown => Err(TokenError::Invalid),
            Lookup::Unavailable => Err(TokenError::Unavailable),
        }
    }
}
