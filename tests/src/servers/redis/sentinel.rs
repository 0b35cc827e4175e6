//! A primary and a replica, watched by one Sentinel.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Process, SERVICE, eventually};

/// Starts the servers and waits until the Sentinel could fail over.
pub(super) async fn start(directory: &Path) -> Result<(Vec<Process>, Process)> {
    let primary = server(directory, "primary.conf", "").await?;
    let port = primary.port().to_string();
    let replica = server(directory, "replica.conf", &format!("replicaof 127.0.0.1 {port}\n")).await?;
    let (watched, replica_port) = (&replica, replica.port().to_string());
    eventually("replication", || async move {
        watched.cli(&["INFO", "replication"]).await.is_ok_and(|info| info.contains("master_link_status:up"))
    })
    .await?;

    let configuration = directory.join("sentinel.conf");
    std::fs::write(
        &configuration,
        format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 3000\n"
        ),
    )?;
    let sentinel = Process::start(directory, "redis-sentinel", &[&configuration.to_string_lossy()]).await?;
    let (watching, replica_port) = (&sentinel, &replica_port);
    eventually("the replica's discovery", || async move {
        let replicas = watching.cli(&["SENTINEL", "REPLICAS", SERVICE]).await;
        replicas.is_ok_and(|text| text.contains(replica_port) && text.contains("master-link-status\nok"))
    })
    .await?;
    Ok((vec![primary, replica], sentinel))
}

/// Starts a server. Sentinel has each write down whom it follows, so that one that was killed knows it when it comes back.
async fn server(directory: &Path, file: &str, follows: &str) -> Result<Process> {
    let configuration = directory.join(file);
    std::fs::write(&configuration, format!("repl-diskless-sync-delay 0\n{follows}"))?;
    Process::start(directory, "redis-server", &[&configuration.to_string_lossy()]).await
}

/// Kills the primary and waits until another server took its place.
pub(super) async fn fail_over(nodes: &[Process], sentinel: &Process) -> Result<()> {
    let old = primary(nodes, sentinel).await.context("the sentinel knows no primary")?;
    nodes[old].kill();
    eventually("the failover", || async move {
        match primary(nodes, sentinel).await {
            Some(new) if new != old => nodes[new].cli(&["ROLE"]).await.is_ok_and(|role| role.starts_with("master")),
            _ => false,
        }
    })
    .await
}

/// The primary in the Sentinel's eyes.
async fn primary(nodes: &[Process], sentinel: &Process) -> Option<usize> {
    let address = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).await.ok()?;
    let port: u16 = address.lines().nth(1)?.parse().ok()?;
    nodes.iter().position(|node| node.port() == port)
}
