//! Oracle's MySQL. Debian's stable releases do not have it: Debian unstable's packages are unpacked into the
//! cache and run with the libraries that come with them. apt works on folders of its own, so that the machine
//! keeps its packages and sources as they are.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::servers::aws_auth_plugin;
use crate::servers::files::cache_folder;
use crate::servers::files::lock_cache;
use crate::servers::files::publish;
use crate::servers::files::run;
use crate::servers::mysqld::Programs;

const USERS: &str = concat!(include_str!("mysql.sql"), include_str!("mysqld.sql"));
const PACKAGE: &str = "mysql-server-core";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEBIAN: &str = "http://deb.debian.org/debian";
/// 82 MB come from a mirror nearby in ten seconds.
const APT_SECONDS_MAX: &str = "240";

/// Sees to it that MySQL is in the cache: about 82 MB the first time on a machine, 300 MB on disk. The error
/// says why it cannot be had, which is no fault of the sandbox: unstable changes daily, and not every machine
/// reaches a Debian mirror.
pub fn ensure_installed() -> Result<()> {
    tree().map(drop)
}

/// The MySQL in the cache.
pub(crate) fn programs() -> Result<Programs> {
    let tree = tree()?;
    let version = fs::read_to_string(tree.join("version"))?;
    let (loader, libraries) = loader(&tree)?;
    let usr = tree.join("usr");
    let plugins = usr.join("lib/mysql/plugin");
    let plugin = aws_auth_plugin::ensure_in(&plugins)?;
    let share = usr.join("share/mysql");
    Ok(Programs {
        version: format!("mysql-{}", version.trim_end()),
        server: vec![
            loader.into(),
            "--library-path".into(),
            libraries.into(),
            usr.join("sbin/mysqld").into(),
        ],
        settings: format!(
            "basedir={}\nlc-messages-dir={}\ncharacter-sets-dir={}/charsets\nplugin-dir={}\n\
             secure-file-priv=\nmysqlx=OFF\ndisable-log-bin\nperformance_schema=OFF\n\
             innodb_redo_log_capacity=16M\n",
            usr.display(),
            share.display(),
            share.display(),
            plugins.display()
        ),
        without_tls: "tls_version=\n",
        plugin,
        users: USERS,
        initialize,
    })
}

fn initialize(programs: &Programs, data: &Path) -> Result<()> {
    let config = data.with_extension("cnf");
    fs::write(&config, format!("[mysqld]\n{}", programs.settings))?;
    run(programs
        .server()?
        .arg(format!("--defaults-file={}", config.display()))
        .arg("--initialize-insecure")
        .arg("--innodb-use-native-aio=OFF")
        .arg(format!("--datadir={}", data.display())))
}

/// The folder with unpacked packages.
fn tree() -> Result<PathBuf> {
    let cache = cache_folder()?;
    let tree = cache.join("mysql-from-debian-unstable");
    let _one = lock_cache()?;
    if !tree.exists() {
        let work = cache.join("mysql-unfinished");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fetch(&work, &tree).context("MySQL cannot be had from Debian unstable")?;
    }
    Ok(tree)
}

fn fetch(work: &Path, tree: &Path) -> Result<()> {
    ensure!(
        Path::new(KEYRING).exists(),
        "{KEYRING} is missing: this is not Debian"
    );
    for folder in ["lists/partial", "archives/partial", "root"] {
        fs::create_dir_all(work.join(folder))?;
    }
    // Nothing is installed: apt brings libc and all.
    fs::write(work.join("status"), "")?;
    let source = format!("deb [signed-by={KEYRING}] {} sid main\n", mirror());
    fs::write(work.join("sources.list"), source)?;
    run(apt(work).arg("update"))?;
    run(apt(work).args([
        "install",
        "--yes",
        "--no-install-recommends",
        "--download-only",
        PACKAGE,
    ]))?;
    let root = work.join("root");
    let mut version = None;
    for package in fs::read_dir(work.join("archives"))? {
        let package = package?.path();
        let name = package
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(name) = name.strip_suffix(".deb") else {
            continue;
        };
        if let Some(rest) = name.strip_prefix(PACKAGE) {
            version = rest.split('_').nth(1).map(ToOwned::to_owned);
        }
        if !name.contains("perl") {
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root))?;
        }
    }
    let version = version.with_context(|| format!("apt brought no {PACKAGE}"))?;
    fs::write(root.join("version"), version)?;
    publish(&root, tree)?;
    fs::remove_dir_all(work).with_context(|| format!("remove {}", work.display()))
}

/// apt-get on folders of its own.
fn apt(work: &Path) -> Command {
    let mut command = Command::new("timeout");
    command
        .args([APT_SECONDS_MAX, "apt-get", "-q"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    for (option, path) in [
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", ""),
        ("Dir::Cache::archives", "archives"),
    ] {
        command
            .arg("-o")
            .arg(format!("{option}={}", work.join(path).display()));
    }
    for option in [
        "Dir::Etc::sourceparts=-",
        "Acquire::Languages=none",
        "Acquire::Retries=2",
        "Acquire::http::Timeout=15",
        "APT::Sandbox::User=root",
        "APT::Update::Error-Mode=any",
        "Debug::NoLocking=1",
    ] {
        command.args(["-o", option]);
    }
    command
}

/// The mirror this machine already uses.
fn mirror() -> String {
    let entries = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files.push("/etc/apt/sources.list".into());
    let text: String = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    find_mirror(&text).unwrap_or(DEBIAN).to_owned()
}

/// Of `URIs: http://host/debian` and `deb [options] http://host/debian suite main`.
fn find_mirror(sources: &str) -> Option<&str> {
    let lines = sources
        .lines()
        .filter(|line| line.starts_with("URIs:") || line.starts_with("deb "));
    lines
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.starts_with("http") && word.ends_with("/debian"))
}

/// The dynamic loader of the unpacked libc, and the folder of its libraries.
fn loader(tree: &Path) -> Result<(PathBuf, PathBuf)> {
    let folder = tree.join("usr/lib");
    let architectures = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    for libraries in architectures.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")) {
        for entry in fs::read_dir(&libraries)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("ld-linux") {
                return Ok((entry.path(), libraries));
            }
        }
    }
    anyhow::bail!("there is no ld-linux below {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_machines_own() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\n";
        assert_eq!(find_mirror(deb822), Some("http://mirror.example/debian"));
        let line = "# deb http://no.example/debian x main\ndeb [arch=amd64] https://m.example/debian sid main\n";
        assert_eq!(find_mirror(line), Some("https://m.example/debian"));
        let security = "URIs: http://deb.debian.org/debian-security\n";
        assert_eq!(find_mirror(security), None);
        assert_eq!(
            find_mirror("deb http://archive.ubuntu.com/ubuntu noble main"),
            None
        );
    }
}
