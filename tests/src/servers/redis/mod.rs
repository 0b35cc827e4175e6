//! Redis: alone, behind a Sentinel, or as a cluster of three, with or without replicas.
//!
//! Every [`Redis`] is its own set of processes with its own directory, so that tests can break it without disturbing each
//! other. It is ready when its constructor returns, and gone when it is dropped.

mod cluster;
mod process;
mod sentinel;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use process::Process;
use tokio::process::Command;
use uuid::Uuid;

use self::process::eventually;

/// The name under which Sentinel watches the primary.
const SERVICE: &str = "carillon";

/// The users that the project suggests.
const USERS: &str = include_str!("../../../../deploy/redis/users.acl");

/// The password of all of them.
pub const PASSWORD: &str = "secret";

/// One or more running Redis servers. Dropping it kills them and deletes what they kept.
pub struct Redis {
    kind: Kind,
    nodes: Vec<Process>,
    // Dropped after the processes that write into it.
    _directory: Directory,
}

enum Kind {
    Standalone,
    Sentinel(Process),
    Cluster,
}

impl Redis {
    /// Starts one server.
    ///
    /// # Errors
    ///
    /// When `redis-server` is not installed or does not come up.
    pub async fn standalone() -> Result<Self> {
        let directory = Directory::new()?;
        let node = Process::start(&directory.0, "redis-server", &[]).await?;
        Ok(Self { kind: Kind::Standalone, nodes: vec![node], _directory: directory })
    }

    /// Starts a primary, a replica and one Sentinel that fails over 500 ms after the primary fell silent.
    ///
    /// # Errors
    ///
    /// When `redis-server` or `redis-sentinel` is not installed or does not come up.
    pub async fn sentinel() -> Result<Self> {
        let directory = Directory::new()?;
        let (nodes, sentinel) = sentinel::start(&directory.0).await?;
        Ok(Self { kind: Kind::Sentinel(sentinel), nodes, _directory: directory })
    }

    /// Starts three masters that share all slots.
    ///
    /// # Errors
    ///
    /// When `redis-server` is not installed or the cluster does not form.
    pub async fn cluster() -> Result<Self> {
        let directory = Directory::new()?;
        let nodes = cluster::start(&directory.0).await?;
        Ok(Self { kind: Kind::Cluster, nodes, _directory: directory })
    }

    /// Starts three masters that share all slots, and a replica of each that takes over a few seconds after its master fell silent.
    ///
    /// # Errors
    ///
    /// When `redis-server` is not installed or the cluster does not form.
    pub async fn cluster_of_pairs() -> Result<Self> {
        let directory = Directory::new()?;
        let mut nodes = cluster::start(&directory.0).await?;
        cluster::add_replicas(&directory.0, &mut nodes).await?;
        Ok(Self { kind: Kind::Cluster, nodes, _directory: directory })
    }

    /// The URL by which Carillon reaches these servers.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.kind {
            Kind::Standalone => format!("redis://127.0.0.1:{}", self.nodes[0].port()),
            Kind::Sentinel(sentinel) => {
                format!("redis-sentinel://127.0.0.1:{}/0?sentinelServiceName={SERVICE}", sentinel.port())
            }
            Kind::Cluster => {
                let [first, others @ ..] = &self.nodes[..] else { unreachable!("a cluster has nodes") };
                let others: Vec<_> = others.iter().map(|node| format!("node=127.0.0.1:{}", node.port())).collect();
                format!("redis-cluster://127.0.0.1:{}?{}", first.port(), others.join("&"))
            }
        }
    }

    /// How many servers there are; a node is a number below. Sentinels do not count.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The port of `node`.
    #[must_use]
    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port()
    }

    /// Runs a Redis command against `node` and answers what `redis-cli` prints.
    ///
    /// # Errors
    ///
    /// When the node does not answer, or answers with an error.
    pub async fn cli(&self, node: usize, command: &[&str]) -> Result<String> {
        self.nodes[node].cli(command).await
    }

    /// Lets in the users that the project suggests, as a fleet with this prefix has them: `<prefix>-api` and so on, each with
    /// [`PASSWORD`]. Whoever tests stays the user `default`.
    ///
    /// # Errors
    ///
    /// When a server does not answer, or does not understand what is suggested.
    pub async fn let_in(&self, prefix: &str) -> Result<()> {
        let of_fleet = |word: &str| match word.strip_prefix(">${") {
            Some(_) => format!(">{PASSWORD}"),
            None => word.replace("carillon-", &format!("{prefix}-")).replace("carillon:", &format!("{prefix}:")),
        };
        for user in USERS.lines().filter(|user| !user.starts_with("user default ")) {
            let user: Vec<_> = user.split(' ').skip(1).map(of_fleet).collect();
            let command: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(user.iter().map(String::as_str)).collect();
            for node in 0..self.nodes() {
                self.cli(node, &command).await?;
            }
        }
        Ok(())
    }

    /// What its servers keep under names with one of these `parts`: hashes, sets and strings as `redis-cli` prints them, each with its
    /// server and how many milliseconds it has left.
    ///
    /// # Errors
    ///
    /// When a server does not answer.
    pub async fn kept(&self, parts: &[&str]) -> Result<Vec<serde_json::Value>> {
        let mut kept = Vec::new();
        for node in self.masters().await? {
            let keys = self.cli(node, &["KEYS", "*"]).await?;
            for key in keys.lines().filter(|key| parts.iter().any(|part| key.contains(part))) {
                let read = match self.cli(node, &["TYPE", key]).await?.as_str() {
                    "hash" => "HGETALL",
                    "set" => "SMEMBERS",
                    _ => "GET",
                };
                let (value, left) = (self.cli(node, &[read, key]).await?, self.cli(node, &["PTTL", key]).await?);
                kept.push(serde_json::json!({ "port": self.port(node), "key": key, "value": value, "left": left }));
            }
        }
        Ok(kept)
    }

    /// Everything that its servers have printed since each was last started.
    #[must_use]
    pub fn printed(&self) -> String {
        self.nodes.iter().map(Process::log).collect()
    }

    /// Kills every server at once, as a power failure would.
    pub fn kill(&self) {
        self.nodes.iter().for_each(Process::kill);
    }

    /// Kills one server.
    pub fn kill_node(&self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts every killed server again at its port, without what it kept. Nodes of a cluster still know their slots.
    ///
    /// # Errors
    ///
    /// When one does not come up.
    pub async fn restart_empty(&self) -> Result<()> {
        self.nodes.iter().filter(|node| !node.is_running()).try_for_each(Process::delete_dump)?;
        self.restart().await
    }

    /// Has every server that takes writes write down what it keeps, for [`Self::set_back`].
    ///
    /// # Errors
    ///
    /// When a server does not answer.
    pub async fn save(&self) -> Result<()> {
        self.everywhere(&["SAVE"]).await
    }

    /// Kills every server and starts it again with what it has written down, once: whoever is killed later does not have it.
    ///
    /// # Errors
    ///
    /// When one does not come up.
    pub async fn set_back(&self) -> Result<()> {
        self.kill();
        self.restart().await?;
        self.nodes.iter().try_for_each(Process::delete_dump)
    }

    /// Starts every killed server again at its port, with what it has written down, if anything: a replica did when it began to follow.
    ///
    /// # Errors
    ///
    /// When one does not come up.
    pub async fn restart(&self) -> Result<()> {
        // All at once: a replica must not take the place of a master that is only the last to be started.
        futures_util::future::try_join_all(self.nodes.iter().map(Process::restart)).await?;
        match self.kind {
            Kind::Cluster => cluster::settle(&self.nodes).await,
            Kind::Standalone | Kind::Sentinel(_) => Ok(()),
        }
    }

    /// Freezes every server: connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.nodes.iter().for_each(|node| node.signal("STOP"));
    }

    /// Lets frozen servers go on.
    pub fn resume(&self) {
        self.nodes.iter().for_each(|node| node.signal("CONT"));
    }

    /// Forgets everything that is kept, on every server that takes writes.
    ///
    /// # Errors
    ///
    /// When a server does not answer.
    pub async fn flush(&self) -> Result<()> {
        self.everywhere(&["FLUSHALL"]).await
    }

    /// Closes the connections of all subscribers, as Redis does with those that read too slowly.
    ///
    /// # Errors
    ///
    /// When a server does not answer.
    pub async fn kill_subscribers(&self) -> Result<()> {
        self.everywhere(&["CLIENT", "KILL", "TYPE", "pubsub"]).await
    }

    /// Closes the connections of all who are no subscribers.
    ///
    /// # Errors
    ///
    /// When a server does not answer.
    pub async fn kill_commands(&self) -> Result<()> {
        self.everywhere(&["CLIENT", "KILL", "TYPE", "normal"]).await
    }

    /// Fills the buffers of all subscribers beyond what is allowed them, as one does who reads too slowly: each server tells them
    /// more at once than its limit, which is set back then.
    ///
    /// # Errors
    ///
    /// When a server does not answer.
    pub async fn overrun_subscribers(&self) -> Result<()> {
        const FLOOD: &str = "for _, channel in ipairs(redis.call('PUBSUB', 'SHARDCHANNELS')) do \
                             for i = 1, 8 do redis.call('SPUBLISH', channel, string.rep('x', 16384)) end end";
        for node in self.masters().await? {
            self.cli(node, &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"]).await?;
            let flooded = self.cli(node, &["EVAL", FLOOD, "0"]).await;
            self.cli(node, &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60"]).await?;
            flooded?;
        }
        Ok(())
    }

    /// Kills one of the servers that take writes, counted from 0 and around.
    ///
    /// # Errors
    ///
    /// When a server does not answer, or none takes writes.
    pub async fn kill_primary(&self, number: usize) -> Result<()> {
        let masters = self.masters().await?;
        anyhow::ensure!(!masters.is_empty(), "no server takes writes");
        self.kill_node(masters[number % masters.len()]);
        Ok(())
    }

    /// The slot of a channel to which somebody listens, counted from 0 and around. Only in a cluster.
    ///
    /// # Errors
    ///
    /// When a server does not answer, or nobody listens to anything.
    pub async fn heard_slot(&self, number: usize) -> Result<u16> {
        let mut channels = Vec::new();
        let masters = self.masters().await?;
        for node in &masters {
            let heard = self.cli(*node, &["PUBSUB", "SHARDCHANNELS"]).await?;
            channels.extend(heard.lines().map(str::to_owned));
        }
        channels.sort_unstable();
        anyhow::ensure!(!channels.is_empty(), "nobody listens to anything");
        let channel = &channels[number % channels.len()];
        Ok(self.cli(masters[0], &["CLUSTER", "KEYSLOT", channel]).await?.trim().parse()?)
    }

    /// The server that takes writes; the first of a cluster.
    ///
    /// # Errors
    ///
    /// When nobody knows.
    pub async fn primary(&self) -> Result<usize> {
        self.masters().await?.first().copied().context("no server takes writes")
    }

    /// Kills the primary and returns once its replica took over. Only behind a Sentinel.
    ///
    /// # Errors
    ///
    /// When Sentinel does not fail over.
    pub async fn fail_over(&self) -> Result<()> {
        let Kind::Sentinel(sentinel) = &self.kind else { anyhow::bail!("there is no sentinel") };
        sentinel::fail_over(&self.nodes, sentinel).await
    }

    /// Moves `slot` with its keys to another living node. Only in a cluster.
    ///
    /// # Errors
    ///
    /// When the cluster refuses.
    pub async fn move_slot(&self, slot: u16) -> Result<()> {
        anyhow::ensure!(matches!(self.kind, Kind::Cluster), "there is no cluster");
        cluster::move_slot(&self.nodes, &self.masters().await?, slot).await
    }

    /// Runs a command on every server that takes writes.
    async fn everywhere(&self, command: &[&str]) -> Result<()> {
        for node in self.masters().await? {
            self.cli(node, command).await?;
        }
        Ok(())
    }

    async fn masters(&self) -> Result<Vec<usize>> {
        let mut masters = Vec::new();
        for (node, process) in self.nodes.iter().enumerate().filter(|(_, process)| process.is_running()) {
            if process.cli(&["ROLE"]).await?.starts_with("master") {
                masters.push(node);
            }
        }
        Ok(masters)
    }
}

/// A temporary directory, deleted when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("carillon-redis-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `redis-cli` against a port; an error reply is an error.
async fn cli(port: u16, command: &[&str]) -> Result<String> {
    let port = port.to_string();
    let output =
        Command::new("redis-cli").args(["-e", "--raw", "-p", &port]).args(command).kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "redis at port {port} refused {command:?}: {text} {complaint}");
    Ok(text)
}

/// Where the program's output goes.
fn log_file(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!("{port}.log"))
}
