//! `carillon token`: prints a token and nothing else.

use shared::access::{Grant, sign};

use crate::cli::{Cli, TokenWish};
use crate::made_up;
use crate::settings::{Role, Settings};

pub fn run(cli: &Cli, wish: &TokenWish) -> anyhow::Result<()> {
    let mut settings = Settings::read(&cli.layers(), Role::All)?;
    if settings.makes_up_a_secret() {
        settings.access.jwt_secret = Some(made_up::secret()?);
    }
    let TokenWish { user, role, name, ttl } = wish;
    let grant = Grant { user: user.clone(), role: *role, name: name.clone(), ttl: *ttl };
    println!("{}", sign(&settings.access, &grant)?);
    Ok(())
}
