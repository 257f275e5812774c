//! The peers, each started afresh. Towards the server all speak TLS; HAProxy lets the client do it.

use std::fmt;
use std::fs;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::guard;
use rds_sandbox::pki::Authority;
use rds_sandbox::servers::mysqld::Mysqld;
use rds_sandbox::sidecar::SidecarOptions;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::load;
use crate::machine;
use crate::report::Contender;

const USER: &str = "my_native";
const PASSWORD: &str = "my_native_password";
const HAPROXY: &str = "/usr/sbin/haproxy";
const START_SECONDS_MAX: u64 = 10;

/// Who stands between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody.
    Direct,
    /// Debian's HAProxy, which forwards bytes.
    HaProxy,
    /// We, session pooling.
    Sidecar,
}

impl Kind {
    /// In the order they take turns.
    pub const ALL: [Self; 3] = [Self::Direct, Self::HaProxy, Self::Sidecar];
}

impl Contender for Kind {
    const OURS: Self = Self::Sidecar;
    const THEIRS: Self = Self::HaProxy;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::HaProxy => "HAProxy (TCP)",
            Self::Sidecar => "rds-sidecar",
        })
    }
}

/// The server, and all that is needed to start a peer in front of it.
pub struct Lab<'a> {
    sandbox: &'a Sandbox,
    server: Mysqld,
    binary: Option<PathBuf>,
    server_pid: u32,
}

/// A running peer. Dropping it stops it.
pub struct Peer {
    /// The proxy's process; none for a direct connection.
    pub pid: Option<u32>,
    /// The server's process.
    pub server_pid: u32,
    /// Where sysbench finds what it needs for TLS.
    pub folder: PathBuf,
    kind: Kind,
    port: u16,
    ca: PathBuf,
    process: Process,
}

enum Process {
    None,
    HaProxy { child: Child, log: PathBuf },
    Sidecar(Sidecar),
}

impl<'a> Lab<'a> {
    /// Starts the server. `binary` is the rds-sidecar to measure.
    pub fn new(sandbox: &'a Sandbox, binary: Option<PathBuf>) -> Result<Self> {
        // sysbench does TLS only with a certificate of its own, which the server must know.
        let folder = sandbox.work_dir().path();
        let (authority, trusted) = (Authority::new("Clients")?, folder.join("clients.pem"));
        fs::write(&trusted, authority.pem())?;
        let client = authority.client("sysbench")?;
        fs::write(folder.join("client-cert.pem"), client.certificate)?;
        fs::write(folder.join("client-key.pem"), client.key)?;
        fs::copy(sandbox.ca_file(), folder.join("cacert.pem"))?;
        let options = Options {
            mysql_settings: vec![("ssl_ca".to_owned(), trusted.display().to_string())],
            ..Options::default()
        };
        let server = sandbox.start_mysql("mysql", Flavor::MariaDb, &options)?;
        // The sandbox's own note of what it must stop: `PID SIGNAL`.
        let note = fs::read_to_string(sandbox.work_dir().path().join("pids/mysql"))?;
        let pid = note.split(' ').next().unwrap_or("");
        Ok(Self {
            sandbox,
            server,
            binary,
            server_pid: pid.parse().context("the server's process id")?,
        })
    }

    /// Makes sysbench's table.
    pub fn prepare(&self) -> Result<()> {
        load::prepare(&self.start(Kind::Direct)?)
    }

    /// Starts a peer and waits until a query through it was answered.
    pub fn start(&self, kind: Kind) -> Result<Peer> {
        let server = self.server.port();
        let (process, pid, port) = match kind {
            Kind::Direct => (Process::None, None, server),
            Kind::HaProxy => self.haproxy(server)?,
            Kind::Sidecar => self.sidecar(server)?,
        };
        let peer = Peer {
            pid,
            server_pid: self.server_pid,
            folder: self.sandbox.work_dir().path().to_owned(),
            kind,
            port,
            ca: self.sandbox.ca_file(),
            process,
        };
        peer.wait_until_answers()?;
        Ok(peer)
    }

    /// The programs that are measured.
    pub fn programs(&self) -> Result<[String; 2]> {
        Ok(["mariadbd".to_owned(), self.sidecar_program()?])
    }

    fn sidecar_program(&self) -> Result<String> {
        let path = self
            .binary
            .as_ref()
            .context("which rds-sidecar? give --sidecar PATH, as scripts/bench.sh does")?;
        Ok(path.display().to_string())
    }

    fn sidecar(&self, server: u16) -> Result<(Process, Option<u32>, u16)> {
        let url = format!("mysql://{USER}@127.0.0.1:{server}/app?auth=password");
        let env = [
            ("RDS_SIDECAR_MAX_CONNECTIONS", "50"),
            ("RDS_SIDECAR_CONNECTS_PER_SECOND", "10000"),
            ("RDS_SIDECAR_DATABASES", &url),
            ("RDS_SIDECAR_PASSWORD", PASSWORD),
            ("RDS_SIDECAR_LOG_LEVEL", "warn"),
            ("RDS_SIDECAR_ROLE_ARN", ""),
            ("RDS_SIDECAR_ID_TOKEN", ""),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let options = SidecarOptions {
            binary: Some(self.sidecar_program()?.into()),
            env: env.map(owned).to_vec(),
            ..SidecarOptions::default()
        };
        let sidecar = Sidecar::start(self.sandbox, &options)?;
        let (pid, port) = (sidecar.pid(), sidecar.port());
        Ok((Process::Sidecar(sidecar), Some(pid), port))
    }

    fn haproxy(&self, server: u16) -> Result<(Process, Option<u32>, u16)> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let folder = self.sandbox.work_dir().path();
        let (config, log) = (folder.join("haproxy.cfg"), folder.join("haproxy.log"));
        let text = format!(
            "global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10m\n  \
             timeout server 10m\nlisten mariadb\n  bind 127.0.0.1:{port}\n  server mariadb 127.0.0.1:{server}\n"
        );
        fs::write(&config, text)?;
        let mut command = self.sandbox.work_dir().command("haproxy", "TERM", HAPROXY);
        let child = command
            .args(["-db", "-q", "-f"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("start HAProxy\n    apt-get install haproxy")?;
        let pid = child.id();
        Ok((Process::HaProxy { child, log }, Some(pid), port))
    }
}

impl Peer {
    /// CPU time the proxy has used.
    pub fn cpu(&self) -> Result<Option<Duration>> {
        self.pid.map(machine::cpu).transpose()
    }

    /// A client of MariaDB's.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
            .args([format!("--port={}", self.port), format!("--user={USER}")])
            .stdin(Stdio::null());
        match self.kind {
            Kind::Sidecar => command.arg("--skip-ssl"),
            Kind::Direct | Kind::HaProxy => command
                .env("MYSQL_PWD", PASSWORD)
                .arg(format!("--ssl-ca={}", self.ca.display())),
        };
        command
    }

    /// What tells sysbench where and who.
    pub fn sysbench(&self) -> Vec<String> {
        let mut arguments = vec![
            "--mysql-host=127.0.0.1".to_owned(),
            format!("--mysql-port={}", self.port),
            format!("--mysql-user={USER}"),
            "--mysql-db=app".to_owned(),
        ];
        if self.kind != Kind::Sidecar {
            arguments.push(format!("--mysql-password={PASSWORD}"));
            arguments.push("--mysql-ssl=on".to_owned());
        }
        arguments
    }

    /// What it wrote so far, for messages.
    pub fn log(&self) -> String {
        match &self.process {
            Process::None => String::new(),
            Process::HaProxy { log, .. } => fs::read_to_string(log).unwrap_or_default(),
            Process::Sidecar(sidecar) => sidecar.log(),
        }
    }

    fn wait_until_answers(&self) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if began.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                bail!("{} does not listen\n{}", self.kind, self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = self
            .client("mariadb")
            .args(["-e", "DO 1", "app"])
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "{}: {said}{}",
            self.kind,
            self.log()
        );
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Process::HaProxy { child, .. } = &mut self.process {
            // The sidecar stops by its own drop.
            guard::stop(child, Signal::TERM);
        }
    }
}
