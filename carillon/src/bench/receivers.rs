//! Receivers: a process that takes what a bare loop of writes sends. Its job: [`Receive`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::process::Orders;
use super::wire::Socket;

/// What receivers shall do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receive {
    /// Where to connect.
    pub address: SocketAddr,
    /// With how many sockets.
    pub count: usize,
    /// After how many frames, over all sockets, to say that a round is over.
    pub round: usize,
}

/// Connects, and answers `null` each time a round of frames has come, until told to end.
pub async fn run() -> anyhow::Result<()> {
    let (job, mut orders) = Orders::receive::<Receive>().await?;
    let (rounds, mut over) = tokio::sync::mpsc::unbounded_channel();
    let heard = Arc::new(AtomicUsize::new(0));
    let mut sockets = JoinSet::new();
    for _ in 0..job.count {
        let mut socket = Socket::connect(job.address).await?;
        let (heard, rounds) = (Arc::clone(&heard), rounds.clone());
        sockets.spawn(async move {
            loop {
                let mut frames = 0;
                if socket.hear(|_| frames += 1).await.is_err() {
                    return;
                }
                let before = heard.fetch_add(frames, Ordering::Relaxed);
                if (before + frames) / job.round > before / job.round {
                    let _ = rounds.send(());
                }
            }
        });
    }
    loop {
        tokio::select! {
            _ = orders.next() => return Ok(()),
            Some(()) = over.recv() => orders.answer(&())?,
        }
    }
}
