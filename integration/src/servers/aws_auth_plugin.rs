//! Building the server plugin through which MariaDB and MySQL ask the judge.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::servers::files::fingerprint;
use crate::servers::files::lock_cache;

const SOURCE: &str = include_str!("../../plugin/aws_auth_plugin.c");

/// Sees to it that `folder` holds the plugin of this version; its file name.
pub(crate) fn ensure_in(folder: &Path) -> Result<String> {
    let name = format!("aws_auth_plugin_{:016x}.so", fingerprint(SOURCE));
    let _one = lock_cache()?;
    if !folder.join(&name).exists() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        build(folder, &name)?;
    }
    Ok(name)
}

/// Under another name first: a half-written file must not be found.
fn build(folder: &Path, name: &str) -> Result<()> {
    let source = folder.join("aws_auth_plugin.c");
    let built = source.with_extension("unfinished");
    fs::write(&source, SOURCE)?;
    let compiled = Command::new("gcc")
        .args(["-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-o"])
        .args([&built, &source])
        .output();
    let compiled = match compiled {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("gcc is missing\n    apt-get install gcc libc6-dev")
        }
        other => other.context("run gcc")?,
    };
    ensure!(
        compiled.status.success(),
        "gcc cannot build the authentication plugin\n    apt-get install gcc libc6-dev\n{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    fs::set_permissions(&built, fs::Permissions::from_mode(0o755))?;
    fs::rename(&built, folder.join(name))
        .with_context(|| format!("write {}", folder.join(name).display()))
}
