//! Learning is done once for all who wait, and again after a failure.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::mysql::error::Said;
use crate::mysql::wire::Capabilities;

fn greeting() -> Greeting {
    Greeting {
        version: b"8.4.0".to_vec(),
        thread_id: 7,
        scramble: vec![1; 20],
        capabilities: Capabilities::SSL,
        charset: 255,
        status: 2,
        plugin: b"caching_sha2_password".to_vec(),
    }
}

fn refused(code: u16) -> BackendError {
    BackendError::Refused {
        endpoint: "db:3306".to_owned(),
        said: Arc::new(Said {
            code,
            sqlstate: "08004".to_owned(),
            message: "Too many connections".to_owned(),
        }),
        token_for: None,
    }
}

/// A server that accepts; the far ends of its connections are kept in the listener's queue.
async fn connected(listener: &TcpListener) -> Greeted {
    let address = listener.local_addr().unwrap();
    Greeted {
        stream: TcpStream::connect(address).await.unwrap(),
        address,
        greeting: greeting(),
    }
}

/// Dials that fail with these numbers first.
struct Server {
    listener: TcpListener,
    failures: Vec<u16>,
    dialled: AtomicUsize,
}

impl Server {
    async fn new(failures: &[u16]) -> Arc<Self> {
        Arc::new(Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            failures: failures.to_vec(),
            dialled: AtomicUsize::new(0),
        })
    }

    async fn ask(self: &Arc<Self>, greeter: &Arc<Greeter>) -> Result<Arc<Greeting>, BackendError> {
        let server = Arc::clone(self);
        let dial = move || {
            let server = Arc::clone(&server);
            async move {
                let turn = server.dialled.fetch_add(1, SeqCst);
                match server.failures.get(turn) {
                    Some(code) => Err(refused(*code)),
                    None => Ok(connected(&server.listener).await),
                }
            }
        };
        greeter.greeting(dial, Duration::from_secs(60)).await
    }
}

#[tokio::test]
async fn all_who_wait_share_one_connection_and_the_first_login_takes_it() {
    let (server, greeter) = (Server::new(&[]).await, Arc::new(Greeter::default()));
    let (one, two) = tokio::join!(server.ask(&greeter), server.ask(&greeter));
    assert_eq!(*one.unwrap(), greeting());
    assert_eq!(*two.unwrap(), greeting());
    server.ask(&greeter).await.unwrap();
    assert_eq!(server.dialled.load(SeqCst), 1);
    assert!(greeter.take_spare().is_some());
    assert!(greeter.take_spare().is_none(), "good for one login");
}

#[tokio::test]
async fn a_full_server_is_asked_again() {
    let (server, greeter) = (
        Server::new(&[1040, 1040]).await,
        Arc::new(Greeter::default()),
    );
    server.ask(&greeter).await.unwrap();
    assert_eq!(server.dialled.load(SeqCst), 3);
}

#[tokio::test]
async fn another_refusal_is_told_at_once_and_not_remembered() {
    let (server, greeter) = (Server::new(&[1129]).await, Arc::new(Greeter::default()));
    assert!(matches!(
        server.ask(&greeter).await,
        Err(BackendError::Refused { said, .. }) if said.code == 1129
    ));
    server.ask(&greeter).await.unwrap();
}

#[tokio::test]
async fn the_learning_goes_on_when_the_client_leaves() {
    let (server, greeter) = (Server::new(&[1040]).await, Arc::new(Greeter::default()));
    let left = timeout(Duration::from_millis(1), server.ask(&greeter)).await;
    assert!(left.is_err(), "still waiting for the full server");
    server.ask(&greeter).await.unwrap();
    assert_eq!(server.dialled.load(SeqCst), 2, "the same learning");
}

#[tokio::test]
async fn a_connection_on_which_the_server_spoke_again_is_not_used() {
    let (server, greeter) = (Server::new(&[]).await, Arc::new(Greeter::default()));
    server.ask(&greeter).await.unwrap();
    let (mut far, _) = server.listener.accept().await.unwrap();
    far.write_all(b"\x01").await.unwrap();
    let spare = greeter.0.lock().spare.take().unwrap();
    spare.stream.readable().await.unwrap();
    greeter.0.lock().spare = Some(spare);
    assert!(greeter.take_spare().is_none());
}

#[tokio::test]
async fn a_later_greeting_takes_the_first_ones_place() {
    let (server, greeter) = (Server::new(&[]).await, Arc::new(Greeter::default()));
    server.ask(&greeter).await.unwrap();
    let upgraded = Greeting {
        version: b"9.7.4".to_vec(),
        ..greeting()
    };
    greeter.heard(&upgraded);
    assert_eq!(*server.ask(&greeter).await.unwrap(), upgraded);
}
