//! Keys, each pinned to the one algorithm it vouches for.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::{AccessError, AccessSettings, Caller, TokenError};
use crate::channel::Role;
use crate::ids::{RoomName, UserId};
use crate::time::Timestamp;

/// Characters of a name that are kept.
const LONGEST_NAME: usize = 200;
/// By how much the clocks of whoever issues tokens and of the pods may differ.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// What a token may say that it is.
const KINDS: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];
/// The last second of the year 9999; nobody's token needs to live longer.
const END_OF_TIME: f64 = 253_402_300_799.0;

/// What every token must say, whoever signed it.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    audience: Vec<String>,
    issuer: Vec<String>,
    longest: Duration,
}

/// A key and the one algorithm it verifies.
#[derive(Debug, Clone)]
pub(super) struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
    longest: Duration,
}

/// The claims we read. Others are ignored; a claim given twice is refused.
#[derive(Deserialize)]
struct Claims {
    sub: UserId,
    role: Option<Role>,
    name: Option<String>,
    jti: Option<String>,
    iat: Option<f64>,
    exp: f64,
    room: Option<RoomName>,
}

/// What a good token says.
pub(super) struct Verified {
    /// Who bears it.
    pub(super) caller: Caller,
    /// The one private room it opens, if it is an invitation.
    pub(super) room: Option<RoomName>,
}

impl Rules {
    pub(super) fn new(settings: &AccessSettings) -> Self {
        Self {
            audience: settings.jwt_audience.clone(),
            issuer: settings.jwt_issuer.clone(),
            longest: settings.jwt_max_lifetime,
        }
    }

    /// Makes a key that vouches for `algorithm` and for nothing else.
    pub(super) fn key(&self, algorithm: Algorithm, decoding: DecodingKey) -> Key {
        let mut validation = Validation::new(algorithm);
        validation.leeway = CLOCKS_DIFFER.as_secs();
        validation.validate_nbf = true;
        // The library checks a claim only where it is present, unless it is required.
        let mut required = vec!["exp", "sub"];
        validation.validate_aud = !self.audience.is_empty();
        if !self.audience.is_empty() {
            validation.set_audience(&self.audience);
            required.push("aud");
        }
        if !self.issuer.is_empty() {
            validation.set_issuer(&self.issuer);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        Key { algorithm, decoding, validation, longest: self.longest }
    }

    /// Makes the key of a PEM text. The kind of key decides the algorithm.
    pub(super) fn pem(&self, text: &str) -> Result<Key, AccessError> {
        // Environment files have no line breaks; `\n` is how people write them there.
        let pem = text.replace("\\n", "\n");
        // The library takes private keys and certificates too, and then verifies nothing with them.
        if !["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"]
            .iter()
            .any(|start| pem.trim_start().starts_with(start))
        {
            return Err(AccessError::NotAPublicKey);
        }
        let bytes = pem.trim().as_bytes();
        let (algorithm, decoding) = DecodingKey::from_rsa_pem(bytes)
            .map(|key| (Algorithm::RS256, key))
            .or_else(|_| DecodingKey::from_ec_pem(bytes).map(|key| (Algorithm::ES256, key)))
            .or_else(|_| DecodingKey::from_ed_pem(bytes).map(|key| (Algorithm::EdDSA, key)))
            .map_err(|_| AccessError::NotAPublicKey)?;
        let length = decoding.try_get_as_bytes().map_or(0, <[u8]>::len);
        let fits = match algorithm {
            Algorithm::RS256 => (256..1100).contains(&length),
            Algorithm::ES256 => length == 65,
            _ => length == 32,
        };
        if fits { Ok(self.key(algorithm, decoding)) } else { Err(AccessError::NotAPublicKey) }
    }
}

impl Key {
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Verifies a token whole, its algorithm before all. Only a token with a good signature can be [`TokenError::Expired`].
    pub(super) fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        let verified = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).map_err(|error| {
            match error.kind() {
                ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            }
        })?;
        // RFC 7515, 4.1.11: what a token calls critical must be understood, and we understand no extension.
        if verified.header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        // RFC 8725, 3.11: what says that it is another kind of token is none of ours. RFC 9068 has a name for access tokens.
        let kind = verified.header.typ.as_deref().unwrap_or(KINDS[0]);
        if !KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return Err(TokenError::Invalid);
        }
        let Claims { sub, role, name, jti, iat, exp, room } = verified.claims;
        let now = Timestamp::now().as_micros() as f64 / 1e6;
        // One from the future would escape what is revoked until then, and one that counts for too long what was revoked before.
        let (issued_at, expires_at) = (iat.unwrap_or(now), exp.min(END_OF_TIME));
        if issued_at > now + CLOCKS_DIFFER.as_secs_f64() || expires_at - issued_at > self.longest.as_secs_f64() {
            return Err(TokenError::Invalid);
        }
        let moment = |seconds: f64| Timestamp::from_micros((seconds * 1e6) as i64);
        let caller = Caller {
            user: sub,
            role: role.unwrap_or(Role::Guest),
            name: name.and_then(|name| presentable(&name)),
            token_id: jti,
            issued_at: iat.map(moment),
            expires_at: moment(expires_at),
        };
        Ok(Verified { caller, room })
    }
}

/// A name as it can be shown, kept by every database and written into a header: providers let people choose theirs.
fn presentable(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect();
    (!name.trim().is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_what_can_be_shown() {
        assert_eq!(presentable("Zo\u{eb} \0\u{7f}M.").as_deref(), Some("Zo\u{eb} M."));
        assert_eq!(presentable(&"\u{eb}".repeat(8_000)).map(|name| name.chars().count()), Some(LONGEST_NAME));
        assert_eq!(presentable("\0 "), None);
    }
}
