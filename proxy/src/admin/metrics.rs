//! Numbers read at scrape time, written as OpenMetrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::Process;

const PREFIX: &str = "rds_sidecar";

/// The metrics page of one process. Rooms keep plain counters; `app` names them here, and they are read when
/// somebody scrapes. Nothing is global and nothing is counted twice.
///
/// Names are `<room>_<noun>_<unit>` and get the prefix `rds_sidecar_`; counters also get the suffix `_total`.
/// Label values come from enums or the configuration, never from a peer.
#[derive(Debug)]
pub struct Metrics {
    ours: Registry,
    process: Registry,
}

impl Metrics {
    /// A page with `rds_sidecar_build_info{version}` and the usual `process_*` numbers.
    pub fn new(version: &'static str) -> Self {
        let mut ours = Registry::with_prefix(PREFIX);
        ours.register(
            "build",
            "Version of rds-sidecar",
            Info::new(vec![("version", version)]),
        );
        let mut process = Registry::default();
        process.register_collector(Box::new(Process));
        Self { ours, process }
    }

    /// A number that only grows. `read` adds one sample per combination of labels; it runs at every scrape
    /// and must not block.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn(&mut Samples) + Send + Sync + 'static,
    ) {
        self.observe(name, help, MetricType::Counter, read);
    }

    /// A number that goes up and down. `read` as in [`Metrics::counter`].
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn(&mut Samples) + Send + Sync + 'static,
    ) {
        self.observe(name, help, MetricType::Gauge, read);
    }

    /// For what needs more than a sample per scrape: histograms, collectors.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.ours
    }

    /// The page, as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn page(&self) -> String {
        let mut page = String::new();
        let written = text::encode_registry(&mut page, &self.ours)
            .and_then(|()| text::encode_registry(&mut page, &self.process))
            .and_then(|()| text::encode_eof(&mut page));
        if written.is_err() {
            // Writing to a String cannot fail; a collector may. A page without `# EOF` is refused by scrapers.
            tracing::error!("metrics page cut short");
        }
        page
    }

    fn observe(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        read: impl Fn(&mut Samples) + Send + Sync + 'static,
    ) {
        let observed = Observed {
            name,
            help,
            kind,
            read: Box::new(read),
        };
        self.ours.register_collector(Box::new(observed));
    }
}

/// What one metric is right now: a value per combination of labels.
#[derive(Debug, Default)]
pub struct Samples(Vec<(Vec<(&'static str, String)>, Number)>);

impl Samples {
    /// One value. The labels of all samples of a metric must have the same names.
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: impl Into<Number>) {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        self.0.push((labels, value.into()));
    }
}

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Seconds, ratios.
    Float(f64),
    /// Things counted.
    Whole(u64),
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::Whole(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

struct Observed {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    read: Box<dyn Fn(&mut Samples) + Send + Sync>,
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut samples = Samples::default();
        (self.read)(&mut samples);
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, self.kind)?;
        for (labels, value) in &samples.0 {
            encode_sample(&mut metric, self.kind, labels, *value)?;
        }
        Ok(())
    }
}

/// Writes one sample of a counter or gauge.
pub(super) fn encode_sample(
    metric: &mut MetricEncoder<'_>,
    kind: MetricType,
    labels: &Vec<(&'static str, String)>,
    value: Number,
) -> fmt::Result {
    if labels.is_empty() {
        return encode_value(metric, kind, value);
    }
    encode_value(&mut metric.encode_family(labels)?, kind, value)
}

fn encode_value(sample: &mut MetricEncoder<'_>, kind: MetricType, value: Number) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Number::Whole(count)) => {
            sample.encode_counter::<NoLabelSet, _, u64>(&count, None)
        }
        (MetricType::Counter, Number::Float(sum)) => {
            sample.encode_counter::<NoLabelSet, _, u64>(&sum, None)
        }
        (_, Number::Whole(level)) => sample.encode_gauge(&level),
        (_, Number::Float(level)) => sample.encode_gauge(&level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page without the numbers of this process, which change.
    fn ours(metrics: &Metrics) -> String {
        let page = metrics.page();
        let (ours, process) = page.split_once("# HELP process_").unwrap();
        assert!(process.ends_with("# EOF\n"), "{process}");
        ours.to_owned()
    }

    #[test]
    fn page_is_openmetrics_text() {
        let mut metrics = Metrics::new("0.1.0");
        metrics.counter("leases_opened", "Leases", |out| {
            out.add(&[("database", "app")], 7_u64)
        });
        metrics.gauge("pool_connections", "Upstream connections by state", |out| {
            out.add(&[("database", "app"), ("state", "idle")], 2_usize);
            out.add(&[("database", "app"), ("state", "leased")], 1_usize);
        });
        metrics.gauge("waiting", "Clients that wait", |out| out.add(&[], 0.5));
        let expected = "\
# HELP rds_sidecar_build Version of rds-sidecar.
# TYPE rds_sidecar_build info
rds_sidecar_build_info{version=\"0.1.0\"} 1
# HELP rds_sidecar_leases_opened Leases
# TYPE rds_sidecar_leases_opened counter
rds_sidecar_leases_opened_total{database=\"app\"} 7
# HELP rds_sidecar_pool_connections Upstream connections by state
# TYPE rds_sidecar_pool_connections gauge
rds_sidecar_pool_connections{database=\"app\",state=\"idle\"} 2
rds_sidecar_pool_connections{database=\"app\",state=\"leased\"} 1
# HELP rds_sidecar_waiting Clients that wait
# TYPE rds_sidecar_waiting gauge
rds_sidecar_waiting 0.5
";
        assert_eq!(ours(&metrics), expected);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut metrics = Metrics::new("0.1.0");
        metrics.gauge("waiting", "Clients", |out| {
            out.add(&[("database", "a\"b\\c\nd")], 1_u32)
        });
        let page = ours(&metrics);
        assert!(
            page.contains(r#"rds_sidecar_waiting{database="a\"b\\c\nd"} 1"#),
            "{page}"
        );
    }

    #[test]
    fn values_are_read_at_each_scrape() {
        let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let read = std::sync::Arc::clone(&counter);
        let mut metrics = Metrics::new("0.1.0");
        metrics.counter("clients_opened", "Clients", move |out| {
            out.add(&[], read.load(std::sync::atomic::Ordering::Relaxed));
        });
        assert!(
            metrics
                .page()
                .contains("rds_sidecar_clients_opened_total 0\n")
        );
        counter.store(42, std::sync::atomic::Ordering::Relaxed);
        assert!(
            metrics
                .page()
                .contains("rds_sidecar_clients_opened_total 42\n")
        );
    }
}
