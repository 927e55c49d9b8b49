//! Logs (structured, without addresses) and metrics (Prometheus text).

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use super::config::{LogConfig, LogFormat};

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts logging to stderr. A second call does nothing.
pub fn start_logging(config: &LogConfig) {
    let filter =
        EnvFilter::try_from_env("MARQUEE_LOG").or_else(|_| EnvFilter::try_new(&config.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    let _ = match config.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.compact().try_init(),
    };
}

/// Installs the metrics recorder once per process and returns the handle that renders `/metrics`.
pub fn metrics() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _ = ::metrics::set_global_recorder(recorder);
        handle
    })
}

/// What may be logged of an address: nothing of the person, only the domain.
pub fn domain_only(address: &str) -> &str {
    address.rsplit_once('@').map_or("?", |(_, domain)| domain)
}
