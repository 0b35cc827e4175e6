//! The welcome: from an upgraded connection to a session.
//!
//! Is there a place, who is it, where does delivery start?

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use shared::access::{Caller, TokenError};
use shared::broker::BrokerError;
use shared::channel::Role;
use shared::cursor::Cursor;
use shared::ids::{ConnectionId, UserId};
use shared::limits::{Deed, TooMany, millis};
use shared::protocol::{Action, CloseCode, Command, ErrorCode, answer};
use shared::tickets::{Holder, Ticket};
use shared::time::Timestamp;
use shared::upstream::{Arrival, Question, ResyncReason, Verdict};

use crate::arrival::{attach, place_in_feeds};
use crate::connection::{Client, Connection, Door};
use crate::frame::WholeFrame;
use crate::metrics::METRICS;
use crate::opening::opened;
use crate::pod::{Place, Pod};
use crate::session::{Session, revoked};
use crate::transport::{self, Incoming, Transport};
use crate::turnstile::{Full, Passing};

/// Longest lifetime of a guest who is believed without a token.
const BARE_GUEST: Duration = Duration::from_secs(24 * 3_600);

/// What a client brought to the door.
pub struct Visit {
    /// Which door.
    pub door: Door,
    /// What it shows of who it is, if it came with something.
    pub pass: Option<Pass>,
    /// Who it is, if that is known already.
    pub caller: Option<Box<Caller>>,
    /// Whom it says it is; must be whom the token says.
    pub user_id: Option<UserId>,
    /// Whether it named this machine itself as the host: a page of somebody else's name that resolves to it does not.
    pub is_local: bool,
    /// Where it says it stands.
    pub since: Option<String>,
    /// What it says of itself.
    pub client: Client,
    /// Its way through the turnstile, once it has shown something.
    pub passing: Option<Passing>,
    /// Its place among the sockets; `None` when the pod is full.
    pub place: Option<Place>,
}

/// What a client shows of who it is.
pub enum Pass {
    /// A token.
    Token(String),
    /// A ticket, and the page that shows it.
    Ticket {
        /// The ticket.
        ticket: Ticket,
        /// Of which origin the page is, if it is one.
        origin: Option<String>,
    },
}

impl Pass {
    /// Says who shows this.
    ///
    /// # Errors
    ///
    /// When it is not believed, or cannot be judged just now.
    pub async fn believe(&self, pod: &Pod) -> Result<Caller, PassError> {
        match self {
            Self::Token(token) => Ok(pod.verifier.verify(token).await?),
            Self::Ticket { ticket, origin } => {
                // What is taken in is spent: not before it can be judged.
                pod.verifier.knows_revoked()?;
                let holder = pod.tickets.take(ticket).await.map_err(PassError::Unread)?;
                let holder = holder.filter(|holder| holder.may_come_from(origin.as_deref()));
                let Holder { caller, .. } = holder.ok_or(PassError::Spent)?;
                pod.verifier.still_believes(&caller)?;
                Ok(caller)
            }
        }
    }

    /// Counts that `caller` connects with it. A ticket was counted when it was made out.
    ///
    /// # Errors
    ///
    /// When they do so too often.
    pub async fn count(&self, pod: &Pod, caller: &Caller) -> Result<(), TooMany> {
        match self {
            Self::Token(_) => pod.limits.check(Deed::Connect, caller).await,
            Self::Ticket { .. } => Ok(()),
        }
    }
}

/// Why what a client shows is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// It is a token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is a ticket that lets nobody in.
    #[error("the ticket was used already, has expired, or was made out to another page: ask for another one")]
    Spent,
    /// It is a ticket, and whose it is cannot be read.
    #[error("tickets cannot be read here at present")]
    Unread(#[source] BrokerError),
}

impl PassError {
    /// The code that the client hears; the error's own text is the detail.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Token(error) => error.code(),
            Self::Spent => ErrorCode::Unauthorized,
            Self::Unread(_) => ErrorCode::Unavailable,
        }
    }

    /// Whether nothing is said against the client, which may come again a moment later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Token(error) => error.may_pass(),
            Self::Spent => false,
            Self::Unread(_) => true,
        }
    }

    /// How a socket is closed for it.
    const fn close_code(&self) -> CloseCode {
        match self {
            Self::Token(TokenError::TooEarly | TokenError::Unavailable) | Self::Unread(_) => CloseCode::Full,
            Self::Token(TokenError::Revoked) => CloseCode::Forbidden,
            Self::Token(TokenError::Invalid | TokenError::Expired) | Self::Spent => CloseCode::BadToken,
        }
    }
}

/// Lets a client in and serves it until it is gone, or tells it why not.
pub fn receive<T: Transport>(pod: Arc<Pod>, visit: Visit, transport: T) -> impl Future<Output = ()> {
    opened(async {
        let (mut session, place) = welcome(pod, visit, transport).await?;
        Some(async move {
            session.run().await;
            drop(place);
        })
    })
}

/// The session of a client that is let in, and its place.
async fn welcome<T: Transport>(pod: Arc<Pod>, mut visit: Visit, mut transport: T) -> Option<(Session<T>, Place)> {
    let Some(mut place) = visit.place.take() else {
        refuse(transport, visit.passing, pod.turnstile.come_back().into()).await;
        return None;
    };
    let caller = match identify(&pod, &mut visit, &mut place, &mut transport).await {
        Ok(caller) => caller,
        Err(refused) => {
            refuse(transport, visit.passing, refused).await;
            return None;
        }
    };
    let (connection, feeds) = attach(&pod, &caller, visit.door).await;
    let arrival = Arrival { caller: caller.clone(), device_id: visit.client.device_id.clone(), since: visit.since };
    let Some(verdict) = pod.questions.ask(Question::Arrive(arrival)).await else {
        pod.hub.detach(&connection);
        refuse(transport, visit.passing, pod.turnstile.come_back().into()).await;
        return None;
    };
    let Some((start, resumed, resync)) = place_in_feeds(&pod, &connection, &verdict) else {
        pod.hub.detach(&connection);
        let why = match verdict {
            Verdict::Denied { code } => Some(answer::error(None, code, "you may not connect", None)),
            _ => None,
        };
        refuse(transport, visit.passing, Refused { code: CloseCode::Forbidden, why }).await;
        return None;
    };
    // From here on the hub finds the connection when a token of its user is revoked. Before, nobody did.
    if pod.verifier.denylist().denies(&caller) {
        pod.hub.detach(&connection);
        refuse(transport, visit.passing, Refused { code: CloseCode::Forbidden, why: Some(revoked()) }).await;
        return None;
    }
    METRICS.opened.increment(1);
    pod.wheel.add(&connection);
    // One who comes while the pod is being left was not there when the others were told.
    if pod.draining.load(Ordering::Relaxed) {
        connection.queue.order(|orders| orders.close = Some(CloseCode::Draining));
    }
    let mut session =
        Session::new(Arc::clone(&pod), connection, caller, visit.client.device_id, &start, feeds, transport);
    session.passing = visit.passing;
    session.greet(resumed, resync);
    Some((session, place))
}

/// Why somebody is not let in.
struct Refused {
    code: CloseCode,
    /// What the client hears before the close, if there is something to say.
    why: Option<String>,
}

impl From<CloseCode> for Refused {
    fn from(code: CloseCode) -> Self {
        Self { code, why: None }
    }
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        let why = answer::error(None, ErrorCode::RateLimited, &full.to_string(), Some(millis(full.wait)));
        Self { code: CloseCode::Full, why: Some(why) }
    }
}

impl From<TooMany> for Refused {
    fn from(error: TooMany) -> Self {
        let why = answer::error(None, ErrorCode::RateLimited, &error.to_string(), Some(millis(error.wait)));
        Self { code: CloseCode::Full, why: Some(why) }
    }
}

/// Who it is: by what it came with, else by the token that it says first.
async fn identify<T: Transport>(
    pod: &Pod,
    visit: &mut Visit,
    place: &mut Place,
    transport: &mut T,
) -> Result<Caller, Refused> {
    if let Some(caller) = visit.caller.take() {
        return Ok(*caller);
    }
    let pass = match (visit.pass.take(), &visit.user_id) {
        (Some(pass), _) => pass,
        (None, Some(user)) if visit.is_local && pod.verifier.accepts_bare_users() => return Ok(bare_guest(user)),
        (None, _) => {
            let first = tokio::time::timeout(pod.settings.auth_timeout, first_token(transport)).await;
            let token = first.map_err(|_| CloseCode::Silent)??;
            visit.passing = Some(pod.turnstile.pass()?);
            Pass::Token(token)
        }
    };
    let caller = pass.believe(pod).await.map_err(|error| {
        if let PassError::Unread(error) = &error {
            tracing::warn!(%error, "tickets cannot be read");
        }
        let wait = error.may_pass().then(|| millis(pod.turnstile.come_back().wait));
        Refused { code: error.close_code(), why: Some(answer::error(None, error.code(), &error.to_string(), wait)) }
    })?;
    match &visit.user_id {
        Some(user) if *user != caller.user => Err(CloseCode::Forbidden.into()),
        _ => {
            pass.count(pod, &caller).await?;
            place.seat = pod.limits.sit(&caller).await?;
            Ok(caller)
        }
    }
}

/// Waits for the `auth` command that a client without a token must send first, once it has heard that the door is open.
async fn first_token<T: Transport>(transport: &mut T) -> Result<String, CloseCode> {
    let first = std::future::poll_fn(|cx| {
        // A broken socket is found out by reading it.
        let _ = transport.poll_write(cx);
        transport.poll_read(cx)
    });
    match first.await {
        Incoming::Text(text) => match Command::parse(&text) {
            Ok(Command { action: Action::Auth { token }, .. }) => Ok(token),
            _ => Err(CloseCode::BadToken),
        },
        Incoming::Broken(code) => Err(code),
        Incoming::Closed => Err(CloseCode::Normal),
        Incoming::Binary | Incoming::Ping | Incoming::Pong | Incoming::Alive => Err(CloseCode::BadToken),
    }
}

/// A guest of the playground, as the source systems' commands name one.
fn bare_guest(user: &UserId) -> Caller {
    let now = Timestamp::now();
    let expires_at = Timestamp::from_micros(now.as_micros() + BARE_GUEST.as_micros() as i64);
    Caller { user: user.clone(), role: Role::Guest, name: None, token_id: None, issued_at: Some(now), expires_at }
}

/// What a client hears first.
#[derive(Serialize)]
struct Established<'a> {
    connection_id: ConnectionId,
    user_id: &'a UserId,
    role: Role,
    node: &'a str,
    heartbeat_interval: u64,
    expires_at: Timestamp,
    resumed: bool,
    cursor: Cursor,
}

impl<T: Transport> Session<T> {
    /// Says who the client is here and where delivery starts.
    fn greet(&self, resumed: bool, resync: Option<ResyncReason>) {
        let Connection { id, user, role, .. } = &*self.connection;
        let data = Established {
            connection_id: *id,
            user_id: user,
            role: *role,
            node: &self.pod.node,
            heartbeat_interval: self.pod.settings.heartbeat_interval.as_secs(),
            expires_at: self.caller.expires_at,
            resumed,
            cursor: self.cursor(),
        };
        self.say(&answer::own_event("connection_established", &data));
        if let Some(reason) = resync {
            self.say(&answer::own_event("resync_required", &json!({ "reason": reason, "cursor": self.cursor() })));
        }
    }
}

/// Tells a client why it is not let in, and closes.
async fn refuse<T: Transport>(mut transport: T, passing: Option<Passing>, Refused { code, why }: Refused) {
    // Others come in meanwhile.
    drop(passing);
    METRICS.closed(code).increment(1);
    if let Some(why) = why {
        transport.load(WholeFrame::answer(&why));
    }
    transport::close(&mut transport, code).await;
}
