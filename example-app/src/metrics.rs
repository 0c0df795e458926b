//! The recorder behind `GET /metrics`.

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Seconds: a store in memory answers in microseconds, a time-out is far to the right.
const SECONDS: [f64; 16] = [
    0.000_001, 0.000_005, 0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

/// Metrics can't be recorded, most likely because another recorder is installed.
#[derive(Debug)]
pub struct InstallError(BuildError);

impl std::fmt::Display for InstallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("metrics can't be recorded; install one recorder only")
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Installs the recorder of this process. Call it before a layer is built: what is counted before
/// that goes nowhere.
///
/// # Errors
///
/// [`InstallError`] where this process has a recorder already.
pub fn install() -> Result<PrometheusHandle, InstallError> {
    PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(InstallError)
}
