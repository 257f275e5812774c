//! The runner of `rds-sidecar`, with a stand-in program: what it is told, when it counts as started, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::sidecar::SidecarOptions;

use crate::support::aws_only;

const LIMIT: Duration = Duration::from_secs(10);

/// Serves every file beside itself, `startup` among them, on its admin port.
const STAND_IN: &str = r#"#!/bin/sh
folder=$(dirname "$0")
echo "told: $1 $2 $4 $6 role=$RDS_SIDECAR_ROLE_ARN token=${RDS_SIDECAR_ID_TOKEN:-none} own=$OWN"
echo "to stderr" >&2
echo yes >"$folder/startup"
exec python3 -m http.server --bind 127.0.0.1 --directory "$folder" "${5##*:}"
"#;

fn stand_in(sandbox: &Sandbox, name: &str, script: &str) -> PathBuf {
    let folder = sandbox.work_dir().path().join(name);
    fs::create_dir(&folder).unwrap();
    let program = folder.join("rds-sidecar");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn options(binary: PathBuf) -> SidecarOptions {
    let env = [("OWN", "1"), ("RDS_SIDECAR_ID_TOKEN", "")];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    SidecarOptions {
        binary: Some(binary),
        args: vec!["--log=json".to_owned()],
        env,
    }
}

#[test]
fn it_starts_is_measured_and_stops() {
    let sandbox = aws_only();
    let mut sidecar =
        Sidecar::start(&sandbox, &options(stand_in(&sandbox, "good", STAND_IN))).unwrap();
    let told = "told: run --listen --admin --log=json role=arn:aws:iam::123456789012:role/ci-tests token=none own=1\n";
    sidecar.wait_for_log("to stderr\n", LIMIT).unwrap();
    sidecar.wait_for_log(told, LIMIT).unwrap();
    assert_eq!(
        sidecar.admin("GET", "/startup", "").unwrap(),
        (200, "yes\n".to_owned())
    );
    assert_eq!(
        sidecar.url("any", "app"),
        format!(
            "postgres://any@127.0.0.1:{}/app?sslmode=disable",
            sidecar.port()
        )
    );
    assert!((5_000..=sidecar.peak_rss_kib().unwrap()).contains(&sidecar.rss_kib().unwrap()));
    assert!(
        sidecar.cpu().unwrap() > Duration::from_millis(10),
        "Python does not start for nothing"
    );
    let status = sidecar.stop(LIMIT).unwrap();
    assert!(
        !status.success(),
        "{status}: Python's server knows no graceful end"
    );
}

#[test]
fn each_of_several_databases_gets_a_port() {
    let sandbox = aws_only();
    let script = "#!/bin/sh\necho \"told: $2 $RDS_SIDECAR_DATABASES\"\nsleep 60\n";
    let mut options = options(stand_in(&sandbox, "several", script));
    let urls = "postgres://a/x?sign_host=b:1  mysql://c";
    options
        .env
        .push(("RDS_SIDECAR_DATABASES".to_owned(), urls.to_owned()));
    let sidecar = Sidecar::spawn(&sandbox, &options).unwrap();
    let (postgres, mysql) = (sidecar.port(), sidecar.mysql_port().unwrap());
    assert_ne!(postgres, mysql);
    let told = format!(
        "told: --admin postgres://a/x?sign_host=b:1&listen=127.0.0.1:{postgres} \
         mysql://c?listen=127.0.0.1:{mysql}\n"
    );
    sidecar.wait_for_log(&told, LIMIT).unwrap();
}

#[test]
fn an_early_end_is_reported_with_its_log() {
    let sandbox = aws_only();
    let broken = stand_in(
        &sandbox,
        "broken",
        "#!/bin/sh\necho 'RDS_SIDECAR_ROLE: no such option' >&2\nexit 64\n",
    );
    let error = Sidecar::start(&sandbox, &options(broken))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "rds-sidecar did not start (exit status: 64)\nRDS_SIDECAR_ROLE: no such option\n"
    );
}

#[test]
fn it_does_not_outlive_its_value() {
    let sandbox = aws_only();
    let sidecar = Sidecar::start(&sandbox, &options(stand_in(&sandbox, "drop", STAND_IN))).unwrap();
    let process = format!("/proc/{}", sidecar.pid());
    assert!(Path::new(&process).exists());
    drop(sidecar);
    assert!(!Path::new(&process).exists());
}
