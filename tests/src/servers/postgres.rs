//! PostgreSQL: a cluster of its own in a temporary folder, on a free port of 127.0.0.1.
//!
//! It flushes what it commits, as a server in earnest does: only making the empty cluster skips that. PostgreSQL refuses to run
//! as root, so a test that does hands it to the user `postgres`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::ports;
use super::process::{Process, Signal};
use super::scratch::Scratch;
use crate::eventually::eventually;

/// How long starting and ending may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A PostgreSQL server; it ends when dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Mutex<Option<Process>>,
    port: u16,
    scratch: Scratch,
}

impl Postgres {
    /// Makes a cluster and starts its server. Its only user is `postgres`, a superuser without a password.
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed.
    pub async fn start() -> Result<Self> {
        let scratch = Scratch::new("postgres");
        let data = scratch.path().join("data");
        std::fs::create_dir(&data)?;
        if is_root() {
            let given = Command::new("chown").args(["-R", "postgres"]).arg(scratch.path()).status()?;
            anyhow::ensure!(given.success(), "there is no user postgres: install PostgreSQL");
        }
        let made = as_postgres("initdb")?
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()?;
        anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = Self { process: Mutex::new(None), port: ports::free(), scratch };
        server.start_again().await?;
        Ok(server)
    }

    /// Starts the server of a cluster that was ended, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn start_again(&self) -> Result<()> {
        let mut command = as_postgres("postgres")?;
        command.arg("-D").arg(self.scratch.path().join("data")).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-k", ""]);
        let process = Process::start("postgres", &mut command, &self.scratch.path().join("log"))?;
        *self.process.lock().expect("nobody panics while holding it") = Some(process);
        let url = self.url("postgres");
        eventually(PATIENCE, async || PgConnection::connect(&url).await).await.close().await?;
        Ok(())
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn database(&self) -> Result<String> {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await?;
        connection.close().await?;
        Ok(self.url(&name))
    }

    /// The id of the server's first process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.lock().expect("nobody panics while holding it").as_ref().map(Process::id)
    }

    /// Everything it has printed since it was last started, plans among it where they are asked for.
    ///
    /// # Panics
    ///
    /// Never: nobody panics while holding the lock.
    #[must_use]
    pub fn printed(&self) -> String {
        let process = self.process.lock().expect("nobody panics while holding it");
        process.as_ref().map(Process::printed).unwrap_or_default()
    }

    /// Breaks off every connection, ends the server without a checkpoint and starts it again: it recovers from its log.
    ///
    /// # Errors
    ///
    /// When it does not run, or does not come back.
    pub async fn restart_immediate(&self) -> Result<()> {
        let mut process = self.take()?;
        process.signal(Signal::Quit);
        process.ends(PATIENCE).await;
        self.start_again().await
    }

    /// Starts the server again as a standby that follows nobody, until `select pg_promote()` makes it a primary on a timeline of
    /// its own.
    ///
    /// # Errors
    ///
    /// When it does not run, or does not come back.
    pub async fn restart_as_standby(&self) -> Result<()> {
        let mut process = self.take()?;
        process.signal(Signal::Quit);
        process.ends(PATIENCE).await;
        std::fs::write(self.scratch.path().join("data/standby.signal"), "")?;
        self.start_again().await
    }

    /// Kills all its processes at once, as when the machine fails. [`Self::start_again`] brings it back.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub async fn kill_all(&self) -> Result<()> {
        let mut process = self.take()?;
        let children = children_of(process.id());
        process.kill();
        for child in &children {
            // Some end by themselves once the first is gone.
            let _ = Command::new("sh").args(["-c", &format!("kill -s KILL {child} 2>&-")]).status()?;
        }
        // What lingers holds the shared memory, and the next start would refuse.
        eventually(PATIENCE, async || match children.iter().find(|child| is_running(**child)) {
            Some(child) => Err(format!("process {child} of PostgreSQL lingers")),
            None => Ok(()),
        })
        .await;
        Ok(())
    }

    fn take(&self) -> Result<Process> {
        self.process.lock().expect("nobody panics while holding it").take().context("PostgreSQL does not run")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = self.process.get_mut().expect("nobody panics while holding it") {
            process.signal(Signal::Quit);
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

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A program of PostgreSQL, run as a user it accepts.
fn as_postgres(program: &str) -> Result<Command> {
    let path = newest(program)?;
    if !is_root() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path).current_dir("/tmp");
    Ok(command)
}

/// The program of the newest version that Debian has installed.
fn newest(program: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(version);
    Ok(newest.context("PostgreSQL is not installed")?.join("bin").join(program))
}
