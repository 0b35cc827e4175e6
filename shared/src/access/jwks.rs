//! The keys of an identity provider, fetched as a JSON Web Key Set (RFC 7517) and kept for a while.
//!
//! A key set is fetched when its first key is needed, when it has grown old, and when a token names a key that is not in
//! it, at most once in ten seconds. While the provider cannot be reached the keys fetched last go on counting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};

use super::AccessError;
use super::keys::{Key, Rules};

/// The pace of production; tests are in more of a hurry.
const PACE: Pace = Pace { fresh: Duration::from_secs(300), floor: Duration::from_secs(10) };
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of the longest set.
const LONGEST: usize = 256 * 1024;
/// Keys that are looked at in one set.
const MOST_KEYS: usize = 100;

/// The answer to "which key is this?".
#[derive(Debug)]
pub(super) enum Lookup {
    /// This one.
    Found(Arc<Key>),
    /// The set has no such key for this algorithm.
    Unknown,
    /// The set fetched last has no such key, and the one of today could not be fetched.
    Unavailable,
}

/// How often to ask.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How long a fetched set is used before it is asked for again; so long a withdrawn key may still count.
    fresh: Duration,
    /// How long to wait after an attempt before the next one, so that made-up key ids do not become a flood of requests.
    floor: Duration,
}

/// The cached key set of one address. Clones share the cache.
#[derive(Debug, Clone)]
pub(super) struct Jwks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: reqwest::Url,
    client: reqwest::Client,
    rules: Rules,
    pace: Pace,
    keys: ArcSwapOption<KeySet>,
    /// Whether the last attempt failed.
    unreachable: AtomicBool,
    /// Held while fetching: the others wait for the one, and find what it fetched.
    last_attempt: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct KeySet {
    by_id: HashMap<String, Arc<Key>>,
    fetched_at: Instant,
}

/// Why a set could not be had. Everything is temporary: the next attempt may succeed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the key set cannot be fetched")]
    Http(#[from] reqwest::Error),
    #[error("the key set is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the key set is not JSON of the form {{\"keys\":[…]}}")]
    Malformed(#[from] serde_json::Error),
}

impl Jwks {
    /// Prepares to fetch from `url`.
    pub(super) fn new(url: &str, rules: Rules) -> Result<Self, AccessError> {
        Self::paced(url, rules, PACE)
    }

    fn paced(url: &str, rules: Rules, pace: Pace) -> Result<Self, AccessError> {
        let url = reqwest::Url::parse(url).map_err(|_| AccessError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AccessError::NotAUrl);
        }
        // A redirect would let whoever answers choose whose keys we believe.
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| AccessError::NotAUrl)?;
        Ok(Self {
            inner: Arc::new(Inner {
                url,
                client,
                rules,
                pace,
                keys: ArcSwapOption::empty(),
                unreachable: AtomicBool::new(false),
                last_attempt: Mutex::new(None),
            }),
        })
    }

    /// Finds the key `kid` if it vouches for `algorithm`, fetching the set where that may help.
    pub(super) async fn find(&self, kid: &str, algorithm: Algorithm) -> Lookup {
        let inner = &*self.inner;
        let known = inner.keys.load_full();
        match &known {
            Some(set) if set.by_id.contains_key(kid) => {
                if set.fetched_at.elapsed() > inner.pace.fresh
                    && let Ok(attempt) = inner.last_attempt.try_lock()
                {
                    inner.refetch(attempt).await;
                }
            }
            _ => inner.refetch(inner.last_attempt.lock().await).await,
        }
        match inner.keys.load().as_ref().and_then(|set| set.by_id.get(kid)) {
            Some(key) if key.algorithm() == algorithm => Lookup::Found(Arc::clone(key)),
            None if inner.unreachable.load(Ordering::Acquire) => Lookup::Unavailable,
            _ => Lookup::Unknown,
        }
    }
}

impl Inner {
    /// Fetches the set anew, unless somebody tried a moment ago.
    async fn refetch(&self, mut last_attempt: MutexGuard<'_, Option<Instant>>) {
        if last_attempt.is_some_and(|at| at.elapsed() < self.pace.floor) {
            return;
        }
        let fetched = self.fetch().await;
        *last_attempt = Some(Instant::now());
        self.unreachable.store(fetched.is_err(), Ordering::Release);
        match fetched {
            Ok(set) => self.keys.store(Some(Arc::new(set))),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                kept = self.keys.load().as_ref().map_or(0, |set| set.by_id.len()),
                "could not fetch the keys that verify tokens, going on with those fetched before"
            ),
        }
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let mut answer = self.client.get(self.url.clone()).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LONGEST {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let by_id = parse(&body, &self.rules)?;
        Ok(KeySet { by_id, fetched_at: Instant::now() })
    }
}

/// What we read of a JSON Web Key.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a key set. Keys of kinds or for uses that are not ours are left out, so that a new kind does not spoil the set.
fn parse(body: &[u8], rules: &Rules) -> Result<HashMap<String, Arc<Key>>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body)?;
    let keys = set.keys.into_iter().take(MOST_KEYS).filter_map(|value| {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let (algorithm, decoding) = jwk.decoding()?;
        Some((jwk.kid?, Arc::new(rules.key(algorithm, decoding))))
    });
    Ok(keys.collect())
}

impl Jwk {
    /// The public key, if it is one that verifies signatures of ours. Never a symmetric one: what is published is no secret.
    fn decoding(&self) -> Option<(Algorithm, DecodingKey)> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs {
            return None;
        }
        let alg = self.alg.as_deref();
        let (algorithm, decoding) = match (self.kty.as_str(), self.crv.as_deref(), alg) {
            ("RSA", None, None | Some("RS256")) => {
                (Algorithm::RS256, DecodingKey::from_rsa_components(self.n.as_deref()?, self.e.as_deref()?))
            }
            ("EC", Some("P-256"), None | Some("ES256")) => {
                (Algorithm::ES256, DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?))
            }
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                (Algorithm::EdDSA, DecodingKey::from_ed_components(self.x.as_deref()?))
            }
            _ => return None,
        };
        Some((algorithm, decoding.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::http::StatusCode;
    use axum::{Router, routing::get};
    use jsonwebtoken::jwk::Jwk as Published;
    use jsonwebtoken::{EncodingKey, Header};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::access::{AccessSettings, Caller, TokenError};

    /// An identity provider on a free port of this machine.
    #[derive(Clone, Default)]
    struct Provider {
        answer: Arc<std::sync::Mutex<(StatusCode, String)>>,
        asked: Arc<AtomicUsize>,
    }

    impl Provider {
        async fn start(self) -> String {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
            let router = Router::new().route(
                "/keys",
                get(move || async move {
                    self.asked.fetch_add(1, Ordering::SeqCst);
                    self.answer.lock().expect("no holder panics").clone()
                }),
            );
            tokio::spawn(async move { axum::serve(listener, router).await });
            url
        }

        fn publish(&self, keys: &[Value]) {
            self.say(StatusCode::OK, json!({ "keys": keys }).to_string());
        }

        fn say(&self, status: StatusCode, body: String) {
            *self.answer.lock().expect("no holder panics") = (status, body);
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn rsa() -> EncodingKey {
        EncodingKey::from_rsa_pem(include_bytes!("testkeys/rsa.pem")).expect("a key")
    }

    fn ec() -> EncodingKey {
        EncodingKey::from_ec_pem(include_bytes!("testkeys/ec.pem")).expect("a key")
    }

    fn jwk(kid: &str, key: &EncodingKey, algorithm: Algorithm) -> Value {
        let mut jwk = Published::from_encoding_key(key, algorithm).expect("a public key");
        jwk.common.key_id = Some(kid.to_owned());
        serde_json::to_value(jwk).expect("JSON")
    }

    fn token(kid: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        let exp = crate::time::Timestamp::now().as_micros() / 1_000_000 + 600;
        let claims = json!({ "sub": "alice", "exp": exp });
        jsonwebtoken::encode(&header, &claims, key).expect("a token")
    }

    /// Asks whenever it may help.
    const EAGER: Pace = Pace { fresh: PACE.fresh, floor: Duration::ZERO };

    fn jwks(url: &str, pace: Pace) -> Jwks {
        Jwks::paced(url, Rules::new(&AccessSettings::default()), pace).expect("an address")
    }

    async fn verify(jwks: &Jwks, token: &str) -> Result<Caller, TokenError> {
        let header = jsonwebtoken::decode_header(token).expect("a header");
        match jwks.find(&header.kid.expect("a kid"), header.alg).await {
            Lookup::Found(key) => key.verify(token).map(|verified| verified.caller),
            Lookup::Unknown => Err(TokenError::Invalid),
            Lookup::Unavailable => Err(TokenError::Unavailable),
        }
    }

    #[tokio::test]
    async fn keys_rotate_without_a_restart() {
        let provider = Provider::default();
        provider.publish(&[jwk("old", &rsa(), Algorithm::RS256)]);
        let jwks = jwks(&provider.clone().start().await, EAGER);
        let (old, new) = (token("old", &rsa(), Algorithm::RS256), token("new", &ec(), Algorithm::ES256));
        assert_eq!(verify(&jwks, &old).await.map(|caller| caller.user.to_string()), Ok("alice".into()));
        assert_eq!(verify(&jwks, &new).await, Err(TokenError::Invalid));
        provider.publish(&[jwk("old", &rsa(), Algorithm::RS256), jwk("new", &ec(), Algorithm::ES256)]);
        assert!(verify(&jwks, &new).await.is_ok());
        provider.publish(&[jwk("new", &ec(), Algorithm::ES256)]);
        assert_eq!(verify(&jwks, &token("third", &ec(), Algorithm::ES256)).await, Err(TokenError::Invalid));
        assert_eq!(verify(&jwks, &old).await, Err(TokenError::Invalid), "withdrawn");
    }

    #[tokio::test]
    async fn a_withdrawn_key_stops_counting_when_the_set_has_grown_old() {
        let provider = Provider::default();
        provider.publish(&[jwk("good", &rsa(), Algorithm::RS256)]);
        let pace = Pace { fresh: Duration::ZERO, floor: Duration::ZERO };
        let jwks = jwks(&provider.clone().start().await, pace);
        let good = token("good", &rsa(), Algorithm::RS256);
        assert!(verify(&jwks, &good).await.is_ok());
        provider.publish(&[]);
        assert_eq!(verify(&jwks, &good).await, Err(TokenError::Invalid));
    }

    #[tokio::test]
    async fn many_unknown_key_ids_are_one_request() {
        let provider = Provider::default();
        provider.publish(&[jwk("good", &rsa(), Algorithm::RS256)]);
        let jwks = jwks(&provider.clone().start().await, PACE);
        let lookups = (0..50).map(|n| {
            let jwks = jwks.clone();
            async move { verify(&jwks, &token(&format!("made-up-{n}"), &ec(), Algorithm::ES256)).await }
        });
        for answer in futures_util::future::join_all(lookups).await {
            assert_eq!(answer, Err(TokenError::Invalid));
        }
        assert!(verify(&jwks, &token("good", &rsa(), Algorithm::RS256)).await.is_ok());
        assert_eq!(provider.asked(), 1);
    }

    #[tokio::test]
    async fn keys_fetched_before_count_while_the_provider_is_away() {
        let provider = Provider::default();
        provider.publish(&[jwk("good", &rsa(), Algorithm::RS256)]);
        let jwks = jwks(&provider.clone().start().await, EAGER);
        let good = token("good", &rsa(), Algorithm::RS256);
        assert!(verify(&jwks, &good).await.is_ok());
        for (status, body) in [
            (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            (StatusCode::FOUND, String::new()),
            (StatusCode::OK, "<html>".into()),
            (StatusCode::OK, format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(LONGEST))),
        ] {
            provider.say(status, body);
            assert_eq!(verify(&jwks, &token("new", &ec(), Algorithm::ES256)).await, Err(TokenError::Unavailable));
            assert!(verify(&jwks, &good).await.is_ok());
        }
    }

    #[tokio::test]
    async fn without_a_provider_nothing_can_be_said() {
        // Port 1 is nobody's.
        let jwks = jwks("http://127.0.0.1:1/keys", PACE);
        let token = token("good", &rsa(), Algorithm::RS256);
        assert_eq!(verify(&jwks, &token).await, Err(TokenError::Unavailable));
        assert_eq!(verify(&jwks, &token).await, Err(TokenError::Unavailable));
    }

    #[tokio::test]
    async fn a_key_of_the_set_vouches_for_its_own_algorithm_only() {
        let provider = Provider::default();
        provider.publish(&[jwk("rsa", &rsa(), Algorithm::RS256), jwk("ec", &ec(), Algorithm::ES256)]);
        let jwks = jwks(&provider.clone().start().await, EAGER);
        for (kid, key, algorithm) in
            [("rsa", ec(), Algorithm::ES256), ("ec", rsa(), Algorithm::RS256), ("rsa", rsa(), Algorithm::PS256)]
        {
            assert_eq!(verify(&jwks, &token(kid, &key, algorithm)).await, Err(TokenError::Invalid));
        }
    }

    #[test]
    fn keys_of_other_kinds_and_uses_are_left_out() {
        let rules = Rules::new(&AccessSettings::default());
        let good = jwk("good", &rsa(), Algorithm::RS256);
        let changed = |change: Value| {
            let mut key = good.clone();
            for (name, value) in change.as_object().expect("an object") {
                key[name] = value.clone();
            }
            key
        };
        let keys = [
            json!({ "kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256" }),
            changed(json!({ "kid": "encrypts", "use": "enc" })),
            changed(json!({ "kid": "signs-only", "key_ops": ["sign"] })),
            changed(json!({ "kid": "other-algorithm", "alg": "PS256" })),
            changed(json!({ "kid": "confused", "alg": "HS256" })),
            changed(json!({ "kid": "mixed-up", "kty": "EC" })),
            changed(json!({ "kid": null })),
            changed(json!({ "kid": "broken", "n": "!!!" })),
            json!({ "kty": "EC", "kid": "other-curve", "crv": "P-384", "x": "AA", "y": "AA" }),
            json!("not a key"),
            good.clone(),
        ];
        let read = parse(json!({ "keys": keys }).to_string().as_bytes(), &rules).expect("a set");
        assert_eq!(read.keys().collect::<Vec<_>>(), ["good"]);
    }

    proptest! {
        #[test]
        fn no_set_makes_reading_it_panic(body: Vec<u8>, kid in "[a-z]{0,4}", n in ".{0,9}", x in ".{0,9}") {
            let rules = Rules::new(&AccessSettings::default());
            let _ = parse(&body, &rules);
            let keys = json!({ "keys": [
                { "kty": "RSA", "kid": kid, "n": n, "e": x },
                { "kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": n },
                { "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x },
            ]});
            for key in parse(keys.to_string().as_bytes(), &rules).expect("a set").values() {
                prop_assert!(key.verify("eyJhbGciOiJFUzI1NiJ9.e30.AAAA").is_err());
            }
        }
    }
}
