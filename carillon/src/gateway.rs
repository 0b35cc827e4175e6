//! `carillon gateway`: holds the sockets, hears the broker, fans out.

use std::sync::Arc;

use anyhow::Context;
use gateway::upstream::Upstream;
use gateway::upstream::http::HttpWire;
use gateway::{Gateway, Parts};
use shared::access::Verifier;
use shared::broker::Linked;
use shared::limits::Limits;

use crate::broker::Broker;
use crate::pod::Pod;
use crate::settings::Settings;

pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let pod = Pod::start(settings)?;
    let verifier = Verifier::new(&pod.settings.access)?;
    let secret = pod.settings.internal_secret().context("internal_secret is neither set nor derived")?;
    let knows_revoked = verifier.readiness();
    let wire = HttpWire::new(pod.settings.api_urls()?).context("nothing can be asked over HTTP here")?;
    let listener = pod.listener()?;
    let Linked { link, history, presence, limiter, tickets } = Broker::new(&pod.settings)?.link().await;

    let gateway = Gateway::start(
        Parts {
            settings: pod.settings.gateway.clone(),
            node: pod.node(),
            verifier,
            link,
            history,
            presence,
            limits: Limits::new(pod.settings.limits.clone(), limiter),
            tickets,
            upstream: Upstream::new(Arc::new(wire), secret.reveal()),
            drain_window: pod.settings.pod.drain_window,
        },
        &pod.drain,
    );
    let site = gateway.site(pod.ops(vec![gateway.readiness(), knows_revoked]));
    pod.drain.tasks().spawn(pod.serve(listener, site));
    tracing::info!(address = %pod.settings.listen(), node = pod.node(), "listening");
    pod.end().await
}
