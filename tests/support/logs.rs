//! What a test logs and counts.
//!
//! Both captures see the thread that made them and no other, so that tests side by side do not
//! mix; a runtime with the `current_thread` flavour keeps its tasks on that thread.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString,
    Unit,
};
use metrics_util::registry::{AtomicStorage, Registry};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// The log of this thread as text, for as long as the value lives.
#[derive(Debug)]
pub struct Logs {
    text: Text,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Logs {
    /// Captures everything that the project's crates say, and INFO and above of others.
    #[must_use]
    pub fn capture() -> Self {
        Self::capture_with("info,quota=trace,quota_layer=trace,quota_store=trace")
    }

    /// Captures what `filter` lets through, in the syntax of `RUST_LOG`.
    #[must_use]
    pub fn capture_with(filter: &str) -> Self {
        let text = Text::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(text.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        Self {
            text,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// What was logged so far, one event a line: level, target, message, fields.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.bytes()).into_owned()
    }

    /// The lines that contain `part`.
    #[must_use]
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| line.contains(part));
        lines.map(str::to_owned).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Text {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The metrics of this thread, for as long as the value lives.
pub struct Metrics {
    registry: Arc<Registry<Key, AtomicStorage>>,
    _guard: LocalRecorderGuard<'static>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.counters()).finish()
    }
}

impl Metrics {
    /// Captures everything.
    #[must_use]
    pub fn capture() -> Self {
        let registry = Arc::new(Registry::atomic());
        // The guard borrows the recorder; a few hundred bytes per test may stay.
        let recorder: &'static Registered = Box::leak(Box::new(Registered(Arc::clone(&registry))));
        Self {
            registry,
            _guard: metrics::set_default_local_recorder(recorder),
        }
    }

    /// Every counter by name and sorted labels, such as `requests_total{outcome=denied,plan=free}`.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let handles = self.registry.get_counter_handles().into_iter();
        handles
            .map(|(key, value)| (full_name(&key), value.load(Ordering::Acquire)))
            .collect()
    }

    /// One counter; zero if nothing was counted.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.counters().get(name).copied().unwrap_or(0)
    }

    /// Every gauge, in the same way.
    #[must_use]
    pub fn gauges(&self) -> BTreeMap<String, f64> {
        let handles = self.registry.get_gauge_handles().into_iter();
        handles
            .map(|(key, value)| {
                (
                    full_name(&key),
                    f64::from_bits(value.load(Ordering::Acquire)),
                )
            })
            .collect()
    }

    /// How many values each histogram was given, in the same way.
    #[must_use]
    pub fn histogram_counts(&self) -> BTreeMap<String, usize> {
        let handles = self.registry.get_histogram_handles().into_iter();
        handles
            .map(|(key, values)| (full_name(&key), values.data().len()))
            .collect()
    }
}

fn full_name(key: &Key) -> String {
    let mut labels: Vec<String> = key
        .labels()
        .map(|label| format!("{}={}", label.key(), label.value()))
        .collect();
    labels.sort_unstable();
    if labels.is_empty() {
        return key.name().to_owned();
    }
    format!("{}{{{}}}", key.name(), labels.join(","))
}

/// A recorder whose values can be read again and again.
struct Registered(Arc<Registry<Key, AtomicStorage>>);

impl Recorder for Registered {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0
            .get_or_create_counter(key, |value| Counter::from_arc(Arc::clone(value)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0
            .get_or_create_gauge(key, |value| Gauge::from_arc(Arc::clone(value)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0
            .get_or_create_histogram(key, |values| Histogram::from_arc(Arc::clone(values)))
    }
}
