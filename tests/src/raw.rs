//! A client that keeps to nothing: requests and frames byte by byte, of any shape.
//!
//! For what no library of the right kind would send. It masks with the key of the RFC's example.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The last piece of a message, or all of it.
pub const FIN: u8 = 0x80;
/// Another piece of a message.
pub const MORE: u8 = 0;
/// A message of text, or its first piece.
pub const TEXT: u8 = 1;
/// A message of bytes, or its first piece.
pub const BINARY: u8 = 2;
/// A close.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// The example of RFC 6455, section 5.7.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A frame as a client sends it: `first` is [`FIN`], the reserved bits and the opcode, all in one.
#[must_use]
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a frame whose payload is yet to come, or never will.
#[must_use]
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(0x80 | length as u8),
        126..0x1_0000 => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// A whole message of text.
#[must_use]
pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | TEXT, text)
}

/// A close with a code.
#[must_use]
pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    frame(FIN | CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A text frame: its `type`, and then its `ref`, or else the code of the error it is.
    Says(String),
    /// A ping.
    Ping,
    /// A pong with this payload.
    Pong(Vec<u8>),
    /// A close, with its code if it has one.
    Close(Option<u16>),
    /// Nothing more will come.
    Ended,
}

/// One connection, nothing of which is done by a library.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects to a port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When nothing listens there.
    pub async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a TCP stream");
        Self { stream, read: Vec::new() }
    }

    /// Opens a socket and waits for the welcome.
    ///
    /// # Panics
    ///
    /// When it is not let in.
    pub async fn opens(port: u16, token: &str) -> Self {
        let mut raw = Self::connect(port).await;
        raw.sends(upgrade(&format!("/api/v1/ws?token={token}"), "")).await;
        let answer = raw.answer().await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert_eq!(raw.hears().await, Heard::Says("connection_established".into()));
        raw
    }

    /// Sends bytes. Whoever is told to go away may be gone before all of it is sent.
    pub async fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends bytes; false when nobody takes them any more.
    ///
    /// # Panics
    ///
    /// When they are neither taken nor refused.
    pub async fn can_send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("taken or refused").is_ok()
    }

    /// Sends nothing more.
    pub async fn falls_silent(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The answer to a request, without its body. Empty when the connection was closed instead.
    pub async fn answer(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.read.drain(..end + 4).collect::<Vec<_>>();
                return String::from_utf8_lossy(&head).into_owned();
            }
            if !self.reads().await {
                return String::new();
            }
        }
    }

    /// Everything that comes until the other side ends the connection.
    pub async fn everything(&mut self) -> Vec<u8> {
        while self.reads().await {}
        std::mem::take(&mut self.read)
    }

    /// What the server says next.
    ///
    /// # Panics
    ///
    /// When it says nothing in time, or something that is no frame of a server.
    pub async fn hears(&mut self) -> Heard {
        loop {
            if let Some((first, payload)) = self.next_frame() {
                return understood(first, payload);
            }
            if !self.reads().await {
                return Heard::Ended;
            }
        }
    }

    /// What the server says next, if it does so within `time`.
    pub async fn hears_within(&mut self, time: Duration) -> Option<Heard> {
        timeout(time, self.hears()).await.ok()
    }

    /// What the server has said already, if anything.
    pub fn hears_already(&mut self) -> Option<Heard> {
        let mut some = [0; 64 * 1024];
        if let Ok(count) = self.stream.try_read(&mut some) {
            self.read.extend_from_slice(&some[..count]);
        }
        self.next_frame().map(|(first, payload)| understood(first, payload))
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&first, &short) = (self.read.first()?, self.read.get(1)?);
        assert_eq!(short & 0x80, 0, "a server masks nothing");
        let (length, start) = match short {
            126 => (u16::from_be_bytes(self.read.get(2..4)?.try_into().expect("two bytes")).into(), 4),
            127 => (u64::from_be_bytes(self.read.get(2..10)?.try_into().expect("eight bytes")) as usize, 10),
            short => (usize::from(short), 2),
        };
        let payload = self.read.get(start..start + length)?.to_vec();
        self.read.drain(..start + length);
        Some((first, payload))
    }

    /// Reads more. False when there is no more.
    async fn reads(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("something comes in time");
        read.is_ok_and(|count| count > 0)
    }
}

/// A request for a socket, with more headers, each of which ends in a line break.
#[must_use]
pub fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
    )
}

fn understood(first: u8, payload: Vec<u8>) -> Heard {
    assert_eq!(first & 0xf0, FIN, "a server sends whole frames without reserved bits");
    match first & 0x0f {
        TEXT => {
            let said: Value = serde_json::from_slice(&payload).expect("JSON");
            let kind = said["type"].as_str().expect("a type");
            let what = said["ref"].as_str().or_else(|| said["data"]["code"].as_str());
            Heard::Says(what.map_or_else(|| kind.to_owned(), |what| format!("{kind} {what}")))
        }
        PING => Heard::Ping,
        PONG => Heard::Pong(payload),
        CLOSE => Heard::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        opcode => panic!("no server says {opcode}"),
    }
}
