//! What may be said on the command line, and the help that teaches it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use shared::channel::Role as CallerRole;
use shared::config::{Layers, Value};
use shared::ids::UserId;

use crate::bench;
use crate::settings::Role;

/// Carillon: messages, notifications and live rooms over a fleet of pods.
///
/// Without a command it plays all roles in one process, on SQLite, with nothing to install, and prints how to try it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The configuration file [default: carillon.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where to listen [default: 127.0.0.1 with port 8000; api 8001, gateway 8002, worker 8003]
    #[arg(long, global = true, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
}

const EXAMPLES: &str = "\
Examples:
  carillon                               everything in one process, on http://127.0.0.1:8000
  carillon token --user alice            a token to connect with
  carillon check                         is the configuration good, and what counts?

  A fleet, each process with the same environment:
    export CARILLON_DATABASE_URL=postgres://carillon:…@db/carillon
    export CARILLON_REDIS_URL=redis://redis:6379
    export CARILLON_JWT_SECRET=$(openssl rand -hex 32)
    carillon migrate                     once, before the pods
    carillon api --listen 0.0.0.0:8001
    carillon worker
    CARILLON_API_URL=http://api:8081 carillon gateway --listen 0.0.0.0:8002

Every setting: docs/configuration.md";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep what is said: REST, and the questions of gateways on a listener of its own.
    Api,

    /// Hold the sockets, and carry to them what was said.
    Gateway,

    /// Announce what was committed, and do what need not be done at once.
    Worker,

    /// Bring the database to this version's schema, and say what it consists of.
    Migrate {
        /// Begin a new epoch: after a restore of files, when numbers may be given a second time. Every device then starts
        /// from a snapshot
        #[arg(long)]
        new_epoch: bool,
    },

    /// Measure what Carillon does with a CPU second on this machine, and what the machine would do without it.
    Bench(bench::Wishes),

    /// Connect to everything the configuration names, and say what is wrong.
    Doctor {
        /// For which role
        #[arg(value_enum, default_value_t = Role::All)]
        role: Role,
    },

    /// Print a token, and nothing else.
    ///
    /// Signed with jwt_secret; where no key is configured, with the secret that all roles in one process made up in ./data.
    Token(TokenWish),

    /// Say everything that is wrong with the configuration, or what counts.
    Check {
        /// For which role
        #[arg(value_enum, default_value_t = Role::All)]
        role: Role,

        /// Print docs/configuration.md instead
        #[arg(long, hide = true)]
        docs: bool,
    },
}

#[derive(Debug, Args)]
pub struct TokenWish {
    /// Whose token: its `sub`
    #[arg(long, value_name = "ID")]
    pub user: UserId,

    /// What its bearer may do: guest, staff, admin or service
    #[arg(long, default_value_t = CallerRole::Guest, value_parser = caller_role)]
    pub role: CallerRole,

    /// How its bearer is called
    #[arg(long)]
    pub name: Option<String>,

    /// For how long it counts: seconds, or a time like 15m, 8h or 30d
    #[arg(long, default_value = "3600", value_parser = time)]
    pub ttl: Duration,
}

impl Cli {
    /// What flags, environment and file say.
    pub fn layers(&self) -> Layers {
        let listen = self.listen.map(|address| ("listen", address.to_string()));
        Layers::gather(self.config.as_deref(), listen)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    SocketAddr::parse(text).ok_or_else(|| format!("expected {}", SocketAddr::FORM))
}

fn time(text: &str) -> Result<Duration, String> {
    Duration::parse(text).ok_or_else(|| format!("expected {}", Duration::FORM))
}

fn caller_role(text: &str) -> Result<CallerRole, String> {
    text.parse().map_err(|_| "expected guest, staff, admin or service".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
