//! A pod to talk to, and people who talk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::announce::Announcer;
use api::attachments::Blobs;
use api::publish::Publisher;
use api::revocations::Follower;
use api::state::{App, Attachments, Beside};
use api::store::Store;
use api::worker::jobs::Jobs;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use shared::access::{AccessSettings, Caller, Verifier};
use shared::broker::memory::MemoryBroker;
use shared::broker::{Broker, Delivery, Link};
use shared::channel::{Channel, Role};
use shared::config::Secret;
use shared::envelope::Envelope;
use shared::ids::UserId;
use shared::limits::memory::MemoryLimiter;
use shared::limits::{LimitSettings, Limits};
use shared::presence::Presence;
use shared::presence::memory::MemoryPresence;
use shared::tickets::Tickets;
use shared::tickets::memory::MemoryTickets;
use shared::time::Timestamp;
use shared::upstream::{CALLER_HEADER, SECRET_HEADER};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the tests' fleet shares.
pub(crate) const SECRET: &str = "the secret of this fleet";
/// What signs tokens.
const JWT_SECRET: &str = "the secret that signs tokens";
/// How long a fact may take to come true.
const DEADLINE: Duration = Duration::from_secs(10);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One api pod on free ports, with a database of its own.
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) internal_url: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) verifier: Verifier,
    pub(crate) publisher: Publisher,
    pub(crate) client: Client,
    pub(crate) presence: Arc<dyn Presence>,
    pub(crate) tickets: Arc<dyn Tickets>,
    place: MemoryBroker,
    path: PathBuf,
    /// Where the bytes of attachments lie.
    pub(crate) folder: PathBuf,
    pub(crate) blobs: Option<Blobs>,
    database_url: String,
    stop: CancellationToken,
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::migrated(in_folder, LimitSettings::none()).await
    }

    /// A pod where nobody does more than `limits` allow.
    pub(crate) async fn limited(limits: LimitSettings) -> Self {
        Self::migrated(in_folder, limits).await
    }

    /// A pod whose attachments lie there, if anywhere.
    pub(crate) async fn keeping_attachments_in(blobs: Option<Blobs>) -> Self {
        Self::migrated(|_| blobs, LimitSettings::none()).await
    }

    async fn migrated(storage: impl FnOnce(&Path) -> Option<Blobs>, limits: LimitSettings) -> Self {
        let api = Self::on(storage, limits).await;
        api::store::migrate(&api.database_url).await.expect("a new database");
        let mut follower = Follower::new(Arc::clone(&api.store), api.verifier.clone());
        follower.read().await.expect("nothing is revoked yet");
        tokio::spawn(follower.run(api.stop.clone()));
        api
    }

    /// A pod whose database nobody has migrated yet.
    pub(crate) async fn without_schema() -> Self {
        Self::on(in_folder, LimitSettings::none()).await
    }

    async fn on(storage: impl FnOnce(&Path) -> Option<Blobs>, limits: LimitSettings) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = directory.join(format!("rest-{}-{number}.db", std::process::id()));
        let database_url = format!("sqlite://{}", path.display());
        let store = api::store::open(&database_url, 4).expect("nothing is connected yet");

        let (place, stop) = (MemoryBroker::default(), CancellationToken::new());
        let link = place.link();
        let announcer = Announcer::start(&link.broker, link.state, &TaskTracker::new(), &stop);
        let verifier = verifier();
        let folder = directory.join(format!("rest-{}-{number}", std::process::id()));
        let blobs = storage(&folder);
        let attachments = blobs.clone().map(|blobs| Attachments { blobs, max_bytes: 25 * 1024 * 1024 });
        let presence: Arc<dyn Presence> = Arc::new(MemoryPresence::new(place.clone()));
        let (kept, secret) = (Arc::clone(&presence), Secret::new(SECRET));
        let limits = Limits::new(limits, Arc::new(MemoryLimiter::default()));
        let tickets: Arc<dyn Tickets> = Arc::new(MemoryTickets::default());
        let beside = Beside { presence: kept, limits, tickets: Arc::clone(&tickets) };
        let app = App::new(Arc::clone(&store), announcer, verifier.clone(), beside, secret, attachments);
        let publisher = app.publisher.clone();
        let url = serve(api::router(app.clone()), &stop).await;
        let internal_url = serve(api::internal_router(app), &stop).await;
        Self {
            url,
            internal_url,
            database_url,
            store,
            verifier,
            publisher,
            client: Client::new(),
            presence,
            tickets,
            place,
            path,
            folder,
            blobs,
            stop,
        }
    }

    pub(crate) fn user(&self, name: &str) -> User<'_> {
        self.user_as(name, Role::Guest)
    }

    pub(crate) fn user_as(&self, name: &str, role: Role) -> User<'_> {
        User { api: self, name: name.to_owned(), role, token: token(name, role, 600) }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Makes everything that waits for a day wait no longer.
    pub(crate) async fn a_day_passes(&self) {
        let mut console = sqlx::SqliteConnection::connect(&self.database_url).await.expect("the same file");
        let aged = "update message_attachments set expires_at = expires_at - 86400000000";
        sqlx::query(aged).execute(&mut console).await.expect("a right statement");
    }

    /// A question of a gateway.
    pub(crate) fn gateway(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/internal/v1/{path}", self.internal_url)).header(SECRET_HEADER, SECRET)
    }

    /// A worker of the same fleet.
    pub(crate) fn worker(&self) -> Jobs {
        let link = self.place.link();
        let announcer = Announcer::start(&link.broker, link.state, &TaskTracker::new(), &self.stop);
        Jobs { store: Arc::clone(&self.store), announcer, blobs: self.blobs.clone() }
    }

    /// Another pod that hears `channels`.
    pub(crate) async fn listener(&self, channels: &[Channel]) -> Listener {
        let link = self.place.link();
        link.broker.subscribe(channels).await.expect("memory takes everything");
        Listener(link)
    }

    /// A way into the same broker.
    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        self.place.link().broker
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.path.display()));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn in_folder(folder: &Path) -> Option<Blobs> {
    Some(Blobs::in_folder(folder).expect("a folder"))
}

async fn serve(router: axum::Router, stop: &CancellationToken) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::spawn(served.into_future());
    format!("http://{address}")
}

/// A verifier of another pod, which knows nothing yet of what was revoked.
pub(crate) fn verifier() -> Verifier {
    let settings = AccessSettings { jwt_secret: Some(Secret::new(JWT_SECRET)), ..AccessSettings::default() };
    Verifier::new(&settings).expect("a secret is enough")
}

/// A token that ends in so many seconds, or ended so many ago.
pub(crate) fn token(user: &str, role: Role, seconds: i64) -> String {
    signed(&json!({ "sub": user, "role": role, "exp": now() + seconds }))
}

/// The present second.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_micros() / 1_000_000
}

/// A token that says this.
pub(crate) fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).expect("claims are JSON")
}

/// Someone with a token.
pub(crate) struct User<'a> {
    api: &'a Api,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) token: String,
}

impl User<'_> {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.request(method, path).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// Starts a group with `others` and answers its id.
    pub(crate) async fn start_group(&self, others: &[&str]) -> String {
        let body = json!({ "type": "group", "participant_ids": others });
        let answer = self.post("/api/v1/messages/conversations", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().expect("an id").to_owned()
    }

    /// Sends a message that must be taken.
    pub(crate) async fn send(&self, conversation: &str, text: &str) -> Value {
        let body = json!({ "conversation_id": conversation, "message_text": text });
        let answer = self.post("/api/v1/messages/messages", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body
    }

    /// Reads a page of events.
    pub(crate) async fn feed(&self, query: &str) -> Value {
        let answer = self.get(&format!("/api/v1/feed?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// What a gateway says of this user.
    pub(crate) fn claims(&self) -> Caller {
        let user: UserId = self.name.parse().expect("an id");
        let expires_at = Timestamp::from_micros(Timestamp::now().as_micros() + 600_000_000);
        Caller { user, role: self.role, name: None, token_id: None, issued_at: None, expires_at }
    }

    /// A question of a gateway in this user's name.
    pub(crate) fn through_gateway(&self, path: &str) -> RequestBuilder {
        let claims = serde_json::to_string(&self.claims()).expect("claims are JSON");
        self.api.gateway(Method::POST, path).header(CALLER_HEADER, claims)
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    /// Checks that it is a whole problem with this status and code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        assert_eq!(self.body["request_id"], self.header("x-request-id"), "{self:?}");
        for text in ["type", "title", "detail", "remedy"] {
            assert!(self.body[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {self:?}");
        }
        self
    }

    /// The fields that a problem blames, in order.
    pub(crate) fn blamed(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().expect("a problem has errors");
        errors.iter().map(|error| error["field"].as_str().expect("an error names its field")).collect()
    }
}

/// Sends a request and reads all of its answer. A body that is no JSON is read as null.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the pod answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.expect("a whole body");
    Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
}

/// A pod that listens.
pub(crate) struct Listener(Link);

impl Listener {
    /// The next envelope.
    pub(crate) async fn hears(&mut self) -> Envelope {
        match tokio::time::timeout(DEADLINE, self.0.deliveries.next()).await {
            Ok(Some(Delivery::Envelope(envelope))) => envelope,
            other => panic!("an envelope was due: {other:?}"),
        }
    }

    /// What was delivered but not yet heard.
    pub(crate) fn heard_already(&mut self) -> Option<Delivery> {
        self.0.deliveries.try_next()
    }
}
