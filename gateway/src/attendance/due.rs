//! Who must be written: each once, those first who have waited longest, so that whoever cannot be written holds up nobody.

use std::collections::{HashSet, VecDeque};

use shared::ids::UserId;

/// People for whom room is kept when nobody waits: more are there only after a loss.
const ROOM: usize = 8_192;

#[derive(Default)]
pub(super) struct Due {
    queue: VecDeque<UserId>,
    waiting: HashSet<UserId>,
}

impl Due {
    pub(super) fn insert(&mut self, user: UserId) {
        if self.waiting.insert(user.clone()) {
            self.queue.push_back(user);
        }
    }

    pub(super) fn contains(&self, user: &UserId) -> bool {
        self.waiting.contains(user)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes out those who come first.
    pub(super) fn take(&mut self, most: usize) -> Vec<UserId> {
        let some: Vec<_> = self.queue.drain(..most.min(self.queue.len())).collect();
        for user in &some {
            self.waiting.remove(user);
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(ROOM);
            self.waiting.shrink_to(ROOM);
        }
        some
    }
}

impl Extend<UserId> for Due {
    fn extend<T: IntoIterator<Item = UserId>>(&mut self, users: T) {
        users.into_iter().for_each(|user| self.insert(user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_waits_once_and_whoever_is_put_back_waits_behind_the_others() {
        let user = |name: &str| name.parse::<UserId>().expect("an id");
        let mut due = Due::default();
        due.extend(["ann", "bob", "ann", "eve"].map(user));
        let first = due.take(2);
        assert_eq!(first, ["ann", "bob"].map(user));
        assert!(!due.contains(&user("ann")) && due.contains(&user("eve")));
        due.extend(first);
        assert_eq!(due.take(9), ["eve", "ann", "bob"].map(user));
        assert!(due.is_empty());
    }
}
