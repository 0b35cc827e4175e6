//! What RFC 6455 asks of a server, and what it must bear, from a client that keeps to nothing: straight to the gateway, and
//! through nginx as shipped.
//!
//! The sections from 1 to 10 ask what those of the Autobahn test suite with these numbers ask, under its numbers. That suite
//! wants its frames echoed, and a gateway answers commands instead: a text that must arrive whole is a `ping` whose `ref` comes
//! back, bytes are answered with `unsupported`, and what is no command with `bad_request`. Compression (12 and 13) is never
//! agreed on. [`abuse`] and [`handshake`] go on where that suite ends.

mod abuse;
mod bits;
mod closing;
mod fragments;
mod handshake;
mod large;
mod opcodes;
mod pings;
mod texts;
mod utf8;

use std::sync::Arc;

use fleet::place::Place as _;
use fleet::raw::{CLOSE, FIN, Heard, Raw, close, frame, text};
use fleet::servers::nginx::{Limits, Nginx};
use fleet::servers::shared::Shared;
use fleet::single::Single;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Cases under way at once.
const AT_ONCE: usize = 8;

/// A program behind nginx.
struct House {
    nginx: Nginx,
    single: Single,
}

/// With the limits of a new installation, except that one person opens all sockets.
static AS_SHIPPED: Shared<House> = Shared::new();

impl House {
    async fn as_shipped() -> Arc<Self> {
        AS_SHIPPED.get(Self::told([("CARILLON_LIMITS__CONNECTS", "0")])).await.expect("nginx starts")
    }

    async fn told<const N: usize>(more: [(&str, &str); N]) -> anyhow::Result<Self> {
        let single = Single::told(more).await;
        let pods = [single.pod.port()];
        Ok(Self { nginx: Nginx::start(&pods, &pods, Limits::None).await?, single })
    }

    /// The ports of its doors, and what they are called.
    fn doors(&self) -> [(&'static str, u16); 2] {
        [("straight to it", self.single.pod.port()), ("through nginx", self.nginx.port())]
    }

    fn token(&self) -> String {
        self.single.user("alice").token().to_owned()
    }
}

/// How bytes are cut into what is written at once.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Not at all.
    Together,
    /// Each frame by itself.
    Frames,
    /// Into pieces of so many bytes.
    Pieces(usize),
}

/// Frames, and what is heard because of them.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    frames: Vec<Vec<u8>>,
    cut: Cut,
    hears: Vec<Heard>,
}

fn case<const F: usize, const H: usize>(name: impl Into<String>, frames: [Vec<u8>; F], hears: [Heard; H]) -> Case {
    Case { name: name.into(), frames: frames.into(), cut: Cut::Together, hears: hears.into() }
}

impl Case {
    fn cut(self, cut: Cut) -> Self {
        let name = format!("{} {cut:?}", self.name);
        Self { name, cut, ..self }
    }

    /// The same, cut in each way: there is no telling frames from packets.
    fn however_cut(self) -> [Self; 3] {
        [self.clone(), self.clone().cut(Cut::Frames), self.cut(Cut::Pieces(1))]
    }

    /// What is written at once, one after the other.
    fn writes(&self) -> Vec<Vec<u8>> {
        match self.cut {
            Cut::Together => vec![self.frames.concat()],
            Cut::Frames => self.frames.clone(),
            Cut::Pieces(size) => self.frames.concat().chunks(size).map(<[u8]>::to_vec).collect(),
        }
    }

    async fn is_answered(&self, door: &str, mut raw: Raw) {
        for write in self.writes() {
            raw.sends(write).await;
        }
        for expected in &self.hears {
            assert_eq!(raw.hears().await, *expected, "{} {door}", self.name);
        }
        match self.hears.last() {
            Some(Heard::Close(_)) => raw.sends(frame(FIN | CLOSE, [])).await,
            // Nothing else was said, the connection is well, and it ends as it should.
            _ => {
                raw.sends([ping("well"), close(1000, "")].concat()).await;
                assert_eq!(raw.hears().await, pong("well"), "{} {door}", self.name);
                assert_eq!(raw.hears().await, Heard::Close(Some(1000)), "{} {door}", self.name);
            }
        }
        raw.falls_silent().await;
        assert_eq!(raw.hears().await, Heard::Ended, "{} {door}", self.name);
    }
}

/// Each case on a connection of its own, through each door.
async fn are_answered(house: &House, cases: impl IntoIterator<Item = Case>) {
    let token: Arc<str> = house.token().into();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    for case in cases {
        for (door, port) in house.doors() {
            let (case, token) = (case.clone(), Arc::clone(&token));
            let place = Arc::clone(&places).acquire_owned().await.expect("open");
            under_way.spawn(async move {
                case.is_answered(door, Raw::opens(port, &token).await).await;
                drop(place);
            });
        }
    }
    under_way.join_all().await;
}

/// A command that is answered with a [`pong`] of the same `ref`: of at most 64 bytes, and as JSON has it.
fn ping(reference: impl AsRef<[u8]>) -> Vec<u8> {
    text(ping_text(reference))
}

/// The text of a [`ping`].
fn ping_text(reference: impl AsRef<[u8]>) -> Vec<u8> {
    [br#"{"action":"ping","ref":""#, reference.as_ref(), br#""}"#].concat()
}

/// The text of a ping that is so many bytes long; its `ref`, `long`, stands last.
fn long_ping(length: usize) -> Vec<u8> {
    let (before, after) = (br#"{"action":"ping","data":""#, br#"","ref":"long"}"#);
    [before, &vec![b'x'; length - before.len() - after.len()][..], after].concat()
}

fn pong(reference: &str) -> Heard {
    Heard::Says(format!("pong {reference}"))
}

/// A message in pieces of at most so many bytes.
fn in_pieces(opcode: u8, message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let last = message.len().div_ceil(size).max(1) - 1;
    let piece = |(number, bytes): (usize, &[u8])| {
        let fin = if number == last { FIN } else { 0 };
        frame(fin | if number == 0 { opcode } else { fleet::raw::MORE }, bytes)
    };
    message.chunks(size).enumerate().map(piece).collect()
}

fn error(code: &str) -> Heard {
    Heard::Says(format!("error {code}"))
}
