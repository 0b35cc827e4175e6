//! Pods: processes of the program that is built, one role each.
//!
//! `CARILLON_BIN` names the program; without it `cargo` builds it, once for all tests of a process. A pod keeps its port and
//! its log file through restarts, as a pod behind a stable name does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;

use super::clock::Clock;
use super::ports;
use super::process::{Process, Signal};
use crate::eventually::eventually;

/// How long a pod may take to be ready, on a machine that does much else.
const START: Duration = Duration::from_secs(30);

/// The path of the program.
///
/// # Panics
///
/// When it has to be built and cannot.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("CARILLON_BIN") {
        Some(path) => path.into(),
        None => build().expect("the program can be built"),
    })
}

fn build() -> anyhow::Result<PathBuf> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--package", "carillon", "--bin", "carillon", "--message-format", "json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "cargo build failed");
    let lines = String::from_utf8(output.stdout)?;
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next().context("cargo built no executable")
}

/// What a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Keeps what is said.
    Api,
    /// Holds the sockets.
    Gateway,
    /// Beats the heads, and does what need not be done at once.
    Worker,
    /// All of it, in one process.
    All,
}

impl Role {
    /// What the program is told to be that.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Api => &["api"],
            Self::Gateway => &["gateway"],
            Self::Worker => &["worker"],
            Self::All => &[],
        }
    }
}

/// The environment of a process: names and values.
pub type Environment = Vec<(String, String)>;

/// One pod, running or not.
#[derive(Debug)]
pub struct Pod {
    role: Role,
    name: String,
    port: u16,
    environment: Environment,
    log: PathBuf,
    clock: Option<Clock>,
    process: Option<Process>,
}

impl Pod {
    /// A pod that is not started yet. It will listen on a free port of 127.0.0.1 and log into `folder`.
    #[must_use]
    pub fn new(role: Role, number: usize, mut environment: Environment, folder: &Path) -> Self {
        let name = format!("{}-{number}", role.arguments().first().unwrap_or(&"all"));
        let port = ports::free();
        environment.push(("CARILLON_LISTEN".to_owned(), format!("127.0.0.1:{port}")));
        let log = folder.join(format!("{name}.log"));
        Self { role, name, port, environment, log, clock: None, process: None }
    }

    /// Gives it a clock of its own, from its next start on.
    ///
    /// # Errors
    ///
    /// When clocks cannot be set here.
    pub fn takes_clock(&mut self, folder: &Path) -> anyhow::Result<()> {
        let clock = Clock::new(&self.name, folder)?;
        self.environment.extend(clock.environment());
        self.clock = Some(clock);
        Ok(())
    }

    /// Its clock.
    ///
    /// # Errors
    ///
    /// When it goes by the machine's.
    pub fn clock(&self) -> anyhow::Result<&Clock> {
        self.clock.as_ref().with_context(|| format!("{} has no clock of its own", self.name))
    }

    /// What it is called: `gateway-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The id of its process, if it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Starts it, without waiting until it is ready.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    pub fn start(&mut self) {
        let mut command = command(self.role.arguments(), &self.environment);
        let process = Process::start(&self.name, &mut command, &self.log).expect("the program can be started");
        self.process = Some(process);
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    ///
    /// When it ends instead, or is not ready in time.
    pub async fn is_ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.port);
        let http = reqwest::Client::new();
        eventually(START, async || {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                panic!("{} ended with {status} instead of being ready:\n{}", self.name, self.printed());
            }
            let asked = http.get(&url).timeout(Duration::from_secs(2)).send().await;
            let answer = asked.map_err(|error| format!("{} is not ready: {error}", self.name))?;
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            if status.is_success() { Ok(()) } else { Err(format!("{} is not ready: {status} {text}", self.name)) }
        })
        .await;
    }

    /// Whether it says that it is ready.
    pub async fn ready(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/readyz", self.port);
        reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success())
    }

    /// What it has counted or measures under a name of `/metrics`, labels included; 0 if there is nothing of that name yet.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub async fn measures(&self, name: &str) -> f64 {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port)).await.expect("an answer");
        let page = answer.text().await.expect("a page");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Ends it without a word, as a machine that loses power does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Tells it something else from its next start on; nothing of that name if there is no value.
    pub fn will_be_told(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Whether it has ended by itself, since it was started last.
    pub fn has_died(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_some())
    }

    /// Starts it, if it does not run.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    pub fn runs(&mut self) {
        if self.process.as_mut().is_none_or(|process| process.ended().is_some()) {
            self.start();
        }
    }

    /// Asks it to end, and ends it without a word if that takes longer than `grace`, as Kubernetes does.
    pub async fn stop_in_time(&mut self, grace: Duration) {
        let Some(mut process) = self.process.take() else { return };
        process.signal(Signal::Term);
        let begun = std::time::Instant::now();
        while process.ended().is_none() && begun.elapsed() < grace {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    ///
    /// When it takes longer than `grace`, or ends with a failure.
    pub async fn stop(&mut self, grace: Duration) {
        let Some(mut process) = self.process.take() else { return };
        process.signal(Signal::Term);
        let status = process.ends(grace).await;
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Tells the running process something: [`Signal::Stop`] freezes it, [`Signal::Cont`] lets it go on.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// Everything it has printed, in all its lives.
    #[must_use]
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// The program with its arguments and nothing of the test's own environment that could change what it does.
fn command(arguments: &[&str], environment: &Environment) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).env_clear();
    for kept in ["PATH", "HOME", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Runs a tool of the program to its end, and returns what it printed.
///
/// # Errors
///
/// When it fails, with everything it said.
pub fn run(arguments: &[&str], environment: &Environment) -> anyhow::Result<String> {
    let output = command(arguments, environment).output()?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    anyhow::ensure!(output.status.success(), "carillon {}: {}\n{said}{complained}", arguments.join(" "), output.status);
    Ok(said.into_owned())
}
