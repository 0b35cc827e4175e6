//! The client's end of a socket, as cheap as can be: thousands of them share a process with nothing else to do.
//!
//! Just enough of RFC 6455 to measure: a handshake, short text frames out (masked with zeros, which changes nothing), whole
//! frames in, pings answered.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take that should take no time.
pub const PATIENCE: Duration = Duration::from_secs(30);

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;

/// One socket to a server.
pub struct Socket {
    stream: TcpStream,
    /// What was read and is not a whole frame yet.
    rest: Vec<u8>,
}

impl Socket {
    /// Connects, from any port: binding one searches all that are in use, and would cost more than what is measured.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, rest: Vec::new() })
    }

    /// Connects and opens a WebSocket with `token`.
    pub async fn open(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let mut socket = Self::connect(address).await?;
        let request = format!(
            "GET /api/v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        socket.stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::with_capacity(1_024);
        let end = loop {
            if socket.stream.read_buf(&mut head).await? == 0 {
                bail!("the server hung up");
            }
            if let Some(end) = find(&head, b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            bail!("no socket: {}", String::from_utf8_lossy(&head).lines().next().unwrap_or_default());
        }
        socket.rest = head.split_off(end);
        Ok(socket)
    }

    /// Opens a WebSocket and waits until the server has said who is there.
    pub async fn welcomed(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let mut socket = Self::open(address, token).await?;
        socket.wait_for(b"\"connection_established\"").await?;
        Ok(socket)
    }

    /// Joins a room and waits until it has.
    pub async fn join(&mut self, room: &str) -> anyhow::Result<()> {
        self.say(&format!(r#"{{"action":"subscribe","room":"{room}","ref":"join"}}"#)).await?;
        self.wait_for(b"\"ack\"").await
    }

    /// Says something.
    pub async fn say(&mut self, text: &str) -> io::Result<()> {
        let mut frame = vec![TEXT];
        match text.len() {
            length @ 0..=125 => frame.push(MASKED | length as u8),
            length => {
                frame.push(MASKED | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.stream.write_all(&frame).await
    }

    /// Waits for a text with `mark` in it. An error from the server is an error here.
    pub async fn wait_for(&mut self, mark: &[u8]) -> anyhow::Result<()> {
        let waiting = async {
            loop {
                let (mut found, mut refusal) = (false, None);
                self.hear(|text| {
                    found |= find(text, mark).is_some();
                    if find(text, br#""type":"error""#).is_some() {
                        refusal = Some(String::from_utf8_lossy(text).into_owned());
                    }
                })
                .await?;
                if let Some(refusal) = refusal {
                    bail!("the server refused: {refusal}");
                }
                if found {
                    return Ok(());
                }
            }
        };
        let mark = String::from_utf8_lossy(mark);
        tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("{mark} did not come"))?
    }

    /// Waits for something and hands over each text that came.
    pub async fn hear(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut pinged = false;
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            let taken = take_frames(&rest, &mut each, &mut pinged)?;
            self.rest.extend_from_slice(&rest[taken..]);
            if taken > 0 {
                return self.answer(pinged).await;
            }
        }
        loop {
            self.stream.readable().await?;
            match self.read(&mut each, &mut pinged) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(()) => return self.answer(pinged).await,
            }
        }
    }

    /// Reads into a buffer that all sockets of a thread share: an idle one has none.
    fn read(&mut self, each: &mut impl FnMut(&[u8]), pinged: &mut bool) -> io::Result<()> {
        thread_local!(static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1_024]));
        SCRATCH.with_borrow_mut(|scratch| {
            let count = self.stream.try_read(scratch)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if self.rest.is_empty() {
                let taken = take_frames(&scratch[..count], each, pinged)?;
                self.rest.extend_from_slice(&scratch[taken..count]);
            } else {
                self.rest.extend_from_slice(&scratch[..count]);
                let taken = take_frames(&self.rest, each, pinged)?;
                self.rest.drain(..taken);
            }
            Ok(())
        })
    }

    async fn answer(&mut self, pinged: bool) -> io::Result<()> {
        if pinged {
            self.stream.write_all(&[PONG, MASKED, 0, 0, 0, 0]).await?;
        }
        Ok(())
    }
}

/// Hands over the text of each whole frame, and says how many bytes they took.
fn take_frames(bytes: &[u8], each: &mut impl FnMut(&[u8]), pinged: &mut bool) -> io::Result<usize> {
    let mut taken = 0;
    while let Some((first, payload, length)) = frame(&bytes[taken..]) {
        match first {
            TEXT => each(payload),
            PING => *pinged = true,
            CLOSE => {
                return Err(io::Error::new(ErrorKind::ConnectionReset, String::from_utf8_lossy(payload).into_owned()));
            }
            _ => {}
        }
        taken += length;
    }
    Ok(taken)
}

/// The first frame: its first byte, its payload and its whole length.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &short) = (bytes.first()?, bytes.get(1)?);
    let (header, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        length => (2, usize::from(length)),
    };
    Some((first, bytes.get(header..header + length)?, header + length))
}

/// Where `mark` begins.
pub fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_taken_and_the_rest_is_left() {
        let mut bytes = vec![TEXT, 2, b'h', b'i', PING, 0, TEXT, 126, 1, 0];
        bytes.extend_from_slice(&[b'x'; 256]);
        let whole = bytes.len();
        bytes.extend_from_slice(&[TEXT, 3, b'c']);
        let (mut texts, mut pinged) = (Vec::new(), false);
        let taken = take_frames(&bytes, &mut |text: &[u8]| texts.push(text.len()), &mut pinged).expect("no close");
        assert_eq!((taken, texts, pinged), (whole, vec![2, 256], true));
        assert!(take_frames(&[CLOSE, 0], &mut |_: &[u8]| {}, &mut pinged).is_err());
    }
}
