//! Scripted peers over in-memory pipes.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;

use super::super::statement::Scope;
use super::*;
use crate::net::Drain;

const FLAGS: Capabilities = Capabilities::DEPRECATE_EOF;
const OK_IDLE: &[u8] = b"\x07\0\0\x01\0\0\0\x02\0\0\0";
const OK_OPEN: &[u8] = b"\x07\0\0\x01\0\0\0\x03\0\0\0";
const ERROR: &[u8] = b"\x0b\0\0\x01\xff\x28\x04#42000no";
const ASK_FOR_FILE: &[u8] = b"\x02\0\0\x01\xfbx";

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_packet(&mut out, sequence, |out| out.extend_from_slice(payload));
    out
}

fn query(text: &str) -> Vec<u8> {
    packet(0, &[b"\x03", text.as_bytes()].concat())
}

struct Stage {
    /// The application's end.
    app: DuplexStream,
    /// The database's end.
    database: DuplexStream,
    client: DuplexStream,
    server: DuplexStream,
    relay: Relay,
    drain: Drain,
}

impl Stage {
    /// `pipe`: bytes each in-memory pipe takes before it blocks.
    fn new(pipe: usize) -> Self {
        let ((app, client), (server, database)) = (duplex(pipe), duplex(pipe));
        let drain = Drain::default();
        let relay = Relay::new(Vec::new(), FLAGS, drain.watch());
        Self {
            app,
            database,
            client,
            server,
            relay,
            drain,
        }
    }

    async fn end(&mut self) -> End {
        let run = self.relay.run(&mut self.client, &mut self.server);
        tokio::time::timeout(Duration::from_secs(5), run)
            .await
            .unwrap()
    }

    /// Runs the relay beside `script` until the script is over.
    async fn beside<T>(
        &mut self,
        script: impl AsyncFnOnce(&mut DuplexStream, &mut DuplexStream) -> T,
    ) -> T {
        let Self {
            app,
            database,
            client,
            server,
            relay,
            ..
        } = self;
        tokio::select! {
            end = relay.run(client, server) => panic!("ended: {end:?}"),
            result = script(app, database) => result,
        }
    }

    /// One command and its answer.
    async fn exchange(&mut self, command: &[u8], answer: &[u8]) {
        self.beside(async |app, database| {
            app.write_all(command).await.unwrap();
            expect(database, command).await;
            database.write_all(answer).await.unwrap();
            expect(app, answer).await;
        })
        .await;
    }
}

async fn expect(stream: &mut DuplexStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut read))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read, bytes);
}

#[tokio::test(start_paused = true)]
async fn a_query_goes_up_and_its_answer_down_byte_by_byte() {
    let mut stage = Stage::new(64);
    let query = query("SELECT 1");
    stage
        .beside(async |app, database| {
            for byte in &query {
                app.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            expect(database, &query).await;
            for byte in OK_IDLE {
                database.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            expect(app, OK_IDLE).await;
        })
        .await;
    assert_eq!(
        stage.relay.observer.standing(),
        Standing::Ready(Transaction::Idle)
    );
    assert!(stage.relay.client_complete());
    let expected = (query.len() as u64, OK_IDLE.len() as u64);
    assert_eq!(stage.relay.bytes(), expected);
}

#[tokio::test(start_paused = true)]
async fn packets_larger_than_every_buffer_stream_both_ways() {
    let mut stage = Stage::new(1000);
    let up = query(&"x".repeat(300_000));
    let down = [
        packet(1, b"\x01"),
        packet(2, b"\x03def"),
        packet(3, &[2; 300_000]),
    ]
    .concat();
    stage
        .beside(async |app, database| {
            app.write_all(&query("SELECT x")).await.unwrap();
            expect(database, &query("SELECT x")).await;
            let (mut app_read, mut app_write) = tokio::io::split(app);
            let (mut database_read, mut database_write) = tokio::io::split(database);
            let (mut got_up, mut got_down) = (vec![0; up.len()], vec![0; down.len()]);
            let (a, b, c, d) = tokio::join!(
                app_write.write_all(&up),
                database_write.write_all(&down),
                database_read.read_exact(&mut got_up),
                app_read.read_exact(&mut got_down),
            );
            assert!(a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
            assert!(got_up == up && got_down == down);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn back_pressure_holds_each_direction_alone() {
    let mut stage = Stage::new(100);
    let row = packet(0, &[3; 50_000]);
    stage
        .beside(async |app, database| {
            let stuck =
                tokio::time::timeout(Duration::from_secs(1), database.write_all(&row)).await;
            assert!(stuck.is_err(), "nobody reads, so the server must be held");
            app.write_all(&query("x")).await.unwrap();
            expect(database, &query("x")).await;
        })
        .await;
    assert!(stage.relay.down.unsent_bytes() <= CHUNK_BYTES);
}

#[tokio::test(start_paused = true)]
async fn what_precedes_goodbye_is_passed_on_and_goodbye_is_not() {
    let mut stage = Stage::new(64);
    let ping = packet(0, b"\x0e");
    let stream = [ping.clone(), packet(0, b"\x01")].concat();
    stage.app.write_all(&stream).await.unwrap();
    assert!(matches!(stage.end().await, End::ClientTerminated));
    assert!(stage.relay.client_complete(), "goodbye is no half message");
    expect(&mut stage.database, &ping).await;
    drop(stage.server);
    assert_eq!(stage.database.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_servers_last_words_reach_the_client() {
    let mut stage = Stage::new(16);
    let last = packet(0, &[0xff; 200]);
    let (app, database) = (&mut stage.app, &mut stage.database);
    let say = async {
        database.write_all(&last).await.unwrap();
        database.shutdown().await.unwrap();
    };
    let relay = stage.relay.run(&mut stage.client, &mut stage.server);
    let (end, (), ()) = tokio::join!(relay, say, expect(app, &last));
    assert!(matches!(end, End::ServerGone(None)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_mid_command_is_not_complete() {
    let mut stage = Stage::new(64);
    stage.app.write_all(b"\x64\0\0\0\x17abc").await.unwrap();
    stage.app.shutdown().await.unwrap();
    assert!(matches!(stage.end().await, End::ClientGone(None)));
    assert!(!stage.relay.client_complete());
    let mut stage = Stage::new(64);
    stage.app.write_all(b"\x0c\0\0\0\x03SEL").await.unwrap();
    stage.app.shutdown().await.unwrap();
    assert!(matches!(stage.end().await, End::ClientGone(None)));
    assert!(
        stage.relay.client_complete(),
        "a statement cut short was held back: the server knows nothing of it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_answered_here_and_what_stands_behind_it_goes_on() {
    for answered in [true, false] {
        let mut stage = Stage::new(256);
        stage.exchange(&query("BEGIN"), OK_OPEN).await;
        let kill = query("KILL QUERY 1073741825");
        let ping = packet(0, b"\x0e");
        let stream = [kill, ping.clone()].concat();
        stage.app.write_all(&stream).await.unwrap();
        let End::Kill(kill) = stage.end().await else {
            panic!("no kill");
        };
        assert_eq!((kill.id, kill.scope), (0x4000_0001, Scope::Query));
        let expected = if answered {
            stage.relay.answer_ok();
            OK_OPEN.to_vec()
        } else {
            let error = ErrPacket {
                code: 1064,
                sqlstate: Some(*b"42000"),
                message: b"no",
            };
            stage.relay.answer_error(&error);
            ERROR.to_vec()
        };
        stage
            .beside(async |app, database| {
                expect(app, &expected).await;
                expect(database, &ping).await;
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_login_takes_over_with_what_was_sent_behind_it() {
    let mut stage = Stage::new(256);
    let (login, ping) = (packet(0, b"\x11bob\0\0db\0"), packet(0, b"\x0e"));
    stage
        .app
        .write_all(&[login, ping.clone()].concat())
        .await
        .unwrap();
    let end = stage.end().await;
    assert!(
        matches!(&end, End::ChangeUser(payload) if payload == b"\x11bob\0\0db\0"),
        "{end:?}"
    );
    assert_eq!(stage.relay.into_early(), ping);
}

#[tokio::test(start_paused = true)]
async fn a_reset_stops_the_relay_between_its_answer_and_the_next_command() {
    let mut stage = Stage::new(256);
    let (reset, next) = (packet(0, b"\x1f"), query("SET NAMES latin1"));
    let (app, database) = (&mut stage.app, &mut stage.database);
    let script = async {
        app.write_all(&[reset.clone(), next.clone()].concat())
            .await
            .unwrap();
        expect(database, &reset).await;
        database.write_all(OK_IDLE).await.unwrap();
    };
    let (end, ()) = tokio::join!(
        stage.relay.run(&mut stage.client, &mut stage.server),
        script
    );
    assert!(matches!(end, End::ConnectionReset), "{end:?}");
    stage
        .beside(async |app, database| {
            expect(app, OK_IDLE).await;
            expect(database, &next).await;
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_the_transaction() {
    let mut stage = Stage::new(64);
    stage.exchange(&query("BEGIN"), OK_OPEN).await;
    stage.drain.begin();
    stage
        .beside(async |_, _| tokio::time::sleep(Duration::from_secs(3)).await)
        .await;
    let (app, database) = (&mut stage.app, &mut stage.database);
    let script = async {
        app.write_all(&query("COMMIT")).await.unwrap();
        expect(database, &query("COMMIT")).await;
        database.write_all(OK_IDLE).await.unwrap();
    };
    let (end, ()) = tokio::join!(
        stage.relay.run(&mut stage.client, &mut stage.server),
        script
    );
    assert!(matches!(end, End::Drained), "{end:?}");
    expect(&mut stage.app, OK_IDLE).await;
}

/// An ERR does not tell whether a transaction is open; the server is asked, and the client sees nothing of it.
#[tokio::test(start_paused = true)]
async fn draining_after_an_error_asks_the_server() {
    for (status, open) in [(OK_IDLE, false), (OK_OPEN, true)] {
        let mut stage = Stage::new(64);
        stage.exchange(&query("CALL p()"), ERROR).await;
        stage.drain.begin();
        let (database, relay) = (&mut stage.database, &mut stage.relay);
        let script = async {
            expect(database, PING).await;
            database.write_all(status).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        };
        tokio::select! {
            biased;
            end = relay.run(&mut stage.client, &mut stage.server) => assert!(matches!(end, End::Drained) && !open, "{end:?}"),
            () = script => assert!(open),
        }
        let nothing = tokio::time::timeout(Duration::from_secs(1), stage.app.read(&mut [0])).await;
        assert!(nothing.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn early_bytes_of_the_client_go_first() {
    let mut stage = Stage::new(64);
    let query = query("SELECT 1");
    stage.relay = Relay::new(query.clone(), FLAGS, stage.drain.watch());
    stage
        .beside(async |_, database| expect(database, &query).await)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_file_passes_and_is_followed_to_its_end() {
    let mut stage = Stage::new(100);
    stage
        .exchange(&query("LOAD DATA LOCAL"), ASK_FOR_FILE)
        .await;
    // Lines that would be COM_QUIT, were they commands.
    let file = [packet(2, b"\x01\n\x01\n"), packet(3, &[1; 5000])].concat();
    stage
        .beside(async |app, database| {
            let (sent, ()) = tokio::join!(app.write_all(&file), expect(database, &file));
            sent.unwrap();
        })
        .await;
    assert_eq!(stage.relay.observer.standing(), Standing::File);
    stage.exchange(&packet(4, b""), OK_IDLE).await;
    assert_eq!(
        stage.relay.observer.standing(),
        Standing::Ready(Transaction::Idle)
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_at_rest_holds_no_buffer() {
    let mut stage = Stage::new(100);
    let row = packet(0, &[3; 5_000]);
    stage
        .beside(async |app, database| {
            let (sent, ()) = tokio::join!(database.write_all(&row), expect(app, &row));
            sent.unwrap();
        })
        .await;
    stage
        .beside(async |_, _| tokio::task::yield_now().await)
        .await;
    let down = &stage.relay.down;
    assert_eq!((down.unsent_bytes(), down.held.len()), (0, 0));
}
