//! The way in: a device that has not connected yet, where it shows its token, and how it may be refused.

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::device::{Device, SOON};
use super::record::Record;
use super::user::User;

/// An open socket.
pub(super) type Socket = WebSocketStream<TcpStream>;

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
    /// In an address, as a ticket that it asks for.
    Ticket,
    /// Nowhere.
    Nowhere,
}

/// A device that has not connected yet, and how it will.
#[derive(Debug, Clone)]
pub struct Connecting {
    pub(super) user: User,
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
    pub(super) async fn open(&self, since: Option<&str>) -> Result<Socket, Error> {
        let Self { user, name, path, showing, headers, .. } = self;
        let (door, token) = (user.socket_door(), user.token());
        let separator = if path.contains('?') { '&' } else { '?' };
        let since = since.map(|cursor| format!("&since={cursor}")).unwrap_or_default();
        let query = match showing {
            Showing::Query => format!("&token={token}"),
            Showing::Ticket => {
                let made_out = user.asks(Method::POST, "/api/v1/tickets", &Value::Null).await;
                format!("&ticket={}", made_out["ticket"].as_str().expect("a ticket"))
            }
            _ => String::new(),
        };
        let mut request =
            format!("ws://{door}{path}{separator}device_id={name}{since}{query}").into_client_request()?;
        let mut insert = |name: &'static str, value: &str| {
            request.headers_mut().insert(name, value.parse().expect("plain text"));
        };
        headers.iter().for_each(|(name, value)| insert(name, value));
        match showing {
            Showing::Header => insert("authorization", &format!("Bearer {token}")),
            Showing::Subprotocol => insert("sec-websocket-protocol", &format!("carillon.v1, bearer.{token}")),
            Showing::Query | Showing::Command | Showing::Ticket | Showing::Nowhere => {}
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
        let record = Record::starting_at(self.since.clone());
        Device::begin(title, record, self)
    }
}
