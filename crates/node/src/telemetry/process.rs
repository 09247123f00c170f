//! What the operating system knows of this process, by the names that all Prometheus clients use.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

#[derive(Debug)]
struct Process {
    started: Duration,
}

/// Shows the process from now on, and what it is.
pub fn register(registry: &mut Registry, role: &'static str) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let started = since.unwrap_or_default();
    registry.register_collector(Box::new(Process { started }));
    let info = registry.sub_registry_with_labels(
        [
            ("version".into(), env!("CARGO_PKG_VERSION").into()),
            ("role".into(), role.into()),
        ]
        .into_iter(),
    );
    info.register(
        "skein_build_info",
        "The program that runs here",
        ConstGauge::new(1_u64),
    );
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let processor = clock_gettime(ClockId::ProcessCPUTime);
        let processor = processor.tv_sec as f64 + processor.tv_nsec as f64 / 1e9;
        show(
            &mut encoder,
            "process_cpu_seconds",
            "Processor time of the process, user and system.",
            &ConstCounter::new(processor),
        )?;
        show(
            &mut encoder,
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            &ConstGauge::new(self.started.as_secs_f64()),
        )?;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limit = getrlimit(Resource::Nofile).current;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory that the process has in RAM.",
                number(&status, "VmRSS:").map(|kib| kib << 10),
            ),
            (
                "process_virtual_memory_bytes",
                "Address space of the process.",
                number(&status, "VmSize:").map(|kib| kib << 10),
            ),
            (
                "process_threads",
                "Threads of the process.",
                number(&status, "Threads:"),
            ),
            ("process_open_fds", "Open file descriptors.", open_fds()),
            (
                "process_max_fds",
                "How many open file descriptors there may be.",
                limit,
            ),
        ] {
            if let Some(value) = value {
                show(&mut encoder, name, help, &ConstGauge::new(value))?;
            }
        }
        Ok(())
    }
}

fn show(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    let one = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(one)
}

/// The number of a line of `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // Without the one that this look takes.
    u64::try_from(open.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_numbers_are_found() {
        let status = "Name:\tskein\nVmSize:\t  2048 kB\nVmRSS:\t    12 kB\nThreads:\t7\n";
        assert_eq!(number(status, "VmRSS:"), Some(12));
        assert_eq!(number(status, "Threads:"), Some(7));
        assert_eq!(number(status, "VmPeak:"), None);
        assert!(open_fds().is_some_and(|open| open > 2));
    }
}
