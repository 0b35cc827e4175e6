//! Every way we know to make a token that should not be believed, and that none of them is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{AccessError, AccessSettings, Caller, Grant, Revoked, RevokedTokens, TokenError, Verifier, sign};
use crate::channel::Role;
use crate::config::{Address, Secret, Value as _};
use crate::time::Timestamp;

const SECRET: &str = "correct horse battery staple, twice over";
const RSA: &str = include_str!("testkeys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("testkeys/rsa.pub.pem");
const RSA_OTHER: &str = include_str!("testkeys/rsa-other.pem");
const EC: &str = include_str!("testkeys/ec.pem");
const EC_PUBLIC: &str = include_str!("testkeys/ec.pub.pem");
const ED: &str = include_str!("testkeys/ed.pem");
const ED_PUBLIC: &str = include_str!("testkeys/ed.pub.pem");
const P384_PUBLIC: &str = include_str!("testkeys/p384.pub.pem");

fn now() -> i64 {
    Timestamp::now().as_micros() / 1_000_000
}

fn hmac(secret: &str) -> EncodingKey {
    EncodingKey::from_secret(secret.as_bytes())
}

fn rsa(pem: &str) -> EncodingKey {
    EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key")
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_pem(EC.as_bytes()).expect("a key")
}

fn ed() -> EncodingKey {
    EncodingKey::from_ed_pem(ED.as_bytes()).expect("a key")
}

/// Claims that everybody accepts, with some changed; `null` takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({ "sub": "alice", "exp": now() + 600, "aud": "carillon", "iss": "https://id.example" });
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn signed(algorithm: Algorithm, key: &EncodingKey, changes: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), &claims(changes), key).expect("a token")
}

/// A token with any header and payload at all, signed with HMAC.
fn handmade(header: &str, payload: impl AsRef<[u8]>, secret: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &hmac(secret), Algorithm::HS256);
    format!("{message}.{}", signature.expect("a signature"))
}

fn settings(secret: Option<&str>, pem: Option<&str>) -> AccessSettings {
    AccessSettings {
        jwt_secret: secret.map(Secret::new),
        jwt_public_key: pem.map(str::to_owned),
        jwks_url: None,
        jwt_audience: vec!["carillon".into(), "bells".into()],
        jwt_issuer: vec!["https://id.example".into()],
        ..AccessSettings::default()
    }
}

fn verifier(secret: Option<&str>, pem: Option<&str>) -> Verifier {
    let verifier = Verifier::new(&settings(secret, pem)).expect("a key");
    verifier.denylist().complete();
    verifier
}

async fn refused(verifier: &Verifier, forgeries: Vec<(&str, String)>) {
    for (what, token) in forgeries {
        assert_eq!(verifier.verify(&token).await, Err(TokenError::Invalid), "{what}");
    }
}

#[tokio::test]
async fn every_kind_of_key_verifies_its_own_tokens() {
    for (verifier, algorithm, key) in [
        (verifier(Some(SECRET), None), Algorithm::HS256, hmac(SECRET)),
        (verifier(None, Some(RSA_PUBLIC)), Algorithm::RS256, rsa(RSA)),
        (verifier(None, Some(EC_PUBLIC)), Algorithm::ES256, ec()),
        (verifier(None, Some(ED_PUBLIC)), Algorithm::EdDSA, ed()),
        (verifier(Some(SECRET), Some(&EC_PUBLIC.replace('\n', "\\n"))), Algorithm::ES256, ec()),
    ] {
        let changes = json!({ "role": "staff", "name": "Älice", "jti": "t1", "aud": ["x", "bells"] });
        let caller = verifier.verify(&signed(algorithm, &key, &changes)).await.expect("a good token");
        assert_eq!((caller.user.as_str(), caller.role), ("alice", Role::Staff), "{algorithm:?}");
        assert_eq!((caller.name.as_deref(), caller.token_id.as_deref()), (Some("Älice"), Some("t1")));
        assert!(caller.expires_at > Timestamp::now());
    }
}

#[tokio::test]
async fn what_is_signed_here_is_verified_here() {
    let settings = settings(Some(SECRET), None);
    let (user, ttl) = ("bob@example.com".parse().expect("an id"), std::time::Duration::from_secs(60));
    let grant = Grant { user, role: Role::Admin, name: Some("Bob".into()), ttl };
    let token = sign(&settings, &grant).expect("a token");
    let Caller { user, role, name, token_id, issued_at, expires_at } =
        verifier(Some(SECRET), None).verify(&token).await.expect("a good token");
    assert_eq!((user, role, name), (grant.user, Role::Admin, Some("Bob".into())));
    assert!(token_id.is_some() && issued_at.is_some_and(|at| at <= Timestamp::now()));
    assert!((expires_at.as_micros() / 1_000_000 - now() - 60).abs() <= 1);
}

#[tokio::test]
async fn no_forged_claim_is_believed() {
    let forged = |what, changes: Value| (what, signed(Algorithm::HS256, &hmac(SECRET), &changes));
    let forgeries = vec![
        forged("no exp", json!({ "exp": null })),
        forged("exp as text", json!({ "exp": "4000000000" })),
        forged("exp negative", json!({ "exp": -1 })),
        forged("exp beyond numbers", json!({ "exp": 1e300 })),
        forged("exp as list", json!({ "exp": [4_000_000_000_u64] })),
        forged("exp as truth", json!({ "exp": true })),
        forged("nbf ahead", json!({ "nbf": now() + 60 })),
        forged("nbf as text", json!({ "nbf": "soon" })),
        forged("iat ahead", json!({ "iat": now() + 60 })),
        forged("iat as text", json!({ "iat": "yesterday" })),
        forged("no aud", json!({ "aud": null })),
        forged("other aud", json!({ "aud": "elsewhere" })),
        forged("other auds", json!({ "aud": ["elsewhere", "Carillon", ""] })),
        forged("no auds", json!({ "aud": [] })),
        forged("aud as number", json!({ "aud": 7 })),
        forged("aud as object", json!({ "aud": { "carillon": true } })),
        forged("no iss", json!({ "iss": null })),
        forged("other iss", json!({ "iss": "https://id.example.evil" })),
        forged("iss as number", json!({ "iss": 0 })),
        forged("role unknown", json!({ "role": "root" })),
        forged("role in capitals", json!({ "role": "ADMIN" })),
        forged("role as list", json!({ "role": ["guest", "admin"] })),
        forged("role as number", json!({ "role": 3 })),
        forged("role empty", json!({ "role": "" })),
        forged("no sub", json!({ "sub": null })),
        forged("sub empty", json!({ "sub": "" })),
        forged("sub with a colon", json!({ "sub": "user:alice" })),
        forged("sub with a line break", json!({ "sub": "alice\n" })),
        forged("sub with a NUL", json!({ "sub": "alice\0bob" })),
        forged("sub too long", json!({ "sub": "a".repeat(129) })),
        forged("sub as number", json!({ "sub": 1 })),
        forged("name as object", json!({ "name": {} })),
        forged("jti as number", json!({ "jti": 1 })),
        forged("for longer than a token may count", json!({ "exp": now() + 401 * 86_400 })),
        forged("issued too long before it ends", json!({ "iat": now() - 400 * 86_400, "exp": now() + 60 })),
    ];
    refused(&verifier(Some(SECRET), None), forgeries).await;
}

#[tokio::test]
async fn no_forged_header_is_believed() {
    let payload = claims(&json!({})).to_string();
    let own_key = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode("mine"), "kid": "mine" });
    let header = |what, header: Value, secret| (what, handmade(&header.to_string(), &payload, secret));
    let verifier = verifier(Some(SECRET), None);
    for good in [json!({ "alg": "HS256" }), json!({ "alg": "HS256", "typ": "AT+JWT" })] {
        assert!(verifier.verify(&header("", good, SECRET).1).await.is_ok(), "handmade, but good");
    }
    let unsigned = |alg| {
        let head = URL_SAFE_NO_PAD.encode(json!({ "alg": alg, "typ": "JWT" }).to_string());
        format!("{head}.{}.", URL_SAFE_NO_PAD.encode(&payload))
    };
    let forgeries = vec![
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg NONE", unsigned("NONE")),
        ("no signature", unsigned("HS256")),
        header("alg none, signed", json!({ "alg": "none" }), SECRET),
        header("no alg", json!({ "typ": "JWT" }), SECRET),
        header("alg in small letters", json!({ "alg": "hs256" }), SECRET),
        header("alg as list", json!({ "alg": ["HS256"] }), SECRET),
        header("alg HS384 over HS256", json!({ "alg": "HS384" }), SECRET),
        header("alg RS256 over HMAC", json!({ "alg": "RS256" }), SECRET),
        header("brings its own key", json!({ "alg": "HS256", "jwk": own_key }), "mine"),
        header("names its own key set", json!({ "alg": "HS256", "jku": "http://evil.example" }), "mine"),
        header("kid as path", json!({ "alg": "HS256", "kid": "../../dev/null" }), ""),
        header("kid as SQL", json!({ "alg": "HS256", "kid": "x' union select 'k" }), "k"),
        header("critical extension", json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), SECRET),
        header("a logout token", json!({ "alg": "HS256", "typ": "logout+jwt" }), SECRET),
        header("a security event", json!({ "alg": "HS256", "typ": "secevent+jwt" }), SECRET),
        header("a proof of possession", json!({ "alg": "HS256", "typ": "dpop+jwt" }), SECRET),
        header("a kind that is empty", json!({ "alg": "HS256", "typ": "" }), SECRET),
        header("critical nothing", json!({ "alg": "HS256", "crit": [] }), SECRET),
        header("empty secret", json!({ "alg": "HS256" }), ""),
        header("secret nearly right", json!({ "alg": "HS256" }), &SECRET[1..]),
    ];
    refused(&verifier, forgeries).await;
}

#[tokio::test]
async fn no_key_stands_in_for_another() {
    let none = json!({});
    let asymmetric = [
        ("RSA", verifier(None, Some(RSA_PUBLIC)), RSA_PUBLIC),
        ("EC", verifier(None, Some(EC_PUBLIC)), EC_PUBLIC),
        ("Ed25519", verifier(None, Some(ED_PUBLIC)), ED_PUBLIC),
    ];
    for (kind, verifier, public) in asymmetric {
        let mut forgeries = vec![
            ("the public PEM as secret", signed(Algorithm::HS256, &hmac(public), &none)),
            ("the trimmed public PEM as secret", signed(Algorithm::HS256, &hmac(public.trim()), &none)),
            ("HS512 with the public PEM", signed(Algorithm::HS512, &hmac(public), &none)),
            ("a secret", signed(Algorithm::HS256, &hmac(SECRET), &none)),
            ("another RSA key", signed(Algorithm::RS256, &rsa(RSA_OTHER), &none)),
        ];
        if kind != "RSA" {
            forgeries.push(("the RSA key", signed(Algorithm::RS256, &rsa(RSA), &none)));
        } else {
            forgeries.push(("RS512 with the right key", signed(Algorithm::RS512, &rsa(RSA), &none)));
            forgeries.push(("PS256 with the right key", signed(Algorithm::PS256, &rsa(RSA), &none)));
        }
        if kind != "EC" {
            forgeries.push(("the EC key", signed(Algorithm::ES256, &ec(), &none)));
        }
        if kind != "Ed25519" {
            forgeries.push(("the Ed25519 key", signed(Algorithm::EdDSA, &ed(), &none)));
        }
        refused(&verifier, forgeries).await;
    }
}

#[tokio::test]
async fn no_damaged_token_is_believed() {
    let good = signed(Algorithm::HS256, &hmac(SECRET), &json!({}));
    let admin = signed(Algorithm::HS256, &hmac("mine"), &json!({ "role": "admin" }));
    let part = |token: &str, n: usize| token.split('.').nth(n).expect("three parts").to_owned();
    let (head, body, mac) = (part(&good, 0), part(&good, 1), part(&good, 2));
    let header = r#"{"alg":"HS256"}"#;
    let twice = r#"{"sub":"alice","sub":"root","exp":4000000000,"aud":"carillon","iss":"https://id.example"}"#;
    let nested = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let forgeries = vec![
        ("empty", String::new()),
        ("dots", "..".into()),
        ("one part", head.clone()),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{good}.{mac}")),
        ("cut short", good[..good.len() - 1].into()),
        ("payload swapped", format!("{head}.{}.{mac}", part(&admin, 1))),
        ("signature swapped", format!("{head}.{body}.{}", part(&admin, 2))),
        ("padded", format!("{good}=")),
        ("blank before", format!(" {good}")),
        ("line break after", format!("{good}\n")),
        ("standard base64", format!("{head}.{body}.{}", mac.replace(['-', '_'], "+"))),
        ("with Bearer", format!("Bearer {good}")),
        ("payload is a list", handmade(header, "[]", SECRET)),
        ("payload is no JSON", handmade(header, "alice", SECRET)),
        ("payload is not UTF-8", handmade(header, b"{\"sub\":\"\xff\"}", SECRET)),
        ("payload nests deeply", handmade(header, &nested, SECRET)),
        ("header nests deeply", handmade(&nested, "{}", SECRET)),
        ("header is no JSON", handmade("alg=HS256", "{}", SECRET)),
        ("sub twice", handmade(header, twice, SECRET)),
        ("huge", signed(Algorithm::HS256, &hmac(SECRET), &json!({ "name": "x".repeat(9000) }))),
        ("huge nonsense", "a".repeat(10_000_000)),
    ];
    let forgeries = forgeries.into_iter().filter(|(_, token)| *token != good).collect();
    refused(&verifier(Some(SECRET), None), forgeries).await;
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_forged_one() {
    let verifier = verifier(Some(SECRET), None);
    for (age, answer) in [(10, Err(TokenError::Expired)), (1_000_000, Err(TokenError::Expired)), (2, Ok("alice"))] {
        let token = signed(Algorithm::HS256, &hmac(SECRET), &json!({ "exp": now() - age }));
        let caller = verifier.verify(&token).await;
        assert_eq!(caller.as_ref().map(|caller| caller.user.as_str()).map_err(|error| *error), answer, "{age}");
    }
    let forged = signed(Algorithm::HS256, &hmac("mine"), &json!({ "exp": now() - 10 }));
    assert_eq!(verifier.verify(&forged).await, Err(TokenError::Invalid));
}

#[tokio::test]
async fn a_revoked_token_is_told_from_a_forged_one_and_a_newer_one_counts() {
    let verifier = verifier(Some(SECRET), None);
    let token = |changes| signed(Algorithm::HS256, &hmac(SECRET), &changes);
    let (old, new) = (token(json!({ "iat": now() - 60 })), token(json!({ "iat": now(), "jti": "t2" })));
    let revoke = |tokens| {
        let revoked = Revoked { user: "alice".parse().expect("an id"), tokens, expires_at: Timestamp::LAST };
        verifier.denylist().add(&[revoked])
    };
    revoke(RevokedTokens::IssuedUntil(Timestamp::from_micros((now() - 30) * 1_000_000)));
    assert_eq!(verifier.verify(&old).await, Err(TokenError::Revoked));
    assert_eq!(verifier.verify(&token(json!({}))).await, Err(TokenError::Revoked), "nothing says that it is newer");
    assert!(verifier.verify(&new).await.is_ok() && verifier.verify(&token(json!({ "sub": "bob" }))).await.is_ok());
    revoke(RevokedTokens::One("t2".to_owned()));
    assert_eq!(verifier.verify(&new).await, Err(TokenError::Revoked));
    let invitation = token(json!({ "iat": now() - 60, "room": "private" }));
    assert_eq!(verifier.verify_invitation(&invitation).await, Err(TokenError::Revoked));
    let forged = signed(Algorithm::HS256, &hmac("mine"), &json!({ "iat": now() - 60 }));
    assert_eq!(verifier.verify(&forged).await, Err(TokenError::Invalid));
}

#[tokio::test]
async fn before_it_is_known_what_was_revoked_no_token_counts() {
    let verifier = Verifier::new(&settings(Some(SECRET), None)).expect("a key");
    let token = signed(Algorithm::HS256, &hmac(SECRET), &json!({}));
    assert_eq!(verifier.verify(&token).await, Err(TokenError::TooEarly));
    assert_eq!((verifier.readiness())().await.len(), 1);
    verifier.denylist().complete();
    assert!(verifier.verify(&token).await.is_ok() && (verifier.readiness())().await.is_empty());
}

#[test]
fn settings_that_make_no_key_are_refused() {
    let error = |secret, pem| Verifier::new(&settings(secret, pem)).err();
    assert_eq!(error(None, None), Some(AccessError::NoKey));
    assert_eq!(error(Some(""), None), Some(AccessError::EmptySecret));
    for pem in ["", "secret", RSA, EC, ED, P384_PUBLIC, &RSA_PUBLIC[..200]] {
        assert_eq!(error(None, Some(pem)), Some(AccessError::NotAPublicKey), "{pem}");
    }
    for url in ["file:///etc/passwd", "redis://id.example/keys", "https://"] {
        let settings = AccessSettings { jwks_url: Address::parse(url), ..settings(None, None) };
        assert_eq!(Verifier::new(&settings).err(), Some(AccessError::NotAUrl), "{url}");
    }
}

/// A key is handed tokens of every algorithm, and looks at the algorithm before the signature.
#[tokio::test]
async fn a_key_refuses_every_algorithm_but_its_own_whatever_was_signed_with_it() {
    let algorithms = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
        "none",
    ];
    let keys = [
        (Some(SECRET), None, SECRET),
        (None, Some(RSA_PUBLIC), RSA_PUBLIC),
        (None, Some(EC_PUBLIC), EC_PUBLIC),
        (None, Some(ED_PUBLIC), ED_PUBLIC),
    ];
    for (secret, pem, known) in keys {
        let verifier = Verifier::new(&settings(secret, pem)).expect("a key");
        for algorithm in algorithms.into_iter().filter(|name| secret.is_none() || *name != "HS256") {
            let header = json!({ "alg": algorithm }).to_string();
            // Signed with what everybody knows of the key, as the classic confusion does, and with nothing.
            let signed = handmade(&header, claims(&json!({})).to_string(), known);
            let unsigned = format!("{}.", signed.rsplit_once('.').expect("three parts").0);
            for token in [signed, unsigned] {
                assert_eq!(verifier.verify(&token).await, Err(TokenError::Invalid), "{algorithm} for {known}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_verifying_panic(text: String, header in ".{0,64}", payload in ".{0,64}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let verifier = verifier(Some(SECRET), Some(RSA_PUBLIC));
        let head = r#"{"alg":"HS256"}"#;
        for token in [text, handmade(&header, &payload, SECRET), handmade(head, &payload, SECRET)] {
            prop_assert_eq!(runtime.block_on(verifier.verify(&token)), Err(TokenError::Invalid));
        }
    }
}
