//! What a pod tells of itself: log lines and metrics.
//!
//! Started once, right after the configuration is read. Log lines go to standard error, as text or as JSON; metrics are
//! gathered here and read at `/metrics`. Neither carries a body, a token or a secret.

use std::fs;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

/// Upper bounds of durations, in seconds: from half a millisecond to ten seconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of everything else that is counted: bytes, entries.
const AMOUNTS: [f64; 11] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
/// How often what histograms have gathered is put into buckets; between that it takes memory.
const UPKEEP: Duration = Duration::from_secs(5);
/// Ticks of `/proc/self/stat` in a second: fixed by Linux for everything outside the kernel.
const TICKS: f64 = 100.0;
/// Bytes of a page in `/proc/self/statm`, on the machines we run on.
const PAGE: f64 = 4_096.0;

/// What writes down whole frames, and with them tokens and messages, whatever level is asked for.
const KEPT_SILENT: [&str; 1] = ["tungstenite=info"];

/// Why a process cannot tell of itself.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// It does so already, or the filter is none.
    #[error("log lines cannot be written")]
    Log(#[from] TryInitError),
    /// The filter is none.
    #[error("log_level is not a filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It does so already.
    #[error("metrics cannot be gathered")]
    Metrics(#[from] BuildError),
}

/// The metrics of this process. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Starts log lines and metrics, once per process, for a pod that plays `role`.
///
/// # Errors
/// If they were started before.
pub fn start(log: &LogSettings, role: &'static str) -> Result<Metrics, TelemetryError> {
    let mut filter = EnvFilter::builder().parse(log.log_level.as_str())?;
    for kept in KEPT_SILENT {
        filter = filter.add_directive(kept.parse()?);
    }
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.log_format {
        LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).finish().try_init()?,
    }
    let handle = builder()?.install_recorder()?;
    describe(role);
    Ok(Metrics { handle })
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&AMOUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
}

fn describe(role: &'static str) {
    describe_gauge!("carillon_build_info", "Always 1; says which version plays which role.");
    gauge!("carillon_build_info", "version" => env!("CARGO_PKG_VERSION"), "role" => role).set(1.0);
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory of the process that is in RAM.");
    describe_gauge!("process_open_fds", "Open files and sockets.");
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!("process_start_time_seconds").set(started.as_secs_f64());
}

impl Metrics {
    /// Everything as Prometheus reads it (text format 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        measure_process();
        self.handle.render()
    }

    /// Keeps histograms small until `stop`. Without it they grow for as long as nobody reads them.
    pub async fn upkeep(self, stop: CancellationToken) {
        let keeping = async {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                self.handle.run_upkeep();
            }
        };
        let _ = stop.run_until_cancelled(keeping).await;
    }
}

/// Reads what Linux knows of this process; says nothing where there is no `/proc`.
fn measure_process() {
    if let Some(pages) = fs::read_to_string("/proc/self/statm").ok().and_then(|text| nth(&text, 1)) {
        gauge!("process_resident_memory_bytes").set(pages * PAGE);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(open.count() as f64);
    }
    if let Some(ticks) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_ticks(&text)) {
        counter!("process_cpu_seconds_total").absolute((ticks / TICKS) as u64);
    }
}

/// User and system time in `/proc/self/stat`. The name in parentheses may contain anything, so counting starts after it.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    Some(nth(fields, 11)? + nth(fields, 12)?)
}

fn nth(text: &str, n: usize) -> Option<f64> {
    text.split_whitespace().nth(n)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_amounts_have_their_own_buckets() {
        let recorder = builder().expect("buckets").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("carillon_delivery_seconds").record(0.003);
            metrics::histogram!("carillon_page_bytes").record(2_000.0);
            describe("api");
            measure_process();
        });
        let page = recorder.handle().render();
        for line in [
            "carillon_delivery_seconds_bucket{le=\"0.0025\"} 0",
            "carillon_delivery_seconds_bucket{le=\"0.005\"} 1",
            "carillon_page_bytes_bucket{le=\"4096\"} 1",
            "carillon_build_info{version=",
            "process_open_fds ",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
        ] {
            assert!(page.contains(line), "{line} in\n{page}");
        }
    }

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 300 45 0 0";
        assert_eq!(cpu_ticks(stat), Some(345.0));
        assert_eq!(cpu_ticks("nonsense"), None);
    }
}
