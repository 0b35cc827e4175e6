use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use shared::broker::memory::MemoryBroker;
use shared::broker::{BrokerError, Delivery, Link};
use shared::channel::Bucket;
use shared::presence::Status;
use shared::presence::memory::MemoryPresence;
use tokio::time::{advance, sleep, timeout};

use super::Availability::{Dnd, Offline, Online};
use super::*;
use crate::connection::Connection;
use crate::stand_ins::connection;

/// A store that shows the lease it gave last.
struct Ledger {
    inner: MemoryPresence,
    lease: Mutex<Option<Lease>>,
}

#[async_trait]
impl Presence for Ledger {
    async fn begin(&self, lasts: Duration) -> Result<Lease, BrokerError> {
        let lease = self.inner.begin(lasts).await?;
        *self.lease.lock() = Some(lease);
        Ok(lease)
    }
    async fn renew(&self, lease: &mut Lease, lasts: Duration) -> Result<(), PresenceError> {
        self.inner.renew(lease, lasts).await?;
        *self.lease.lock() = Some(*lease);
        Ok(())
    }
    async fn put(
        &self,
        lease: &Lease,
        former: Option<PodId>,
        people: &[(UserId, Availability)],
    ) -> Result<(), PresenceError> {
        self.inner.put(lease, former, people).await
    }
    async fn read(&self, people: &[UserId]) -> Result<Vec<Status>, BrokerError> {
        self.inner.read(people).await
    }
    async fn sweep(&self, sweeper: PodId, lasts: Duration, most: usize) -> Result<usize, BrokerError> {
        self.inner.sweep(sweeper, lasts, most).await
    }
}

/// A gateway's hub and attendance, and somebody who listens.
struct Gate {
    presence: Arc<Ledger>,
    hub: Arc<Hub>,
    attendance: Attendance,
    listener: Link,
    stop: CancellationToken,
}

impl Gate {
    fn begin() -> (Self, Attendant) {
        let place = MemoryBroker::default();
        let inner = MemoryPresence::new(place.clone());
        let presence = Arc::new(Ledger { inner, lease: Mutex::default() });
        let hub = Arc::new(Hub::new(Arc::default()));
        let (attendance, attendant) = attendance(presence.clone(), Arc::clone(&hub));
        (Self { presence, hub, attendance, listener: place.link(), stop: CancellationToken::new() }, attendant)
    }

    /// One whose attendant runs, and somebody hears of `name`.
    async fn heard(name: &str) -> Self {
        let (gate, attendant) = Self::begin();
        gate.listen(name).await;
        tokio::spawn(attendant.run(gate.stop.clone()));
        gate
    }

    async fn listen(&self, name: &str) {
        self.listener.broker.subscribe(&[Channel::Presence(user(name))]).await.expect("memory takes everything");
    }

    fn connect(&self, name: &str) -> Arc<Connection> {
        let connection = connection(name);
        self.hub.attach(&connection);
        connection.choose(Online);
        self.attendance.look(&connection.user);
        connection
    }

    fn disconnect(&self, connection: &Connection) {
        self.hub.detach(connection);
        self.attendance.look(&connection.user);
    }

    async fn state(&self, name: &str) -> Availability {
        self.presence.read(&[user(name)]).await.expect("a reading")[0].state
    }

    /// The store says again what was so before, under the same lease.
    async fn goes_back(&mut self, name: &str, before: Availability) {
        let lease = self.presence.lease.lock().expect("a lease");
        self.presence.put(&lease, None, &[(user(name), before)]).await.expect("memory takes everything");
        assert_eq!(self.told().await, Some(before));
    }

    /// The state that the next change tells, if there is one before long.
    async fn told(&mut self) -> Option<Availability> {
        let heard = timeout(10 * GRACE, self.listener.deliveries.next()).await.ok()??;
        let Delivery::Envelope(envelope) = heard else { panic!("{heard:?}") };
        let text = String::from_utf8_lossy(envelope.body()).into_owned();
        Availability::ALL.into_iter().find(|state| text.contains(&format!(r#""state":"{state}""#)))
    }
}

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

#[tokio::test(start_paused = true)]
async fn the_highest_state_of_all_devices_is_told_and_the_last_one_leaves_after_a_grace() {
    let mut gate = Gate::heard("alice").await;
    let (phone, desk) = (gate.connect("alice"), gate.connect("alice"));
    assert_eq!(gate.told().await, Some(Online));
    desk.choose(Dnd);
    gate.attendance.look(&desk.user);
    assert_eq!(gate.told().await, Some(Dnd));
    gate.disconnect(&desk);
    assert_eq!(gate.told().await, Some(Online));
    gate.disconnect(&phone);
    let left = Instant::now();
    assert_eq!(gate.told().await, Some(Offline));
    assert!(left.elapsed() >= GRACE);
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_within_the_grace_was_never_gone() {
    let mut gate = Gate::heard("alice").await;
    let mut page = gate.connect("alice");
    assert_eq!(gate.told().await, Some(Online));
    for _ in 0..5 {
        gate.disconnect(&page);
        tokio::time::sleep(GRACE / 2).await;
        page = gate.connect("alice");
    }
    assert_eq!(gate.told().await, None);
    gate.disconnect(&page);
    assert_eq!(gate.told().await, Some(Offline));
}

#[tokio::test(start_paused = true)]
async fn more_changes_than_may_wait_make_no_difference() {
    let (gate, attendant) = Gate::begin();
    let connections: Vec<_> = (0..WAITING + 100).map(|number| gate.connect(&format!("u{number}"))).collect();
    connections.iter().step_by(2).for_each(|connection| gate.disconnect(connection));
    tokio::spawn(attendant.run(gate.stop.clone()));
    tokio::time::sleep(2 * GRACE).await;
    for (number, connection) in connections.iter().enumerate() {
        let state = if number % 2 == 0 { Offline } else { Online };
        assert_eq!(gate.state(connection.user.as_str()).await, state, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_that_was_so_before_is_put_right_with_the_next_beat() {
    let mut gate = Gate::heard("alice").await;
    let phone = gate.connect("alice");
    assert_eq!(gate.told().await, Some(Online));
    gate.goes_back("alice", Offline).await;
    gate.attendance.doubt(&Gap::Everything);
    let lost = Instant::now();
    assert_eq!(gate.told().await, Some(Online));
    assert!(lost.elapsed() <= BEAT + PACE, "{:?}", lost.elapsed());

    gate.disconnect(&phone);
    assert_eq!(gate.told().await, Some(Offline));
    sleep(HELD - BEAT).await;
    gate.goes_back("alice", Online).await;
    gate.attendance.doubt(&Gap::Buckets(vec![Channel::Presence(user("alice")).bucket()]));
    let lost = Instant::now();
    assert_eq!(gate.told().await, Some(Offline));
    assert!(lost.elapsed() <= BEAT + PACE, "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whom_a_loss_does_not_concern_is_not_written_for_it() {
    let mut gate = Gate::heard("alice").await;
    let phone = gate.connect("alice");
    assert_eq!(gate.told().await, Some(Online));
    gate.disconnect(&phone);
    assert_eq!(gate.told().await, Some(Offline));
    gate.goes_back("alice", Online).await;
    let hers = Channel::Presence(user("alice")).bucket();
    gate.attendance.doubt(&Gap::Buckets(Bucket::all().filter(|bucket| *bucket != hers).collect()));
    assert_eq!(gate.told().await, None);
}

#[tokio::test(start_paused = true)]
async fn losses_within_the_grace_do_not_begin_it_anew() {
    let mut gate = Gate::heard("alice").await;
    let phone = gate.connect("alice");
    assert_eq!(gate.told().await, Some(Online));
    gate.disconnect(&phone);
    let attendance = gate.attendance.clone();
    tokio::spawn(async move {
        loop {
            attendance.doubt(&Gap::Everything);
            sleep(BEAT / 2).await;
        }
    });
    let left = Instant::now();
    assert_eq!(gate.told().await, Some(Offline));
    assert!(left.elapsed() <= GRACE + PACE, "{:?}", left.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_is_remembered_anew_and_nobody_for_ever() {
    let mut gate = Gate::heard("alice").await;
    for _ in 0..3 {
        let phone = gate.connect("alice");
        assert_eq!(gate.told().await, Some(Online));
        gate.disconnect(&phone);
        assert_eq!(gate.told().await, Some(Offline));
        sleep(HELD * 2 / 3).await;
    }
    gate.goes_back("alice", Online).await;
    gate.attendance.doubt(&Gap::Everything);
    assert_eq!(gate.told().await, Some(Offline));
    sleep(HELD / 3 + GRACE + BEAT).await;
    gate.goes_back("alice", Online).await;
    gate.attendance.doubt(&Gap::Everything);
    assert_eq!(gate.told().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_was_taken_for_dead_tells_anew_who_is_here() {
    let mut gate = Gate::heard("alice").await;
    let _connection = gate.connect("alice");
    assert_eq!(gate.told().await, Some(Online));
    // It does nothing while the clock runs on, and another one sweeps.
    advance(2 * LEASE).await;
    assert_eq!(gate.presence.sweep(PodId::new(), LEASE, BATCH).await.expect("a sweep"), 1);
    assert_eq!(gate.told().await, Some(Offline));
    assert_eq!(gate.told().await, Some(Online));
}

/// A store that can be cut off, and that only sweeps.
struct Broom {
    is_cut_off: AtomicBool,
    sweeps: AtomicUsize,
}

#[async_trait]
impl Presence for Broom {
    async fn begin(&self, _: Duration) -> Result<Lease, BrokerError> {
        unreachable!("nobody begins")
    }
    async fn renew(&self, _: &mut Lease, _: Duration) -> Result<(), PresenceError> {
        unreachable!("nobody renews")
    }
    async fn put(&self, _: &Lease, _: Option<PodId>, _: &[(UserId, Availability)]) -> Result<(), PresenceError> {
        unreachable!("nobody writes")
    }
    async fn read(&self, _: &[UserId]) -> Result<Vec<Status>, BrokerError> {
        unreachable!("nobody reads")
    }
    async fn sweep(&self, _: PodId, _: Duration, _: usize) -> Result<usize, BrokerError> {
        self.sweeps.fetch_add(1, Ordering::Relaxed);
        if self.is_cut_off.load(Ordering::Relaxed) { Err(BrokerError::Overloaded) } else { Ok(0) }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_could_not_make_itself_heard_is_given_time_to_before_it_is_swept() {
    let broom = Arc::new(Broom { is_cut_off: true.into(), sweeps: 0.into() });
    tokio::spawn(sweep(broom.clone(), CancellationToken::new()));
    sleep(Duration::from_millis(1)).await;
    broom.is_cut_off.store(false, Ordering::Relaxed);
    sleep(LEASE - Duration::from_millis(2)).await;
    assert_eq!(broom.sweeps.load(Ordering::Relaxed), 1, "the one that was not answered");
    sleep(SWEEP + Duration::from_millis(2)).await;
    assert!(broom.sweeps.load(Ordering::Relaxed) > 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_a_stopped_gateway_had_is_swept_unless_they_come_back_elsewhere() {
    let (mut gate, attendant) = Gate::begin();
    gate.listen("alice").await;
    let running = tokio::spawn(attendant.run(gate.stop.clone()));
    let _connection = gate.connect("alice");
    assert_eq!(gate.told().await, Some(Online));
    gate.stop.cancel();
    running.await.expect("it ends");
    assert_eq!(gate.state("alice").await, Online, "within the grace");
    tokio::spawn(sweep(gate.presence.clone(), CancellationToken::new()));
    assert_eq!(gate.told().await, Some(Offline));
}
