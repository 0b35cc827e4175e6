//! What every role does at its start and at its end.
//!
//! A pod's life is a story: configuration → telemetry → store → broker → role → ready → drain. The roles tell the middle.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use gateway::accept::{self, Site};
use shared::drain::{Drain, Ending};
use shared::ops::{self, Readiness};
use shared::telemetry::{self, Metrics};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::settings::{Role, Settings};

/// How long a draining pod still takes new connections, unready all the while: proxies need a moment to notice. At most a
/// quarter of the drain window.
const NOTICE: Duration = Duration::from_secs(2);

/// A process that has started to tell of itself and can be told to stop.
pub struct Pod {
    pub settings: Settings,
    pub drain: Drain,
    metrics: Metrics,
}

impl Pod {
    /// Starts log lines and metrics, and says what counts.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let metrics = telemetry::start(&settings.log, settings.role.name())?;
        let drain = Drain::default();
        drain.tasks().spawn(metrics.clone().upkeep(drain.draining().clone()));
        tracing::info!(role = settings.role.name(), version = env!("CARGO_PKG_VERSION"), "starting");
        for row in settings.effective.iter().filter(|row| row.origin != shared::config::Origin::Default) {
            tracing::debug!(key = row.path, value = row.shown, origin = %row.origin, "configured");
        }
        for warning in settings.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(Self { settings, drain, metrics })
    }

    /// `/healthz`, `/readyz` and `/metrics`.
    pub fn ops(&self, checks: Vec<Readiness>) -> Router {
        ops::router(self.metrics.clone(), self.drain.clone(), checks)
    }

    /// Takes the address of the role.
    pub fn listener(&self) -> anyhow::Result<TcpListener> {
        bind(self.settings.listen(), "listen")
    }

    /// Serves requests until a moment after the pod begins to drain, and lets those under way finish.
    pub fn serve(&self, listener: TcpListener, site: Site) -> impl Future<Output = ()> + use<> {
        let (drain, stop) = (self.drain.clone(), CancellationToken::new());
        let behind_a_proxy = matches!(self.settings.role, Role::Api | Role::Gateway);
        let notice = if behind_a_proxy { NOTICE.min(self.settings.pod.drain_window / 4) } else { Duration::ZERO };
        async move {
            let going_away = async {
                drain.draining().cancelled().await;
                tokio::time::sleep(notice).await;
                stop.cancel();
                std::future::pending().await
            };
            tokio::select! {
                () = accept::serve(listener, site, stop.clone()) => {}
                () = going_away => {}
                () = drain.stopped().cancelled() => {}
            }
        }
    }

    /// The name of the pod: of its machine, and of its port there.
    pub fn node(&self) -> String {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}:{}", machine.trim(), self.settings.listen().port())
    }

    /// Waits until told to stop, and for what is under way then.
    pub async fn end(self) -> anyhow::Result<()> {
        let ending = self.drain.to_the_end(self.settings.pod.drain_window).await.context("signals cannot be heard")?;
        match ending {
            Ending::Finished => tracing::info!("stopped"),
            Ending::CutOff(tasks) => tracing::warn!(tasks, "stopped, the rest was cut off"),
        }
        std::io::stdout().flush().context("standard output is gone")
    }
}

/// Takes an address; `key` is the setting that names it.
pub fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    accept::listen(address).with_context(|| format!("cannot listen on {address}: set {key} to an address that is free"))
}
