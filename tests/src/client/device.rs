//! A device: one socket at a time, and somebody who looks at its screen.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::connecting::Connecting;
use super::line::Line;
use super::record::Record;
use super::user::{Conversation, Said};
use crate::eventually::{eventually, until};

/// How long a test waits for what should be there at once.
pub(super) const SOON: Duration = Duration::from_secs(15);

/// A device. Dropping it ends its connection without a word.
#[derive(Debug)]
pub struct Device {
    title: String,
    record: Arc<Mutex<Record>>,
    wanted: watch::Sender<bool>,
    stalled: watch::Sender<bool>,
    vanishes: Arc<Notify>,
    minds_rooms: Arc<Notify>,
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
    /// A device that begins to connect `how` it was told to, and has been told what stands in `record`.
    pub(super) fn begin(title: String, record: Record, how: Connecting) -> Self {
        let record = Arc::new(Mutex::new(record));
        let (wanted, wants) = watch::channel(true);
        let (stalled, stalls) = watch::channel(false);
        let (vanishes, minds_rooms) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (says, words) = mpsc::unbounded_channel();
        let (link, linked) = watch::channel(false);
        let line = Line {
            how,
            record: Arc::clone(&record),
            wants,
            stalls,
            vanishes: Arc::clone(&vanishes),
            minds_rooms: Arc::clone(&minds_rooms),
            left_behind: None,
            words,
            link,
        };
        let task = tokio::spawn(line.live());
        Self { title, record, wanted, stalled, vanishes, minds_rooms, says, linked, task }
    }

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

    /// Says whether it shall be connected, without waiting for it.
    pub fn wants(&self, connected: bool) {
        self.wanted.send_replace(connected);
    }

    /// Says whether it reads nothing and so answers nothing, while its connection stays open: a page that sleeps.
    pub fn stalls(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Leaves its connection open and unread for ever, as behind a router that forgot it, and connects anew.
    pub fn vanishes(&self) {
        self.vanishes.notify_one();
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

    /// Wants to be in a room from now on, whenever it is connected, or no longer.
    pub fn wants_room(&self, room: &str, is_wanted: bool) {
        self.record().rooms.want(room, is_wanted);
        self.minds_rooms.notify_one();
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
