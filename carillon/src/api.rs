//! `carillon api`: keeps what is said, then tells the fleet.

use std::sync::Arc;

use anyhow::Context;
use api::announce::Announcer;
use api::health::readiness;
use api::revocations::Follower;
use api::state::{App, Beside};
use api::stats;
use shared::access::Verifier;
use shared::broker::Linked;
use shared::limits::Limits;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::pod::{Pod, bind};
use crate::settings::Settings;
use crate::{attachments, store};

pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let pod = Pod::start(settings)?;
    let verifier = Verifier::new(&pod.settings.access)?;
    let secret = pod.settings.internal_secret().context("internal_secret is neither set nor derived")?;
    let inside = pod.settings.database.internal_listen;
    let (listener, internal) = (pod.listener()?, bind(inside, "internal_listen")?);
    let store = store::open(&pod.settings)?;
    let Linked { link, presence, limiter, tickets, .. } = Broker::new(&pod.settings)?.link().await;
    let beside = Beside { presence, limits: Limits::new(pod.settings.limits.clone(), limiter), tickets };

    let announcing = CancellationToken::new();
    let announcer = Announcer::start(&link.broker, link.state.clone(), pod.drain.tasks(), &announcing);
    pod.drain.tasks().spawn(stats::run(Arc::clone(&store), announcing.clone()));
    let follower = Follower::new(Arc::clone(&store), verifier.clone());
    pod.drain.tasks().spawn(follower.run(announcing.clone()));
    let checks = vec![readiness(&store), verifier.readiness()];
    let attachments = attachments::open(&pod.settings)?;
    let app = App::new(Arc::clone(&store), announcer, verifier, beside, secret, attachments);
    let router = api::router(app.clone()).merge(pod.ops(checks));
    let serving = pod.drain.part();
    serving.tasks().spawn(pod.serve(listener, router.into()));
    serving.tasks().spawn(pod.serve(internal, api::internal_router(app).into()));
    pod.drain.tasks().spawn(async move {
        // Only when nobody can commit any more is there nothing left to announce.
        serving.over().await;
        announcing.cancel();
    });
    tracing::info!(address = %pod.settings.listen(), internal = %inside, "listening");
    let draining = pod.drain.draining().clone();
    pod.drain.tasks().spawn(async move {
        if store::is_fit(&*store, &draining).await {
            tracing::info!("ready");
        }
    });
    pod.end().await
}
