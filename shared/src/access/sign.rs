//! Signing: for `carillon token`, for the playground, and for what pods derive from the secret they share.

use std::time::Duration;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::AccessSettings;
use crate::channel::Role;
use crate::config::Secret;
use crate::ids::UserId;
use crate::time::Timestamp;

/// What a new token shall say.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Whose it is.
    pub user: UserId,
    /// What its bearer may do.
    pub role: Role,
    /// How the bearer is called.
    pub name: Option<String>,
    /// How long it counts, from now; whole seconds.
    pub ttl: Duration,
}

/// Why no token was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Public keys verify, but only a secret can sign.
    #[error("only a jwt_secret can sign tokens: set CARILLON_JWT_SECRET to the secret of the fleet")]
    NoSecret,
    /// Nobody would accept it.
    #[error("no token counts for longer than jwt_max_lifetime: sign one for less, or raise it")]
    TooLong,
    /// The cryptography refused.
    #[error("the token could not be signed")]
    Refused,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a UserId,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    jti: String,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

/// Makes an HS256 token that a [`Verifier`](super::Verifier) of the same settings accepts.
///
/// # Errors
/// [`SignError::NoSecret`] if the settings have no secret, [`SignError::TooLong`] if no pod would accept it.
pub fn sign(settings: &AccessSettings, grant: &Grant) -> Result<String, SignError> {
    let secret = settings.jwt_secret.as_ref().ok_or(SignError::NoSecret)?;
    if grant.ttl > settings.jwt_max_lifetime {
        return Err(SignError::TooLong);
    }
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
    let now = Timestamp::now().as_micros() / 1_000_000;
    let claims = Claims {
        sub: &grant.user,
        role: grant.role,
        name: grant.name.as_deref(),
        jti: uuid::Uuid::now_v7().to_string(),
        iat: now,
        exp: now.saturating_add_unsigned(grant.ttl.as_secs()),
        aud: settings.jwt_audience.first().map(String::as_str),
        iss: settings.jwt_issuer.first().map(String::as_str),
    };
    let key = EncodingKey::from_secret(secret.reveal().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| SignError::Refused)
}

/// Derives another secret from `secret`, one per `label`: the HMAC-SHA-256 of the label. Knowing one tells nothing of the
/// others, nor of `secret`.
#[must_use]
pub fn derive(secret: &Secret, label: &str) -> Secret {
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
    let key = EncodingKey::from_secret(secret.reveal().as_bytes());
    let mac = jsonwebtoken::crypto::sign(label.as_bytes(), &key, Algorithm::HS256);
    Secret::new(mac.expect("HMAC takes keys and texts of any length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_secrets_differ_by_label_and_by_secret() {
        let one = Secret::new("one");
        assert_eq!(derive(&one, "internal"), derive(&one, "internal"));
        assert_ne!(derive(&one, "internal"), derive(&one, "other"));
        assert_ne!(derive(&one, "internal"), derive(&Secret::new("two"), "internal"));
    }

    #[test]
    fn neither_a_public_key_signs_nor_is_a_token_signed_that_counts_for_too_long() {
        let grant = Grant {
            user: "alice".parse().expect("an id"),
            role: Role::Guest,
            name: None,
            ttl: Duration::from_secs(60),
        };
        assert_eq!(sign(&AccessSettings::default(), &grant), Err(SignError::NoSecret));
        let settings = AccessSettings { jwt_secret: Some(Secret::new("one")), ..AccessSettings::default() };
        let grant = Grant { ttl: settings.jwt_max_lifetime, ..grant };
        assert!(sign(&settings, &grant).is_ok());
        let grant = Grant { ttl: grant.ttl + Duration::from_secs(1), ..grant };
        assert_eq!(sign(&settings, &grant), Err(SignError::TooLong));
    }
}
