//! `carillon`: every role in one process, and how to try it.

use std::sync::Arc;

use anyhow::Context;
use api::announce::Announcer;
use api::health::readiness;
use api::revocations::Follower;
use api::state::{App, Attachments, Beside};
use api::{stats, worker};
use gateway::upstream::Upstream;
use gateway::upstream::local::LocalWire;
use gateway::{Gateway, Parts};
use shared::access::Verifier;
use shared::broker::Linked;
use shared::config::LogFormat;
use shared::limits::Limits;
use tokio_util::sync::CancellationToken;

use crate::banner::banner;
use crate::broker::Broker;
use crate::pod::Pod;
use crate::settings::Settings;
use crate::{attachments, made_up, store};

pub async fn run(mut settings: Settings) -> anyhow::Result<()> {
    let playground = settings.makes_up_a_secret();
    if playground {
        settings.access.jwt_secret = Some(made_up::secret()?);
    }
    let pod = Pod::start(settings)?;
    let verifier = Verifier::new(&pod.settings.access)?;
    let verifier = if playground { verifier.accepting_bare_users() } else { verifier };
    let listener = pod.listener()?;
    let address = listener.local_addr()?;
    let made = store::bring_up(&pod.settings).await?;
    tracing::info!(database = %pod.settings.database_url_shown(), version = made.version, "migrated");
    let store = store::open(&pod.settings)?;
    let attachments = attachments::open(&pod.settings)?;
    let broker = Broker::new(&pod.settings)?;

    // The api: it announces, and its worker beats, until nobody is served any more.
    let working = CancellationToken::new();
    let Linked { link, presence, limiter, tickets, .. } = broker.link().await;
    let limits = Limits::new(pod.settings.limits.clone(), limiter);
    let announcer = Announcer::start(&link.broker, link.state.clone(), pod.drain.tasks(), &working);
    pod.drain.tasks().spawn(worker::heads::run(Arc::clone(&store), Arc::clone(&link.broker), working.clone()));
    if let Some(Attachments { blobs, .. }) = attachments.clone() {
        pod.drain.tasks().spawn(worker::attachments::run(Arc::clone(&store), blobs, working.clone()));
    }
    let blobs = attachments.clone().map(|Attachments { blobs, .. }| blobs);
    let jobs = worker::jobs::Jobs { store: Arc::clone(&store), announcer: announcer.clone(), blobs };
    pod.drain.tasks().spawn(jobs.run(working.clone()));
    pod.drain.tasks().spawn(stats::run(Arc::clone(&store), working.clone()));
    pod.drain.tasks().spawn(worker::revocations::run(Arc::clone(&store), working.clone()));
    let mut follower = Follower::new(Arc::clone(&store), verifier.clone());
    follower.read().await.context("what was revoked cannot be read")?;
    pod.drain.tasks().spawn(follower.run(working.clone()));
    // Gateway and api speak within the process, so a secret of the moment will do where none is set.
    let secret = pod.settings.internal_secret().unwrap_or_else(made_up::make_up);
    let beside = Beside { presence, limits: limits.clone(), tickets: Arc::clone(&tickets) };
    let app = App::new(Arc::clone(&store), announcer, verifier.clone(), beside, secret.clone(), attachments);
    pod.drain.tasks().spawn(worker::schedule::run(Arc::clone(&store), app.publisher.clone(), working.clone()));

    // The gateway: it asks the api without a socket between.
    let serving = pod.drain.part();
    let Linked { link, history, presence, .. } = broker.link().await;
    let gateway = Gateway::start(
        Parts {
            settings: pod.settings.gateway.clone(),
            node: pod.node(),
            verifier,
            link,
            history,
            presence,
            limits,
            tickets,
            upstream: Upstream::new(Arc::new(LocalWire(api::internal_router(app.clone()))), secret.reveal()),
            drain_window: pod.settings.pod.drain_window,
        },
        &serving,
    );
    let ops = pod.ops(vec![readiness(&store), gateway.readiness()]);
    serving.tasks().spawn(pod.serve(listener, gateway.site(api::router(app).merge(ops))));
    pod.drain.tasks().spawn(async move {
        serving.over().await;
        working.cancel();
    });

    tracing::info!(%address, "ready");
    if pod.settings.log.log_format == LogFormat::Pretty {
        println!("{}", banner(address, &pod.settings.access));
    }
    pod.end().await
}
