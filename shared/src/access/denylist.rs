//! What was revoked and could still be shown: the part of every pod's memory that each token is held against.
//!
//! The truth are rows of the store, which every pod reads at its start and follows through the `fleet` feed. What is added here
//! twice, or in another order, makes no difference, so that nobody has to be careful about what was read already.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::Caller;
use crate::ids::UserId;
use crate::time::Timestamp;

/// Tokens of somebody that do not count any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Whose they are: the `sub`.
    pub user: UserId,
    /// Which of theirs.
    pub tokens: RevokedTokens,
    /// When no token can match any more.
    pub expires_at: Timestamp,
}

/// Which tokens of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedTokens {
    /// The one with this `jti`.
    One(String),
    /// Those with an `iat` at or before this moment, and those without any: nothing says that they are newer.
    IssuedUntil(Timestamp),
}

/// What was revoked and could still be shown.
///
/// Takes about 200 bytes for each person concerned and 100 for each single token beside its `jti`. A person has one row that concerns
/// all their tokens and at most 100 that concern one, each for as long as a token could match it.
#[derive(Debug, Default)]
pub struct Denylist {
    people: RwLock<HashMap<UserId, Denied>>,
    is_complete: AtomicBool,
}

/// What of one person does not count.
#[derive(Debug, Default)]
struct Denied {
    /// All tokens issued until then, and when that is moot.
    issued_until: Option<(Timestamp, Timestamp)>,
    /// Single tokens, and when each is moot.
    tokens: Vec<(Box<str>, Timestamp)>,
}

impl Denylist {
    /// Adds what was revoked.
    pub fn add(&self, revoked: &[Revoked]) {
        let mut people = self.people.write();
        revoked.iter().for_each(|one| people.entry(one.user.clone()).or_default().add(one));
    }

    /// Notes that everything revoked so far was added once.
    pub fn complete(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Whether everything that was revoked when the pod started is known. Until then no token is believed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Whether the token that made `caller` known does not count any more.
    #[must_use]
    pub fn denies(&self, caller: &Caller) -> bool {
        self.people.read().get(&caller.user).is_some_and(|denied| denied.matches(caller))
    }

    /// Forgets what no token can match any more, and answers for how many people something is left.
    pub fn forget_expired(&self, now: Timestamp) -> usize {
        let mut people = self.people.write();
        people.retain(|_, denied| denied.is_left(now));
        let left = people.len();
        people.shrink_to(2 * left);
        left
    }
}

impl Denied {
    fn add(&mut self, Revoked { tokens, expires_at, .. }: &Revoked) {
        match tokens {
            RevokedTokens::One(id) if self.tokens.iter().any(|(known, _)| **known == **id) => {}
            RevokedTokens::One(id) => self.tokens.push((id.as_str().into(), *expires_at)),
            RevokedTokens::IssuedUntil(moment) if self.issued_until.is_some_and(|(until, _)| until >= *moment) => {}
            RevokedTokens::IssuedUntil(moment) => self.issued_until = Some((*moment, *expires_at)),
        }
    }

    fn matches(&self, caller: &Caller) -> bool {
        let is_old = |(until, _)| caller.issued_at.is_none_or(|issued_at| issued_at <= until);
        let is_named = |id: &str| self.tokens.iter().any(|(revoked, _)| **revoked == *id);
        self.issued_until.is_some_and(is_old) || caller.token_id.as_deref().is_some_and(is_named)
    }

    fn is_left(&mut self, now: Timestamp) -> bool {
        self.issued_until.take_if(|(_, expires_at)| *expires_at <= now);
        self.tokens.retain(|(_, expires_at)| *expires_at > now);
        self.issued_until.is_some() || !self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Role;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn token(id: Option<&str>, issued_at: Option<i64>) -> Caller {
        Caller {
            user: "alice".parse().expect("an id"),
            role: Role::Guest,
            name: None,
            token_id: id.map(str::to_owned),
            issued_at: issued_at.map(at),
            expires_at: at(1_000),
        }
    }

    fn of_alice(tokens: RevokedTokens, expires_at: i64) -> Revoked {
        Revoked { user: "alice".parse().expect("an id"), tokens, expires_at: at(expires_at) }
    }

    #[test]
    fn a_token_is_denied_by_its_id_and_no_other_of_the_user_is() {
        let list = Denylist::default();
        let phone = of_alice(RevokedTokens::One("phone".into()), 1_000);
        list.add(&[phone.clone(), phone]);
        assert!(list.denies(&token(Some("phone"), Some(1))));
        assert!(!list.denies(&token(Some("desk"), Some(1))) && !list.denies(&token(None, None)));
        let bob = Caller { user: "bob".parse().expect("an id"), ..token(Some("phone"), Some(1)) };
        assert!(!list.denies(&bob), "an id is unique to whom it was given");
    }

    #[test]
    fn what_was_issued_until_then_is_denied_in_whatever_order_it_is_heard() {
        let list = Denylist::default();
        let revoked = [500, 300].map(|moment| of_alice(RevokedTokens::IssuedUntil(at(moment)), moment + 1_000));
        list.add(&revoked);
        assert!(list.denies(&token(None, Some(500))) && !list.denies(&token(None, Some(501))));
        assert!(list.denies(&token(None, None)), "nothing says that it is newer");
    }

    #[test]
    fn what_no_token_can_match_any_more_leaves_the_memory() {
        let list = Denylist::default();
        list.add(&[of_alice(RevokedTokens::One("phone".into()), 10), of_alice(RevokedTokens::IssuedUntil(at(5)), 20)]);
        assert_eq!(list.forget_expired(at(10)), 1);
        assert!(!list.denies(&token(Some("phone"), Some(6))) && list.denies(&token(Some("phone"), Some(5))));
        assert_eq!(list.forget_expired(at(20)), 0);
        assert!(!list.denies(&token(Some("phone"), Some(5))));
    }
}
