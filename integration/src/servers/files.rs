//! What setting up any server takes: users to run as, trees to copy, a cache that outlives the sandbox.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

/// Who runs a server when the sandbox runs as root: servers refuse to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    user: &'static str,
    group: &'static str,
}

impl Owner {
    /// Made by PostgreSQL's package.
    pub(crate) const POSTGRES: Self = Self {
        user: "postgres",
        group: "postgres",
    };
    /// On every machine. The user `mysql` comes with packages that are not needed here.
    pub(crate) const NOBODY: Self = Self {
        user: "nobody",
        group: "nogroup",
    };

    /// Runs `program` as this user; as whoever we are when that is not root.
    pub(crate) fn command(self, program: &Path) -> Command {
        if !rustix::process::geteuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.user))
            .arg(format!("--regid={}", self.group))
            .args(["--init-groups", "--"])
            .arg(program)
            .current_dir("/");
        command
    }

    /// Makes this user the owner of `path` and all below it.
    pub(crate) fn give(self, path: &Path) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            run(Command::new("chown")
                .args(["-R", &format!("{}:{}", self.user, self.group)])
                .arg(path))?;
        }
        Ok(())
    }
}

/// Where things are kept that are made once per machine. Servers read there as their own user; only its owner
/// may write: its content is trusted.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let folder = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/cache/rds-sandbox-servers")
    } else {
        let home = std::env::home_dir().context("there is no home directory for the cache")?;
        home.join(".cache/rds-sandbox-servers")
    };
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Moves `made` to `wanted` in the cache. Several processes may have made the same: whoever is first wins.
pub(crate) fn publish(made: &Path, wanted: &Path) -> Result<()> {
    match fs::rename(made, wanted) {
        Ok(()) => Ok(()),
        Err(_) if wanted.exists() => {
            fs::remove_dir_all(made).with_context(|| format!("remove {}", made.display()))
        }
        Err(error) => Err(error).with_context(|| format!("write {}", wanted.display())),
    }
}

/// Copies a folder with owners and modes.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from)
        .arg(to))
}

/// Runs a command to its end; an error holds all it said.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} failed ({})\n{text}",
        output.status
    );
    Ok(())
}

/// FNV-1a: tells one text from the next, no more.
pub(crate) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Held while something is made in the cache, so that two who miss it do not both make it.
pub(crate) fn lock_cache() -> Result<fs::File> {
    let path = cache_folder()?.join("lock");
    let file = fs::File::create(&path).with_context(|| format!("write {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}
