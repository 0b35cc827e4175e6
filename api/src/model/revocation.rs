//! Revocations: tokens that do not count any more.

use serde::Serialize;
use shared::access::{CLOCKS_DIFFER, Revoked, RevokedTokens};
use shared::ids::{IdempotencyKey, RevocationId, TraceId, UserId};
use shared::time::Timestamp;

use super::hash;

/// Tokens that do not count any more: either one of somebody, or all of theirs that were issued until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Revocation {
    /// Names it.
    #[schema(value_type = uuid::Uuid)]
    pub id: RevocationId,
    /// Whose tokens: their `sub`.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// Which one: its `jti`. `null` if it is all that were issued until then.
    pub token_id: Option<String>,
    /// Those with an `iat` at or before this moment, and those without any. `null` if it is one.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub issued_until: Option<Timestamp>,
    /// Why, if it was said.
    pub reason: Option<String>,
    /// Who revoked them.
    #[schema(value_type = String)]
    pub revoked_by: UserId,
    /// When they were revoked.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub revoked_at: Timestamp,
    /// When no token can match it any more.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub expires_at: Timestamp,
}

impl Revocation {
    /// What pods have to know of it.
    #[must_use]
    pub fn revoked(&self) -> Revoked {
        let Self { user_id, token_id, issued_until, expires_at, .. } = self;
        let tokens = match (token_id, issued_until) {
            (Some(id), _) => RevokedTokens::One(id.clone()),
            (None, moment) => RevokedTokens::IssuedUntil(moment.unwrap_or(Timestamp::LAST)),
        };
        Revoked { user: user_id.clone(), tokens, expires_at: *expires_at }
    }
}

/// What shall be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationDraft {
    /// Its name, if it is the first.
    pub id: RevocationId,
    /// Whose tokens.
    pub user_id: UserId,
    /// Which one; all that were issued until now if it is not said.
    pub token_id: Option<String>,
    /// Until when those were issued that are meant, if it is said.
    pub issued_until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// When no token can match it any more.
    pub expires_at: Timestamp,
    /// The key under which it happens once.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What it is part of.
    pub trace: TraceId,
}

impl RevocationDraft {
    /// The moment until which all tokens are revoked, unless it is one. As whoever issues them may be ahead of us, a while more
    /// than until now, where nobody said a moment of theirs.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        let now = || Timestamp::now().plus(CLOCKS_DIFFER);
        self.token_id.is_none().then(|| self.issued_until.unwrap_or_else(now))
    }

    /// What a repeat must have in common with the first: everything the caller chose. SHA-256.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        hash(&serde_json::json!([self.user_id, self.token_id, self.issued_until, self.reason]))
    }
}
