//! A process that a test owns: started, signalled and ended by its id, with its output in a file.
//!
//! Dropping one ends it and waits until it is gone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::clock;
use crate::eventually::eventually;

/// How long a process that was asked to end may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one that was killed may linger, on a machine that does much else.
const GONE: Duration = Duration::from_secs(30);

/// What a process can be told. Named as `kill -s` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Please end.
    Term,
    /// End now, without a word.
    Kill,
    /// Freeze.
    Stop,
    /// Go on.
    Cont,
    /// Read your configuration again.
    Hup,
    /// End at once; PostgreSQL then starts again from its log.
    Quit,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
            Self::Hup => "HUP",
            Self::Quit => "QUIT",
        }
    }
}

/// Has the shell do something.
///
/// # Errors
///
/// When that fails, with what it said.
pub(super) fn shell(order: &str) -> anyhow::Result<()> {
    let output = Command::new("sh").args(["-c", order]).output().context("there is no shell")?;
    anyhow::ensure!(output.status.success(), "{order}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ends_by: Signal,
}

impl Process {
    /// Starts `command`. What it prints is appended to `log`.
    ///
    /// # Errors
    ///
    /// When the program cannot be started; usually it is not installed.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{name} cannot be started: is it installed?"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), ends_by: Signal::Kill })
    }

    /// Makes dropping it a request to end, for a process that has children of its own to end.
    #[must_use]
    pub fn ending_by_request(mut self) -> Self {
        self.ends_by = Signal::Term;
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal. One that has ended hears nothing.
    pub fn signal(&mut self, signal: Signal) {
        // Once waited for, the id may be somebody else's.
        if self.ended().is_none() {
            // The shell's own `kill`: on a bare machine there may be no other. One that is just ending hears nothing.
            let _ = shell(&format!("kill -s {} {}", signal.name(), self.child.id()));
        }
    }

    /// Sends it and the processes that it started a signal.
    pub fn signal_all(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let ids: Vec<_> = children_of(self.id()).into_iter().chain([self.id()]).map(|id| id.to_string()).collect();
            let _ = shell(&format!("kill -s {} {}", signal.name(), ids.join(" ")));
        }
    }

    /// Ends it and the processes that it started without a word, and waits until all of them are gone.
    ///
    /// # Panics
    ///
    /// When one lingers.
    pub async fn kill_all(&mut self) {
        let children = children_of(self.id());
        self.kill();
        for child in &children {
            // Some end by themselves once the first is gone.
            let _ = shell(&format!("kill -s KILL {child}"));
        }
        let name = &self.name;
        eventually(GONE, async || match children.iter().find(|child| is_running(**child)) {
            Some(child) => Err(format!("process {child} of {name} lingers")),
            None => Ok(()),
        })
        .await;
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    ///
    /// When it has not within `deadline`.
    pub async fn ends(&mut self, deadline: Duration) -> ExitStatus {
        let Self { name, child, .. } = self;
        let has_ended =
            async || child.try_wait().expect("the child is ours").ok_or_else(|| format!("{name} has not ended"));
        eventually(deadline, has_ended).await
    }

    /// Ends it without a word, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Everything it has printed.
    #[must_use]
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.ends_by);
        let begun = Instant::now();
        while self.ended().is_none() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        clock::forget(self.id());
        if std::thread::panicking() {
            let printed = self.printed();
            let lines: Vec<&str> = printed.lines().collect();
            eprintln!(
                "--- the last lines of {} ---\n{}",
                self.name,
                lines[lines.len().saturating_sub(12)..].join("\n")
            );
        }
    }
}

/// The processes that a process started.
fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|(_, of)| of == parent)).collect()
}

fn is_running(id: u32) -> bool {
    stat(id).is_some_and(|(state, _)| state != "Z")
}

/// State and parent of a process, as `/proc/<id>/stat` has them after the name in parentheses.
fn stat(id: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
