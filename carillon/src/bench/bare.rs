//! A bare server: the least that can be done for a socket. What a gateway needs more than this is its own.
//!
//! It accepts, reads a request without looking at it, answers with a fixed handshake and welcome, and answers each text with
//! a fixed acknowledgement. No HTTP, no token, no feeds, no rooms. [`super::connect`] sends it the same visitors.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use super::process::Orders;

/// Where it listens.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listening {
    /// The address.
    pub address: SocketAddr,
}

const WELCOME: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x21{\"type\":\"connection_established\"}";
const ACK: &[u8] = b"\x81\x0e{\"type\":\"ack\"}";

/// Serves until told to end.
pub async fn run() -> anyhow::Result<()> {
    let ((), mut orders) = Orders::receive().await?;
    let listener = gateway::accept::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    orders.answer(&Listening { address: listener.local_addr()? })?;
    tokio::select! {
        ended = accept(listener) => ended,
        _ = orders.next() => Ok(()),
    }
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream));
    }
}

/// Answers the first thing read with the welcome, and everything after with an acknowledgement.
async fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut answer = WELCOME;
    loop {
        stream.readable().await?;
        // On the stack of the thread: an idle connection has no buffer.
        match stream.try_read(&mut [0; 2_048]) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                stream.try_write(answer)?;
                answer = ACK;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
