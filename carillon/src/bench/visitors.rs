//! Visitors: a process that opens many sockets, joins a room with each, and holds them. Its job: [`Visit`].
//!
//! It opens them as fast as the server takes them, a few at a time; what the server spends on that is measured outside.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use shared::access::{AccessSettings, Grant, sign};
use shared::channel::Role;
use shared::config::Secret;
use tokio::task::JoinSet;

use super::process::Orders;
use super::wire::Socket;

/// What visitors shall do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Visit {
    /// Where.
    pub address: SocketAddr,
    /// The secret that signs their tokens.
    pub secret: String,
    /// The number of the first one; each is a user of their own.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// How many come in at the same time.
    pub at_once: usize,
}

/// How long something took.
#[derive(Debug, Serialize, Deserialize)]
pub struct Took {
    /// In seconds.
    pub seconds: f64,
}

/// A token for one of the benchmark's users.
pub fn token(secret: &str, user: &str) -> anyhow::Result<String> {
    let access = AccessSettings { jwt_secret: Some(Secret::new(secret)), ..AccessSettings::default() };
    let ttl = Duration::from_secs(3_600);
    Ok(sign(&access, &Grant { user: user.parse()?, role: Role::Guest, name: None, ttl })?)
}

/// Opens the sockets, answers how long that took; told to go on, joins the rooms and answers again; told to end, ends.
pub async fn run() -> anyhow::Result<()> {
    let (visit, mut orders) = Orders::receive::<Visit>().await?;
    let begun = Instant::now();
    let numbers = stream::iter(visit.first..visit.first + visit.count);
    let opened = numbers.map(|number| visit.enter(number)).buffer_unordered(visit.at_once);
    let sockets: Vec<_> = opened.try_collect().await?;
    orders.answer(&Took { seconds: begun.elapsed().as_secs_f64() })?;

    if !orders.next().await {
        return Ok(());
    }
    let begun = Instant::now();
    let joined = stream::iter(sockets.into_iter().enumerate()).map(|(index, mut socket)| async move {
        socket.join(&format!("tour_bench-{}", visit.first + index)).await?;
        anyhow::Ok(socket)
    });
    let sockets: Vec<_> = joined.buffer_unordered(visit.at_once).try_collect().await?;
    let mut held: JoinSet<_> = sockets.into_iter().map(hold).collect();
    orders.answer(&Took { seconds: begun.elapsed().as_secs_f64() })?;
    tokio::select! {
        _ = orders.next() => Ok(()),
        Some(lost) = held.join_next() => anyhow::bail!("a socket did not hold: {}", lost?),
    }
}

impl Visit {
    async fn enter(&self, number: usize) -> anyhow::Result<Socket> {
        let token = token(&self.secret, &format!("bench-{number}"))?;
        Socket::welcomed(self.address, &token).await
    }
}

/// Keeps a socket open as a client in earnest does, until it ends.
async fn hold(mut socket: Socket) -> std::io::Error {
    loop {
        if let Err(error) = socket.hear(|_| {}).await {
            return error;
        }
    }
}
