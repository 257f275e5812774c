//! KILL reaches the right session and no other (case 100).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use tokio::time::Instant;

use crate::mysql_wire::Login;
use crate::mysql_wire::Wire;
use crate::mysql_wire::error;
use crate::mysql_world::World;
use crate::mysql_world::mariadb;
use crate::mysql_world::worlds;

const LIMIT: Duration = Duration::from_secs(20);

/// A statement that runs for a minute unless it is stopped, known by its first column.
fn sleep(world: &World, mark: &str) -> Child {
    let sql = format!("SELECT '{mark}', SLEEP(60)");
    let mut client = mariadb(world.trust);
    client.args(["-e", &sql]);
    let client = client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let client = client.spawn().unwrap();
    wait_for(world, mark, 1);
    client
}

/// Until this many such statements run on the server.
fn wait_for(world: &World, mark: &str, count: usize) {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT _{mark}_, SLEEP%'"
    );
    let deadline = Instant::now() + LIMIT;
    while world.admin(&sql) != count.to_string() {
        let log = world.sidecar.log();
        assert!(Instant::now() < deadline, "not {count} of {mark}\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn output(mut client: Child) -> String {
    let mut text = String::new();
    client
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    client
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    client.wait().unwrap();
    text
}

fn session(world: &World) -> (Wire, u32) {
    let mut wire = Wire::connect(world.trust);
    let id = wire.greeting().thread_id;
    let answer = wire.log_in(&Login {
        user: "anybody",
        database: Some("app"),
        ..Login::default()
    });
    assert_eq!(answer.first(), Some(&0), "{:?}", error(&answer));
    (wire, id)
}

#[test]
fn control_c_stops_only_ones_own_statement() {
    for world in worlds() {
        let (victim, bystander) = (sleep(world, "ctrl_c"), sleep(world, "stays"));
        kill_process(Pid::from_child(&victim), Signal::INT).unwrap();
        wait_for(world, "ctrl_c", 0);
        let told = output(victim);
        // In MariaDB an error, in MySQL what SLEEP returns.
        let interrupted = ["Query execution was interrupted", "ctrl_c\t1"];
        assert!(
            interrupted.iter().any(|words| told.contains(words)),
            "{told}\n{}",
            world.sidecar.log()
        );
        wait_for(world, "stays", 1);
        kill_process(Pid::from_child(&bystander), Signal::KILL).unwrap();
        output(bystander);
        // A client that is gone takes its statement along.
        wait_for(world, "stays", 0);
    }
}

#[test]
fn a_statement_is_killed_by_the_id_of_the_greeting() {
    for world in worlds() {
        let (mut victim, id) = session(world);
        let running = std::thread::spawn(move || {
            let answer = victim.command(b"\x03SELECT 'by_id', SLEEP(60)");
            // Interrupted, SLEEP is 1 in MySQL and an error in MariaDB.
            victim.finish(&answer);
            victim
        });
        wait_for(world, "by_id", 1);
        let (mut killer, own) = session(world);
        assert_ne!(own, id);
        let answer = killer.command(format!("\x03KILL QUERY {id}").as_bytes());
        assert_eq!(answer.first(), Some(&0), "{:?}", error(&answer));
        wait_for(world, "by_id", 0);
        let mut victim = running.join().unwrap();
        assert_eq!(victim.row("SELECT 'alive'"), ["alive"]);
        assert_eq!(killer.row("SELECT 'alive'"), ["alive"]);
    }
}

#[test]
fn killing_a_connection_ends_that_client() {
    for world in worlds() {
        let (mut victim, id) = session(world);
        let (mut killer, _) = session(world);
        let answer = killer.command(format!("\x03KILL {id}").as_bytes());
        assert_eq!(answer.first(), Some(&0), "{:?}", error(&answer));
        // The server's last word may come first.
        while let Some(packet) = victim.packet() {
            assert_eq!(packet.first(), Some(&0xff));
        }
        assert_eq!(killer.row("SELECT 'alive'"), ["alive"]);
        let unknown = killer.command(b"\x03KILL 2147483000");
        assert_eq!(error(&unknown).map(|(code, _, _)| code), Some(1094));
    }
}
