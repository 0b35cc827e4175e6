//! Whom a connection watches, and what it is told of them.
//!
//! Whoever watches is registered before anything is asked; from then on nothing passes unnoticed. What is told has a version, so
//! that an answer and an event that cross do no harm. Who may see whom the api knows; what it says is asked again with the
//! permissions for rooms.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use shared::access::Caller;
use shared::channel::Channel;
use shared::ids::UserId;
use shared::presence::Status;
use shared::protocol::{ErrorCode, answer};
use shared::upstream::{Question, Verdict};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::behind::Behind;
use crate::connection::Connection;
use crate::errand::{Done, Then};
use crate::hub::{Hub, SHARDS};
use crate::inquiry::Patience;
use crate::interest::Held;
use crate::pod::Pod;

/// In how long all who are watched here are looked after once. A change that was never told is missed for no longer.
const ROUND: Duration = Duration::from_secs(60);

/// Whom a connection watches.
#[derive(Default)]
pub struct Watching {
    /// Them.
    pub people: HashMap<UserId, Watched>,
    /// Those whom it wanted to watch and may not see. They count like the others, or the count would tell who they are.
    pub hidden: HashSet<UserId>,
    /// Whether something may have happened to them that was not told.
    pub missed: bool,
    /// Whether that is being read.
    is_read: bool,
}

impl Watching {
    /// How many of `people` it neither watches nor wanted to.
    pub fn count_new(&self, people: &[UserId]) -> usize {
        people.iter().filter(|user| !self.people.contains_key(*user) && !self.hidden.contains(*user)).count()
    }

    /// How many it wants to watch.
    pub fn count(&self) -> usize {
        self.people.len() + self.hidden.len()
    }

    /// Watches somebody no longer.
    pub fn forget(&mut self, user: &UserId) {
        self.people.remove(user);
        self.hidden.remove(user);
    }

    /// Watches somebody no longer whom it may not see.
    pub fn hide(&mut self, user: &UserId) {
        self.hidden.insert(user.clone());
        self.people.remove(user);
    }

    /// Watches somebody whom it may see.
    pub fn take(&mut self, watched: Watched) {
        self.hidden.remove(&watched.user);
        self.people.insert(watched.user.clone(), watched);
    }

    /// Begins to look whom the client may see: answers whom it watches, and whether what they are must be read.
    pub fn begin_look(&mut self) -> (Vec<UserId>, bool) {
        // One that was given up has left what it was to read missed.
        self.is_read |= std::mem::take(&mut self.missed);
        (self.people.keys().cloned().collect(), self.is_read)
    }

    /// Ends it: answers what the client is to be told.
    pub fn end_look(&mut self, Look { visible, hidden }: Look) -> Vec<Status> {
        let mut told = hidden;
        told.retain(|status| self.people.contains_key(&status.user_id));
        told.iter().for_each(|status| self.hide(&status.user_id));
        if std::mem::take(&mut self.is_read) {
            self.missed |= visible.is_none();
            told.extend(visible.into_iter().flatten().filter(|status| self.people.contains_key(&status.user_id)));
        }
        told
    }
}

/// Somebody who is watched by a connection, until this is dropped.
pub struct Watched {
    pod: Arc<Pod>,
    connection: Arc<Connection>,
    /// Who.
    pub user: UserId,
    /// Their changes are heard as long as this is held.
    heard: Held,
}

impl Watched {
    /// Hears and registers somebody; nothing of them is told yet.
    async fn begin(pod: Arc<Pod>, connection: Arc<Connection>, user: UserId) -> Self {
        let heard = pod.interest.acquire([Channel::Presence(user.clone())]).await;
        pod.hub.watch(&user, &connection);
        Self { pod, connection, user, heard }
    }

    /// Tells the connection what happens to them from now on. Answers whether something has happened already.
    pub fn show(&self) -> bool {
        self.pod.hub.show(&self.user, &self.connection)
    }

    /// Goes on as another connection of the same user.
    pub fn pass_to(&mut self, connection: &Arc<Connection>) {
        self.pod.hub.unwatch(&self.user, &self.connection);
        self.connection = Arc::clone(connection);
        self.pod.hub.watch(&self.user, connection);
        self.show();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.pod.hub.unwatch(&self.user, &self.connection);
    }
}

/// A wish to watch people.
pub struct Watch {
    /// The gateway.
    pub pod: Arc<Pod>,
    /// Who watches.
    pub connection: Arc<Connection>,
    /// Whose it is.
    pub caller: Box<Caller>,
    /// Whom, each once.
    pub people: Vec<UserId>,
    /// Those of them who are watched already.
    pub known: HashSet<UserId>,
    /// The command's `ref`.
    pub reference: Option<String>,
}

impl Watch {
    /// Watches them, or says why not.
    pub async fn run(self) -> Done {
        match self.try_watch().await {
            Ok((statuses, begun, hidden)) => Done {
                answer: answer::ack(self.reference.as_deref(), &json!({ "presence": statuses })),
                then: Then::Watching { begun, hidden },
            },
            Err(detail) => Done::fail(self.reference.as_deref(), ErrorCode::Unavailable, detail),
        }
    }

    async fn try_watch(&self) -> Result<(Vec<Status>, Vec<Watched>, Vec<UserId>), &'static str> {
        let Self { pod, connection, caller, people, known, .. } = self;
        let unknown = people.iter().filter(|user| !known.contains(*user));
        let mut begun =
            join_all(unknown.map(|user| Watched::begin(Arc::clone(pod), Arc::clone(connection), user.clone()))).await;
        if begun.iter().any(|watched| !watched.heard.confirmed) {
            return Err(UNKNOWN);
        }
        let visible = visible(pod, caller, people).await.ok_or("no api pod answered in time")?;
        begun.retain(|watched| visible.contains(&watched.user));
        // Whom one may not see is nobody, and is asked after all the same.
        let read = pod.presence.read(people).await.map_err(|_| UNKNOWN)?;
        pod.hub.compare_people(&read);
        let status = |status: Status| {
            if visible.contains(&status.user_id) { status } else { Status::unknown(status.user_id) }
        };
        let statuses: Vec<_> = read.into_iter().map(status).collect();
        let hidden = people.iter().filter(|user| !visible.contains(user)).cloned().collect();
        Ok((statuses, begun, hidden))
    }
}

/// What is said when the store does not answer.
const UNKNOWN: &str = "it is not known just now who is here";

/// Those of `people` whom `caller` may see; `None` when no api pod answered in time.
async fn visible(pod: &Pod, caller: &Caller, people: &[UserId]) -> Option<Vec<UserId>> {
    let question = Question::Watch { caller: caller.clone(), people: people.to_vec() };
    match pod.watches.ask(question).await {
        Some(Verdict::Visible { people }) => Some(people),
        _ => None,
    }
}

/// What those are now whom a connection watches.
#[derive(Default)]
pub struct Look {
    /// Those whom it may still see; none when that was not read.
    pub visible: Option<Vec<Status>>,
    /// Those whom it may not see any more, as they are to be told.
    pub hidden: Vec<Status>,
}

/// Asks anew whom `caller` may see, and reads what they are if `reads`. While no api pod answers, nothing is taken away: it is
/// asked again.
pub async fn look(pod: &Pod, caller: &Caller, people: Vec<UserId>, reads: bool) -> Look {
    let mut patience = Patience::default();
    let visible = loop {
        match visible(pod, caller, &people).await {
            Some(visible) => break visible,
            None => patience.wait().await,
        }
    };
    let hidden: Vec<_> = people.iter().filter(|user| !visible.contains(user)).cloned().collect();
    if hidden.is_empty() && !reads {
        return Look::default();
    }
    match pod.presence.read(&people).await {
        Ok(mut read) => {
            pod.hub.compare_people(&read);
            // What was told of them last is older than now, and so is a change that is on its way.
            let hidden = read.extract_if(.., |status| hidden.contains(&status.user_id));
            let hidden = hidden.map(|status| Status::unknown(status.user_id)).collect();
            Look { visible: Some(read), hidden }
        }
        // What is to be hidden does not wait for it, and what was not read is missed: it is looked for again.
        Err(error) => {
            tracing::debug!(%error, "not read who is here");
            if hidden.is_empty() {
                patience.wait().await;
            }
            Look { visible: None, hidden: hidden.into_iter().map(Status::unknown).collect() }
        }
    }
}

/// Has everybody looked after, until `stop`, who is watched here: what was told of them last is compared with what they are. A part of
/// them at a time, so that it is the same little work all the time.
pub async fn look_after(hub: Arc<Hub>, behind: Arc<Behind>, stop: CancellationToken) {
    let mut turn = interval(ROUND / SHARDS as u32);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for people in hub.watched() {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            let now = Instant::now();
            people.into_iter().for_each(|user| behind.note(Channel::Presence(user), now));
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::broker::memory::MemoryBroker;
    use shared::history::memory::MemoryHistory;
    use shared::presence::memory::MemoryPresence;
    use shared::presence::{Availability, Presence};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::stand_ins::{connection, repairer};

    #[tokio::test(start_paused = true)]
    async fn what_was_never_told_of_somebody_is_found_within_a_round_and_told_once() {
        let behind: Arc<Behind> = Arc::default();
        let hub = Arc::new(Hub::new(Arc::clone(&behind)));
        // What this store tells, nobody hears.
        let presence = Arc::new(MemoryPresence::new(MemoryBroker::default()));
        let stop = CancellationToken::new();
        let history = Arc::new(MemoryHistory::new(MemoryBroker::default()));
        let repairer = repairer(&hub, &behind, history, presence.clone());
        tokio::spawn(repairer.run(stop.clone()));
        tokio::spawn(look_after(Arc::clone(&hub), behind, stop));

        let (alice, connection): (UserId, _) = ("alice".parse().expect("an id"), connection("bob"));
        let lease = presence.begin(10 * ROUND).await.expect("a lease");
        let put = async |state| presence.put(&lease, None, &[(alice.clone(), state)]).await.expect("written");
        put(Availability::Online).await;
        hub.watch(&alice, &connection);
        hub.compare_people(&presence.read(std::slice::from_ref(&alice)).await.expect("a reading"));
        assert!(!hub.show(&alice, &connection), "nothing happened meanwhile");
        sleep(2 * ROUND).await;
        assert!(connection.queue.pop().is_none(), "what was told is not told again");

        put(Availability::Dnd).await;
        let told = async {
            loop {
                match connection.queue.pop() {
                    Some(frame) => break frame,
                    None => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let told = timeout(2 * ROUND, told).await.expect("within a round");
        assert!(format!("{told:?}").contains("dnd"), "{told:?}");
        sleep(2 * ROUND).await;
        assert!(connection.queue.pop().is_none(), "once");
    }
}
