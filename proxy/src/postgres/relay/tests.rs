//! Scripted peers over in-memory pipes.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::io::duplex;

use super::*;
use crate::net::Drain;
use crate::wire::length_prefixed;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    length_prefixed(&mut out, |out| out.extend_from_slice(body));
    out
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
        let relay = Relay::new(Vec::new(), drain.watch());
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
        self.relay.run(&mut self.client, &mut self.server).await
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
    let (query, answer) = (
        message(b'Q', b"SELECT 1\0"),
        [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat(),
    );
    stage
        .beside(async |app, database| {
            for byte in &query {
                app.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            expect(database, &query).await;
            for byte in &answer {
                database.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            expect(app, &answer).await;
        })
        .await;
    assert_eq!(
        stage.relay.observer.tracker.standing(),
        Standing::Ready(Transaction::Idle)
    );
    assert!(stage.relay.client_complete());
    assert_eq!(
        stage.relay.bytes(),
        (query.len() as u64, answer.len() as u64)
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_every_buffer_streams_both_ways() {
    let mut stage = Stage::new(1000);
    let (up, down) = (
        message(b'd', &vec![1; 300_000]),
        message(b'D', &vec![2; 300_000]),
    );
    stage
        .beside(async |app, database| {
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

/// A client that sends without reading, and a server that waits to be read, must not lock each other in.
#[tokio::test(start_paused = true)]
async fn back_pressure_holds_each_direction_alone() {
    let mut stage = Stage::new(100);
    let row = message(b'D', &[3; 50_000]);
    stage
        .beside(async |app, database| {
            let stuck =
                tokio::time::timeout(Duration::from_secs(1), database.write_all(&row)).await;
            assert!(stuck.is_err(), "nobody reads, so the server must be held");
            app.write_all(&message(b'Q', b"x\0")).await.unwrap();
            expect(database, &message(b'Q', b"x\0")).await;
        })
        .await;
    assert!(stage.relay.down.unsent_bytes() <= CHUNK_BYTES);
}

#[tokio::test(start_paused = true)]
async fn what_precedes_goodbye_is_passed_on_and_goodbye_is_not() {
    let mut stage = Stage::new(64);
    let sync = message(b'S', b"");
    stage
        .app
        .write_all(&[sync.clone(), message(b'X', b"")].concat())
        .await
        .unwrap();
    assert!(matches!(stage.end().await, End::ClientTerminated));
    assert!(stage.relay.client_complete(), "goodbye is no half message");
    expect(&mut stage.database, &sync).await;
    drop(stage.server);
    assert_eq!(stage.database.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_servers_last_words_reach_the_client() {
    let mut stage = Stage::new(16);
    let last = message(b'E', &[b'x'; 200]);
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
async fn a_client_that_vanishes_mid_message_is_not_complete() {
    let mut stage = Stage::new(64);
    stage.app.write_all(b"d\0\0\0\x0cSEL").await.unwrap();
    stage.app.shutdown().await.unwrap();
    assert!(matches!(stage.end().await, End::ClientGone(None)));
    assert!(!stage.relay.client_complete());
    let mut stage = Stage::new(64);
    stage.app.write_all(b"Q\0\0\0\x0cSEL").await.unwrap();
    stage.app.shutdown().await.unwrap();
    assert!(matches!(stage.end().await, End::ClientGone(None)));
    assert!(
        stage.relay.client_complete(),
        "a statement cut short was held back: the server knows nothing of it"
    );
}

#[tokio::test(start_paused = true)]
async fn drop_database_waits_for_the_database_to_be_freed() {
    let mut stage = Stage::new(64);
    let drop_database = message(b'Q', b"DROP DATABASE x\0");
    stage.app.write_all(&drop_database).await.unwrap();
    assert!(matches!(stage.end().await, End::FreeDatabase(name) if name == b"x"));
    stage.relay.database_freed();
    stage
        .beside(async |_, database| expect(database, &drop_database).await)
        .await;
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_the_transaction() {
    let mut stage = Stage::new(64);
    let (begin, in_transaction) = (
        message(b'Q', b"BEGIN\0"),
        [message(b'C', b"BEGIN\0"), message(b'Z', b"T")].concat(),
    );
    stage
        .beside(async |app, database| {
            app.write_all(&begin).await.unwrap();
            expect(database, &begin).await;
            database.write_all(&in_transaction).await.unwrap();
            expect(app, &in_transaction).await;
        })
        .await;
    stage.drain.begin();
    stage
        .beside(async |_, _| tokio::time::sleep(Duration::from_secs(3)).await)
        .await;
    let commit = message(b'Q', b"COMMIT\0");
    let committed = [message(b'C', b"COMMIT\0"), message(b'Z', b"I")].concat();
    let (app, database) = (&mut stage.app, &mut stage.database);
    let script = async {
        app.write_all(&commit).await.unwrap();
        expect(database, &commit).await;
        database.write_all(&committed).await.unwrap();
    };
    let (end, ()) = tokio::join!(
        stage.relay.run(&mut stage.client, &mut stage.server),
        script
    );
    assert!(matches!(end, End::Drained), "{end:?}");
    expect(&mut stage.app, &committed).await;
}

#[tokio::test(start_paused = true)]
async fn when_draining_is_over_a_running_statement_is_cut_off() {
    let mut stage = Stage::new(64);
    let query = message(b'Q', b"SELECT pg_sleep(600)\0");
    stage
        .beside(async |app, database| {
            app.write_all(&query).await.unwrap();
            expect(database, &query).await;
        })
        .await;
    assert!(stage.relay.server_complete());
    stage.drain.begin();
    stage
        .beside(async |_, database| {
            database.write_all(b"D\0\0\0\x0a\0\x01").await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        })
        .await;
    stage.drain.end();
    assert!(matches!(stage.end().await, End::CutOff));
    assert!(
        !stage.relay.server_complete(),
        "half a row was passed on: nothing can be said to this client"
    );
}

#[tokio::test(start_paused = true)]
async fn nonsense_from_either_side_ends_the_session() {
    let mut stage = Stage::new(64);
    stage.app.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(matches!(stage.end().await, End::ClientViolation(b'G')));
    let mut stage = Stage::new(64);
    stage.database.write_all(b"Z\0\0\0\x05?").await.unwrap();
    assert!(matches!(stage.end().await, End::ServerViolation));
}

#[tokio::test(start_paused = true)]
async fn early_bytes_of_the_client_go_first() {
    let mut stage = Stage::new(64);
    let query = message(b'Q', b"SELECT 1\0");
    stage.relay = Relay::new(query.clone(), stage.drain.watch());
    stage
        .beside(async |_, database| expect(database, &query).await)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_at_rest_holds_no_buffer() {
    let mut stage = Stage::new(100);
    let row = message(b'D', &[3; 5_000]);
    stage
        .beside(async |app, database| {
            let (sent, ()) = tokio::join!(database.write_all(&row), expect(app, &row));
            sent.unwrap();
        })
        .await;
    stage
        .beside(async |_, _| tokio::task::yield_now().await)
        .await;
    assert_eq!(
        (stage.relay.down.unsent_bytes(), stage.relay.down.held.len()),
        (0, 0)
    );
}
