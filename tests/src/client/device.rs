//! A device: one socket at a time, and somebody who looks at its screen.
//!
//! Behaves as the contract asks of clients. It connects with its cursor, comes back when a connection ends for any reason but
//! a refusal, asks after a silent server, acknowledges what it showed, and loads the snapshot when it is told to start over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::record::{Next, Record, Shown};
use super::user::{Conversation, Said, User};
use crate::eventually::{eventually, until};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A server that is silent this long is asked whether it is there, and left when it does not answer for as long again.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a device that received something waits for more before it acknowledges.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(100);

/// How long a test waits for what should be there at once.
const SOON: Duration = Duration::from_secs(15);

type Socket = WebSocketStream<TcpStream>;

/// Where a client shows its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Showing {
    /// In `Authorization`.
    Header,
    /// In `?token=`.
    Query,
    /// In `Sec-WebSocket-Protocol`, as browsers can.
    Subprotocol,
    /// In its first command.
    Command,
    /// Nowhere.
    Nowhere,
}

/// A device that has not connected yet, and how it will.
#[derive(Debug, Clone)]
pub struct Connecting {
    user: User,
    name: String,
    path: String,
    since: Option<String>,
    showing: Showing,
    headers: Vec<(&'static str, String)>,
}

/// How a device was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The handshake was answered with this status.
    Status(u16),
    /// The socket was opened and closed with this code.
    Close(u16),
}

impl Connecting {
    pub(super) fn new(user: User, name: &str) -> Self {
        let path = "/api/v1/ws".to_owned();
        Self { user, name: name.to_owned(), path, since: None, showing: Showing::Header, headers: Vec::new() }
    }

    /// Goes through another door than `/api/v1/ws`.
    #[must_use]
    pub fn through(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Starts at a cursor, or at `now`.
    #[must_use]
    pub fn since(mut self, since: &str) -> Self {
        self.since = Some(since.to_owned());
        self
    }

    /// Shows its token somewhere else than in `Authorization`.
    #[must_use]
    pub fn showing(mut self, showing: Showing) -> Self {
        self.showing = showing;
        self
    }

    /// Sends one more header with the handshake.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Tries to connect once, and says how it was refused.
    ///
    /// # Panics
    ///
    /// When it is let in, or nothing happens soon.
    pub async fn is_refused(&self) -> Refusal {
        timeout(SOON, self.refusal()).await.expect("a refusal comes soon")
    }

    async fn refusal(&self) -> Refusal {
        let mut socket = match self.open(self.since.as_deref()).await {
            Ok(socket) => socket,
            Err(Error::Http(answer)) => return Refusal::Status(answer.status().as_u16()),
            Err(error) => panic!("neither let in nor refused: {error}"),
        };
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(close)))) => return Refusal::Close(close.code.into()),
                Some(Ok(Message::Text(text))) => assert!(!text.contains("connection_established"), "let in: {text}"),
                Some(Ok(_)) => {}
                ended => panic!("neither let in nor refused: {ended:?}"),
            }
        }
    }

    /// Opens a socket, and shows the token.
    async fn open(&self, since: Option<&str>) -> Result<Socket, Error> {
        let Self { user, name, path, showing, headers, .. } = self;
        let (door, token) = (user.socket_door(), user.token());
        let separator = if path.contains('?') { '&' } else { '?' };
        let since = since.map(|cursor| format!("&since={cursor}")).unwrap_or_default();
        let query = if *showing == Showing::Query { format!("&token={token}") } else { String::new() };
        let mut request =
            format!("ws://{door}{path}{separator}device_id={name}{since}{query}").into_client_request()?;
        let mut insert = |name: &'static str, value: &str| {
            request.headers_mut().insert(name, value.parse().expect("plain text"));
        };
        headers.iter().for_each(|(name, value)| insert(name, value));
        match showing {
            Showing::Header => insert("authorization", &format!("Bearer {token}")),
            Showing::Subprotocol => insert("sec-websocket-protocol", &format!("carillon.v1, bearer.{token}")),
            Showing::Query | Showing::Command | Showing::Nowhere => {}
        }
        let stream = TcpStream::connect(door).await?;
        stream.set_nodelay(true)?;
        let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await?;
        if *showing == Showing::Subprotocol {
            let spoken = answer.headers().get("sec-websocket-protocol").map(|value| value.as_bytes());
            assert_eq!(spoken, Some(b"carillon.v1".as_slice()), "the token must not be echoed");
        }
        if *showing == Showing::Command {
            let auth = json!({ "action": "auth", "data": { "token": token } });
            socket.send(Message::text(auth.to_string())).await?;
        }
        Ok(socket)
    }

    /// Connects, and stays connected until told otherwise.
    ///
    /// # Panics
    ///
    /// When that does not succeed soon.
    pub async fn connect(self) -> Device {
        let device = self.start();
        device.is_connected().await;
        device
    }

    /// Begins to connect, without waiting for it.
    #[must_use]
    pub fn start(self) -> Device {
        let title = format!("{}'s {}", self.user.name(), self.name);
        let record = Arc::new(Mutex::new(Record::starting_at(self.since.clone())));
        let (wanted, wants) = watch::channel(true);
        let (says, words) = mpsc::unbounded_channel();
        let (link, linked) = watch::channel(false);
        let line = Line { how: self, record: Arc::clone(&record), wants, words, link };
        let task = tokio::spawn(line.live());
        Device { title, record, wanted, says, linked, task }
    }
}

/// A device. Dropping it ends its connection without a word.
#[derive(Debug)]
pub struct Device {
    title: String,
    record: Arc<Mutex<Record>>,
    wanted: watch::Sender<bool>,
    says: mpsc::UnboundedSender<String>,
    linked: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
        if std::thread::panicking() {
            let record = self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (connections, closed, wrongs) = (record.connections, &record.closed, &record.wrongs);
            eprintln!("--- {}: connected {connections} times, closed {closed:?}, wrongs {wrongs:#?}", self.title);
        }
    }
}

impl Device {
    /// What it was told.
    ///
    /// # Panics
    ///
    /// When a holder has panicked.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panics while holding it")
    }

    /// Whether it is connected.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        *self.linked.borrow()
    }

    /// Waits until it is connected.
    ///
    /// # Panics
    ///
    /// When it does not get there soon.
    pub async fn is_connected(&self) {
        until(SOON, &format!("{} connects", self.title), || *self.linked.borrow()).await;
    }

    /// Vanishes without a word, as in a tunnel.
    ///
    /// # Panics
    ///
    /// When its connection does not end.
    pub async fn goes_away(&self) {
        self.wanted.send_replace(false);
        until(SOON, &format!("{} goes away", self.title), || !*self.linked.borrow()).await;
    }

    /// Comes back with its cursor.
    ///
    /// # Panics
    ///
    /// When it cannot.
    pub async fn comes_back(&self) {
        self.wanted.send_replace(true);
        self.is_connected().await;
    }

    /// Acknowledges everything it showed, and waits until the server has read that.
    ///
    /// # Panics
    ///
    /// When the server does not answer what is asked after it.
    pub async fn acknowledges(&self) {
        let cursor = self.record().cursor.clone();
        self.sends(&json!({ "action": "ack", "data": { "cursor": cursor } }));
        self.asks(json!({ "action": "ping" })).await;
    }

    /// Sends a frame.
    pub fn sends(&self, frame: &Value) {
        let _ = self.says.send(frame.to_string());
    }

    /// Sends a command and returns its answer: an `ack`, a `pong` or an `error`.
    ///
    /// # Panics
    ///
    /// When there is none soon.
    pub async fn asks(&self, mut command: Value) -> Value {
        let reference = uuid::Uuid::now_v7().to_string();
        command["ref"] = reference.as_str().into();
        self.sends(&command);
        let answer = |frame: &Value| frame["ref"] == reference.as_str();
        self.hears(&format!("an answer to {command}"), answer).await
    }

    /// Waits for a frame that `fits`, or finds the first one that came, and returns it.
    ///
    /// # Panics
    ///
    /// When none comes soon.
    pub async fn hears(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let heard = async || {
            let record = self.record();
            record
                .frames
                .iter()
                .find(|frame| fits(frame))
                .cloned()
                .ok_or_else(|| format!("{} hears {what}", self.title))
        };
        eventually(SOON, heard).await
    }

    /// Waits until it shows exactly these messages of a conversation, in this order.
    ///
    /// # Panics
    ///
    /// When it shows something else, or does not show them soon.
    pub async fn shows(&self, conversation: &Conversation, texts: &[&str]) {
        let title = &self.title;
        let shown = async || {
            let record = self.record();
            let shown: Vec<&str> =
                record.messages(&conversation.id).iter().map(|message| message.text.as_str()).collect();
            if shown == texts { Ok(()) } else { Err(format!("{title} shows {shown:?} and not {texts:?}")) }
        };
        eventually(SOON, shown).await;
        self.is_right();
    }

    /// Checks that nothing it was told broke a rule.
    ///
    /// # Panics
    ///
    /// When something did.
    pub fn is_right(&self) {
        let record = self.record();
        assert!(record.wrongs.is_empty(), "{}: {:#?}", self.title, record.wrongs);
    }

    /// How often it had to connect.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.record().connections
    }

    /// Compares what it shows of a conversation with what is kept.
    pub(super) fn compare(&self, conversation: &str, kept: &[Said]) -> Result<(), String> {
        let record = self.record();
        let shown = record.messages(conversation);
        let same = shown.iter().zip(kept).take_while(|(shown, kept)| shown.id == kept.id).count();
        if same == kept.len() && same == shown.len() {
            return Ok(());
        }
        let (shown, kept) = (shown.len(), kept.len());
        Err(format!("{} shows {shown} of {kept} messages, the first {same} of them right", self.title))
    }
}

/// What keeps a device connected.
struct Line {
    how: Connecting,
    record: Arc<Mutex<Record>>,
    wants: watch::Receiver<bool>,
    words: mpsc::UnboundedReceiver<String>,
    link: watch::Sender<bool>,
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The device was told to go away.
    Left,
    /// The server closes, and says with this code why.
    Closed(u16),
    /// The link broke, or fell silent.
    Broken,
}

impl Line {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panics while holding it")
    }

    /// Connects and connects again, until the device is dropped or refused.
    async fn live(mut self) {
        loop {
            if !wanted(&mut self.wants).await {
                return;
            }
            let end = match timeout(HANDSHAKE, self.connect()).await {
                Ok(Ok(socket)) => self.serve(socket).await,
                Ok(Err(_)) | Err(_) => End::Broken,
            };
            self.link.send_replace(false);
            match end {
                End::Closed(1000 | 1007 | 1009 | 4401 | 4403) => return,
                // The time was told beforehand and has passed.
                End::Closed(1012) | End::Left => {}
                End::Closed(_) | End::Broken => {
                    let rest = rand::rng().random_range(50..300);
                    sleep(Duration::from_millis(rest)).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<Socket, Error> {
        let since = self.record().cursor.clone();
        self.how.open(since.as_deref()).await
    }

    /// Serves one connection to its end.
    async fn serve(&mut self, mut socket: Socket) -> End {
        let mut heard = Instant::now();
        let mut asked = false;
        let mut unacknowledged: Option<Instant> = None;
        loop {
            let silence = heard + if asked { 2 * SILENCE } else { SILENCE };
            let acknowledge = unacknowledged.unwrap_or(silence);
            let said = tokio::select! {
                frame = socket.next() => {
                    heard = Instant::now();
                    asked = false;
                    match self.hear(frame).await {
                        Ok(Some(Next::Acknowledge)) => {
                            unacknowledged.get_or_insert(heard + ACKNOWLEDGE_AFTER);
                            continue;
                        }
                        Ok(Some(Next::StartOver)) => self.start_over().await,
                        Ok(Some(Next::GoOn) | None) => continue,
                        Err(end) => return end,
                    }
                }
                Some(word) = self.words.recv() => word,
                () = unwanted(&mut self.wants) => return End::Left,
                () = tokio::time::sleep_until(acknowledge), if unacknowledged.is_some() => {
                    unacknowledged = None;
                    json!({ "action": "ack", "data": { "cursor": self.record().cursor } }).to_string()
                }
                () = tokio::time::sleep_until(silence) => {
                    if asked {
                        return End::Broken;
                    }
                    asked = true;
                    json!({ "action": "ping" }).to_string()
                }
            };
            if socket.send(Message::text(said)).await.is_err() {
                return End::Broken;
            }
        }
    }

    /// Takes what the socket gave.
    async fn hear(&self, frame: Option<Result<Message, Error>>) -> Result<Option<Next>, End> {
        match frame {
            Some(Ok(Message::Text(text))) => {
                let Ok(frame) = serde_json::from_str::<Value>(&text) else {
                    self.record().wrongs.push(format!("a frame that is not JSON: {text}"));
                    return Ok(None);
                };
                let established = frame["type"] == "connection_established";
                let next = self.record().take(frame);
                if established {
                    self.link.send_replace(true);
                }
                Ok(Some(next))
            }
            Some(Ok(Message::Close(Some(close)))) => {
                let code = close.code.into();
                self.record().closed = Some((code, close.reason.to_string()));
                Err(End::Closed(code))
            }
            Some(Ok(Message::Close(None)) | Err(_)) | None => Err(End::Broken),
            Some(Ok(_)) => Ok(None),
        }
    }

    /// Loads the snapshot, and says from where to go on.
    async fn start_over(&self) -> String {
        let snapshot = self.how.user.asks(Method::GET, "/api/v1/snapshot", &Value::Null).await;
        let mut messages = HashMap::new();
        for conversation in snapshot["conversations"].as_array().expect("a snapshot has conversations") {
            let id = conversation["id"].as_str().expect("a conversation has an id");
            // What came after the snapshot comes after its cursor, as events.
            let last = conversation["last_message"]["seq"].as_u64().unwrap_or(0);
            let kept = self.how.user.reads_all_of(id).await.into_iter().filter(|message| message.seq <= last);
            messages.insert(id.to_owned(), kept.map(|Said { id, seq, text }| Shown { id, seq, text }).collect());
        }
        let cursor = snapshot["cursor"].as_str().expect("a snapshot has a cursor");
        self.record().start_over(cursor, messages).to_string()
    }
}

/// Waits until the device shall be away, or is dropped.
async fn unwanted(wants: &mut watch::Receiver<bool>) {
    let _ = wants.wait_for(|wanted| !*wanted).await;
}

/// Waits until the device shall be connected. `false` when it was dropped.
async fn wanted(wants: &mut watch::Receiver<bool>) -> bool {
    wants.wait_for(|wanted| *wanted).await.is_ok()
}
