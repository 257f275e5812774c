//! A MariaDB or MySQL that logs in as RDS's does: IAM tokens for some users, passwords for others, TLS for all.
//! Here is what the two have in common; `mariadb` and `mysql` say where they differ.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::guard;
use crate::guard::WorkDir;
use crate::pki::Leaf;
use crate::servers::files::Owner;
use crate::servers::files::cache_folder;
use crate::servers::files::copy_tree;
use crate::servers::files::fingerprint;
use crate::servers::files::lock_cache;
use crate::servers::files::publish;
use crate::servers::free_port;
use crate::servers::mariadb;
use crate::servers::mysql;

/// The name by which RDS would know this instance; the certificate carries it.
pub const HOST: &str = "sandbox-my.cabc123xyz456.eu-west-1.rds.amazonaws.com";
/// The port in the endpoint that tokens are signed for, wherever the server really listens.
pub const PORT: u16 = 3306;
/// The master user, named as in RDS's console; it may do everything.
pub const ADMIN: &str = "admin";
/// The master user's password.
pub const ADMIN_PASSWORD: &str = "sandbox_admin_password";
/// `DbiResourceId`, as in `rds-db:connect` policies.
pub const RESOURCE_ID: &str = "db-SANDBOXMYSQLABCDEFGHIJKLMN";
/// The socket in the work directory on which this kind of server asks the judge.
pub(crate) const JUDGE_SOCKET: &str = "judge-mysql.sock";

const START_SECONDS_MAX: u64 = 60;
const PORTS_TRIED_MAX: usize = 5;
const GREETING_MAX: Duration = Duration::from_secs(2);
const PROTOCOL_VERSION: u8 = 10;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Debian's MariaDB.
    MariaDb,
    /// Oracle's MySQL, from Debian unstable.
    MySql,
}

impl Flavor {
    fn programs(self) -> Result<Programs> {
        match self {
            Self::MariaDb => mariadb::programs(),
            Self::MySql => mysql::programs(),
        }
    }
}

/// How an instance is to be set up.
#[derive(Debug)]
pub struct Setup {
    /// Unique within the sandbox.
    pub name: String,
    /// Which server.
    pub flavor: Flavor,
    /// `max_connections`; one more is kept for the master user.
    pub max_connections: u32,
    /// None: the server speaks no TLS.
    pub tls: Option<Leaf>,
    /// Further lines of `my.cnf`.
    pub settings: Vec<(String, String)>,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Mysqld {
    work: Arc<WorkDir>,
    name: String,
    programs: Programs,
    data: PathBuf,
    port: u16,
    child: Child,
}

impl Mysqld {
    /// Makes a data directory below `work` and starts a server on a free port.
    pub fn start(work: &Arc<WorkDir>, setup: &Setup) -> Result<Self> {
        let programs = setup.flavor.programs()?;
        let data = work.path().join(&setup.name);
        ensure!(
            !data.exists(),
            "there is or was a server named {:?} in this sandbox",
            setup.name
        );
        programs.make_data(work, &data)?;
        programs.configure(
            &data,
            setup.max_connections,
            setup.tls.as_ref(),
            &setup.settings,
        )?;
        Owner::NOBODY.give(&data)?;
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port()?;
            let listen = [format!("--port={port}")];
            let child = programs.spawn(work, &setup.name, &data, &listen)?;
            let mut server = Self {
                work: Arc::clone(work),
                name: setup.name.clone(),
                programs: programs.clone(),
                data: data.clone(),
                port,
                child,
            };
            match server.wait_until_ready()? {
                Started::Ready => return Ok(server),
                Started::PortTaken => {}
            }
        }
        bail!(
            "no free port for {} after {PORTS_TRIED_MAX} tries",
            programs.version
        )
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server logged since it was started last.
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(&self.data)).unwrap_or_default()
    }

    /// Ends the server as a crash would: clients see their connection closed. [`Self::restart`] brings it back.
    pub fn kill(&mut self) {
        guard::stop(&mut self.child, Signal::KILL);
    }

    /// Stops the server as an operator would, if it runs, and starts it on the same port.
    pub fn restart(&mut self) -> Result<()> {
        guard::stop(&mut self.child, Signal::TERM);
        let listen = [format!("--port={}", self.port)];
        self.child = self
            .programs
            .spawn(&self.work, &self.name, &self.data, &listen)?;
        match self.wait_until_ready()? {
            Started::Ready => Ok(()),
            Started::PortTaken => bail!(
                "port {} was taken during the restart\n{}",
                self.port,
                self.log()
            ),
        }
    }

    /// A server that greets on its unix socket listens on TCP too, and has run its init file.
    fn wait_until_ready(&mut self) -> Result<Started> {
        let version = &self.programs.version;
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while Instant::now() < deadline {
            if greets(&socket_file(&self.data)).unwrap_or(false) {
                return Ok(Started::Ready);
            }
            if let Some(status) = self.child.try_wait()? {
                let log = self.log();
                if log.contains("Address already in use") {
                    return Ok(Started::PortTaken);
                }
                bail!("{version} did not start ({status})\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "{version} was not ready after {START_SECONDS_MAX} s\n{}",
            self.log()
        )
    }
}

impl Drop for Mysqld {
    fn drop(&mut self) {
        // Not politely: nobody will read this data again.
        guard::stop(&mut self.child, Signal::KILL);
        self.work.forget(&self.name);
    }
}

enum Started {
    PortTaken,
    Ready,
}

/// What one flavor brings along.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Product and version: `mariadb-10.11.19-MariaDB-0+deb12u1`.
    pub(crate) version: String,
    /// The server, with what must stand before its own arguments.
    pub(crate) server: Vec<OsString>,
    /// Lines of `my.cnf` that only this flavor understands, or that say where its files are.
    pub(crate) settings: String,
    /// Lines of `my.cnf` that keep it from offering TLS.
    pub(crate) without_tls: &'static str,
    /// The file in its plugin folder that asks the judge.
    pub(crate) plugin: String,
    /// Makes the users; one statement a line, as init files want it.
    pub(crate) users: &'static str,
    /// Fills the empty folder that becomes a data directory.
    pub(crate) initialize: fn(&Self, &Path) -> Result<()>,
}

impl Programs {
    /// The server's program, to be run as its owner.
    pub(crate) fn server(&self) -> Result<Command> {
        let (program, arguments) = self.server.split_first().context("there is no server")?;
        let mut command = Owner::NOBODY.command(Path::new(program));
        command.args(arguments);
        Ok(command)
    }

    /// Copies a data directory with all users in it, which is made once per machine and version.
    fn make_data(&self, work: &Arc<WorkDir>, data: &Path) -> Result<()> {
        let cache = cache_folder()?;
        let template = cache.join(format!("{}-{:016x}", self.version, fingerprint(self.users)));
        let _one = lock_cache()?;
        if !template.exists() {
            let made = work.path().join("mysqld-template");
            fs::create_dir(&made)?;
            Owner::NOBODY.give(&made)?;
            (self.initialize)(self, &made)?;
            self.create_users(work, &made)?;
            let name = work.path().file_name();
            let mine = cache.join(name.context("the work directory has no name")?);
            copy_tree(&made, &mine)?;
            publish(&mine, &template)?;
            fs::remove_dir_all(&made)?;
        }
        copy_tree(&template, data)
    }

    /// Statements that make users take a whole server with its plugin.
    fn create_users(&self, work: &Arc<WorkDir>, data: &Path) -> Result<()> {
        let name = "mysqld-template";
        self.configure(data, 10, None, &[])?;
        let users = data.with_extension("sql");
        fs::write(&users, self.users)?;
        let only = [
            "--skip-networking".to_owned(),
            format!("--init-file={}", users.display()),
        ];
        let mut server = Mysqld {
            work: Arc::clone(work),
            name: name.to_owned(),
            programs: self.clone(),
            data: data.to_owned(),
            port: 0,
            child: self.spawn(work, name, data, &only)?,
        };
        server.wait_until_ready()?;
        // Politely, so that the next start has nothing to repair.
        guard::stop(&mut server.child, Signal::TERM);
        let log = server.log();
        ensure!(
            !log.contains("[ERROR]"),
            "{} did not take its users\n{log}",
            self.version
        );
        Ok(())
    }

    fn configure(
        &self,
        data: &Path,
        max_connections: u32,
        tls: Option<&Leaf>,
        more: &[(String, String)],
    ) -> Result<()> {
        let path = |file: PathBuf| file.display().to_string();
        let mut settings = format!(
            "[mysqld]\n{}datadir={}\nsocket={}\npid-file={}\nbind-address=127.0.0.1\nskip-name-resolve\n\
             max_connections={}\nlocal_infile=ON\ninnodb_buffer_pool_size=32M\ninnodb_use_native_aio=OFF\n\
             innodb_flush_log_at_trx_commit=0\nsync_binlog=0\nplugin-load-add={}\n",
            self.settings,
            data.display(),
            path(socket_file(data)),
            path(data.join("server.pid")),
            max_connections,
            self.plugin
        );
        if let Some(tls) = tls {
            let (key, certificate) = (data.join("sandbox.key"), data.join("sandbox.crt"));
            fs::write(&key, &tls.key)?;
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
            fs::write(&certificate, &tls.certificate)?;
            settings += &format!("ssl_key={}\nssl_cert={}\n", path(key), path(certificate));
            settings += "require_secure_transport=ON\n";
        } else {
            settings += self.without_tls;
        }
        for (name, value) in more {
            settings += &format!("{name}={value}\n");
        }
        fs::write(config_file(data), settings)?;
        Ok(())
    }

    fn spawn(&self, work: &WorkDir, name: &str, data: &Path, more: &[String]) -> Result<Child> {
        let log = fs::File::create(log_file(data))?;
        let server = self.server()?;
        let mut command = work.command(name, "KILL", server.get_program());
        command
            .args(server.get_args())
            .arg(format!("--defaults-file={}", config_file(data).display()))
            .args(more);
        command.env("RDS_SANDBOX_JUDGE", work.path().join(JUDGE_SOCKET));
        command.stdout(log.try_clone()?).stderr(log);
        command
            .spawn()
            .with_context(|| format!("start {}", self.version))
    }
}

fn greets(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(GREETING_MAX))?;
    let mut start = [0; 5];
    stream.read_exact(&mut start)?;
    Ok(start.last() == Some(&PROTOCOL_VERSION))
}

fn socket_file(data: &Path) -> PathBuf {
    data.join("server.sock")
}

fn config_file(data: &Path) -> PathBuf {
    data.with_extension("cnf")
}

fn log_file(data: &Path) -> PathBuf {
    data.with_extension("log")
}
