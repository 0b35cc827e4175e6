//! One gateway and one api in this process, on SQLite and the in-process broker, and people who talk through real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::announce::Announcer;
use api::revocations::Follower;
use api::state::{App, Beside};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use gateway::config::GatewaySettings;
use gateway::upstream::{Upstream, local::LocalWire};
use gateway::{Gateway, Parts, accept};
use serde_json::{Value, json};
use shared::access::{AccessSettings, Grant, Verifier, sign};
use shared::broker::memory::MemoryBroker;
use shared::broker::{Broker, BrokerError, Delivering, Delivery, Gap, Link, deliveries};
use shared::channel::{Channel, Role};
use shared::config::Secret;
use shared::drain::Drain;
use shared::envelope::Envelope;
use shared::history::memory::MemoryHistory;
use shared::limits::memory::MemoryLimiter;
use shared::limits::{LimitSettings, Limits};
use shared::presence::memory::MemoryPresence;
use shared::tickets::memory::MemoryTickets;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// By which pods know each other.
const SECRET: &str = "shared by pods";
/// Longest that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One gateway with its api.
pub struct Village {
    pub address: SocketAddr,
    pub drain: Drain,
    pub losses: Losses,
    access: AccessSettings,
    verifier: Verifier,
    client: reqwest::Client,
    gateway: Gateway,
    /// Into the ears of the gateway.
    delivering: Delivering,
    _folder: Folder,
}

/// What the broker between api and gateway shall lose.
#[derive(Clone, Default)]
pub struct Losses {
    /// Entries of feeds.
    pub entries: Arc<AtomicBool>,
    /// The heads beat.
    pub beats: Arc<AtomicBool>,
    /// Whatever the gateway would hear.
    pub heard: Arc<AtomicBool>,
}

/// A broker that loses what it is told to lose.
struct LossyBroker {
    inner: Arc<dyn Broker>,
    losses: Losses,
}

#[async_trait]
impl Broker for LossyBroker {
    async fn publish(&self, envelopes: &[Envelope]) -> Result<(), BrokerError> {
        let kept: Vec<_> = envelopes.iter().filter(|envelope| !self.losses.takes(&envelope.channel)).cloned().collect();
        self.inner.publish(&kept).await
    }
    async fn subscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
        self.inner.subscribe(channels).await
    }
    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
        self.inner.unsubscribe(channels).await
    }
}

impl Losses {
    fn takes(&self, channel: &Channel) -> bool {
        let kind = if *channel == Channel::Heads { &self.beats } else { &self.entries };
        kind.load(Ordering::Relaxed)
    }
}

/// A folder of this test alone, gone with it.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Village {
    /// A village whose gateway has `settings`.
    pub async fn with(settings: GatewaySettings) -> Self {
        Self::limited(settings, LimitSettings::none()).await
    }

    /// A village whose gateway has `settings`, and where nobody does more than `limits` allow.
    pub async fn limited(settings: GatewaySettings, limits: LimitSettings) -> Self {
        let village = Self::found(settings, limits, SECRET).await;
        while !village.verifier.denylist().is_complete() {
            tokio::task::yield_now().await;
        }
        village
    }

    /// A village whose gateway is not believed by the api, so that it never learns what was revoked.
    pub async fn disowned() -> Self {
        Self::found(GatewaySettings::default(), LimitSettings::none(), "another").await
    }

    async fn found(settings: GatewaySettings, limits: LimitSettings, known: &str) -> Self {
        let folder = Folder(std::env::temp_dir().join(format!("carillon-gateway-{}", uuid::Uuid::now_v7())));
        std::fs::create_dir_all(&folder.0).expect("a folder");
        let url = format!("sqlite://{}", folder.0.join("carillon.db").display());
        api::store::migrate(&url).await.expect("a schema");
        let store = api::store::open(&url, 4).expect("a store");

        let access = AccessSettings {
            jwt_secret: Some(Secret::new("a secret of this test alone, long enough")),
            ..AccessSettings::default()
        };
        let verifier = Verifier::new(&access).expect("a key");
        let drain = Drain::default();
        let losses = Losses::default();
        let place = MemoryBroker::default();
        let history = Arc::new(MemoryHistory::new(place.clone()));
        let api_link = place.link();
        let api_broker: Arc<dyn Broker> = Arc::new(LossyBroker { inner: api_link.broker, losses: losses.clone() });
        let announcer = Announcer::start(&api_broker, api_link.state, drain.tasks(), drain.stopped());
        drain.tasks().spawn(api::worker::heads::run(Arc::clone(&store), api_broker, drain.stopped().clone()));
        let presence = Arc::new(MemoryPresence::new(place.clone()));
        let (kept, secret) = (presence.clone(), Secret::new(SECRET));
        let mut follower = Follower::new(Arc::clone(&store), verifier.clone());
        follower.read().await.expect("nothing is revoked yet");
        drain.tasks().spawn(follower.run(drain.stopped().clone()));
        let limits = Limits::new(limits, Arc::new(MemoryLimiter::default()));
        let tickets = Arc::new(MemoryTickets::default());
        let beside = Beside { presence: kept, limits: limits.clone(), tickets: tickets.clone() };
        let app = App::new(store, announcer, verifier, beside, secret, None);

        let (delivering, deliveries) = deliveries(1_024);
        let Link { broker, deliveries: mut heard, state } = place.link();
        let (ears, is_deaf) = (delivering.clone(), losses.clone());
        tokio::spawn(async move {
            while let Some(delivery) = heard.next().await {
                if !is_deaf.heard.load(Ordering::Relaxed) {
                    ears.offer(delivery);
                }
            }
        });

        let upstream = Upstream::new(Arc::new(LocalWire(api::internal_router(app.clone()))), known);
        // As in a fleet, the gateway has to find out for itself what is revoked.
        let verifier = Verifier::new(&access).expect("a key");
        let parts = Parts {
            settings,
            node: "village".into(),
            verifier: verifier.clone(),
            link: Link { broker, deliveries, state },
            history,
            presence,
            limits,
            tickets,
            upstream,
            drain_window: Duration::from_secs(2),
        };
        let gateway = Gateway::start(parts, &drain);
        let listener = accept::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        let site = gateway.site(api::router(app));
        tokio::spawn(accept::serve(listener, site, drain.draining().clone()));
        let client = reqwest::Client::new();
        Self { address, drain, losses, access, verifier, client, gateway, delivering, _folder: folder }
    }

    /// A village with the settings of a new installation.
    pub async fn new() -> Self {
        Self::with(GatewaySettings::default()).await
    }

    /// A token.
    pub fn token(&self, user: &str, role: Role, ttl: u64) -> String {
        let grant = Grant { user: user.parse().expect("an id"), role, name: None, ttl: Duration::from_secs(ttl) };
        sign(&self.access, &grant).expect("a token")
    }

    /// The `jti` of a token.
    pub async fn token_id(&self, token: &str) -> String {
        let verifier = Verifier::new(&self.access).expect("a key");
        verifier.denylist().complete();
        verifier.verify(token).await.expect("a good token").token_id.expect("one with an id")
    }

    /// Somebody, with a token for an hour.
    pub fn person(&self, user: &str) -> Person<'_> {
        self.person_as(user, Role::Guest)
    }

    /// Somebody with such a role, with a token for an hour.
    pub fn person_as(&self, user: &str, role: Role) -> Person<'_> {
        Person { village: self, user: user.to_owned(), token: self.token(user, role, 3_600) }
    }

    /// The gateway hears nothing any more.
    pub fn falls_deaf(&self) {
        self.losses.heard.store(true, Ordering::Relaxed);
    }

    /// The gateway hears again, and that it missed something.
    pub fn hears_again(&self) {
        self.losses.heard.store(false, Ordering::Relaxed);
        self.delivering.offer(Delivery::Gap(Gap::Everything));
    }

    /// Sockets and streams that are open.
    pub fn open_sockets(&self) -> usize {
        self.gateway.open_sockets()
    }

    /// Opens a socket at `path`; the headers are the client's own.
    pub async fn dial(&self, path: &str, headers: &[(&'static str, String)]) -> Result<Socket, Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let (socket, answer) = tokio_tungstenite::connect_async(request).await?;
        Ok(Socket {
            socket,
            subprotocol: answer
                .headers()
                .get("sec-websocket-protocol")
                .map(|name| name.to_str().expect("text").to_owned()),
        })
    }
}

/// Somebody with a token.
pub struct Person<'a> {
    village: &'a Village,
    pub user: String,
    pub token: String,
}

impl Person<'_> {
    /// Opens a socket at the main door and waits for the welcome.
    pub async fn connects(&self, query: &str) -> Socket {
        let path = format!("/api/v1/ws?token={}{query}", self.token);
        let mut socket = self.village.dial(&path, &[]).await.expect("a socket");
        assert_eq!(socket.hears("connection_established").await["data"]["user_id"], self.user);
        socket
    }

    /// Asks for a ticket, as a page of `origin` or as nobody's.
    pub async fn asks_for_a_ticket(&self, origin: Option<&str>) -> reqwest::Response {
        let url = format!("http://{}/api/v1/tickets", self.village.address);
        let asking = self.village.client.post(url).bearer_auth(&self.token);
        let asking = origin.into_iter().fold(asking, |asking, origin| asking.header("origin", origin));
        asking.send().await.expect("an answer")
    }

    /// A ticket, made out to a page of `origin` or to nobody's.
    pub async fn ticket(&self, origin: Option<&str>) -> String {
        let answer = self.asks_for_a_ticket(origin).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["cache-control"]),
            (201, &"no-store".parse().expect("text"))
        );
        answer.json::<Value>().await.expect("JSON")["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// Starts a conversation and answers its id.
    pub async fn starts_with(&self, others: &[&Person<'_>]) -> String {
        let ids: Vec<_> = others.iter().map(|person| person.user.as_str()).collect();
        let body = json!({ "type": "guest_guest", "participant_ids": ids });
        self.posts("/api/v1/messages/conversations", &body).await["id"].as_str().expect("an id").to_owned()
    }

    /// Takes somebody out of a conversation.
    pub async fn removes(&self, conversation: &str, user: &str) {
        let path = format!("/api/v1/messages/conversations/{conversation}/participants/{user}");
        let url = format!("http://{}{path}", self.village.address);
        let answer = self.village.client.delete(url).bearer_auth(&self.token).send().await.expect("an answer");
        assert_eq!(answer.status(), 204);
    }

    /// Sends a message over REST.
    pub async fn says(&self, conversation: &str, text: &str) -> Value {
        let body = json!({ "conversation_id": conversation, "message_text": text });
        self.posts("/api/v1/messages/messages", &body).await
    }

    /// Has REST make something.
    pub async fn posts(&self, path: &str, body: &Value) -> Value {
        let url = format!("http://{}{path}", self.village.address);
        let answer = self.village.client.post(url).bearer_auth(&self.token).json(body).send().await.expect("an answer");
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap_or_default());
        answer.json().await.expect("JSON")
    }

    /// Has REST keep something.
    pub async fn puts(&self, path: &str, body: &Value) -> Value {
        let url = format!("http://{}{path}", self.village.address);
        let answer = self.village.client.put(url).bearer_auth(&self.token).json(body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
        answer.json().await.expect("JSON")
    }

    /// Has REST change something.
    pub async fn patches(&self, path: &str, body: &Value) {
        let url = format!("http://{}{path}", self.village.address);
        let answer =
            self.village.client.patch(url).bearer_auth(&self.token).json(body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
    }

    /// Opens an event stream that continues after `since`.
    pub async fn listens(&self, since: &str) -> EventStream {
        let url = format!("http://{}/api/v1/events?since={since}", self.village.address);
        let answer = self.village.client.get(url).bearer_auth(&self.token).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        EventStream { answer, read: String::new() }
    }

    /// Asks for an event stream with any token.
    pub async fn asks_stream(&self, token: &str) -> reqwest::Response {
        let url = format!("http://{}/api/v1/events", self.village.address);
        self.village.client.get(url).bearer_auth(token).send().await.expect("an answer")
    }

    /// Asks REST for something.
    pub async fn gets(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.village.address);
        let answer = self.village.client.get(url).bearer_auth(&self.token).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }
}

/// A client's end of an event stream.
pub struct EventStream {
    answer: reqwest::Response,
    read: String,
}

impl EventStream {
    /// The next event: its id, if it has one, and its data. Comments are passed over.
    pub async fn next(&mut self) -> (Option<String>, String) {
        loop {
            while let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(data) = field("data: ") {
                    return (field("id: "), data);
                }
            }
            let chunk = self.chunk().await.expect("an open stream");
            self.read.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// Waits until it is ended by the gateway, and returns all that came before.
    pub async fn ends(mut self) -> String {
        while let Some(chunk) = self.chunk().await {
            self.read.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
        self.read
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("something in time");
        chunk.expect("a good stream")
    }
}

/// A client's end of a socket.
pub struct Socket {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub subprotocol: Option<String>,
}

impl Socket {
    /// Says a command.
    pub async fn says(&mut self, command: &Value) {
        self.sends(Message::text(command.to_string())).await;
    }

    /// Sends any frame.
    pub async fn sends(&mut self, message: Message) {
        self.socket.send(message).await.expect("the socket takes it");
    }

    /// The next text frame.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time");
            match message.expect("the socket is open").expect("a good frame") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next frame, which must be of this type.
    pub async fn hears(&mut self, kind: &str) -> Value {
        let event = self.next().await;
        assert_eq!(event["type"], kind, "{event}");
        event
    }

    /// The next frame of this type; others are passed over.
    pub async fn waits_for(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// The texts of the next `count` messages, which must come in order and once.
    pub async fn shows(&mut self, count: usize) -> Vec<String> {
        let mut own = None;
        let mut texts = Vec::new();
        while texts.len() < count {
            let event = self.next().await;
            let Some(seq) = event["seq"].as_u64() else { continue };
            let prev = event["prev"].as_u64().expect("durable events say prev");
            assert!(own.is_none_or(|own| prev <= own && own < seq), "{own:?} {event}");
            own = Some(seq);
            if event["type"] == "new_message" {
                texts.push(event["data"]["message_text"].as_str().expect("a text").to_owned());
            }
        }
        texts
    }

    /// How the socket ends: the close code. Everything before is passed over.
    pub async fn ends(&mut self) -> u16 {
        let closed = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(frame))) => {
                        return frame.map_or(CloseCode::Status, |frame| frame.code).into();
                    }
                    Some(Ok(_)) => {}
                    None | Some(Err(_)) => return 1006,
                }
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("an end in time")
    }
}
