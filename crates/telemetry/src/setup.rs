//! The subscriber of a process.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use std::io::IsTerminal;
use thiserror::Error;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged and where traces go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Text or JSON.
    pub log_format: LogFormat,
    /// A filter such as `info,kontiki_raft=debug`; empty: `info`.
    pub log_filter: String,
    /// `http://host:4317` of an OpenTelemetry collector; empty: no traces.
    pub otlp_endpoint: String,
    /// The fraction of new traces that is kept, from 0 to 1. A trace that a
    /// client began is kept if the client said so.
    pub sampling_ratio: Option<f64>,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter is malformed.
    #[error(
        "the log filter {filter:?} is malformed: {source}; write for instance info,kontiki_raft=debug"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The endpoint is malformed.
    #[error(
        "cannot export traces to {endpoint:?}: {source}; write for instance http://127.0.0.1:4317"
    )]
    Endpoint {
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The process has a subscriber already.
    #[error("logging was set up twice")]
    Twice,
}

/// Overrides the configured filter, for a look at one process.
const FILTER_VARIABLE: &str = "KONTIKI_LOG";
/// The consensus library tells every call that fails; the store tells it once.
const DEFAULT_FILTER: &str = "info,openraft=error";

/// Keeps traces flowing; flush them with [`Telemetry::shutdown`].
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up the process's logs and traces. `service` is the role, for instance `kontiki-server`.
    ///
    /// # Errors
    /// If the filter or the endpoint is malformed, or it was done before.
    pub fn init(service: &str, config: &TelemetryConfig) -> Result<Self, TelemetryError> {
        let given = std::env::var(FILTER_VARIABLE).unwrap_or_default();
        let choices = [given.as_str(), config.log_filter.as_str()];
        let filter = choices
            .into_iter()
            .find(|filter| !filter.is_empty())
            .unwrap_or(DEFAULT_FILTER);
        let env_filter = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
            filter: filter.to_owned(),
            source,
        })?;
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
            LogFormat::Text => tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_filter(env_filter)
                .boxed(),
            LogFormat::Json => tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr)
                .with_filter(env_filter)
                .boxed(),
        };
        let provider = provider(service, config)?;
        let traces = provider.as_ref().map(|provider| {
            // Spans are exported whatever the log filter says about lines.
            let spans =
                EnvFilter::new("info,h2=off,hyper=off,tonic=off,tower=off,opentelemetry=off");
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer(service.to_owned()))
                .with_filter(spans)
        });
        let subscriber = tracing_subscriber::registry().with(lines).with(traces);
        subscriber.try_init().map_err(|_| TelemetryError::Twice)?;
        Ok(Self { provider })
    }

    /// Sends what has not been sent yet.
    pub fn shutdown(self) {
        if let Some(Err(error)) = self.provider.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last traces could not be exported");
        }
    }
}

fn provider(
    service: &str,
    config: &TelemetryConfig,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if config.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(config.otlp_endpoint.clone())
        .build()
        .map_err(|source| TelemetryError::Endpoint {
            endpoint: config.otlp_endpoint.clone(),
            source,
        })?;
    let ratio = config.sampling_ratio.unwrap_or(1.0);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            ratio,
        ))))
        .with_resource(
            Resource::builder()
                .with_service_name(service.to_owned())
                .build(),
        )
        .with_batch_exporter(exporter)
        .build();
    Ok(Some(provider))
}
