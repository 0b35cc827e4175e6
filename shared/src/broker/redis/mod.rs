//! The broker of a fleet: sharded pub/sub of Redis, alone, behind Sentinel or as a cluster.
//!
//! On the line it carries envelopes from the api's announcer to every gateway's pump. Per Redis node a pod has one connection
//! for commands and one for what it hears. Whatever may have been missed becomes a `Gap`, and only once it is certain that
//! everything is heard again, so that what is read after the gap and what is heard then overlap.
//!
//! fred carries the bytes; it is not trusted with what is subscribed: `subscriptions.rs` says why.

mod commands;
mod keeper;
mod listener;
mod metrics;
mod names;
mod owners;
mod probe;
mod publisher;
mod settings;
mod subscriptions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::interfaces::EventInterface;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::commands::{Call, Commands, garbled};
use self::keeper::{Done, Keeper, Order, Tools};
use self::listener::Listener;
use self::metrics::Metrics;
pub(crate) use self::names::Names;
use self::probe::{Heard, Probes};
use self::publisher::Publisher;
pub(crate) use self::settings::COMMAND;
pub use self::settings::{InvalidRedisSettings, RedisSettings};
use super::{Broker, BrokerError, Link, LinkState, Linked, deliveries};
use crate::channel::Channel;
use crate::envelope::Envelope;
use crate::history::redis::RedisHistory;
use crate::ids::PodId;
use crate::limits::redis::RedisLimiter;
use crate::presence::redis::RedisPresence;
use crate::tickets::redis::RedisTickets;

/// Deliveries that may wait for one pump.
const QUEUE: usize = 65_536;

/// Orders to subscribe or unsubscribe that may wait for the keeper.
const ORDERS: usize = 4_096;

/// How long subscribing may take. Longer than a command, because a lost link may just be coming back.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long opening waits for the first connection.
const FIRST_CONNECTION: Duration = Duration::from_secs(2);

/// One pod's link to Redis.
struct RedisBroker {
    publisher: Arc<Publisher>,
    orders: mpsc::Sender<Order>,
    // Dropping the link ends its tasks and closes its connections.
    _tasks: [AbortOnDropHandle<()>; 3],
}

/// Connects a pod to Redis: its broker, and what lives beside it.
///
/// Waits up to two seconds for the connection and answers all the same when Redis is down: it is tried again for ever, and
/// [`Link::state`] tells. Metrics go to the recorder that is installed by then.
pub async fn open(settings: &RedisSettings) -> Linked {
    let metrics = Metrics::new();
    let names = Names::new(settings.prefix());
    let commands = Arc::new(Commands::connect(settings));
    let publisher = Arc::new(Publisher::new(Arc::clone(&commands), names.clone(), metrics.clone()));

    let subscriber = settings.subscriber();
    let (delivering, deliveries) = deliveries(QUEUE);
    let (telling, mut state) = watch::channel(LinkState::Down { since: std::time::Instant::now() });
    let (orders, ordered) = mpsc::channel(ORDERS);
    let pod = PodId::new();
    let heard = Heard::default();

    let listener = Listener {
        messages: subscriber.message_rx(),
        delivering: delivering.clone(),
        heard: heard.clone(),
        pod,
        metrics: metrics.clone(),
    };
    let tools =
        Tools { publisher: Arc::clone(&publisher), names: names.clone(), pod, delivering, state: telling, metrics };
    let keeper = Keeper::new(&subscriber, Probes::new(heard), tools);
    let tasks = [
        AbortOnDropHandle::new(tokio::spawn(listener.run())),
        AbortOnDropHandle::new(tokio::spawn(keeper.run(ordered))),
        settings::keep_connected(subscriber),
    ];

    let connected = async {
        commands.connected().await;
        let _ = state.wait_for(|state| *state == LinkState::Up).await;
    };
    if timeout(FIRST_CONNECTION, connected).await.is_err() {
        tracing::warn!("redis cannot be reached; trying on");
    }
    let broker = Arc::new(RedisBroker { publisher, orders, _tasks: tasks });
    Linked {
        link: Link { broker, deliveries, state },
        history: Arc::new(RedisHistory::new(Arc::clone(&commands), names.clone())),
        presence: Arc::new(RedisPresence::new(Arc::clone(&commands), names.clone())),
        limiter: Arc::new(RedisLimiter::new(Arc::clone(&commands), names.clone())),
        tickets: Arc::new(RedisTickets::new(commands, names)),
    }
}

impl RedisBroker {
    async fn order(&self, order: impl FnOnce(Done) -> Order) -> Result<(), BrokerError> {
        let (done, answer) = oneshot::channel();
        self.orders.try_send(order(done)).map_err(|_| BrokerError::Overloaded)?;
        match timeout(DEADLINE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(ended)) => Err(BrokerError::Unavailable(ended.into())),
            Err(late) => Err(BrokerError::Unavailable(late.into())),
        }
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(&self, envelopes: &[Envelope]) -> Result<(), BrokerError> {
        self.publisher.publish(envelopes).await
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
        self.order(|done| Order::Hear(channels.to_vec(), done)).await
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), BrokerError> {
        self.order(|done| Order::Leave(channels.to_vec(), done)).await
    }
}
