//! A server that speaks S3, with one empty bucket: moto, which `make servers` installs below `target/servers`.
//!
//! It keeps everything in memory, and does not check signatures.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::ports;
use super::process::Process;
use super::scratch::Scratch;
use crate::eventually::eventually;

/// How long starting may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the bucket is called.
pub const BUCKET: &str = "attachments";

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    _process: Process,
    _scratch: Scratch,
}

impl S3 {
    /// Starts a server and makes its bucket.
    ///
    /// # Errors
    ///
    /// When it is not installed.
    pub async fn start() -> Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/servers/moto/bin/moto_server");
        let (scratch, port) = (Scratch::new("s3"), ports::free());
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = Process::start("moto (`make servers` installs it)", &mut command, &scratch.path().join("log"))?;
        let server = Self { port, _process: process, _scratch: scratch };
        let (http, url) = (reqwest::Client::new(), format!("{}/{BUCKET}", server.endpoint()));
        eventually(PATIENCE, async || http.put(&url).send().await?.error_for_status()).await;
        Ok(server)
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
