//! Three masters that share the 16,384 slots, each with a replica or without.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Process, eventually};

/// The first and the last slot of each node.
const RANGES: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];

/// Starts the nodes, makes them meet, and waits until each of them sees a whole cluster.
pub(super) async fn start(directory: &Path) -> Result<Vec<Process>> {
    let mut nodes = Vec::new();
    for (index, (first, last)) in RANGES.into_iter().enumerate() {
        let node = node(directory, index).await?;
        node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await?;
        node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
        nodes.push(node);
    }
    for node in &nodes[1..] {
        meet(&nodes[0], node).await?;
    }
    settle(&nodes).await?;
    Ok(nodes)
}

/// Starts a replica of each master, and waits until each follows.
pub(super) async fn add_replicas(directory: &Path, nodes: &mut Vec<Process>) -> Result<()> {
    let masters = nodes.len();
    for index in masters..2 * masters {
        let replica = node(directory, index).await?;
        meet(&nodes[0], &replica).await?;
        nodes.push(replica);
    }
    settle(nodes).await?;
    for index in 0..masters {
        let (master, replica) = (nodes[index].cli(&["CLUSTER", "MYID"]).await?, &nodes[masters + index]);
        replica.cli(&["CLUSTER", "REPLICATE", &master]).await?;
        eventually("replication", || async move {
            replica.cli(&["INFO", "replication"]).await.is_ok_and(|info| info.contains("master_link_status:up"))
        })
        .await?;
    }
    Ok(())
}

/// Starts a node that knows nobody.
async fn node(directory: &Path, index: usize) -> Result<Process> {
    let nodes_file = format!("nodes-{index}.conf");
    let knows = ["--cluster-enabled", "yes", "--cluster-config-file", &nodes_file, "--cluster-port", "{bus}"];
    let waits = ["--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"];
    Process::start(directory, "redis-server", &[&knows[..], &waits].concat()).await
}

/// Makes a node known to another one.
async fn meet(first: &Process, node: &Process) -> Result<()> {
    let myself = node.cli(&["CLUSTER", "NODES"]).await?;
    // `<id> <ip>:<port>@<bus> myself,master …`
    let bus = myself.split(['@', ' ']).nth(2).context("a node without a bus port")?;
    first.cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), bus]).await?;
    Ok(())
}

/// Waits until every node sees all nodes and an owner of every slot.
pub(super) async fn settle(nodes: &[Process]) -> Result<()> {
    for node in nodes {
        eventually("a whole cluster", || async move {
            let info = node.cli(&["CLUSTER", "INFO"]).await.unwrap_or_default();
            info.contains("cluster_state:ok")
                && info.contains("cluster_slots_ok:16384")
                && info.contains(&format!("cluster_known_nodes:{}", nodes.len()))
        })
        .await?;
    }
    Ok(())
}

/// Moves `slot` with its keys from the node that has it to the next of those masters.
pub(super) async fn move_slot(nodes: &[Process], masters: &[usize], slot: u16) -> Result<()> {
    let from = owner(nodes, masters, slot).await?;
    let next = masters.iter().cycle().skip_while(|node| **node != from).nth(1);
    let to = *next.context("nobody to move it to")?;
    let (source, target) = (&nodes[from], &nodes[to]);
    let slot = slot.to_string();
    let (source_id, target_id) = (source.cli(&["CLUSTER", "MYID"]).await?, target.cli(&["CLUSTER", "MYID"]).await?);

    target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await?;
    source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await?;
    loop {
        let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await?;
        if keys.is_empty() {
            break;
        }
        let port = target.port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.lines());
        source.cli(&migrate).await?;
    }
    // The new owner first, so that at no time nobody has the slot.
    let others = masters.iter().copied().filter(|node| *node != to && *node != from);
    for node in [to, from].into_iter().chain(others) {
        nodes[node].cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await?;
    }
    Ok(())
}

/// Which node has `slot`.
async fn owner(nodes: &[Process], masters: &[usize], slot: u16) -> Result<usize> {
    for &index in masters {
        let all = nodes[index].cli(&["CLUSTER", "NODES"]).await?;
        let myself = all.lines().find(|line| line.contains("myself")).context("a node that does not know itself")?;
        // Slots follow the eight fields of a node: `7`, `0-5460`, or `[7->-…]` while one moves.
        let owns = myself.split(' ').skip(8).filter(|range| !range.starts_with('[')).any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
            bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
        });
        if owns {
            return Ok(index);
        }
    }
    anyhow::bail!("slot {slot} has no owner")
}
