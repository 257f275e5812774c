//! Servers that come to rest, late or never, after their client is gone.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;
use tokio::time::Instant;
use tokio::time::sleep;

use super::*;
use crate::mysql::observe::Told;
use crate::mysql::wire::Capabilities;
use crate::net::Drain;

const OK: &[u8] = b"\x07\0\0\x01\0\0\0\x02\0\0\0";
const KILLED: &[u8] = b"\x0b\0\0\x01\xff\x25\x05#70100no";
const QUERY: &[u8] = b"\x06\0\0\0\x03QUERY";
const QUICK: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Counted {
    stops: AtomicUsize,
    closed: AtomicUsize,
}

impl Stop for Counted {
    async fn stop(&self) {
        assert_eq!(self.closed.load(Relaxed), 0);
        self.stops.fetch_add(1, Relaxed);
    }

    async fn close(&self) {
        self.closed.fetch_add(1, Relaxed);
    }
}

/// Settles a session in which this was said, beside a server; returns the verdict, the stops and the milliseconds.
async fn settled(
    said: &[(bool, &[u8])],
    farewell: Farewell,
    script: impl AsyncFnOnce(DuplexStream, &Counted),
) -> (bool, usize, u128) {
    let (mut server, database) = duplex(1000);
    let mut relay = Relay::new(
        Vec::new(),
        Capabilities::DEPRECATE_EOF,
        Drain::default().watch(),
    );
    for (from_client, bytes) in said {
        if *from_client {
            relay.observer.client(bytes);
        } else {
            relay.observer.server(bytes, &mut Told::default());
        }
    }
    let (victim, began) = (Counted::default(), Instant::now());
    let settling = async {
        let rested = settle(&mut relay, &mut server, &victim, farewell).await;
        (rested, began.elapsed())
    };
    let ((rested, took), ()) = tokio::join!(settling, script(database, &victim));
    assert_eq!(victim.closed.load(Relaxed), 1);
    (rested, victim.stops.load(Relaxed), took.as_millis())
}

async fn silent(database: DuplexStream, _victim: &Counted) {
    sleep(Duration::from_secs(60)).await;
    drop(database);
}

/// Answers after a while, and goes on living.
fn answers(after: Duration, answer: &'static [u8]) -> impl AsyncFnOnce(DuplexStream, &Counted) {
    async move |mut database: DuplexStream, _victim: &Counted| {
        sleep(after).await;
        // Settling may have given up by then.
        let _ = database.write_all(answer).await;
        sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_at_rest_is_at_rest() {
    let open = &b"\x07\0\0\x01\0\0\0\x03\0\0\0"[..];
    for said in [
        vec![],
        vec![(true, QUERY), (false, OK)],
        vec![(true, QUERY), (false, open)],
        vec![(true, QUERY), (false, KILLED)],
    ] {
        let verdict = settled(&said, Farewell::Loss, silent).await;
        assert_eq!(verdict, (true, 0, 0), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_statement_ends_by_itself() {
    let verdict = settled(&[(true, QUERY)], Farewell::Loss, answers(QUICK, OK)).await;
    assert_eq!(verdict, (true, 0, 100));
    let late = Duration::from_secs(9);
    let verdict = settled(&[(true, QUERY)], Farewell::Goodbye, answers(late, OK)).await;
    assert_eq!(verdict, (true, 0, 9000));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_which_half_has_passed_is_read_to_its_end() {
    const LONG: &[u8] = b"\x22\0\0\x01\0\0\0\x02\0\0\0Rows matched: 1  Changed: 1";
    let (head, tail) = LONG.split_at(30);
    let said = [(true, QUERY), (false, head)];
    let verdict = settled(&said, Farewell::Loss, answers(QUICK, tail)).await;
    assert_eq!(verdict, (true, 0, 100));
    let verdict = settled(&said, Farewell::Loss, silent).await;
    assert_eq!(verdict, (false, 2, 5500));
}

#[tokio::test(start_paused = true)]
async fn more_than_was_asked_for_is_no_rest() {
    const TOO_MUCH: &[u8] = b"\x07\0\0\x01\0\0\0\x02\0\0\0\x10\0";
    let said = [(true, QUERY)];
    let verdict = settled(&said, Farewell::Loss, answers(QUICK, TOO_MUCH)).await;
    assert_eq!(verdict, (false, 0, 100));
}

#[tokio::test(start_paused = true)]
async fn a_long_statement_is_stopped() {
    let said = [(true, QUERY)];
    let verdict = settled(&said, Farewell::Loss, async |mut database, victim| {
        while victim.stops.load(Relaxed) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        database.write_all(KILLED).await.unwrap();
        sleep(Duration::from_secs(60)).await;
    })
    .await;
    assert!(
        verdict.0 && verdict.1 == 1 && verdict.2 < 600,
        "{verdict:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_stop_is_given_up() {
    let verdict = settled(&[(true, QUERY)], Farewell::Loss, silent).await;
    assert_eq!(verdict, (false, 2, 5500));
    let gone = async |database: DuplexStream, _: &Counted| drop(database);
    let verdict = settled(&[(true, QUERY)], Farewell::Loss, gone).await;
    assert_eq!(verdict, (false, 0, 0));
}

/// The empty packet that would end the file would also load what came of it.
#[tokio::test(start_paused = true)]
async fn half_a_file_is_never_loaded() {
    let said = [(true, QUERY), (false, &b"\x02\0\0\x01\xfbx"[..])];
    let verdict = settled(&said, Farewell::Goodbye, silent).await;
    assert_eq!(verdict, (false, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn half_a_command_costs_the_connection_and_stops_what_runs() {
    let half = &b"\x64\0\0\0\x17abc"[..];
    let verdict = settled(&[(true, half)], Farewell::Loss, silent).await;
    assert_eq!(verdict, (false, 1, 0));
    let data = &b"\x64\0\0\0\x18abc"[..];
    let verdict = settled(&[(true, data)], Farewell::Loss, silent).await;
    assert_eq!(verdict, (false, 0, 0), "nothing runs");
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_flags_changed_is_nobody_elses() {
    let said = [(true, &b"\x03\0\0\0\x1b\0\0"[..]), (false, OK)];
    let verdict = settled(&said, Farewell::Goodbye, silent).await;
    assert_eq!(verdict, (false, 0, 0));
}
