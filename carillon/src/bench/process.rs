//! Processes: what they have used, and those that the benchmark starts.
//!
//! What is measured and what measures it never share a process, so that a figure is the server's alone.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

/// Ticks of `/proc/<pid>/stat` in a second: fixed by Linux for everything outside the kernel.
const TICKS: f64 = 100.0;

/// What a process has used so far, read from `/proc`.
#[derive(Debug, Clone, Copy)]
pub struct Usage(u32);

impl Usage {
    /// Of the process with this id.
    pub const fn of(pid: u32) -> Self {
        Self(pid)
    }

    /// Of this process.
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// CPU seconds of all its threads, in user space and in the kernel, to a hundredth.
    pub fn cpu(self) -> anyhow::Result<f64> {
        let stat = self.read("stat")?;
        // The name in parentheses may contain anything, so counting starts after it.
        let (_, fields) = stat.rsplit_once(')').context("/proc speaks another language")?;
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / TICKS)
    }

    /// Its proportional share of memory (Pss), in bytes.
    pub fn memory(self) -> anyhow::Result<f64> {
        let rollup = self.read("smaps_rollup")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup has no Pss")?;
        let kibibytes = line.split_whitespace().next().and_then(|field| field.parse::<f64>().ok());
        Ok(kibibytes.context("smaps_rollup has no Pss")? * 1_024.0)
    }

    fn read(self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read: this needs Linux"))
    }
}

/// Fails unless a process may have so many open files, and the machine so many ports.
pub fn may_open(files: usize) -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").context("/proc/self/limits cannot be read")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let limit = line.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(usize::MAX);
    ensure!(limit >= files, "{files} open files are needed and {limit} allowed: run `ulimit -n {files}` first");
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<usize>().ok());
    if let (Some(low), Some(high)) = (ends.next(), ends.next()) {
        let ports = (high + 1).saturating_sub(low);
        ensure!(ports >= files, "{files} ports are needed and {ports} there: set net.ipv4.ip_local_port_range to more");
    }
    Ok(())
}

/// A part of the benchmark in a process of its own: this program again. It is told what to do, and answers, in lines of JSON.
/// It ends when dropped.
pub struct Helper {
    name: &'static str,
    child: Child,
    told: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    /// Starts `carillon bench <name>` and hands it `job`.
    pub async fn start(name: &'static str, job: &impl Serialize) -> anyhow::Result<Self> {
        let mut command = Command::new(program()?);
        command.args(["bench", name]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("bench {name} cannot be started"))?;
        let told = child.stdin.take().context("a pipe")?;
        let said = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let mut helper = Self { name, child, told, said };
        helper.tell(&serde_json::to_string(job)?).await?;
        Ok(helper)
    }

    /// What it uses.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Ok(Usage::of(self.child.id().context("it has ended")?))
    }

    /// Tells it a line.
    pub async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        self.told
            .write_all(format!("{line}\n").as_bytes())
            .await
            .with_context(|| format!("bench {} is gone", self.name))
    }

    /// Waits for its next line.
    pub async fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> anyhow::Result<T> {
        let line = tokio::time::timeout(patience, self.said.next_line()).await;
        let line = line.with_context(|| format!("bench {} said nothing for {patience:?}", self.name))??;
        Ok(serde_json::from_str(&line.with_context(|| format!("bench {} failed", self.name))?)?)
    }
}

/// The other end of a [`Helper`]: what it is told, and its answers.
pub struct Orders(mpsc::UnboundedReceiver<String>);

impl Orders {
    /// Reads the job.
    pub async fn receive<T: DeserializeOwned>() -> anyhow::Result<(T, Self)> {
        let (told, lines) = mpsc::unbounded_channel();
        // Waits for lines until the process ends, which nothing else should wait for.
        std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut orders = Self(lines);
        let job = orders.0.recv().await.context("carillon bench starts this by itself")?;
        Ok((serde_json::from_str(&job)?, orders))
    }

    /// Waits for the next line; false when there will be none.
    pub async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }

    /// Answers.
    pub fn answer(&self, what: &impl Serialize) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string(what)?);
        Ok(())
    }
}

/// This program.
pub fn program() -> anyhow::Result<std::path::PathBuf> {
    // Through /proc the same program is started even after a build has replaced the file.
    std::env::current_exe()
        .context("this program has no path")
        .map(|path| if path.exists() { path } else { Path::new("/proc/self/exe").to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_is_read_from_proc() {
        let usage = Usage::own();
        assert!(usage.cpu().expect("a figure") < 3_600.0);
        assert!(usage.memory().expect("a figure") > 100_000.0);
        assert!(may_open(1).is_ok() && may_open(usize::MAX - 1).is_err());
    }
}
