//! What the system knows of this process, under the names that every dashboard
//! reads; looked up when somebody asks.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// Linux counts processor time in these, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// See the module.
#[derive(Debug, Default)]
pub struct ProcessMetrics {}

/// What `/proc/self` says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    start_ticks: f64,
}

/// Takes `/proc/PID/stat`. The process's name, in parentheses, may hold anything.
fn usage(stat: &str) -> Option<Usage> {
    let (_, after) = stat.rsplit_once(')')?;
    // The first field after the name is the third.
    let fields: Vec<&str> = after.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Usage {
        cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
        start_ticks: field(22)?,
    })
}

/// Bytes, from `/proc/PID/status`.
fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024.0)
}

/// Seconds since 1970 at which the machine started, from `/proc/stat`.
fn boot_seconds(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// From `/proc/PID/limits`.
fn files_max(limits: &str) -> Option<f64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            #[expect(clippy::cast_precision_loss, reason = "files are few")]
            let open = open.count() as f64;
            gauge("process_open_fds", "Open files", open)?;
        }
        if let Some(max) = files_max(&read("/proc/self/limits")) {
            gauge("process_max_fds", "Files that may be open", max)?;
        }
        let status = read("/proc/self/status");
        if let Some(bytes) = memory(&status, "VmRSS:") {
            let help = "Bytes of memory in use";
            gauge("process_resident_memory_bytes", help, bytes)?;
        }
        if let Some(bytes) = memory(&status, "VmSize:") {
            let help = "Bytes of address space";
            gauge("process_virtual_memory_bytes", help, bytes)?;
        }
        let Some(used) = usage(&read("/proc/self/stat")) else {
            return Ok(());
        };
        if let Some(boot) = boot_seconds(&read("/proc/stat")) {
            let start = boot + used.start_ticks / TICKS_PER_SECOND;
            gauge(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970",
                start,
            )?;
        }
        let cpu = ConstCounter::new(used.cpu_seconds);
        let help = "Seconds of processor time used";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            cpu.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    #[test]
    fn the_systems_files_are_read_whatever_the_process_is_called() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 1000 4096000 25 18446744073709551615";
        assert_eq!(
            usage(stat),
            Some(Usage {
                cpu_seconds: 2.0,
                start_ticks: 1000.0
            })
        );
        assert_eq!(usage("7 (a) S 1"), None);
        let status = "Name:\ta\nVmSize:\t  100 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(memory(status, "VmRSS:"), Some(12_288.0));
        assert_eq!(boot_seconds("cpu 1 2\nbtime 12\n"), Some(12.0));
        let limits =
            "Limit  Soft Limit\nMax open files            1024                 4096  files\n";
        assert_eq!(files_max(limits), Some(1024.0));
    }

    #[test]
    fn this_process_tells_what_it_uses() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics::default()));
        let mut told = String::new();
        text::encode(&mut told, &registry).expect("text");
        for name in [
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_open_fds ",
            "process_start_time_seconds ",
        ] {
            assert!(told.contains(&format!("\n{name}")), "{name}: {told}");
        }
    }
}
