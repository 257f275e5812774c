//! The process's own numbers, under the names every Prometheus client library gives them
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). Linux only: from `/proc`.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::metrics::Number;
use super::metrics::encode_sample;

/// `/proc` counts in 1/100 s on every architecture Rust's tier-1 Linux targets have (`USER_HZ`, proc(5), time(7)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for reading in readings() {
            let mut metric =
                encoder.encode_descriptor(reading.name, reading.help, None, reading.kind)?;
            encode_sample(&mut metric, reading.kind, &Vec::new(), reading.value)?;
        }
        Ok(())
    }
}

struct Reading {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    value: Number,
}

/// What can be read; on other systems nothing.
fn readings() -> impl Iterator<Item = Reading> {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let gauge = |name, help, value: Option<Number>| {
        value.map(|value| Reading {
            name,
            help,
            kind: MetricType::Gauge,
            value,
        })
    };
    let cpu = stat.as_deref().and_then(cpu_seconds).map(|value| Reading {
        name: "process_cpu_seconds",
        help: "User and system CPU time in seconds",
        kind: MetricType::Counter,
        value: value.into(),
    });
    let start = stat.as_deref().and_then(started_seconds).map(Number::from);
    [
        cpu,
        gauge(
            "process_start_time_seconds",
            "Start time since the epoch in seconds",
            start,
        ),
        gauge(
            "process_resident_memory_bytes",
            "Resident memory in bytes",
            resident_bytes().map(Number::from),
        ),
        gauge(
            "process_open_fds",
            "Open file descriptors",
            open_files().map(Number::from),
        ),
    ]
    .into_iter()
    .flatten()
}

/// Field `number` of `/proc/PID/stat` as proc(5) counts them, which starts at 1. The second, the command, may
/// contain blanks and parentheses; from the third on they are plain.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, plain) = stat.rsplit_once(") ")?;
    plain
        .split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn started_seconds(stat: &str) -> Option<f64> {
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    Some(booted.trim().parse::<f64>().ok()? + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident
        .trim()
        .strip_suffix(" kB")?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

fn open_files() -> Option<usize> {
    // One of them is the directory being read.
    Some(
        fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat =
            "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 12345 1000 10";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(stat_field(stat, 22), Some(12345.0));
        assert_eq!(stat_field(stat, 2), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_has_all_of_them_with_sane_values() {
        let value = |name: &str| match readings()
            .find(|reading| reading.name == name)
            .unwrap()
            .value
        {
            Number::Float(value) => value,
            Number::Whole(value) => u32::try_from(value).map(f64::from).unwrap(),
        };
        assert!(value("process_resident_memory_bytes") > 1_000_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_cpu_seconds") < 3_600.0);
        let now = crate::clock::Clock::system().now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-5.0..3_600.0).contains(&age), "{age}");
    }
}
