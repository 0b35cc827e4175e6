//! A person with a token, talking REST through nginx.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::RngExt as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::connecting::Connecting;
use super::device::Device;
use crate::eventually::eventually;

/// How long somebody goes on trying before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What kind of conversation to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Among guests.
    GuestGuest,
    /// A guest and those who work here.
    GuestStaff,
    /// Two people.
    Direct,
    /// Any number of people.
    Group,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::GuestGuest => "guest_guest",
            Self::GuestStaff => "guest_staff",
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }
}

/// Somebody with a token.
#[derive(Debug, Clone)]
pub struct User {
    name: String,
    token: String,
    /// `host:port` for requests.
    door: String,
    /// `host:port` for sockets.
    socket_door: String,
    http: reqwest::Client,
}

/// A conversation, seen by whoever started it.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    starter: User,
}

/// A message that the fleet has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its id.
    pub id: String,
    /// Its number in the conversation.
    pub seq: u64,
    /// What it says.
    pub text: String,
}

/// A token for `name` that counts for an hour, as an identity provider that shares `secret` would give it.
///
/// # Panics
///
/// When the machine's clock stands before 1970.
#[must_use]
pub fn token(secret: &str, name: &str, role: &str) -> String {
    token_until(secret, name, role, 3600)
}

/// A token that ends so many seconds from now, or before it.
///
/// # Panics
///
/// When the machine's clock stands before 1970.
#[must_use]
pub fn token_until(secret: &str, name: &str, role: &str, seconds: i64) -> String {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs();
    let exp = clock.saturating_add_signed(seconds);
    let claims = json!({ "sub": name, "role": role, "name": name, "iat": clock, "exp": exp });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("claims can be signed")
}

impl User {
    /// Somebody called `name` who comes through `door` (`host:port`) with `token`.
    ///
    /// # Panics
    ///
    /// When no HTTP client can be made.
    #[must_use]
    pub fn new(name: &str, token: String, door: String) -> Self {
        let http = reqwest::Client::builder().timeout(ATTEMPT).build().expect("a plain client");
        Self { name: name.to_owned(), token, socket_door: door.clone(), door, http }
    }

    /// The same user, whose sockets go to `door` (`host:port`).
    #[must_use]
    pub fn with_sockets_at(&self, door: String) -> Self {
        Self { socket_door: door, ..self.clone() }
    }

    /// Their id.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Their token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where their requests go: `host:port`.
    #[must_use]
    pub fn door(&self) -> &str {
        &self.door
    }

    /// Where their sockets go: `host:port`.
    #[must_use]
    pub fn socket_door(&self) -> &str {
        &self.socket_door
    }

    /// A device of theirs that has not connected yet.
    #[must_use]
    pub fn device(&self, name: &str) -> Connecting {
        Connecting::new(self.clone(), name)
    }

    /// A request of theirs, to be finished and sent once.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.door)).bearer_auth(&self.token)
    }

    /// Asks for something, again and again while the fleet says that trying again makes sense, and returns the answer.
    ///
    /// # Panics
    ///
    /// When it is refused, or not answered in time.
    pub async fn asks(&self, method: Method, path: &str, body: &Value) -> Value {
        let found = self.finds(method.clone(), path, body).await;
        found.unwrap_or_else(|| panic!("{} is refused {method} {path}: it is not there", self.name))
    }

    /// The same of what may not be there, or no longer.
    ///
    /// # Panics
    ///
    /// When it is refused otherwise, or not answered in time.
    pub async fn finds(&self, method: Method, path: &str, body: &Value) -> Option<Value> {
        let found = self.tries(method, path, body, PATIENCE).await;
        found.unwrap_or_else(|complaint| panic!("{} gives up {complaint}", self.name))
    }

    /// The same of what may never be answered: the last complaint, once `most` has passed.
    ///
    /// # Panics
    ///
    /// When it is refused otherwise.
    pub async fn tries(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        most: Duration,
    ) -> Result<Option<Value>, String> {
        let begun = Instant::now();
        loop {
            let complaint = match self.attempt(method.clone(), path, body).await {
                Ok(answer) => return Ok(answer),
                Err(complaint) => complaint,
            };
            if begun.elapsed() > most {
                return Err(format!("{method} {path}: {complaint}"));
            }
            let rest = rand::rng().random_range(20..120);
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
    }

    /// Asks once. An `Err` says why asking again makes sense.
    async fn attempt(&self, method: Method, path: &str, body: &Value) -> Result<Option<Value>, String> {
        let mut request = self.request(method.clone(), path);
        if method != Method::GET {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        // An answer that was cut off is no answer.
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if status.is_success() {
            return serde_json::from_str(&text).map(Some).map_err(|error| format!("{error} in {text}"));
        }
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        assert!(again, "{} is refused {method} {path}: {status} {text}", self.name);
        Err(format!("{status} {text}"))
    }

    /// Starts a conversation with others.
    pub async fn starts(&self, kind: Kind, others: &[&Self]) -> Conversation {
        let others: Vec<_> = others.iter().map(|other| &other.name).collect();
        let body = json!({ "type": kind.name(), "subject": "a story", "participant_ids": others });
        let started = self.asks(Method::POST, "/api/v1/messages/conversations", &body).await;
        let id = started["id"].as_str().expect("a conversation has an id").to_owned();
        Conversation { id, starter: self.clone() }
    }

    /// Says something in a conversation, repeating it under the same key until the fleet has acknowledged it.
    pub async fn says(&self, conversation: &Conversation, text: &str) -> Said {
        let body = json!({
            "conversation_id": conversation.id, "message_text": text, "client_message_id": Uuid::now_v7().to_string(),
        });
        let said = self.asks(Method::POST, "/api/v1/messages/messages", &body).await;
        Said::of(&said)
    }

    /// Reads a whole conversation, oldest first.
    pub async fn reads(&self, conversation: &Conversation) -> Vec<Said> {
        self.reads_all_of(&conversation.id).await
    }

    /// Reads the whole conversation with this id, oldest first.
    ///
    /// # Panics
    ///
    /// When it is not there for them.
    pub async fn reads_all_of(&self, id: &str) -> Vec<Said> {
        let found = self.finds_all_of(id).await;
        found.unwrap_or_else(|| panic!("{} has no conversation {id}", self.name))
    }

    /// The same, unless it is not there for them.
    pub async fn finds_all_of(&self, id: &str) -> Option<Vec<Said>> {
        let mut messages: Vec<Said> = Vec::new();
        loop {
            let after = messages.last().map_or(0, |message| message.seq);
            let path = format!("/api/v1/messages/conversations/{id}/messages?after_seq={after}&limit=100");
            let page = self.finds(Method::GET, &path, &Value::Null).await?;
            let items = page["items"].as_array().expect("a list has items");
            if items.is_empty() {
                return Some(messages);
            }
            messages.extend(items.iter().map(Said::of));
        }
    }
}

impl Said {
    fn of(message: &Value) -> Self {
        let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("id"),
            seq: message["seq"].as_u64().expect("a message has a number"),
            text: text("message_text"),
        }
    }
}

impl Conversation {
    /// Checks the whole promise: what was `said` and nothing else is kept, numbered without holes, and shown on each of
    /// `devices` once and in order.
    ///
    /// # Panics
    ///
    /// When something was lost, shown twice, out of order, or is not there within `deadline`.
    pub async fn is_shown_on(&self, devices: &[&Device], said: &[Said], deadline: Duration) {
        let kept = self.starter.reads(self).await;
        let numbers: Vec<u64> = kept.iter().map(|message| message.seq).collect();
        assert!(numbers.iter().copied().eq(1..=kept.len() as u64), "numbers have holes: {numbers:?}");
        let mut said = said.to_vec();
        said.sort_by_key(|message| message.seq);
        assert_eq!(kept, said, "what is kept is what was acknowledged");
        for device in devices {
            let missing = async || device.compare(&self.id, &kept);
            eventually(deadline, missing).await;
            device.is_right();
        }
    }
}
