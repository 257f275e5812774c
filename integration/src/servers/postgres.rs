//! A PostgreSQL that logs in as RDS's does: IAM tokens for members of `rds_iam`, passwords for the others,
//! TLS for all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
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
use crate::servers::files::run;
use crate::servers::free_port;
use crate::servers::pam;

/// The name by which RDS would know this instance; the certificate carries it.
pub const HOST: &str = "sandbox-pg.cabc123xyz456.eu-west-1.rds.amazonaws.com";
/// The port in the endpoint that tokens are signed for, wherever the server really listens.
pub const PORT: u16 = 5432;
/// The superuser's password.
pub const ADMIN_PASSWORD: &str = "sandbox_admin_password";
/// `DbiResourceId`, as in `rds-db:connect` policies.
pub const RESOURCE_ID: &str = "db-SANDBOXPOSTGRESABCDEFGHIJK";

/// The socket in the work directory on which this kind of server asks the judge.
pub(crate) const JUDGE_SOCKET: &str = "judge-postgres.sock";

const ROLES: &str = include_str!("postgres.sql");
const START_SECONDS_MAX: u64 = 30;
const PORTS_TRIED_MAX: usize = 5;

/// How an instance is to be set up.
#[derive(Debug)]
pub struct Setup {
    /// Unique within the sandbox.
    pub name: String,
    /// `max_connections`.
    pub max_connections: u32,
    /// None: `ssl = off`.
    pub tls: Option<Leaf>,
    /// Further lines of `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

/// A running PostgreSQL. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    work: Arc<WorkDir>,
    name: String,
    data: PathBuf,
    port: u16,
    child: Child,
}

impl Postgres {
    /// Makes a data directory below `work` and starts a server on a free port.
    pub fn start(work: &Arc<WorkDir>, setup: &Setup) -> Result<Self> {
        pam::ensure_installed()?;
        let programs = Programs::find()?;
        let data = work.path().join(&setup.name);
        ensure!(
            !data.exists(),
            "there is or was a server named {:?} in this sandbox",
            setup.name
        );
        programs.make_data(work, &data)?;
        configure(&data, setup)?;
        Owner::POSTGRES.give(&data)?;
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port()?;
            let child = programs.spawn(work, &setup.name, &data, port)?;
            let mut server = Self {
                work: Arc::clone(work),
                name: setup.name.clone(),
                data: data.clone(),
                port,
                child,
            };
            match server.wait_until_ready()? {
                Started::Ready => return Ok(server),
                Started::PortTaken => {}
            }
        }
        bail!("no free port for PostgreSQL after {PORTS_TRIED_MAX} tries")
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_file(&self.data)).unwrap_or_default()
    }

    /// Stops the server as an operator would (fast shutdown: clients see 57P01) and starts it on the same
    /// port.
    pub fn restart(&mut self) -> Result<()> {
        guard::stop(&mut self.child, Signal::INT);
        self.child = Programs::find()?.spawn(&self.work, &self.name, &self.data, self.port)?;
        match self.wait_until_ready()? {
            Started::Ready => Ok(()),
            Started::PortTaken => bail!(
                "port {} was taken during the restart\n{}",
                self.port,
                self.log()
            ),
        }
    }

    /// `postmaster.pid` says when the server accepts connections; pg_ctl goes by the same line.
    fn wait_until_ready(&mut self) -> Result<Started> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while Instant::now() < deadline {
            let pid_file = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
            let own = pid_file.lines().next() == Some(self.child.id().to_string().as_str());
            if own
                && pid_file
                    .lines()
                    .nth(7)
                    .is_some_and(|status| status.trim_end() == "ready")
            {
                return Ok(Started::Ready);
            }
            if let Some(status) = self.child.try_wait()? {
                let log = self.log();
                if log.contains("could not bind IPv4 address") {
                    return Ok(Started::PortTaken);
                }
                bail!("PostgreSQL did not start ({status})\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "PostgreSQL was not ready after {START_SECONDS_MAX} s\n{}",
            self.log()
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Immediate shutdown: nobody will read this data again.
        guard::stop(&mut self.child, Signal::QUIT);
        self.work.forget(&self.name);
    }
}

enum Started {
    PortTaken,
    Ready,
}

/// The programs of the newest installed major version.
struct Programs {
    folder: PathBuf,
}

impl Programs {
    fn find() -> Result<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let newest = versions
            .map(|entry| entry.path().join("bin"))
            .filter(|folder| folder.join("postgres").exists())
            .max_by_key(|folder| major_version(folder));
        newest
            .map(|folder| Self { folder })
            .context("PostgreSQL is not installed\n    apt-get install postgresql")
    }

    /// Copies a data directory with all roles in it, which is made once per machine and version.
    fn make_data(&self, work: &WorkDir, data: &Path) -> Result<()> {
        let cache = cache_folder()?;
        let template = cache.join(format!(
            "postgres-{}-{:016x}",
            major_version(&self.folder),
            fingerprint(ROLES)
        ));
        let _one = lock_cache()?;
        if !template.exists() {
            let made = work.path().join("template");
            self.initdb(&made)?;
            let mine = cache.join(
                work.path()
                    .file_name()
                    .context("the work directory has no name")?,
            );
            copy_tree(&made, &mine)?;
            publish(&mine, &template)?;
            return fs::rename(&made, data).context("move the new data directory");
        }
        copy_tree(&template, data)
    }

    fn initdb(&self, data: &Path) -> Result<()> {
        let parent = data.parent().unwrap_or(Path::new("/"));
        let password = parent.join("password");
        fs::write(&password, ADMIN_PASSWORD)?;
        fs::create_dir(data)?;
        Owner::POSTGRES.give(&password)?;
        Owner::POSTGRES.give(data)?;
        let mut initdb = Owner::POSTGRES.command(&self.folder.join("initdb"));
        initdb.args([
            "--no-sync",
            "--username=postgres",
            "--auth=scram-sha-256",
            "--locale=C.UTF-8",
            "--encoding=UTF8",
        ]);
        run(initdb
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(data))?;
        fs::remove_file(&password)?;
        let roles = parent.join("roles.sql");
        fs::write(&roles, ROLES)?;
        let mut single = Owner::POSTGRES.command(&self.folder.join("postgres"));
        // A single-user server takes each line as a statement.
        single
            .args([
                "--single",
                "-c",
                "fsync=off",
                "-c",
                "exit_on_error=on",
                "-D",
            ])
            .arg(data)
            .arg("postgres");
        run(single.stdin(fs::File::open(&roles)?))?;
        fs::remove_file(&roles)?;
        Ok(())
    }

    fn spawn(&self, work: &WorkDir, name: &str, data: &Path, port: u16) -> Result<Child> {
        let log = fs::File::create(log_file(data))?;
        let server = Owner::POSTGRES.command(&self.folder.join("postgres"));
        let mut command = work.command(name, "QUIT", server.get_program());
        command
            .args(server.get_args())
            .arg("-D")
            .arg(data)
            .arg("-p")
            .arg(port.to_string());
        command.env("RDS_SANDBOX_JUDGE", work.path().join(JUDGE_SOCKET));
        command.stdout(log.try_clone()?).stderr(log);
        command.spawn().context("start postgres")
    }
}

fn configure(data: &Path, setup: &Setup) -> Result<()> {
    let mut settings = format!(
        "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = {}\n\
         password_encryption = 'scram-sha-256'\nlog_connections = on\nlog_line_prefix = '%m [%p] %u@%d '\n\
         fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n",
        setup.max_connections
    );
    if let Some(tls) = &setup.tls {
        let key = data.join("server.key");
        fs::write(&key, &tls.key)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        fs::write(data.join("server.crt"), &tls.certificate)?;
        settings += "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n";
    }
    for (name, value) in &setup.settings {
        settings += &format!("{name} = '{}'\n", value.replace('\'', "''"));
    }
    fs::write(data.join("postgresql.auto.conf"), settings)?;
    let service = pam::SERVICE;
    let rules = format!(
        "hostssl    all          +rds_iam    all  pam pamservice={service}\n\
         hostssl    all          md5_app     all  md5\n\
         hostssl    replication  pw_replica  all  scram-sha-256\n\
         hostssl    all          all         all  scram-sha-256\n\
         hostnossl  all          all         all  reject\n"
    );
    fs::write(data.join("pg_hba.conf"), rules)?;
    Ok(())
}

fn log_file(data: &Path) -> PathBuf {
    data.with_extension("log")
}

fn major_version(folder: &Path) -> u32 {
    folder
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str()?.parse().ok())
        .unwrap_or(0)
}
