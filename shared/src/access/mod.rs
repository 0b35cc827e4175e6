//! Who is calling: tokens, the keys that vouch for them, and what a verified one says.
//!
//! Both pods ask it before anything else: the api for every request, the gateway for every socket. A token is a JWT signed
//! with HS256, RS256, ES256 or EdDSA. Each key vouches for one algorithm only, whatever a token's header says.

mod denylist;
#[cfg(test)]
mod forgeries;
mod jwks;
mod keys;
mod sign;
mod verifier;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::Role;
use crate::config::{Address, Secret};
use crate::ids::UserId;
use crate::protocol::ErrorCode;
use crate::time::Timestamp;

pub use denylist::{Denylist, Revoked, RevokedTokens};
pub use keys::CLOCKS_DIFFER;
pub use sign::{Grant, SignError, derive, sign};
pub use verifier::Verifier;

/// Someone whose token was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The token's `sub`.
    pub user: UserId,
    /// The token's `role`; guest if it names none.
    pub role: Role,
    /// The token's `name`, if it has one: how the user wants to be called.
    pub name: Option<String>,
    /// The token's `jti`, by which it alone can be revoked.
    pub token_id: Option<String>,
    /// The token's `iat`, if it says when it was issued.
    pub issued_at: Option<Timestamp>,
    /// The token's `exp`.
    pub expires_at: Timestamp,
}

crate::settings! {
    /// Who is believed. At least one kind of key must be there; without any, all roles in one process make up a secret.
    pub struct AccessSettings("") {
        /// Signs and verifies HS256 tokens. Give it 32 random bytes or more: `openssl rand -hex 32`.
        pub jwt_secret: Option<Secret>,
        /// A public key in PEM that verifies RS256, ES256 or EdDSA tokens, by its kind. Line breaks may be written `\n`.
        pub jwt_public_key: Option<String>,
        /// Where an identity provider publishes its keys as a JSON Web Key Set.
        pub jwks_url: Option<Address>,
        /// Tokens must name one of these as `aud`; not checked if there are none.
        pub jwt_audience: Vec<String>,
        /// Tokens must name one of these as `iss`; not checked if there are none.
        pub jwt_issuer: Vec<String>,
        /// A token that counts for longer, from its `iat` to its `exp`, is refused; so long a revocation of all of somebody's tokens
        /// is kept. Raising it does not prolong what was revoked before.
        pub jwt_max_lifetime: Duration = "400d" in Duration::from_secs(60)..=Duration::from_secs(36_500 * 86_400),
    }
}

/// Why a token was not accepted. Says nothing of the token's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Malformed, signed by nobody we believe, or with claims that do not count here. Another token is needed.
    #[error("the token is not valid")]
    Invalid,
    /// It was good and is over: renew it.
    #[error("the token has expired")]
    Expired,
    /// It was good and was taken back. Another one may be had by whoever may still have one.
    #[error("the token was revoked")]
    Revoked,
    /// The pod has just started and does not know yet what was revoked. Try again.
    #[error("it is not known here yet which tokens were revoked")]
    TooEarly,
    /// The identity provider's keys cannot be fetched, so that nothing can be said about the token. Try again.
    #[error("the keys that verify tokens cannot be fetched")]
    Unavailable,
}

impl TokenError {
    /// The code that outsiders hear; the error's own text is the detail.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Invalid | Self::Revoked => ErrorCode::Unauthorized,
            Self::Expired => ErrorCode::TokenExpired,
            Self::TooEarly | Self::Unavailable => ErrorCode::Unavailable,
        }
    }

    /// Whether nothing is said against the token, so that the same one may count a moment later.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::TooEarly | Self::Unavailable)
    }
}

/// Why the settings make no verifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No key of any kind.
    #[error("no key verifies tokens: set jwt_secret, jwt_public_key or jwks_url")]
    NoKey,
    /// The secret cannot sign anything.
    #[error("jwt_secret is empty")]
    EmptySecret,
    /// The PEM text is not a public key of a kind that is understood.
    #[error(
        "jwt_public_key is not the PEM of a public key: RSA of 2,048 to 8,192 bits, EC on P-256, or Ed25519, \
         starting with -----BEGIN PUBLIC KEY-----"
    )]
    NotAPublicKey,
    /// The address of the key set is none, or nothing can be fetched with TLS here.
    #[error("jwks_url is not an http or https address that can be fetched")]
    NotAUrl,
}
