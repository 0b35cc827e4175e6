//! What keeps a device connected, as the contract asks of clients.
//!
//! It connects with its cursor, comes back when a connection ends for any reason but a refusal, asks after a silent server,
//! acknowledges what was shown, and loads the snapshot when it is told to start over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::connecting::{Connecting, Socket};
use super::record::{Next, Record, Shown};
use super::user::Said;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A server that is silent this long is asked whether it is there, and left when it does not answer for as long again.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a device that received something waits for more before it acknowledges.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(100);

/// What keeps a device connected.
pub(super) struct Line {
    pub(super) how: Connecting,
    pub(super) record: Arc<Mutex<Record>>,
    /// Whether the device shall be connected.
    pub(super) wants: watch::Receiver<bool>,
    /// Whether it reads nothing.
    pub(super) stalls: watch::Receiver<bool>,
    /// Tells it to leave its connection as it is.
    pub(super) vanishes: Arc<Notify>,
    /// Tells it that it is wanted in another room, or in one less.
    pub(super) minds_rooms: Arc<Notify>,
    /// The last connection that was left so.
    pub(super) left_behind: Option<Socket>,
    /// What it says.
    pub(super) words: mpsc::UnboundedReceiver<String>,
    /// Whether it is connected.
    pub(super) link: watch::Sender<bool>,
}

/// Why a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The device was told to go away.
    Left,
    /// The server closes, and says with this code why.
    Closed(u16),
    /// The server has no room, and says for how long.
    Refused(Duration),
    /// The link broke, or fell silent.
    Broken,
}

impl Line {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panics while holding it")
    }

    /// Connects and connects again, until the device is dropped or refused.
    pub(super) async fn live(mut self) {
        loop {
            if !wanted(&mut self.wants).await {
                return;
            }
            let end = match timeout(HANDSHAKE, self.connect()).await {
                Ok(Ok(socket)) => self.serve(socket).await,
                Ok(Err(Error::Http(answer))) => told(&answer).map_or(End::Broken, End::Refused),
                Ok(Err(_)) | Err(_) => End::Broken,
            };
            if self.link.send_replace(false) {
                match end {
                    End::Left => {}
                    End::Closed(code) => self.record().closes(Some(code)),
                    End::Refused(_) => self.record().closes(Some(1013)),
                    End::Broken => self.record().closes(None),
                }
            }
            match end {
                End::Closed(1000 | 1007 | 1009 | 4401 | 4403) => return,
                // The time was told beforehand and has passed.
                End::Closed(1012) | End::Left => {}
                End::Refused(wait) => sleep(wait).await,
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
            let rooms_due = if *self.link.borrow() { self.record().rooms.due() } else { None };
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
                () = self.minds_rooms.notified() => continue,
                () = tokio::time::sleep_until(rooms_due.unwrap_or(silence)), if rooms_due.is_some() => {
                    let Some(command) = self.record().rooms.next_command() else { continue };
                    command.to_string()
                }
                () = unwanted(&mut self.wants) => return End::Left,
                () = self.vanishes.notified() => {
                    self.left_behind = Some(socket);
                    return End::Left;
                }
                () = until(&mut self.stalls, true) => {
                    tokio::select! {
                        () = until(&mut self.stalls, false) => {}
                        () = unwanted(&mut self.wants) => return End::Left,
                    }
                    heard = Instant::now();
                    continue;
                }
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
                let mut record = self.record();
                record.closed = Some((code, close.reason.to_string()));
                let wait = record.frames.last().and_then(|error| error["data"]["retry_after_ms"].as_u64());
                Err(match (code, wait) {
                    (1013, Some(wait)) => End::Refused(Duration::from_millis(wait)),
                    _ => End::Closed(code),
                })
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
            // Whoever was taken out of it meanwhile is told so by the events that follow.
            let Some(kept) = self.how.user.finds_all_of(id).await else { continue };
            let kept = kept.into_iter().filter(|message| message.seq <= last);
            messages.insert(id.to_owned(), kept.map(|Said { id, seq, text }| Shown { id, seq, text }).collect());
        }
        let cursor = snapshot["cursor"].as_str().expect("a snapshot has a cursor");
        self.record().start_over(cursor, messages).to_string()
    }
}

/// How long an answer tells to stay away: in its body exactly, in its header in seconds.
fn told(answer: &Response<Option<Vec<u8>>>) -> Option<Duration> {
    let problem: Option<Value> = answer.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
    let exactly = problem.and_then(|problem| problem["retry_after_ms"].as_u64()).map(Duration::from_millis);
    let header = || answer.headers().get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs);
    exactly.or_else(header)
}

/// Waits until the device shall be away, or is dropped.
async fn unwanted(wants: &mut watch::Receiver<bool>) {
    until(wants, false).await;
}

/// Waits until something is so, or the device is dropped.
async fn until(is: &mut watch::Receiver<bool>, so: bool) {
    let _ = is.wait_for(|is| *is == so).await;
}

/// Waits until the device shall be connected. `false` when it was dropped.
async fn wanted(wants: &mut watch::Receiver<bool>) -> bool {
    wants.wait_for(|wanted| *wanted).await.is_ok()
}
