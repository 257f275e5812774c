//! Installing the PAM module through which PostgreSQL asks the judge.
//!
//! Two files outside any sandbox, shared by all of them: the module and the service that names it. Writing
//! them takes root once; running servers does not.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

/// The name in `pg_hba.conf`'s `pamservice`.
pub const SERVICE: &str = "rds-sandbox";

const SOURCE: &str = include_str!("../../pam/pam_rds_iam.c");
const FOLDER: &str = "/usr/local/lib/rds-sandbox";
const SERVICE_FILE: &str = "/etc/pam.d/rds-sandbox";

/// Sees to it that module and service are there and of this version.
pub fn ensure_installed() -> Result<()> {
    if is_installed() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "PostgreSQL asks the sandbox about tokens through a PAM module, which is not installed (or is of \
             another version)\n    run once: sudo {} install",
            std::env::current_exe().map_or("rds-sandbox".into(), |path| path.display().to_string())
        );
    }
    install()
}

fn is_installed() -> bool {
    let same = |path: &Path, text: &str| fs::read_to_string(path).is_ok_and(|found| found == text);
    module().exists()
        && same(&module().with_extension("c"), SOURCE)
        && same(Path::new(SERVICE_FILE), &service())
}

fn install() -> Result<()> {
    fs::create_dir_all(FOLDER).with_context(|| format!("create {FOLDER}"))?;
    // Several sandboxes may do this at once: each builds under a name of its own, then renames.
    let pid = std::process::id();
    let source = Path::new(FOLDER).join(format!("{pid}.c"));
    let built = source.with_extension("so");
    fs::write(&source, SOURCE)?;
    let compiled = Command::new("gcc")
        .args(["-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-o"])
        .args([built.as_os_str(), source.as_os_str(), "-lpam".as_ref()])
        .output();
    let compiled = match compiled {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("gcc is missing\n    apt-get install gcc libc6-dev libpam0g-dev")
        }
        other => other.context("run gcc")?,
    };
    ensure!(
        compiled.status.success(),
        "gcc cannot build the PAM module\n    apt-get install gcc libc6-dev libpam0g-dev\n{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    fs::set_permissions(&built, fs::Permissions::from_mode(0o755))?;
    fs::rename(&built, module())?;
    let service_file = format!("{SERVICE_FILE}.{pid}");
    fs::write(&service_file, service()).with_context(|| format!("write {SERVICE_FILE}"))?;
    fs::rename(&service_file, SERVICE_FILE)?;
    // Last, because it is what `is_installed` goes by.
    fs::rename(&source, module().with_extension("c"))?;
    tracing::info!("installed {} and {SERVICE_FILE}", module().display());
    Ok(())
}

fn module() -> PathBuf {
    Path::new(FOLDER).join("pam_rds_iam.so")
}

fn service() -> String {
    let module = module();
    let module = module.display();
    format!("# written by rds-sandbox\nauth     required {module}\naccount  required {module}\n")
}
