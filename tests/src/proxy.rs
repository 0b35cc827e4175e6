//! A link that can be broken: a TCP proxy between two parts of the fleet.
//!
//! Each link has its own [`Weather`], which a test changes while bytes flow. Nothing is lost that TCP would not lose: bytes
//! read in bad weather are written when it is over, unless the connection was cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From whoever connected.
    There,
    /// Towards whoever connected.
    Back,
}

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// It passes everything on at once.
    Fine,
    /// What was connected is reset, and whoever connects is reset.
    Gone,
    /// Connections stay, and are accepted, and nothing passes: a cable pulled out.
    Silent,
    /// Nothing passes one way.
    Mute(Way),
    /// Everything takes this much longer, each way.
    Slow(Duration),
    /// Everything arrives in pieces of at most so many bytes.
    Sliced(usize),
}

impl Weather {
    fn passes(self, way: Way) -> bool {
        self != Self::Silent && self != Self::Mute(way)
    }
}

/// A proxy before one address. Dropping it cuts its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    /// Counts the times everything was cut.
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

/// What a connection watches.
#[derive(Clone)]
struct Sky {
    weather: watch::Receiver<Weather>,
    cuts: watch::Receiver<u64>,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1 before `target` (`host:port`). Must be called in a runtime, which carries it.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn before(target: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let weather = watch::Sender::new(Weather::Fine);
        let cuts = watch::Sender::new(0);
        let sky = Sky { weather: weather.subscribe(), cuts: cuts.subscribe() };
        let task = tokio::spawn(accept(listener, Arc::from(target.into()), sky));
        Self { port, weather, cuts, task }
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather, for connections there are and those to come.
    pub fn becomes(&self, weather: Weather) {
        self.weather.send_replace(weather);
        if weather == Weather::Gone {
            self.cut();
        }
    }

    /// Resets every connection there is. New ones are welcome.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: Arc<str>, sky: Sky) {
    // Owned here, so that aborting this task ends every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else { continue };
                connections.spawn(carry(near, Arc::clone(&target), sky.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until either side ends it, or it is cut.
async fn carry(mut near: TcpStream, target: Arc<str>, mut sky: Sky) {
    sky.cuts.mark_unchanged();
    if *sky.weather.borrow() == Weather::Gone {
        return reset(&near);
    }
    let mut cuts = sky.cuts;
    let mut far = tokio::select! {
        far = reach(&target, sky.weather.clone()) => match far {
            Ok(far) => far,
            Err(_) => return reset(&near),
        },
        _ = cuts.changed() => return reset(&near),
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let cut = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let there = pass(near_read, far_write, Way::There, sky.weather.clone());
        let back = pass(far_read, near_write, Way::Back, sky.weather);
        tokio::select! {
            _ = async { tokio::join!(there, back) } => false,
            _ = cuts.changed() => true,
        }
    };
    if cut {
        reset(&near);
        reset(&far);
    }
}

/// Connects to the target, when the weather lets a handshake through.
async fn reach(target: &str, mut weather: watch::Receiver<Weather>) -> std::io::Result<TcpStream> {
    let _ = weather.wait_for(|weather| *weather != Weather::Silent).await;
    TcpStream::connect(target).await
}

/// Makes closing the stream a reset instead of a goodbye.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Passes bytes one way until they end.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, mut weather: watch::Receiver<Weather>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if weather.wait_for(|weather| weather.passes(way)).await.is_err() {
            return;
        }
        let Ok(length @ 1..) = from.read(&mut buffer).await else { break };
        // The weather may have changed while nothing came.
        let Ok(now) = weather.wait_for(|weather| weather.passes(way)).await.map(|now| *now) else { return };
        if write(&mut to, &buffer[..length], now).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], weather: Weather) -> std::io::Result<()> {
    match weather {
        Weather::Slow(delay) => {
            tokio::time::sleep(delay).await;
            to.write_all(bytes).await
        }
        Weather::Sliced(longest) => {
            for piece in bytes.chunks(longest.max(1)) {
                to.write_all(piece).await?;
                // Lets the other side see the piece alone.
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        Weather::Fine | Weather::Gone | Weather::Silent | Weather::Mute(_) => to.write_all(bytes).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// An echo behind a proxy, and a connection to it through the proxy.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let proxy = Proxy::before(address.to_string()).await;
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens");
        (proxy, stream)
    }

    async fn hears(stream: &mut TcpStream, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await.expect("in time").expect("open");
        assert_eq!(heard, expected);
    }

    #[tokio::test]
    async fn bytes_arrive_whole_in_fine_sliced_and_slow_weather() {
        let (proxy, mut stream) = echo().await;
        for weather in [Weather::Fine, Weather::Sliced(1), Weather::Slow(Duration::from_millis(5))] {
            proxy.becomes(weather);
            stream.write_all(b"ding dong").await.expect("open");
            hears(&mut stream, b"ding dong").await;
        }
    }

    #[tokio::test]
    async fn what_is_said_into_silence_arrives_when_it_is_over() {
        let (proxy, mut stream) = echo().await;
        for weather in [Weather::Silent, Weather::Mute(Way::There), Weather::Mute(Way::Back)] {
            proxy.becomes(weather);
            stream.write_all(b"hello?").await.expect("open");
            let mut byte = [0];
            let early = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
            assert!(early.is_err(), "nothing passes in {weather:?}");
            proxy.becomes(Weather::Fine);
            hears(&mut stream, b"hello?").await;
        }
    }

    #[tokio::test]
    async fn a_cut_resets_what_is_connected_and_welcomes_what_comes() {
        let (proxy, mut stream) = echo().await;
        stream.write_all(b"x").await.expect("open");
        hears(&mut stream, b"x").await;
        proxy.cut();
        let ended = stream.read(&mut [0]).await.expect_err("a reset is an error");
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
        let mut again = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens");
        again.write_all(b"y").await.expect("open");
        hears(&mut again, b"y").await;
    }

    #[tokio::test]
    async fn nobody_gets_through_to_what_is_gone() {
        let (proxy, mut stream) = echo().await;
        proxy.becomes(Weather::Gone);
        assert!(stream.read(&mut [0]).await.is_err());
        let mut again = TcpStream::connect(("127.0.0.1", proxy.port())).await.expect("the proxy listens");
        assert!(again.read(&mut [0]).await.is_err());
    }
}
