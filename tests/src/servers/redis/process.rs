//! One redis process: started on a free port, killed when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;
use uuid::Uuid;

use super::{cli, log_file};

/// How long a server may take for anything a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running or killed process that knows how to start again.
pub(super) struct Process {
    program: String,
    port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Starts `program` on a free port with `arguments` and waits until it answers. `{bus}` in an argument becomes a second free port.
    pub(super) async fn start(directory: &Path, program: &str, arguments: &[&str]) -> Result<Self> {
        let mut failure = None;
        // Between the check and the start another process may take the port: then try another one.
        for _ in 0..10 {
            let (port, bus) = (free_port(), free_port().to_string());
            let process = Self {
                program: program.to_owned(),
                port,
                directory: directory.to_owned(),
                arguments: arguments.iter().map(|argument| argument.replace("{bus}", &bus)).collect(),
                child: Mutex::default(),
            };
            match process.restart().await {
                Ok(()) => return Ok(process),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.expect("ten attempts failed").context(format!("{program} does not start")))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) async fn cli(&self, command: &[&str]) -> Result<String> {
        cli(self.port, command).await
    }

    /// Starts the process again at its port, if it is not running, and waits until it answers.
    pub(super) async fn restart(&self) -> Result<()> {
        if !self.is_running() {
            let child = self.spawn()?;
            *self.child.lock().expect("no holder panics") = Some(child);
        }
        let deadline = Instant::now() + DEADLINE;
        while self.cli(&["PING"]).await.ok().as_deref() != Some("PONG") {
            anyhow::ensure!(self.is_running(), "port {}: {}", self.port, self.log());
            anyhow::ensure!(Instant::now() < deadline, "port {} does not answer: {}", self.port, self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Child> {
        let log = std::fs::File::create(log_file(&self.directory, self.port))?;
        let (port, dump) = (self.port.to_string(), self.dump_file());
        let keeping = ["--save", "", "--dbfilename", &dump];
        Command::new(&self.program)
            .args(&self.arguments)
            .args(["--port", &port, "--bind", "127.0.0.1"])
            .args(if self.program == "redis-server" { &keeping[..] } else { &[] })
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}: install Debian's redis-server and redis-sentinel", self.program))
    }

    /// The file in which it writes down what it keeps.
    fn dump_file(&self) -> String {
        format!("{}.rdb", self.port)
    }

    /// Deletes what it has written down.
    pub(super) fn delete_dump(&self) -> Result<()> {
        match std::fs::remove_file(self.directory.join(self.dump_file())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether the process lives.
    pub(super) fn is_running(&self) -> bool {
        let mut child = self.child.lock().expect("no holder panics");
        child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(super) fn kill(&self) {
        if let Some(mut child) = self.child.lock().expect("no holder panics").take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(super) fn signal(&self, signal: &str) {
        if let Some(child) = self.child.lock().expect("no holder panics").as_ref() {
            let _ = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(log_file(&self.directory, self.port)).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port below the ephemeral range that nobody listens on at present.
fn free_port() -> u16 {
    loop {
        let port = 15_000 + (Uuid::new_v4().as_u128() % 17_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until `fact` holds. Fails after the deadline, naming `what` was waited for.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, fact: impl Fn() -> F) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !fact().await {
        anyhow::ensure!(Instant::now() < deadline, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
