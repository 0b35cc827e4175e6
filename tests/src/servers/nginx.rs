//! nginx, with the configuration that is shipped.
//!
//! `nginx/nginx.conf` is used as it is; only what it includes is generated: which pods there are, where to listen, and, unless
//! a test is about them, limits that do not limit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ports;
use super::process::{Process, Signal};
use super::scratch::Scratch;
use crate::eventually::eventually;

/// Which limits an nginx has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// None: a test is one address with many users.
    None,
    /// Those of `nginx/limits.conf`.
    AsShipped,
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    scratch: Scratch,
    port: u16,
}

/// The folder of the shipped configuration.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../nginx")
}

/// Debian keeps it where only root looks.
fn program() -> &'static str {
    let debian = "/usr/sbin/nginx";
    if Path::new(debian).exists() { debian } else { "nginx" }
}

/// How the api pods are named, as shipped.
const API: &str = "max_fails=1 fail_timeout=2s";
/// How the gateway pods are named, as shipped.
const GATEWAY: &str = "max_fails=0";

/// The lines that name pods on these ports of 127.0.0.1.
fn servers(ports: &[u16], how: &str) -> String {
    ports.iter().map(|port| format!("server 127.0.0.1:{port} {how};\n")).collect()
}

impl Nginx {
    /// Starts one before these pods, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When nginx is not installed or refuses the configuration.
    pub async fn start(api: &[u16], gateway: &[u16], limits: Limits) -> anyhow::Result<Self> {
        let scratch = Scratch::new("nginx");
        let port = ports::free();
        scratch.write("nginx.conf", &std::fs::read_to_string(shipped().join("nginx.conf"))?);
        scratch.write("api.servers", &servers(api, API));
        scratch.write("gateway.servers", &servers(gateway, GATEWAY));
        let limits = match limits {
            Limits::None => String::new(),
            Limits::AsShipped => std::fs::read_to_string(shipped().join("limits.conf"))?,
        };
        scratch.write("limits.conf", &limits);
        scratch.write("listeners.conf", &listeners(scratch.path(), port));

        let nginx = Self { process: launch(scratch.path())?, scratch, port };
        nginx.listens().await;
        Ok(nginx)
    }

    async fn listens(&self) {
        let connect = async || tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await;
        eventually(Duration::from_secs(10), connect).await;
    }

    /// Ends it and its workers without a word.
    ///
    /// # Panics
    ///
    /// When one lingers.
    pub async fn kill(&mut self) {
        self.process.kill_all().await;
    }

    /// Starts it again where it was, if it does not run, and waits until it listens.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn runs(&mut self) -> anyhow::Result<()> {
        if self.process.ended().is_some() {
            self.process = launch(self.scratch.path())?;
            self.listens().await;
        }
        Ok(())
    }

    /// Freezes it and its workers, or lets them go on.
    pub fn stands_still(&mut self, still: bool) {
        self.process.signal_all(if still { Signal::Stop } else { Signal::Cont });
    }

    /// Names other pods, as an operator does: by a reload, which keeps every socket.
    pub fn reload(&mut self, api: &[u16], gateway: &[u16]) {
        self.scratch.write("api.servers", &servers(api, API));
        self.scratch.write("gateway.servers", &servers(gateway, GATEWAY));
        self.process.signal(Signal::Hup);
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Everything it has logged.
    #[must_use]
    pub fn printed(&self) -> String {
        self.process.printed()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // What stands still does not end when it is asked to.
        self.stands_still(false);
    }
}

/// Starts the program with the configuration in a folder.
fn launch(folder: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(program());
    command.args(["-e", "stderr", "-g"]).arg(format!("daemon off; pid {}/pid;", folder.display()));
    command.arg("-c").arg(folder.join("nginx.conf"));
    // The master ends its workers when it is asked to end, and leaves them behind when it is killed.
    Ok(Process::start("nginx", &mut command, &folder.join("log"))?.ending_by_request())
}

/// `listeners.conf` for a test: its port, and folders that whoever runs it may write to.
fn listeners(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {folder}/{what};\n"))
        .collect();
    format!("listen 127.0.0.1:{port} backlog=4096;\n{temporary}access_log /dev/stdout carillon;\n")
}
