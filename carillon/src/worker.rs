//! `carillon worker`: says which feeds grew, and does what need not be done at once.

use std::sync::Arc;

use api::announce::Announcer;
use api::health::readiness;
use api::publish::Publisher;
use api::state::Attachments;
use api::{stats, worker};
use shared::broker::Linked;

use crate::attachments;
use crate::broker::Broker;
use crate::pod::Pod;
use crate::settings::Settings;
use crate::store;

pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let pod = Pod::start(settings)?;
    let listener = pod.listener()?;
    let store = store::open(&pod.settings)?;
    let attachments = attachments::open(&pod.settings)?;
    let Linked { link, .. } = Broker::new(&pod.settings)?.link().await;

    let ops = pod.ops(vec![readiness(&store)]);
    pod.drain.tasks().spawn(pod.serve(listener, ops.into()));
    tracing::info!(address = %pod.settings.listen(), "listening");
    let draining = pod.drain.draining().clone();
    let broker = Arc::clone(&link.broker);
    let announcer = Announcer::start(&broker, link.state.clone(), pod.drain.tasks(), &draining);
    let publisher = Publisher::new(Arc::clone(&store), announcer.clone());
    pod.drain.tasks().spawn(async move {
        if store::is_fit(&*store, &draining).await {
            tracing::info!("ready");
            let blobs = attachments.map(|Attachments { blobs, .. }| blobs);
            let jobs = worker::jobs::Jobs { store: Arc::clone(&store), announcer, blobs: blobs.clone() };
            let collecting = async {
                if let Some(blobs) = blobs {
                    worker::attachments::run(Arc::clone(&store), blobs, draining.clone()).await;
                }
            };
            tokio::join!(
                collecting,
                jobs.run(draining.clone()),
                worker::schedule::run(Arc::clone(&store), publisher, draining.clone()),
                worker::revocations::run(Arc::clone(&store), draining.clone()),
                worker::heads::run(Arc::clone(&store), broker, draining.clone()),
                stats::run(Arc::clone(&store), draining.clone())
            );
        }
    });
    pod.end().await
}
