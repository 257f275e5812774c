//! Real sockets on ports the kernel chooses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::Endpoint;
use config::Listen;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::fault::Fault;

const OPTION: &str = "`listen` of database `app`";

fn room_for(clients: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(clients))
}

async fn bind(listen: &Listen, clients: usize) -> Result<Listener, NetError> {
    Listener::bind(listen, OPTION, room_for(clients)).await
}

fn any_port() -> Listen {
    Listen::Tcp("127.0.0.1:0".parse().unwrap())
}

fn address(listener: &Listener) -> std::net::SocketAddr {
    match listener.local() {
        Listen::Tcp(address) => *address,
        Listen::Unix(_) => panic!("not TCP"),
    }
}

#[tokio::test]
async fn tcp_client_is_accepted_described_and_tuned() {
    let mut listener = bind(&any_port(), 10).await.unwrap();
    let mut client = TcpStream::connect(address(&listener)).await.unwrap();
    let mut stream = listener.accept().await;

    assert_eq!(
        stream.peer().to_string(),
        client.local_addr().unwrap().to_string()
    );
    assert!(stream.is_loopback() && stream.is_tcp());

    client.write_all(b"ping").await.unwrap();
    stream.readable().await.unwrap();
    let mut got = [0; 4];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
    stream.write_all(b"pong").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"pong");
}

#[tokio::test]
async fn accepted_sockets_inherit_keepalive() {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), OPTION).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    assert!(SockRef::from(&stream).keepalive().unwrap());
}

#[tokio::test]
async fn an_address_in_use_is_refused_with_address_and_option() {
    let first = bind(&any_port(), 1).await.unwrap();
    let taken = first.local().clone();
    let error = bind(&taken, 1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {taken}: the address is in use")
    );
    let port = address(&first).port();
    assert_eq!(
        error.for_client().hint.unwrap(),
        format!(
            "stop what uses it (`ss -ltnp 'sport = :{port}'` shows it), or change `listen` of database `app`"
        )
    );
}

#[tokio::test]
async fn an_address_of_another_machine_is_refused() {
    let error = bind(&Listen::Tcp("198.51.100.7:0".parse().unwrap()), 1)
        .await
        .unwrap_err();
    assert!(matches!(error.reason, NetReason::NoSuchAddress), "{error}");
}

#[tokio::test]
async fn clients_beyond_the_bound_wait_until_one_leaves() {
    let mut listener = bind(&any_port(), 1).await.unwrap();
    let _first = TcpStream::connect(address(&listener)).await.unwrap();
    let _second = TcpStream::connect(address(&listener)).await.unwrap();
    let held = listener.accept().await;
    assert!(
        timeout(Duration::from_millis(50), listener.accept())
            .await
            .is_err()
    );
    drop(held);
    timeout(Duration::from_secs(5), listener.accept())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dual_stack_socket_shows_ipv4_peers_as_ipv4() {
    let Ok(mut listener) = bind(&Listen::Tcp("[::]:0".parse().unwrap()), 1).await else {
        return; // a machine without IPv6
    };
    let client = TcpStream::connect(("127.0.0.1", address(&listener).port()))
        .await
        .unwrap();
    let stream = listener.accept().await;
    assert_eq!(
        stream.peer().to_string(),
        client.local_addr().unwrap().to_string()
    );
    assert!(stream.is_loopback());
}

fn socket_path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join(".s.PGSQL.5432")
}

#[tokio::test]
async fn unix_client_is_accepted_and_the_file_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(&directory);
    let mut listener = bind(&Listen::Unix(path.clone()), 1).await.unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o777
    );

    let _client = UnixStream::connect(&path).await.unwrap();
    let stream = listener.accept().await;
    assert!(stream.is_loopback() && !stream.is_tcp());
    let peer = stream.peer().to_string();
    assert!(
        peer.starts_with("unix:uid=") && peer.ends_with(&format!("pid={}", std::process::id())),
        "{peer}"
    );

    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_file_of_a_dead_process_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(&directory);
    // The standard library and tokio leave the file behind, as a killed process does.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut listener = bind(&Listen::Unix(path.clone()), 1).await.unwrap();
    let _client = UnixStream::connect(&path).await.unwrap();
    listener.accept().await;
}

#[tokio::test]
async fn a_living_owner_of_the_socket_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(&directory);
    let first = bind(&Listen::Unix(path.clone()), 1).await.unwrap();
    let error = bind(&Listen::Unix(path.clone()), 1).await.unwrap_err();
    assert!(matches!(error.reason, NetReason::AddressInUse), "{error}");
    UnixStream::connect(&path).await.unwrap();
    drop(first);
}

#[tokio::test]
async fn the_file_of_a_successor_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket_path(&directory);
    let first = bind(&Listen::Unix(path.clone()), 1).await.unwrap();
    fs::rename(&path, directory.path().join("aside")).unwrap();
    let second = bind(&Listen::Unix(path.clone()), 1).await.unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn paths_that_cannot_be_a_socket_are_explained() {
    let directory = tempfile::tempdir().unwrap();
    let error = bind(&Listen::Unix(directory.path().to_path_buf()), 1)
        .await
        .unwrap_err();
    assert!(matches!(error.reason, NetReason::NotASocket), "{error}");
    assert!(error.hint().contains("/.s.PGSQL.5432"), "{}", error.hint());

    let file = directory.path().join("precious");
    fs::write(&file, "data").unwrap();
    let error = bind(&Listen::Unix(file.clone()), 1).await.unwrap_err();
    assert!(matches!(error.reason, NetReason::NotASocket), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"data");

    let error = bind(&Listen::Unix(directory.path().join("missing/socket")), 1)
        .await
        .unwrap_err();
    assert!(matches!(error.reason, NetReason::NoDirectory), "{error}");

    let error = bind(&Listen::Unix(directory.path().join("x".repeat(200))), 1)
        .await
        .unwrap_err();
    assert!(matches!(error.reason, NetReason::PathTooLong), "{error}");
}

#[tokio::test]
async fn dials_by_name_and_again_by_address() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        host: "localhost".to_owned(),
        port: server.local_addr().unwrap().port(),
    };
    // `localhost` may be ::1 first, where nothing listens: the second address must be tried.
    let dialled = dial(&endpoint, Duration::from_secs(5)).await.unwrap();
    assert_eq!(dialled.address, server.local_addr().unwrap());
    assert!(dialled.stream.nodelay().unwrap());
    assert!(SockRef::from(&dialled.stream).keepalive().unwrap());
    let again = dial_address(dialled.address, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(again.peer_addr().unwrap(), dialled.address);
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    drop(server);
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: address.port(),
    };
    let error = dial(&endpoint, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error, DialError::Refused { endpoint, address });
    assert!(dial_address(address, Duration::from_secs(5)).await.is_err());
}

#[tokio::test]
async fn a_name_nobody_has_does_not_resolve() {
    // RFC 2606 reserves .invalid.
    let endpoint = Endpoint {
        host: "db.invalid".to_owned(),
        port: 5432,
    };
    let error = dial(&endpoint, Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(&error, DialError::Unresolved { .. }), "{error}");
    assert!(
        error.to_string().starts_with("cannot resolve db.invalid: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_server_times_out() {
    // A backlog that is full: the kernel drops further SYNs, as a security group does.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _fills_it = std::net::TcpStream::connect(address).unwrap();
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: address.port(),
    };
    let limit = Duration::from_millis(300);
    let error = dial(&endpoint, limit).await.unwrap_err();
    assert_eq!(
        error,
        DialError::TimedOut {
            endpoint,
            addresses: vec![address],
            after: limit
        }
    );
}
