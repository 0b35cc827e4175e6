//! What everybody who keeps presence promises, as tests that every implementation runs.
//!
//! One function per promise, and [`presence_conformance!`](crate::presence_conformance) gives an implementation all of them. The
//! stages are the broker's: what changes is heard through it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Availability::{Dnd, Idle, Offline, Online};
use super::{Availability, CHANGED, Lease, PresenceError, Status};
use crate::broker::conformance::{Pod, Stage, promises_of};
use crate::channel::Channel;
use crate::envelope::{Content, Envelope};
use crate::event::LiveBody;
use crate::ids::{PodId, UserId};

/// A lease that outlives every test.
const LONG: Duration = Duration::from_secs(600);
/// A lease that has ended before anybody can look.
const SHORT: Duration = Duration::from_millis(1);
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs every promise of presence for each `name: Stage`.
#[macro_export]
macro_rules! presence_conformance {
    ($($backend:ident: $stage:ty),+ $(,)?) => {
        $(mod $backend {
            use super::*;
            $crate::promises!($stage, presence, [
                somebody_never_seen_is_offline,
                over_several_gateways_the_highest_state_counts,
                a_change_is_told_once_and_can_be_read_once_it_is_heard,
                what_changes_nothing_is_told_to_nobody,
                whoever_left_everywhere_is_offline_and_was_last_seen_then,
                many_are_written_and_read_at_once_in_the_order_asked,
                whom_the_holder_of_an_ended_lease_had_is_told_to_be_gone_exactly_once,
                a_lease_that_is_renewed_is_never_swept,
                of_several_sweepers_one_has_the_work_to_itself,
                what_a_sweeper_leaves_undone_another_does,
                under_an_ended_lease_nothing_is_written_and_it_never_lasts_again,
                another_lease_takes_over_the_people_of_the_former_unnoticed,
            ]);
        })+
    };
}

/// Fails when `listed` is not every promise of this file.
pub fn assert_complete(listed: &[&str]) {
    assert_eq!(listed, promises_of(include_str!("conformance.rs")));
}

/// Somebody never seen is offline, and was last seen never.
pub async fn somebody_never_seen_is_offline<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let before = Status::unknown(user("alice"));
    let status = pod.status("alice").await;
    assert_eq!(status, Status { version: status.version, ..before.clone() });
    // The server's clock is not this one's.
    assert!(status.version + 10_000_000 > before.version, "{status:?}");
    assert!(pod.presence.read(&[]).await.expect("a reading").is_empty());
}

/// Over several gateways the highest state counts: do not disturb, online, idle.
pub async fn over_several_gateways_the_highest_state_counts<S: Stage>() {
    let stage = S::set().await;
    let pods = [stage.pod().await, stage.pod().await];
    let leases = [pods[0].begin(LONG).await, pods[1].begin(LONG).await];
    for (one, other, together) in [
        (Idle, Offline, Idle),
        (Idle, Online, Online),
        (Dnd, Online, Dnd),
        (Online, Idle, Online),
        (Idle, Idle, Idle),
        (Offline, Idle, Idle),
        (Offline, Offline, Offline),
    ] {
        pods[0].put(&leases[0], "alice", one).await;
        pods[1].put(&leases[1], "alice", other).await;
        assert_eq!(pods[0].status("alice").await.state, together, "{one} and {other}");
    }
}

/// A change is told once on the person's channel, and can be read once it is heard; of two the later has the higher version.
pub async fn a_change_is_told_once_and_can_be_read_once_it_is_heard<S: Stage>() {
    let stage = S::set().await;
    let (speaker, mut listener) = (stage.pod().await, stage.pod().await);
    let lease = speaker.begin(LONG).await;
    listener.watch(&["alice"]).await;
    let mut last = 0;
    for state in [Online, Idle, Dnd, Offline, Online] {
        speaker.put(&lease, "alice", state).await;
        let heard = listener.next_status().await;
        assert_eq!((heard.state, heard.version > last), (state, true));
        assert_eq!(listener.status("alice").await, heard);
        last = heard.version;
    }
    listener.hears_nothing_more(&speaker, &lease).await;
}

/// What changes nothing over all gateways is told to nobody.
pub async fn what_changes_nothing_is_told_to_nobody<S: Stage>() {
    let stage = S::set().await;
    let (one, other, mut listener) = (stage.pod().await, stage.pod().await, stage.pod().await);
    let leases = [one.begin(LONG).await, other.begin(LONG).await];
    listener.watch(&["alice"]).await;
    one.put(&leases[0], "alice", Online).await;
    assert_eq!(listener.next_status().await.state, Online);
    one.put(&leases[0], "alice", Online).await;
    other.put(&leases[1], "alice", Idle).await;
    other.put(&leases[1], "alice", Online).await;
    one.put(&leases[0], "alice", Offline).await;
    one.put(&leases[0], "bob", Offline).await;
    listener.hears_nothing_more(&one, &leases[0]).await;
}

/// Whoever left everywhere is offline and was last seen then; of those who are here nothing is said of when.
pub async fn whoever_left_everywhere_is_offline_and_was_last_seen_then<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let lease = pod.begin(LONG).await;
    pod.put(&lease, "alice", Online).await;
    assert_eq!(pod.status("alice").await.last_seen, None);
    pod.put(&lease, "alice", Offline).await;
    let gone = pod.status("alice").await;
    assert_eq!((gone.state, gone.last_seen.is_some()), (Offline, true));
    pod.put(&lease, "alice", Offline).await;
    assert_eq!(pod.status("alice").await, gone);
    pod.put(&lease, "alice", Idle).await;
    let back = pod.status("alice").await;
    assert_eq!((back.state, back.last_seen, back.version > gone.version), (Idle, None, true));
}

/// Many are written and read at once, in the order asked.
pub async fn many_are_written_and_read_at_once_in_the_order_asked<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let lease = pod.begin(LONG).await;
    let states = [Online, Idle, Dnd, Offline];
    let people: Vec<_> = (0..500).map(|number| (user(&format!("u{number}")), states[number % 4])).collect();
    pod.presence.put(&lease, None, &people).await.expect("written");
    let asked: Vec<_> = people.iter().rev().map(|(user, _)| user.clone()).collect();
    let read = pod.presence.read(&asked).await.expect("a reading");
    let read: Vec<_> = read.into_iter().rev().map(|status| (status.user_id, status.state)).collect();
    assert_eq!(read, people);
}

/// When the holder of a lease is not heard of any more, those whom it had and nobody else has are told to be gone, exactly
/// once, however many sweep.
pub async fn whom_the_holder_of_an_ended_lease_had_is_told_to_be_gone_exactly_once<S: Stage>() {
    let stage = S::set().await;
    let (dead, alive, mut listener) = (stage.pod().await, stage.pod().await, stage.pod().await);
    let leases = [dead.begin(LONG).await, alive.begin(LONG).await];
    let people: Vec<_> = (0..100).map(|number| format!("u{number}")).collect();
    let names: Vec<_> = people.iter().map(String::as_str).collect();
    listener.watch(&names).await;
    for name in &names {
        dead.put(&leases[0], name, Online).await;
    }
    alive.put(&leases[1], "u0", Idle).await;
    dead.die(leases[0]).await;

    let sweepers: Vec<_> = (0..4).map(|_| PodId::new()).collect();
    let sweep = async |sweeper: &PodId| alive.sweep(*sweeper, LONG, 7).await;
    let mut taken_back = 0;
    let all = async {
        while taken_back < people.len() {
            taken_back += join_all(sweepers.iter().map(sweep)).await.into_iter().sum::<usize>();
        }
    };
    timeout(DEADLINE, all).await.expect("all are taken back in time");
    assert_eq!(taken_back, people.len());

    let mut told: BTreeMap<UserId, Vec<Availability>> = BTreeMap::new();
    for _ in 0..2 * people.len() {
        let status = listener.next_status().await;
        told.entry(status.user_id).or_default().push(status.state);
    }
    for name in &names {
        let last = if *name == "u0" { Idle } else { Offline };
        assert_eq!(told[&user(name)], [Online, last], "{name}");
    }
    listener.hears_nothing_more(&alive, &leases[1]).await;
}

/// A lease that is renewed is never swept.
pub async fn a_lease_that_is_renewed_is_never_swept<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let mut lives = pod.begin(LONG).await;
    let dies = pod.begin(LONG).await;
    pod.put(&lives, "alice", Online).await;
    pod.put(&dies, "bob", Online).await;
    pod.die(dies).await;
    pod.presence.renew(&mut lives, LONG).await.expect("it lasts");
    pod.until_swept(PodId::new(), "bob").await;
    assert_eq!(pod.sweep(PodId::new(), LONG, 10).await, 0);
    pod.presence.renew(&mut lives, LONG).await.expect("it lasts");
    assert_eq!(pod.status("alice").await.state, Online);
}

/// Of several sweepers one has the work to itself until it is done.
pub async fn of_several_sweepers_one_has_the_work_to_itself<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let lease = pod.begin(LONG).await;
    for name in ["alice", "bob", "carol"] {
        pod.put(&lease, name, Online).await;
    }
    pod.die(lease).await;
    let (first, second) = (PodId::new(), PodId::new());
    pod.until_sweeps(first, LONG, 1).await;
    assert_eq!(pod.sweep(second, LONG, 10).await, 0);
    assert_eq!(pod.sweep(first, LONG, 10).await, 2);
    assert_eq!(pod.sweep(second, LONG, 10).await, 0);
}

/// What a sweeper that dies midway leaves undone another does: nobody stays who is gone.
pub async fn what_a_sweeper_leaves_undone_another_does<S: Stage>() {
    let stage = S::set().await;
    let (pod, mut listener) = (stage.pod().await, stage.pod().await);
    let (lease, lives) = (pod.begin(LONG).await, pod.begin(LONG).await);
    let names = ["alice", "bob", "carol"];
    for name in names {
        pod.put(&lease, name, Online).await;
    }
    pod.die(lease).await;
    listener.watch(&names).await;
    pod.until_sweeps(PodId::new(), SHORT, 1).await;
    pod.until_sweeps(PodId::new(), LONG, 10).await;
    let mut gone = [listener.next_status().await, listener.next_status().await, listener.next_status().await];
    gone.sort_by_key(|status| status.user_id.to_string());
    assert_eq!(
        gone.each_ref().map(|status| (status.user_id.as_str(), status.state)),
        names.map(|name| (name, Offline))
    );
    listener.hears_nothing_more(&pod, &lives).await;
}

/// Under a lease that has ended nothing is written, and it never lasts again.
pub async fn under_an_ended_lease_nothing_is_written_and_it_never_lasts_again<S: Stage>() {
    let stage = S::set().await;
    let pod = stage.pod().await;
    let mut lease = pod.begin(LONG).await;
    pod.put(&lease, "alice", Online).await;
    pod.presence.renew(&mut lease, SHORT).await.expect("it lasts");
    pod.until_swept(PodId::new(), "alice").await;
    for state in [Online, Offline] {
        let written = pod.presence.put(&lease, None, &[(user("alice"), state)]).await;
        assert!(matches!(written, Err(PresenceError::Ended)), "{written:?}");
    }
    assert!(matches!(pod.presence.renew(&mut lease, LONG).await, Err(PresenceError::Ended)));
    assert_eq!(pod.status("alice").await.state, Offline);
}

/// Another lease takes over the people of the former: whoever is still there is not told to have been gone, whoever has left is.
pub async fn another_lease_takes_over_the_people_of_the_former_unnoticed<S: Stage>() {
    let stage = S::set().await;
    let (pod, mut listener) = (stage.pod().await, stage.pod().await);
    let former = pod.begin(LONG).await;
    for name in ["alice", "bob"] {
        pod.put(&former, name, Online).await;
    }
    pod.die(former).await;
    listener.watch(&["alice", "bob"]).await;
    let lease = pod.begin(LONG).await;
    let people = [(user("alice"), Online), (user("bob"), Offline)];
    pod.presence.put(&lease, Some(former.holder), &people).await.expect("written");
    let gone = listener.next_status().await;
    assert_eq!((gone.user_id, gone.state), (user("bob"), Offline));
    // What is left of the former lease is nobody.
    pod.until_sweeps(PodId::new(), LONG, 10).await;
    assert_eq!(pod.status("alice").await.state, Online);
    listener.hears_nothing_more(&pod, &lease).await;
}

impl Pod {
    async fn begin(&self, lasts: Duration) -> Lease {
        self.presence.begin(lasts).await.expect("a lease")
    }

    /// Lets a lease end.
    async fn die(&self, mut lease: Lease) {
        self.presence.renew(&mut lease, SHORT).await.expect("it lasts a moment");
    }

    async fn put(&self, lease: &Lease, name: &str, state: Availability) {
        self.presence.put(lease, None, &[(user(name), state)]).await.expect("written");
    }

    async fn status(&self, name: &str) -> Status {
        self.presence.read(&[user(name)]).await.expect("a reading").remove(0)
    }

    async fn sweep(&self, sweeper: PodId, lasts: Duration, most: usize) -> usize {
        self.presence.sweep(sweeper, lasts, most).await.expect("a sweep")
    }

    /// Sweeps until something was swept.
    async fn until_sweeps(&self, sweeper: PodId, lasts: Duration, most: usize) {
        let swept = async {
            while self.sweep(sweeper, lasts, most).await == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, swept).await.expect("something is swept in time");
    }

    /// Sweeps until somebody is gone.
    async fn until_swept(&self, sweeper: PodId, name: &str) {
        let swept = async {
            while self.status(name).await.state != Offline {
                self.until_sweeps(sweeper, LONG, 10).await;
            }
        };
        timeout(DEADLINE, swept).await.expect("they are gone in time");
    }

    async fn watch(&self, names: &[&str]) {
        let channels: Vec<_> = names.iter().map(|name| Channel::Presence(user(name))).collect();
        self.link.broker.subscribe(&channels).await.expect("a subscription");
    }

    async fn next_status(&mut self) -> Status {
        told(&self.next_envelope().await)
    }

    /// Fails if anything is heard before what `speaker` says last of all.
    async fn hears_nothing_more(&mut self, speaker: &Self, lease: &Lease) {
        self.watch(&["the_last"]).await;
        speaker.put(lease, "the_last", Online).await;
        assert_eq!(self.next_status().await.user_id, user("the_last"));
    }
}

/// Reads the event that tells of a change.
fn told(envelope: &Envelope) -> Status {
    assert!(matches!(envelope.content, Content::Sign(_)), "{envelope:?}");
    let body = LiveBody::from_trusted(envelope.body().clone());
    let text = [body.as_bytes(), LiveBody::tail(None).as_bytes()].concat();
    let event: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(event["type"], CHANGED);
    assert_eq!(event["channel"], envelope.channel.to_string());
    Status::heard(&body).expect("a status")
}

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}
