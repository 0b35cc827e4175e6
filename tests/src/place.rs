//! Where a story is told: in a fleet behind nginx, or in the single program. What a user can do is the same in both.

use crate::client::User;

/// Somewhere to come in.
pub trait Place {
    /// Somebody with a token for a role.
    fn user_with_role(&self, name: &str, role: &str) -> User;

    /// The same user, whose sockets go to one gateway, as far as there are several: for stories about what another pod
    /// hears.
    fn at_gateway(&self, user: &User, gateway: usize) -> User;

    /// A guest called `name`, with a token.
    fn user(&self, name: &str) -> User {
        self.user_with_role(name, "guest")
    }
}
