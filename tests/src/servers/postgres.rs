//! PostgreSQL: a cluster of its own in a temporary folder, on a free port of 127.0.0.1.
//!
//! It flushes what it commits, as a server in earnest does: only making the empty cluster skips that. PostgreSQL refuses to run
//! as root, so a test that does hands it to the user `postgres`. Whoever may mount can give its log a disk that is soon full.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::ports;
use super::process::{Process, Signal, shell};
use super::scratch::Scratch;

/// How long starting and ending may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The disk for the log of a small server, in MiB.
const LITTLE: usize = 384;

/// A PostgreSQL server; it ends when dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Mutex<Option<Process>>,
    port: u16,
    connections: usize,
    /// The disk of its log, if that is one of its own. It is gone before the folder.
    log_disk: Result<Disk>,
    scratch: Scratch,
}

/// A disk in memory; it is gone when dropped.
#[derive(Debug)]
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf) -> Result<Self> {
        std::fs::create_dir(&path)?;
        shell(&format!("mount -t tmpfs -o size={LITTLE}m carillon {}", path.display()))?;
        let disk = Self(path);
        shell(&format!("chown postgres {}", disk.0.display()))?;
        Ok(disk)
    }

    /// What takes all the room there is.
    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = shell(&format!("umount -l {}", self.0.display()));
    }
}

impl Postgres {
    /// Makes a cluster and starts its server. Its only user is `postgres`, a superuser without a password.
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed.
    pub async fn start() -> Result<Self> {
        Self::make(300, |_| Err(anyhow::anyhow!("its log has no disk of its own"))).await
    }

    /// Starts one that takes a hundred connections only. Its log lies on a disk of its own that is soon full, where whoever runs this may
    /// mount one.
    ///
    /// # Errors
    ///
    /// When PostgreSQL is not installed.
    pub async fn start_small() -> Result<Self> {
        Self::make(100, Disk::mount).await
    }

    async fn make(connections: usize, log_disk: impl FnOnce(PathBuf) -> Result<Disk>) -> Result<Self> {
        let scratch = Scratch::new("postgres");
        let data = scratch.path().join("data");
        std::fs::create_dir(&data)?;
        if is_root() {
            let given = Command::new("chown").args(["-R", "postgres"]).arg(scratch.path()).status()?;
            anyhow::ensure!(given.success(), "there is no user postgres: install PostgreSQL");
        }
        let log_disk = log_disk(scratch.path().join("disk"));
        let mut initdb = as_postgres("initdb")?;
        if let Ok(disk) = &log_disk {
            // A folder within: the log does not lie at the root of a disk.
            initdb.arg("--waldir").arg(disk.0.join("log")).arg("--wal-segsize=1");
        }
        let made = initdb
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()?;
        anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = Self { process: Mutex::new(None), port: ports::free(), connections, log_disk, scratch };
        server.start_again().await?;
        Ok(server)
    }

    /// How many connections it takes.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.connections
    }

    /// Takes all the room that is left for its log.
    ///
    /// # Errors
    ///
    /// When its log has no disk of its own, because nobody may mount one here.
    pub fn fill_disk(&self) -> Result<()> {
        let disk = self.log_disk.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let mut filler = std::fs::File::create(disk.filler())?;
        let full = std::io::copy(&mut std::io::repeat(0), &mut filler);
        anyhow::ensure!(full.is_err(), "the disk has no end");
        Ok(())
    }

    /// Gives the room back.
    pub fn empty_disk(&self) {
        if let Ok(disk) = &self.log_disk {
            let _ = std::fs::remove_file(disk.filler());
        }
    }

    /// Starts the server of a cluster that was ended, and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub async fn start_again(&self) -> Result<()> {
        let mut command = as_postgres("postgres")?;
        command.arg("-D").arg(self.scratch.path().join("data")).args(["-p", &self.port.to_string()]);
        command.args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            // In its folder, so that one that is killed leaves nothing behind elsewhere.
            "dynamic_shared_memory_type=mmap",
            "-c",
            &format!("max_connections={}", self.connections),
            "-k",
            "",
        ]);
        if self.log_disk.is_ok() {
            command.args(["-c", "min_wal_size=2MB", "-c", "max_wal_size=256MB"]);
        }
        let process = Process::start("postgres", &mut command, &self.scratch.path().join("log"))?;
        *self.process.lock().expect("nobody panics while holding it") = Some(process);
        let (url, begun) = (self.url("postgres"), Instant::now());
        loop {
            match PgConnection::connect(&url).await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(_) if self.is_running() && begun.elapsed() < PATIENCE => {}
                Err(error) => return Err(error).context("PostgreSQL does not start"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
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

    /// Whether its first process runs.
    ///
    /// # Panics
    ///
    /// Never: nobody panics while holding the lock.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut process = self.process.lock().expect("nobody panics while holding it");
        process.as_mut().is_some_and(|process| process.ended().is_none())
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
        // What lingers holds the shared memory, and the next start would refuse.
        self.take()?.kill_all().await;
        Ok(())
    }

    /// Freezes all of its processes, or lets them go on.
    pub fn stands_still(&self, still: bool) {
        let signal = if still { Signal::Stop } else { Signal::Cont };
        let mut process = self.process.lock().expect("nobody panics while holding it");
        process.as_mut().into_iter().for_each(|process| process.signal_all(signal));
    }

    /// Makes a copy of everything it keeps, in a folder of its own, while it runs.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn copy(&self) -> Result<()> {
        let copied = as_postgres("pg_basebackup")?
            .args(["--host=127.0.0.1", "--username=postgres", "--checkpoint=fast", "--no-sync", "--port"])
            .arg(self.port.to_string())
            .arg("--pgdata")
            .arg(self.scratch.path().join("copy"))
            .output()?;
        anyhow::ensure!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        Ok(())
    }

    /// Ends the server and puts the copy in the place of what it keeps: it begins again where it was when that was made.
    ///
    /// # Errors
    ///
    /// When there is no copy, or the server does not come back.
    pub async fn restore(&self) -> Result<()> {
        self.kill_all().await?;
        let folder = self.scratch.path();
        std::fs::rename(folder.join("data"), folder.join("lost"))?;
        std::fs::rename(folder.join("copy"), folder.join("data"))?;
        self.start_again().await
    }

    /// Kills one process that serves a connection: the server then ends all others, and recovers from its log.
    ///
    /// # Errors
    ///
    /// When there is none, or the server does not answer.
    pub async fn kill_backend(&self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        let one = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1";
        let one: i32 = sqlx::query_scalar(one).fetch_one(&mut connection).await?;
        shell(&format!("kill -s KILL {one}"))
    }

    fn take(&self) -> Result<Process> {
        // What stands still does not end when it is asked to.
        self.stands_still(false);
        self.process.lock().expect("nobody panics while holding it").take().context("PostgreSQL does not run")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = self.process.get_mut().expect("nobody panics while holding it") {
            process.signal_all(Signal::Cont);
            process.signal(Signal::Quit);
        }
    }
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
