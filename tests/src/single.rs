//! The single program: every role in one process, on SQLite, with nothing installed.

use crate::client::{User, token};
use crate::fleet::SECRET;
use crate::place::Place;
use crate::servers::carillon::{Pod, Role};
use crate::servers::scratch::Scratch;

/// A running single program.
#[derive(Debug)]
pub struct Single {
    /// Its one process.
    pub pod: Pod,
    _scratch: Scratch,
}

impl Single {
    /// Starts one on an empty database.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub async fn start() -> Self {
        Self::told([]).await
    }

    /// Starts one on an empty database that is told more than it needs.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub async fn told<const N: usize>(more: [(&str, &str); N]) -> Self {
        let scratch = Scratch::new("single");
        let database = format!("sqlite://{}", scratch.path().join("carillon.db").display());
        let attachments = format!("file://{}", scratch.path().join("attachments").display());
        let told = [
            ("CARILLON_DATABASE_URL", database),
            ("CARILLON_ATTACHMENTS__URL", attachments),
            ("CARILLON_JWT_SECRET", SECRET.to_owned()),
        ];
        let mut told = told.map(|(name, value)| (name.to_owned(), value)).to_vec();
        told.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut pod = Pod::new(Role::All, 1, told, scratch.path());
        pod.start();
        pod.is_ready().await;
        Self { pod, _scratch: scratch }
    }
}

impl Place for Single {
    fn user_with_role(&self, name: &str, role: &str) -> User {
        User::new(name, token(SECRET, name, role), format!("127.0.0.1:{}", self.pod.port()))
    }

    fn at_gateway(&self, user: &User, _gateway: usize) -> User {
        user.clone()
    }
}
