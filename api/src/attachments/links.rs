//! Short-lived links to bytes: for a `<img>`, which cannot show a token.
//!
//! A link is as good as a token for the one thing it names, for five minutes. Every pod of the fleet can check it.

use shared::access::derive;
use shared::config::Secret;
use shared::time::Timestamp;
use subtle::ConstantTimeEq;

/// How long a link leads somewhere, in microseconds.
const LASTS: i64 = 5 * 60 * 1_000_000;

/// Makes links and checks them.
#[derive(Debug)]
pub struct Links {
    key: Secret,
}

impl Links {
    /// Links of the fleet that shares `secret`.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self { key: derive(secret, "carillon attachments v1") }
    }

    /// The end of a link made now.
    #[must_use]
    pub fn expiry() -> Timestamp {
        Timestamp::from_micros(Timestamp::now().as_micros() + LASTS)
    }

    /// A link to `path`, the place of something of an attachment.
    #[must_use]
    pub fn sign(&self, path: &str, expires_at: Timestamp) -> String {
        let expires = expires_at.as_micros() / 1_000_000;
        format!("{path}?expires={expires}&signature={}", self.signature(path, expires).reveal())
    }

    /// Whether it is the link to `path` and leads there still. Comparing takes the same time however much of it is right.
    #[must_use]
    pub fn are_right(&self, path: &str, expires: i64, signature: &str) -> bool {
        let right = self.signature(path, expires);
        let same = bool::from(right.reveal().as_bytes().ct_eq(signature.as_bytes()));
        same && Timestamp::now().as_micros() / 1_000_000 < expires
    }

    fn signature(&self, path: &str, expires: i64) -> Secret {
        derive(&self.key, &format!("{path} {expires}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_right_for_its_path_and_its_time_only() {
        let links = Links::new(&Secret::new("secret"));
        let link = links.sign("/a", Links::expiry());
        let (path, query) = link.split_once("?expires=").expect("a query");
        let (expires, signature) = query.split_once("&signature=").expect("a signature");
        let expires: i64 = expires.parse().expect("a number");
        assert!(links.are_right(path, expires, signature));
        assert!(!links.are_right("/b", expires, signature));
        assert!(!links.are_right(path, expires + 1, signature));
        assert!(!links.are_right(path, expires, &signature[1..]));
        assert!(!links.are_right(path, expires, ""));
        assert!(!Links::new(&Secret::new("another")).are_right(path, expires, signature));
        let past = links.signature(path, 1_000);
        assert!(!links.are_right(path, 1_000, past.reveal()), "it has ended");
    }
}
