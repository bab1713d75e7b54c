//! What a process uses, as the kernel counts it.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::time::{Duration, Instant};

/// What a process had used at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    cpu: Duration,
}

/// What a process used over a while.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// Resident memory at its end, in bytes.
    pub resident_bytes: u64,
    /// The part of it that no file backs.
    pub anonymous_bytes: u64,
    /// Processor time, in percent of one core.
    pub cpu_percent: f64,
}

/// The processor time of a process so far.
///
/// # Errors
/// If there is no such process.
pub fn sample(pid: i32) -> Result<Sample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("there is no process {pid}"))?;
    Ok(Sample {
        at: Instant::now(),
        cpu: processor_time(&stat, ticks_per_second()).context("/proc/PID/stat is malformed")?,
    })
}

/// What it used since `before`.
///
/// # Errors
/// If it has ended.
pub fn since(pid: i32, before: Sample) -> Result<Usage> {
    let now = sample(pid)?;
    let wall = now.at.duration_since(before.at).as_secs_f64();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |key| kibibytes(&status, key).map(|kib| kib * 1024);
    Ok(Usage {
        resident_bytes: bytes("VmRSS:").context("the process has no memory")?,
        anonymous_bytes: bytes("RssAnon:").unwrap_or_default(),
        cpu_percent: 100.0 * (now.cpu.saturating_sub(before.cpu)).as_secs_f64() / wall,
    })
}

/// The processor time that a process has used.
///
/// # Errors
/// If there is no such process.
pub fn cpu_time(pid: i32) -> Result<Duration> {
    Ok(sample(pid)?.cpu)
}

/// The processor time that this process has used.
///
/// # Errors
/// If the kernel does not tell.
pub fn own_cpu_time() -> Result<Duration> {
    cpu_time(std::process::id().cast_signed())
}

/// The resident memory of a process, in bytes.
///
/// # Errors
/// If there is no such process.
pub fn resident_bytes(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("there is no process {pid}"))?;
    let kib = kibibytes(&status, "VmRSS:").context("the process has no memory")?;
    Ok(kib * 1024)
}

fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    ticks
        .ok()
        .flatten()
        .and_then(|ticks| ticks.try_into().ok())
        .unwrap_or(100)
}

/// User and system time of a line of `/proc/PID/stat` (proc(5): fields 14 and 15).
fn processor_time(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The name may hold spaces and parentheses; what follows its last one does not.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = ticks(11)? + ticks(12)?;
    Some(Duration::from_millis(ticks * 1000 / ticks_per_second))
}

fn kibibytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 99 0 0";
        assert_eq!(processor_time(stat, 100), Some(Duration::from_secs(2)));
        assert_eq!(processor_time("7 (a", 100), None);
    }

    #[test]
    fn memory_is_read_by_its_key() {
        let status = "Name:\tx\nVmRSS:\t  2048 kB\nRssAnon:\t 1024 kB\n";
        assert_eq!(kibibytes(status, "RssAnon:"), Some(1024));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_very_process_uses_memory() {
        let pid = std::process::id().cast_signed();
        let before = sample(pid).expect("it runs");
        let usage = since(pid, before).expect("it still runs");
        assert!(usage.resident_bytes > usage.anonymous_bytes);
        assert!(sample(i32::MAX).is_err());
    }
}
