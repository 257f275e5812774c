//! Debian's MariaDB.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::servers::aws_auth_plugin;
use crate::servers::files::Owner;
use crate::servers::files::cache_folder;
use crate::servers::files::run;
use crate::servers::mysqld::Programs;

const USERS: &str = concat!(include_str!("mariadb.sql"), include_str!("mysqld.sql"));
const PACKAGES: &str = "apt-get install mariadb-server-core mariadb-client";

/// The installed MariaDB.
pub(crate) fn programs() -> Result<Programs> {
    let server = ["/usr/sbin/mariadbd", "/usr/bin/mariadbd"];
    let found = server
        .iter()
        .map(PathBuf::from)
        .find(|program| program.exists());
    let Some(server) = found else {
        bail!("MariaDB is not installed\n    {PACKAGES}");
    };
    let output = Command::new(&server)
        .args(["--no-defaults", "--version"])
        .output()?;
    // mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split_whitespace()
        .nth(2)
        .with_context(|| format!("{} --version said {text:?}", server.display()))?;
    let plugins = cache_folder()?.join("plugins");
    let plugin = aws_auth_plugin::ensure_in(&plugins)?;
    Ok(Programs {
        version: format!("mariadb-{version}"),
        server: vec![server.into()],
        settings: format!(
            "plugin-dir={}\ninnodb_log_file_size=8M\n",
            plugins.display()
        ),
        without_tls: "",
        plugin,
        users: USERS,
        initialize,
    })
}

/// Without `--user`: that would change the owner of files in /usr/lib.
fn initialize(_: &Programs, data: &Path) -> Result<()> {
    let mut install = Owner::NOBODY.command(Path::new("mariadb-install-db"));
    install
        .arg("--no-defaults")
        .arg(format!("--datadir={}", data.display()));
    install.args([
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
        "--innodb-log-file-size=8M",
        "--innodb-use-native-aio=OFF",
    ]);
    run(&mut install).with_context(|| format!("MariaDB is not complete\n    {PACKAGES}"))
}
