//! The sandbox's work directory, and the guard that outlives the sandbox by a moment.
//!
//! A guard is a small shell process holding the read end of a pipe whose write end only the sandbox holds.
//! When the sandbox ends, however it ends (also by SIGKILL), the guard reads end-of-file, stops every
//! server that is still running and removes the directory. An orderly stop takes the same way, so the way
//! that matters in a crash is used every day. Parent-death signals would not do: they fire when the
//! *thread* that started a child ends, which in a test is long before the process does.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use rustix::process::Signal;
use rustix::process::getpid;

/// `$1` is the work directory. A pid file holds `PID SIGNAL`; a server starting this very moment fails to
/// write its own because the folder has moved.
const GUARD: &str = r#"
trap '' INT TERM HUP
# A zombie is not alive, though kill finds it: in many containers nobody reaps orphans.
alive() {
    [ -e "/proc/$1/status" ] && ! grep -q '^State:.Z' "/proc/$1/status"
}
while read -r _; do :; done
mv "$1/pids" "$1/pids.closed"
for file in "$1"/pids.closed/*; do
    [ -e "$file" ] && read -r pid signal <"$file" && kill -s "$signal" "$pid"
done
for file in "$1"/pids.closed/*; do
    [ -e "$file" ] && read -r pid signal <"$file" || continue
    tenths=100
    while [ "$tenths" -gt 0 ] && alive "$pid"; do
        sleep 0.1
        tenths=$((tenths - 1))
    done
    [ "$tenths" -gt 0 ] || kill -s KILL "$pid"
done
rm -rf "$1"
"#;

/// Runs the command after the pid file's name with this shell's own pid.
const LAUNCH: &str = r#"echo "$$ $1" >"$0" || exit 1; shift; exec "$@""#;

/// A directory that disappears, with every server started through it, when this value or its process does.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    guard: Child,
}

impl WorkDir {
    /// Makes a directory of its own below `parent` (default `/var/tmp`: the servers' users must be able to
    /// walk down to it).
    pub fn create(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.unwrap_or(Path::new("/var/tmp"));
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        let path = unused_name(parent)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
        fs::create_dir(path.join("pids"))?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "rds-sandbox-guard"])
            .arg(&path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the guard process (sh)")?;
        Ok(Self { path, guard })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command for `program` which the guard will stop with `signal` (`QUIT`, `TERM`) if nobody else does.
    /// `name` is unique among the servers of this sandbox.
    pub fn command(&self, name: &str, signal: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", LAUNCH])
            .arg(self.path.join("pids").join(name))
            .arg(signal)
            .arg(program);
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// To be called when the server of this name has been stopped and waited for.
    pub fn forget(&self, name: &str) {
        // Absent when the server never got as far as writing it.
        let _ = fs::remove_file(self.path.join("pids").join(name));
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Sends `signal` to a child and waits until it is gone.
pub fn stop(child: &mut Child, signal: Signal) {
    if let Ok(None) = child.try_wait() {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), signal);
    }
    let _ = child.wait();
}

fn unused_name(parent: &Path) -> Result<PathBuf> {
    let pid = getpid().as_raw_nonzero();
    for attempt in 0..1_000 {
        let path = parent.join(format!("rds-sandbox-{pid}-{attempt}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("create {}", path.display())),
        }
    }
    anyhow::bail!("no unused name below {}", parent.display())
}
