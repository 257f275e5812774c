//! MySQL's upstream login: TLS first, long tokens, a full server (cases 89 and 90).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Stdio;
use std::time::Duration;

use rds_sandbox::Certificate;
use rds_sandbox::Flavor;
use rds_sandbox::Options;
use rds_sandbox::Sandbox;
use rds_sandbox::Sidecar;
use rds_sandbox::faults::Faults;
use rds_sandbox::sidecar::SidecarOptions;
use tokio::time::Instant;

use crate::mysql_wire::anybody;
use crate::mysql_wire::session;
use crate::mysql_world::admin_client;
use crate::mysql_world::flavors;
use crate::mysql_world::mariadb;
use crate::mysql_world::sidecar;
use crate::mysql_world::url;

/// Case 89.
#[test]
fn no_token_leaves_without_tls() {
    for flavor in flavors() {
        let sandbox = Sandbox::start(&Options {
            certificate: Certificate::None,
            ..Options::mysql(*flavor)
        })
        .unwrap();
        let sidecar = Sidecar::start(&sandbox, &SidecarOptions::default()).unwrap();
        let output = mariadb(sidecar.port())
            .args(["-e", "SELECT 1"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            told.contains("TLS") && told.contains("rds-sidecar"),
            "{told}"
        );
        assert!(sandbox.verdicts().is_empty(), "a token was sent");
    }
}

#[test]
fn certificates_are_verified() {
    for certificate in [
        Certificate::Expired,
        Certificate::OtherName,
        Certificate::UnknownCa,
    ] {
        let sandbox = Sandbox::start(&Options {
            certificate,
            ..Options::mysql(Flavor::MariaDb)
        })
        .unwrap();
        let sidecar = Sidecar::start(&sandbox, &SidecarOptions::default()).unwrap();
        let output = mariadb(sidecar.port())
            .args(["-e", "SELECT 1"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("certificate"), "{certificate:?}: {told}");
        assert!(sandbox.verdicts().is_empty(), "a token was sent");
    }
}

#[test]
fn long_tokens_pass() {
    for flavor in flavors() {
        let sandbox = Sandbox::start(&Options::mysql(*flavor)).unwrap();
        sandbox.set_faults(Faults {
            session_token_chars: Some(4_000),
            ..Faults::default()
        });
        let sidecar = Sidecar::start(&sandbox, &SidecarOptions::default()).unwrap();
        let mut wire = session(sidecar.port(), &anybody());
        assert_eq!(wire.row("SELECT CURRENT_USER()"), ["iam_app@%"]);
    }
}

/// A server all of whose ten connections are taken, and the eleventh, the master user's, too.
struct Full {
    sandbox: Sandbox,
    holders: Vec<Child>,
    shell: Child,
    answers: BufReader<ChildStdout>,
}

impl Full {
    fn start() -> Self {
        let sandbox = Sandbox::start(&Options {
            max_connections: 10,
            ..Options::mysql(Flavor::MariaDb)
        })
        .unwrap();
        let mut shell = admin_client(&sandbox)
            .arg("--unbuffered")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(shell.stdout.take().unwrap());
        let mut full = Self {
            sandbox,
            holders: Vec::new(),
            shell,
            answers,
        };
        assert_eq!(full.status("Threads_connected"), 1);
        for _ in 0..10 {
            let mut holder = admin_client(&full.sandbox);
            holder.args(["-e", "SELECT SLEEP(100)"]);
            full.holders
                .push(holder.stdout(Stdio::null()).spawn().unwrap());
        }
        full.wait_for("Threads_connected", 11);
        full
    }

    /// One of the server's figures, by the connection that is already there.
    fn status(&mut self, name: &str) -> u32 {
        let mut stdin = self.shell.stdin.as_ref().unwrap();
        writeln!(stdin, "SHOW GLOBAL STATUS LIKE '{name}';").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().rsplit('\t').next().unwrap().parse().unwrap()
    }

    fn wait_for(&mut self, name: &str, least: u32) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.status(name) < least {
            assert!(Instant::now() < deadline, "{name} never was {least}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn release(&mut self) {
        for holder in &mut self.holders {
            holder.kill().unwrap();
            holder.wait().unwrap();
        }
        // The server looks for its clients only when a statement is over.
        let mut stdin = self.shell.stdin.as_ref().unwrap();
        writeln!(stdin, "KILL QUERY USER admin;").unwrap();
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        for client in self.holders.iter_mut().chain([&mut self.shell]) {
            let _ = client.kill();
            let _ = client.wait();
        }
    }
}

/// Case 90.
#[test]
fn a_full_server_is_waited_for() {
    let mut full = Full::start();
    let keys = "&checkout_timeout=40s&connect_timeout=40s";
    let sidecar = sidecar(&full.sandbox, &url(&full.sandbox, keys), &[]);
    let port = sidecar.port();
    let waits = std::thread::spawn(move || drop(session(port, &anybody())));
    full.wait_for("Connection_errors_max_connections", 2);
    assert!(!waits.is_finished(), "{}", sidecar.log());
    full.release();
    waits.join().unwrap();
}

#[test]
fn a_server_that_stays_full_is_named() {
    let full = Full::start();
    let keys = "&checkout_timeout=2s&connect_timeout=2s";
    let sidecar = sidecar(&full.sandbox, &url(&full.sandbox, keys), &[]);
    let output = mariadb(sidecar.port())
        .args(["-e", "SELECT 1"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("Too many connections"), "{told}");
}
