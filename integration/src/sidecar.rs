//! A running `rds-sidecar`, for tests and benchmarks.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::PathBuf;
use std::process::Child;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::client;
use crate::guard;
use crate::guard::WorkDir;
use crate::sandbox::Sandbox;
use crate::servers::free_port;

const DATABASES: &str = "RDS_SIDECAR_DATABASES";
const START_SECONDS_MAX: u64 = 20;
const PORTS_TRIED_MAX: usize = 5;
/// A grandchild may hold the pipes open longer than that.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);

/// How to run it.
#[derive(Debug, Clone, Default)]
pub struct SidecarOptions {
    /// The program; default: beside the running test's target folder.
    pub binary: Option<PathBuf>,
    /// Further arguments, after `run [--listen ...] --admin ...`.
    pub args: Vec<String>,
    /// Variables beside the sandbox's; one with an empty value takes the sandbox's away.
    pub env: Vec<(String, String)>,
}

/// A running `rds-sidecar`. Dropping it kills it; it also ends when the sandbox's process does.
#[derive(Debug)]
pub struct Sidecar {
    child: Child,
    name: String,
    work: Arc<WorkDir>,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    listeners: Vec<Listener>,
    admin_port: u16,
}

/// One database served.
#[derive(Debug)]
struct Listener {
    engine: String,
    port: u16,
}

impl Listener {
    fn new(url: &str) -> Result<Self> {
        let engine = url
            .split_once("://")
            .map_or("postgres", |(engine, _)| engine);
        Ok(Self {
            engine: engine.to_owned(),
            port: free_port()?,
        })
    }
}

impl Sidecar {
    /// Starts it with the sandbox's environment and waits until its startup probe is satisfied.
    pub fn start(sandbox: &Sandbox, options: &SidecarOptions) -> Result<Self> {
        let mut last = String::new();
        for _ in 0..PORTS_TRIED_MAX {
            let mut sidecar = Self::spawn(sandbox, options)?;
            match sidecar.wait_until_started()? {
                Started::Yes => return Ok(sidecar),
                Started::PortTaken => last = sidecar.log(),
            }
        }
        bail!("no free port for rds-sidecar after {PORTS_TRIED_MAX} tries\n{last}")
    }

    /// Starts it and does not wait: for what must fail.
    pub fn spawn(sandbox: &Sandbox, options: &SidecarOptions) -> Result<Self> {
        let binary = match &options.binary {
            Some(path) => path.clone(),
            None => built_binary()?,
        };
        let (mut env, admin_port) = (environment(sandbox, options)?, free_port()?);
        let work = Arc::clone(sandbox.work_dir());
        let name = format!("sidecar-{admin_port}");
        let mut command = work.command(&name, "TERM", &binary);
        command.arg("run");
        let listeners = match env.get(DATABASES).cloned().unwrap_or_default() {
            urls if urls.split_whitespace().nth(1).is_some() => {
                let (urls, listeners) = listen_each(&urls)?;
                env.insert(DATABASES.to_owned(), urls);
                listeners
            }
            url => {
                let listener = Listener::new(&url)?;
                command.args(["--listen", &format!("127.0.0.1:{}", listener.port)]);
                vec![listener]
            }
        };
        command.args(["--admin", &format!("127.0.0.1:{admin_port}")]);
        command.args(&options.args).env_clear().envs(env);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let log = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            collect(child.stdout.take().context("no stdout")?, &log),
            collect(child.stderr.take().context("no stderr")?, &log),
        ];
        Ok(Self {
            child,
            name,
            work,
            log,
            readers,
            listeners,
            admin_port,
        })
    }

    /// Where clients of the first database connect, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.listeners.first().map_or(0, |listener| listener.port)
    }

    /// Where clients of each database connect, in the order of their URLs; 0 for a unix socket.
    pub fn ports(&self) -> Vec<u16> {
        self.listeners
            .iter()
            .map(|listener| listener.port)
            .collect()
    }

    /// Where clients of the first MySQL or MariaDB connect, on 127.0.0.1.
    pub fn mysql_port(&self) -> Result<u16> {
        let mut listeners = self.listeners.iter();
        let found = listeners.find(|listener| listener.engine == "mysql");
        Ok(found.context("this rds-sidecar serves no MySQL")?.port)
    }

    /// Where its admin port is, `HOST:PORT`.
    pub fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port)
    }

    /// A libpq URL as an application would use: any user, no password, no TLS.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!(
            "postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port()
        )
    }

    /// Sends a request to its admin port: status and body.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        client::request(&self.admin_address(), method, path, body)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Waits until its log holds `text`.
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.log.lock().contains(text) {
            if Instant::now() > deadline {
                bail!(
                    "{text:?} did not appear in the log within {limit:?}\n{}",
                    self.log()
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Resident memory now, in KiB.
    pub fn rss_kib(&self) -> Result<u64> {
        self.memory_kib("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB.
    pub fn peak_rss_kib(&self) -> Result<u64> {
        self.memory_kib("VmHWM:")
    }

    /// CPU time used so far, user and system together.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The second field is the program's name in parentheses and may hold anything; utime and stime are
        // fields 14 and 15 (proc(5)).
        let (_, fields) = stat
            .rsplit_once(')')
            .context("/proc/PID/stat has another form")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap_or(0))
            .sum();
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_millis(ticks * 1_000 / per_second))
    }

    /// Sends SIGTERM and waits for its end.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            signal,
        )?)
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("rds-sidecar still runs after {limit:?}\n{}", self.log());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Its status, once it is gone and its log complete.
    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            let deadline = Instant::now() + LAST_LINES_MAX;
            while !self.readers.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
        Ok(status)
    }

    fn wait_until_started(&mut self) -> Result<Started> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                let log = self.log();
                if log.contains("ddress already in use") || log.contains("ddress in use") {
                    return Ok(Started::PortTaken);
                }
                bail!("rds-sidecar did not start ({status})\n{log}");
            }
            if matches!(self.admin("GET", "/startup", ""), Ok((200, _))) {
                return Ok(Started::Yes);
            }
            std::thread::sleep(POLL);
        }
        bail!(
            "rds-sidecar was not up after {START_SECONDS_MAX} s\n{}",
            self.log()
        )
    }

    fn memory_kib(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let line = line.with_context(|| format!("/proc/PID/status has no {field}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        guard::stop(&mut self.child, Signal::KILL);
        self.work.forget(&self.name);
    }
}

enum Started {
    PortTaken,
    Yes,
}

/// The sandbox's variables and the test's own, and nothing of this machine's but where programs are.
fn environment(sandbox: &Sandbox, options: &SidecarOptions) -> Result<BTreeMap<String, String>> {
    let inherited =
        std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME" | "TMPDIR"));
    let mut env: BTreeMap<_, _> = inherited.chain(sandbox.env()?).collect();
    for (name, value) in &options.env {
        env.insert(name.clone(), value.clone());
        if value.is_empty() {
            env.remove(name);
        }
    }
    Ok(env)
}

/// Gives each of several URLs a port of its own, unless it names a unix socket: `--listen` is for one.
fn listen_each(urls: &str) -> Result<(String, Vec<Listener>)> {
    let (mut with_ports, mut listeners) = (Vec::new(), Vec::new());
    for url in urls.split_whitespace() {
        let mut listener = Listener::new(url)?;
        let separator = if url.contains('?') { '&' } else { '?' };
        if url.contains("listen=unix:") {
            listener.port = 0;
            with_ports.push(url.to_owned());
        } else {
            let listen = format!("listen=127.0.0.1:{}", listener.port);
            with_ports.push(format!("{url}{separator}{listen}"));
        }
        listeners.push(listener);
    }
    Ok((with_ports.join(" "), listeners))
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            into.lock().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

/// Where the program is: `RDS_SIDECAR_BIN`, else `rds-sidecar` in the folder the running program was built into.
pub fn built_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RDS_SIDECAR_BIN") {
        return Ok(path.into());
    }
    let program = std::env::current_exe()?;
    // target/debug/rds-sandbox, or target/debug/deps/sandbox-0123456789abcdef for a test.
    let found = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("rds-sidecar"))
        .find(|path| path.exists());
    found.context(
        "rds-sidecar is not built\n    cargo build --bin rds-sidecar, or set RDS_SIDECAR_BIN",
    )
}
