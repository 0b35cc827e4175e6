//! The gateway pod: holds the sockets, hears the broker, fans out.
//!
//! The line of a message here: [`pump`] → [`hub`] → [`send_queue`] → [`session`] → [`transport`]. Beside it stand those who
//! notice and mend losses ([`heads`], [`behind`], [`repair`], [`catch_up`]) and those who let clients in ([`accept`],
//! [`doors`], [`turnstile`], [`welcome`]). No database and no disk: what has to be known is asked of the api, through [`upstream`].

pub mod accept;
pub mod acks;
pub mod address;
mod allowance;
mod arrival;
pub mod attendance;
pub mod behind;
pub mod catch_up;
mod clock;
mod commands;
pub mod config;
pub mod connection;
mod departure;
pub mod doors;
mod errand;
pub mod feed;
pub mod frame;
mod handshake;
pub mod heads;
pub mod hub;
mod inquiry;
pub mod interest;
mod metrics;
mod opening;
pub mod pod;
pub mod policy;
pub mod pump;
pub mod questions;
pub mod repair;
pub mod revocations;
mod room;
mod rooms;
pub mod send_queue;
pub mod session;
mod signs;
#[cfg(test)]
mod stand_ins;
mod standing;
pub mod transport;
pub mod turnstile;
pub mod upstream;
mod watching;
mod welcome;
pub mod wheel;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use shared::access::Verifier;
use shared::broker::{Link, LinkState};
use shared::channel::Channel;
use shared::drain::Drain;
use shared::history::History;
use shared::limits::Limits;
use shared::ops::Readiness;
use shared::presence::Presence;
use shared::tickets::Tickets;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::GatewaySettings;
use crate::heads::{HeadsWatch, UNHEARD};
use crate::pod::Pod;
use crate::upstream::Upstream;

/// How long the link to the broker may be down before new clients are sent elsewhere.
const CUT_OFF: Duration = Duration::from_secs(30);

/// What a gateway is made of.
pub struct Parts {
    /// How it behaves.
    pub settings: GatewaySettings,
    /// Its name, for people who look for it.
    pub node: String,
    /// Who is believed.
    pub verifier: Verifier,
    /// The broker.
    pub link: Link,
    /// What rooms remember.
    pub history: Arc<dyn History>,
    /// Who is here, over all gateways.
    pub presence: Arc<dyn Presence>,
    /// How often people may do what.
    pub limits: Limits,
    /// Whose tickets are.
    pub tickets: Arc<dyn Tickets>,
    /// The api.
    pub upstream: Upstream,
    /// Over how long clients are told to come back when the pod stops.
    pub drain_window: Duration,
}

/// A gateway at work.
pub struct Gateway {
    doors: doors::Doors,
    heads: Arc<HeadsWatch>,
    link: watch::Receiver<LinkState>,
}

impl Gateway {
    /// Starts a gateway's tasks; they end with `drain`, after the last client has left or been cut off.
    #[must_use]
    pub fn start(parts: Parts, drain: &Drain) -> Self {
        let Parts { settings, node, verifier, link, history, presence, limits, tickets, upstream, drain_window } =
            parts;
        let stop = CancellationToken::new();
        let behind = Arc::new(behind::Behind::default());
        let hub = Arc::new(hub::Hub::new(Arc::clone(&behind)));
        let revocations = revocations::Revocations::new(verifier.clone(), Arc::clone(&hub), Arc::clone(&behind));
        let revocations = Arc::new(revocations);
        let heads = HeadsWatch::new(Arc::clone(&hub), Arc::clone(&revocations), Arc::clone(&behind));
        let heads = Arc::new(heads);
        // What was revoked before is read before anybody is let in.
        behind.compare_everything();
        let (interest, keeper) = interest::interest(Arc::clone(&link.broker));
        let (questions, asker) = questions::questions(upstream.clone());
        let (watches, watches_asker) = questions::questions(upstream.clone());
        let (signs, signaller) = signs::signs(Arc::clone(&link.broker));
        let (attendance, attendant) = attendance::attendance(Arc::clone(&presence), Arc::clone(&hub));
        let acks = Arc::new(acks::Acks::default());
        let pod = Arc::new(Pod {
            wheel: wheel::Wheel::new(&settings),
            turnstile: Arc::new(turnstile::Turnstile::new(settings.max_arrivals)),
            settings,
            node,
            verifier,
            hub: Arc::clone(&hub),
            interest: interest.clone(),
            broker: Arc::clone(&link.broker),
            history: Arc::clone(&history),
            presence: Arc::clone(&presence),
            limits: limits.clone(),
            tickets,
            upstream: upstream.clone(),
            questions,
            watches,
            signs,
            attendance: attendance.clone(),
            pages: catch_up::Pages::new(upstream.clone(), Arc::clone(&hub), Arc::clone(&history)),
            acks: Arc::clone(&acks),
            open: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        });
        let sessions = TaskTracker::new();

        let tasks = drain.tasks();
        let pump = pump::Pump {
            hub: Arc::clone(&hub),
            heads: Arc::clone(&heads),
            revocations: Arc::clone(&revocations),
            behind: Arc::clone(&behind),
            attendance,
        };
        tasks.spawn(pump.run(link.deliveries, stop.clone()));
        tasks.spawn(keeper.run(stop.clone()));
        tasks.spawn(asker.run(stop.clone()));
        tasks.spawn(watches_asker.run(stop.clone()));
        tasks.spawn(signaller.run(stop.clone()));
        tasks.spawn(attendant.run(stop.clone()));
        tasks.spawn(limits.look_after_seats(stop.clone()));
        tasks.spawn(attendance::sweep(Arc::clone(&presence), stop.clone()));
        tasks.spawn(watching::look_after(Arc::clone(&hub), Arc::clone(&behind), stop.clone()));
        let unknown = HashMap::new();
        let repairer =
            repair::Repairer { hub, behind, revocations, upstream: upstream.clone(), history, presence, unknown };
        tasks.spawn(repairer.run(stop.clone()));
        tasks.spawn({
            let (heads, upstream, stop) = (Arc::clone(&heads), upstream.clone(), stop.clone());
            async move {
                // Heard as long as the gateway runs; while the broker is away, heads are polled.
                let _beats = interest.acquire([Channel::Heads, Channel::Fleet]).await;
                heads.run(upstream, stop).await;
            }
        });
        tasks.spawn({
            let (pod, stop) = (Arc::clone(&pod), stop.clone());
            async move { pod.wheel.run(stop).await }
        });
        tasks.spawn(acks.run(upstream, stop.clone()));
        tasks.spawn(departure::see_off(Arc::clone(&pod), sessions.clone(), drain.clone(), drain_window, stop));
        Self { doors: doors::Doors { pod, sessions }, heads, link: link.state }
    }

    /// How many sockets and streams are open.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.doors.pod.open.load(Ordering::Relaxed)
    }

    /// What `router` answers and, beside it, the paths at which sockets are opened.
    pub fn site(&self, router: Router) -> accept::Site {
        accept::Site { router: router.merge(doors::router(self.doors.clone())), doors: Some(self.doors.clone()) }
    }

    /// Ready is who can deliver one way or the other, and is not the one that is cut off while the others hear each other:
    /// that one keeps its connections and polls, but new ones are better off elsewhere.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let (heads, link) = (Arc::clone(&self.heads), self.link.clone());
        Arc::new(move || {
            let mut reasons = Vec::new();
            if heads.age() > UNHEARD {
                reasons.push("no heads beat and no answer of an api for five seconds".to_owned());
            }
            if link.borrow().is_down_for(CUT_OFF) && heads.is_cut_off() {
                reasons.push("the link to the broker is down, while api pods reach it".to_owned());
            }
            Box::pin(std::future::ready(reasons))
        })
    }
}
