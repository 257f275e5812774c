//! What an idle connection shows without being asked.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use super::pki::Authority;
use super::pki::Pair;
use crate::tls::IdleHealth;

const HOST: &str = "db.example.org";

async fn pair() -> Pair {
    let authority = Authority::new("Test CA");
    authority
        .server(&[HOST])
        .shake(&authority.trusted(), HOST)
        .await
        .unwrap()
}

#[tokio::test]
async fn waiting_tickets_are_life_and_are_kept() {
    let authority = Authority::new("Test CA");
    let (server, tls) = (authority.server(&[HOST]), authority.trusted());
    let (mut first, mut theirs) = server.shake(&tls, HOST).await.unwrap();
    assert_eq!(first.idle_health(), IdleHealth::Alive);
    assert_eq!(first.idle_health(), IdleHealth::Alive);
    let (second, _theirs) = server.shake(&tls, HOST).await.unwrap();
    assert!(
        second.resumed(),
        "the tickets were in the pipe, and the look stored them"
    );
    theirs.write_all(b"ok").await.unwrap();
    let mut read = [0; 2];
    first.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ok", "looking takes nothing away");
}

#[tokio::test]
async fn a_key_update_is_life() {
    let (mut ours, mut theirs) = pair().await;
    theirs.get_mut().1.refresh_traffic_keys().unwrap();
    theirs.flush().await.unwrap();
    assert_eq!(ours.idle_health(), IdleHealth::Alive);
    theirs.write_all(b"after").await.unwrap();
    let mut read = [0; 5];
    ours.read_exact(&mut read).await.unwrap();
    ours.write_all(b"under new keys too").await.unwrap();
    ours.flush().await.unwrap();
    let mut read = [0; 18];
    theirs.read_exact(&mut read).await.unwrap();
}

#[tokio::test]
async fn unasked_bytes_are_death() {
    let (mut ours, mut theirs) = pair().await;
    theirs
        .write_all(b"E FATAL 57P01 terminating connection due to administrator command")
        .await
        .unwrap();
    theirs.flush().await.unwrap();
    assert_eq!(ours.idle_health(), IdleHealth::Dead);
}

#[tokio::test]
async fn bytes_read_ahead_are_death() {
    let (mut ours, mut theirs) = pair().await;
    theirs.write_all(b"two").await.unwrap();
    theirs.flush().await.unwrap();
    ours.read_u8().await.unwrap();
    assert_eq!(
        ours.idle_health(),
        IdleHealth::Dead,
        "already decrypted, nothing on the wire"
    );
}

#[tokio::test]
async fn an_end_is_death_polite_or_not() {
    let (mut ours, mut theirs) = pair().await;
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.idle_health(), IdleHealth::Dead);
    assert_eq!(ours.idle_health(), IdleHealth::Dead, "and stays so");
    let (mut ours, theirs) = pair().await;
    drop(theirs);
    assert_eq!(ours.idle_health(), IdleHealth::Dead);
}

#[tokio::test]
async fn garbage_is_death() {
    let (mut ours, mut theirs) = pair().await;
    theirs
        .get_mut()
        .0
        .write_all(b"not a record at all")
        .await
        .unwrap();
    assert_eq!(ours.idle_health(), IdleHealth::Dead);
}

/// tokio tells a task that ran for too long that nothing is ready; the look must not take that for life.
#[tokio::test]
async fn a_tired_task_still_sees_the_end() {
    let (mut ours, theirs) = pair().await;
    drop(theirs);
    let health = poll_fn(|context| {
        while pin!(tokio::task::consume_budget()).poll(context).is_ready() {}
        Poll::Ready(ours.idle_health())
    })
    .await;
    assert_eq!(health, IdleHealth::Dead);
}

#[tokio::test]
async fn the_same_over_tcp() {
    let authority = Authority::new("Test CA");
    let (server, tls) = (authority.server(&[HOST]), authority.trusted());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let (ours, theirs) = tokio::join!(tls.connect(dialled, HOST), server.accept(accepted));
    let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
    ours.get_ref().readable().await.unwrap();
    assert_eq!(ours.idle_health(), IdleHealth::Alive, "tickets");
    theirs.write_all(b"ping").await.unwrap();
    let mut read = [0; 4];
    ours.read_exact(&mut read).await.unwrap();
    assert_eq!(ours.idle_health(), IdleHealth::Alive, "nothing");
    theirs.shutdown().await.unwrap();
    ours.get_ref().readable().await.unwrap();
    assert_eq!(ours.idle_health(), IdleHealth::Dead, "closed");
}
