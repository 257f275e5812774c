//! The machine: one CPU for everybody, and what processes cost, as the kernel counts it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use rustix::thread::CpuSet;

/// Puts this process, and so every process it will start, on one CPU; returns which.
///
/// The last one that is allowed: interrupts tend to be served by the first.
pub fn pin() -> Result<usize> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|cpu| allowed.is_set(*cpu))
        .context("no CPU is allowed")?;
    let mut one = CpuSet::new();
    one.set(last);
    rustix::thread::sched_setaffinity(None, &one)?;
    Ok(last)
}

/// What a reader needs to place the figures, the versions of `programs` among it.
pub fn describe(cpu: usize, programs: &[String]) -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown CPU");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let system = fs::read_to_string("/etc/os-release")?;
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown system");
    let versions = programs.iter().map(|program| version(program));
    let versions = versions.collect::<Result<Vec<_>>>()?;
    Ok(format!(
        "{}; {}, Linux {}; everything on CPU {cpu}; load average {} at the start. {}.",
        model.trim_start_matches([' ', '\t', ':']),
        system.trim_matches('"'),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
        versions.join(", "),
    ))
}

fn version(program: &str) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("run {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .unwrap_or(program)
        .to_owned())
}

/// CPU time of all threads of a process, to the nanosecond.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two reads.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        total += text
            .split_whitespace()
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// CPU time of a process with all threads it ever had; it comes in clock ticks of 10 ms.
pub fn cpu_with_threads(pid: u32) -> Result<Duration> {
    ticks(pid, 11)
}

/// CPU time of a server that forks: its own, its living children's, and that of children it has waited for.
pub fn cpu_with_children(pid: u32) -> Result<Duration> {
    // A child that ends between the two looks would count twice, or not at all: look again then.
    loop {
        let waited_for = cpu_waited_for(pid)?;
        let living = cpu_of_children(pid)?;
        if waited_for == cpu_waited_for(pid)? {
            return Ok(cpu(pid)? + living + waited_for);
        }
    }
}

fn cpu_of_children(pid: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if stat_fields(child).is_some_and(|fields| fields.get(1) == Some(&pid.to_string())) {
            total += cpu(child).unwrap_or_default();
        }
    }
    Ok(total)
}

/// cutime and cstime (proc(5)); they come in clock ticks of 10 ms.
fn cpu_waited_for(pid: u32) -> Result<Duration> {
    ticks(pid, 13)
}

/// The sum of two of the fields of [`stat_fields`].
fn ticks(pid: u32, first: usize) -> Result<Duration> {
    let fields = stat_fields(pid).context("the server has gone")?;
    let two = fields.iter().skip(first).take(2);
    let ticks: u64 = two.filter_map(|field| field.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1_000 / per_second))
}

/// `/proc/PID/stat` from its third field on, `state`: the second may hold blanks.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Memory of a process that would be free without it: its own pages, and its share of the shared ones. In KiB.
pub fn pss_kib(pid: u32) -> Result<f64> {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// The most memory a process ever held, shared pages in full. In KiB.
pub fn peak_rss_kib(pid: u32) -> Result<f64> {
    kib(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn kib(file: &str, field: &str) -> Result<f64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let line = line.with_context(|| format!("{file} has no {field}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
