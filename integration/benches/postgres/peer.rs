//! The peers: each is started afresh, with the same login and the same TLS to the server, open to its clients.

use std::fmt;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::guard;
use rds_sandbox::sidecar::SidecarOptions;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::machine;
use crate::memory;
use crate::report::Contender;

const USER: &str = "pw_app";
const PASSWORD: &str = "pw_app_password";
const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

/// Who stands between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody; the client does TLS itself.
    Direct,
    /// Debian's PgBouncer, session pooling.
    PgBouncer,
    /// We, session pooling.
    Sidecar,
}

impl Kind {
    /// In the order they take turns.
    pub const ALL: [Self; 3] = [Self::Direct, Self::PgBouncer, Self::Sidecar];
}

impl Contender for Kind {
    const OURS: Self = Self::Sidecar;
    const THEIRS: Self = Self::PgBouncer;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::PgBouncer => "PgBouncer",
            Self::Sidecar => "rds-sidecar",
        })
    }
}

/// The server, and all that is needed to start a peer in front of it.
pub struct Lab<'a> {
    sandbox: &'a Sandbox,
    binary: Option<PathBuf>,
    connections_max: u32,
    bin: PathBuf,
    server_pid: u32,
}

/// A running peer. Dropping it stops it.
pub struct Peer {
    /// The proxy's process; none for a direct connection.
    pub pid: Option<u32>,
    /// Where clients connect, on 127.0.0.1.
    pub port: u16,
    /// For libpq.
    pub connection: String,
    /// The postmaster.
    pub server_pid: u32,
    /// Where files of a run may go.
    pub folder: PathBuf,
    bin: PathBuf,
    process: Process,
}

enum Process {
    None,
    PgBouncer { child: Child, log: PathBuf },
    Sidecar(Sidecar),
}

impl<'a> Lab<'a> {
    /// `connections_max` is what both proxies may open to the server.
    pub fn new(
        sandbox: &'a Sandbox,
        binary: Option<PathBuf>,
        connections_max: u32,
    ) -> Result<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql")?
            .flatten()
            .map(|entry| entry.path().join("bin"));
        let bin = versions
            .filter(|bin| bin.join("pgbench").exists())
            .max()
            .context("pgbench is not installed")?;
        // The sandbox's own note of what it must stop: `PID SIGNAL`.
        let note = fs::read_to_string(sandbox.work_dir().path().join("pids/postgres"))?;
        let server_pid = note
            .split(' ')
            .next()
            .unwrap_or("")
            .parse()
            .context("the server's process id")?;
        Ok(Self {
            sandbox,
            binary,
            connections_max,
            bin,
            server_pid,
        })
    }

    /// Makes pgbench's tables, and one to copy into.
    pub fn prepare(&self) -> Result<()> {
        let direct = self.spawn(Kind::Direct)?;
        let mut tables = direct.client("pgbench");
        tables.args(["-i", "-q", "-I", "dtgvp"]);
        let mut sink = direct.client("psql");
        sink.args(["-X", "-q", "-c", "create table bench_sink (line text)"]);
        for mut command in [tables, sink] {
            let output = command.arg(&direct.connection).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{command:?} failed\n{said}");
        }
        Ok(())
    }

    /// Starts a peer and waits until a query through it was answered.
    pub fn start(&self, kind: Kind) -> Result<Peer> {
        let peer = self.spawn(kind)?;
        if kind != Kind::Direct {
            memory::first_client(&peer, Instant::now())?.query()?;
        }
        Ok(peer)
    }

    /// Starts a peer and does not wait.
    pub fn spawn(&self, kind: Kind) -> Result<Peer> {
        let port = self.sandbox.postgres()?.port();
        let ca = self.sandbox.ca_file();
        let (process, pid, port) = match kind {
            Kind::Direct => (Process::None, None, port),
            Kind::PgBouncer => self.pgbouncer(port, &ca)?,
            Kind::Sidecar => self.sidecar(port)?,
        };
        let connection = match kind {
            Kind::Direct => format!(
                "host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname=app sslmode=verify-full sslrootcert={}",
                ca.display()
            ),
            Kind::PgBouncer | Kind::Sidecar => {
                format!(
                    "host=127.0.0.1 port={port} user={USER} dbname=app sslmode=disable gssencmode=disable"
                )
            }
        };
        let folder = self.sandbox.work_dir().path().to_owned();
        Ok(Peer {
            pid,
            port,
            connection,
            server_pid: self.server_pid,
            folder,
            bin: self.bin.clone(),
            process,
        })
    }

    /// The programs that are measured.
    pub fn programs(&self) -> Result<[String; 3]> {
        let server = self.bin.join("postgres").display().to_string();
        Ok([server, PGBOUNCER.to_owned(), self.sidecar_program()?])
    }

    /// The rds-sidecar that is measured.
    fn sidecar_program(&self) -> Result<String> {
        let path = self
            .binary
            .as_ref()
            .context("which rds-sidecar? give --sidecar PATH, as scripts/bench.sh does")?;
        Ok(path.display().to_string())
    }

    fn sidecar(&self, server: u16) -> Result<(Process, Option<u32>, u16)> {
        let url = format!("postgres://{USER}@127.0.0.1:{server}/app?auth=password");
        let limits = [
            ("MAX_CONNECTIONS", self.connections_max + 10),
            ("CONNECTS_PER_SECOND", 10_000),
        ];
        let mut env: Vec<(String, String)> = limits
            .iter()
            .map(|(name, value)| (format!("RDS_SIDECAR_{name}"), value.to_string()))
            .collect();
        env.push(("RDS_SIDECAR_DATABASES".to_owned(), url));
        env.push(("RDS_SIDECAR_PASSWORD".to_owned(), PASSWORD.to_owned()));
        for unused in ["RDS_SIDECAR_ROLE_ARN", "RDS_SIDECAR_ID_TOKEN"] {
            env.push((unused.to_owned(), String::new()));
        }
        let options = SidecarOptions {
            binary: Some(self.sidecar_program()?.into()),
            env,
            ..SidecarOptions::default()
        };
        let sidecar = Sidecar::spawn(self.sandbox, &options)?;
        let (pid, port) = (sidecar.pid(), sidecar.port());
        Ok((Process::Sidecar(sidecar), Some(pid), port))
    }

    fn pgbouncer(&self, server: u16, ca: &Path) -> Result<(Process, Option<u32>, u16)> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let folder = self.sandbox.work_dir().path();
        let (config, log) = (folder.join("pgbouncer.ini"), folder.join("pgbouncer.log"));
        let size = self.connections_max + 10;
        let text = format!(
            "[databases]\napp = host=127.0.0.1 port={server} dbname=app user={USER} password={PASSWORD}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = session\ndefault_pool_size = {size}\nmax_client_conn = {size}\n\
             server_tls_sslmode = verify-full\nserver_tls_ca_file = {}\n",
            ca.display()
        );
        fs::write(&config, text)?;
        let mut command = self
            .sandbox
            .work_dir()
            .command("pgbouncer", "TERM", PGBOUNCER);
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "postgres"]);
        }
        command
            .arg("-q")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        let child = command.spawn().context("start PgBouncer")?;
        let pid = child.id();
        Ok((Process::PgBouncer { child, log }, Some(pid), port))
    }
}

impl Peer {
    /// CPU time the proxy has used.
    pub fn cpu(&self) -> Result<Option<Duration>> {
        self.pid.map(machine::cpu).transpose()
    }

    /// A client program of the server's version.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.stdin(Stdio::null()).env("PGCONNECT_TIMEOUT", "30");
        command
    }

    /// What it wrote so far, for messages.
    pub fn log(&self) -> String {
        match &self.process {
            Process::None => String::new(),
            Process::PgBouncer { log, .. } => fs::read_to_string(log).unwrap_or_default(),
            Process::Sidecar(sidecar) => sidecar.log(),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Process::PgBouncer { child, .. } = &mut self.process {
            // Immediate shutdown (pgbouncer(1)); the sidecar stops by its own drop.
            guard::stop(child, Signal::TERM);
        }
    }
}
