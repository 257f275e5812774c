//! How connections end, and what ends many of them at once.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use super::fake::limits;
use super::fake::pool;
use super::fake::settle;
use crate::fault::Fault;
use crate::pool::CheckoutError;

#[tokio::test(start_paused = true)]
async fn discard_closes_politely() {
    let (pool, server) = pool(&limits(1));
    pool.checkout(&"a").await.unwrap().discard().await;
    assert_eq!((server.polite(), server.open()), (1, 0));
    drop(pool.checkout(&"a").await.unwrap());
    assert_eq!(pool.stats().counters.leases.discarded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_reset_makes_room() {
    let (pool, server) = pool(&limits(1));
    server.world.lock().reset_fails = true;
    let first = pool.checkout(&"a").await.unwrap();
    let number = first.number;
    first.release().await;
    let second = pool.checkout(&"a").await.unwrap();
    assert_ne!(second.number, number);
    assert_eq!(pool.stats().counters.closings.reset_failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_hangs_is_given_up_and_holds_nobody_up() {
    let (pool, server) = pool(&limits(2));
    server.world.lock().reset_takes = Duration::from_secs(3_600);
    let lease = pool.checkout(&"a").await.unwrap();
    let start = Instant::now();
    let releasing = tokio::spawn(async move {
        lease.release().await;
        start.elapsed()
    });
    settle().await;
    let lease = pool.checkout(&"a").await.unwrap();
    assert_eq!(
        start.elapsed(),
        Duration::from_millis(150),
        "100 ms of hope and a login"
    );
    assert_eq!(releasing.await.unwrap(), Duration::from_secs(5));
    assert_eq!(server.open(), 1);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_dropped_makes_room() {
    let (pool, server) = pool(&limits(1));
    server.world.lock().reset_takes = Duration::from_secs(1);
    let lease = pool.checkout(&"a").await.unwrap();
    assert!(
        timeout(Duration::from_millis(10), lease.release())
            .await
            .is_err()
    );
    assert_eq!(server.open(), 0);
    drop(pool.checkout(&"a").await.unwrap());
}

// Case 60: what DROP DATABASE needs.
#[tokio::test(start_paused = true)]
async fn close_idle_returns_when_they_are_gone() {
    let (pool, server) = pool(&limits(5));
    {
        let mut world = server.world.lock();
        world.close_takes = Duration::from_millis(300);
        world.reset_takes = Duration::from_millis(50);
    }
    let (idle, reset, used) = (
        pool.checkout(&"a").await.unwrap(),
        pool.checkout(&"a").await.unwrap(),
        pool.checkout(&"a").await.unwrap(),
    );
    let other = pool.checkout(&"b").await.unwrap();
    other.release().await;
    idle.release().await;
    let releasing = tokio::spawn(reset.release());
    settle().await;
    // A client that left while its connection was being opened: it would fall idle.
    assert!(
        timeout(Duration::from_millis(1), pool.checkout(&"b"))
            .await
            .is_ok()
    );
    let start = Instant::now();
    pool.close_idle(|key| *key == "a").await;
    assert!(
        start.elapsed() <= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    releasing.await.unwrap();
    let left: Vec<&str> = server
        .world
        .lock()
        .open
        .values()
        .copied()
        .filter(|key| *key == "a")
        .collect();
    assert_eq!(left.len(), 1, "the one in use");
    used.release().await;
    assert_eq!(pool.stats().counters.closings.requested, 2);
}

#[tokio::test(start_paused = true)]
async fn close_idle_waits_for_logins_nobody_wants() {
    let (pool, server) = pool(&limits(5));
    assert!(
        timeout(Duration::from_millis(1), pool.checkout(&"a"))
            .await
            .is_err()
    );
    assert_eq!(pool.stats().dialling, 1);
    pool.close_idle(|_| true).await;
    assert_eq!(
        (pool.stats().idle, server.open(), server.polite()),
        (0, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn close_idle_does_not_wait_for_ever() {
    let (pool, server) = pool(&limits(5));
    server.world.lock().close_takes = Duration::from_secs(3_600);
    pool.checkout(&"a").await.unwrap().release().await;
    let start = Instant::now();
    pool.close_idle(|_| true).await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    settle().await;
    assert_eq!(
        (pool.stats().closing, server.open()),
        (0, 0),
        "closed abruptly"
    );
}

// Case 61.
#[tokio::test(start_paused = true)]
async fn a_new_generation_is_fresh() {
    let (pool, server) = pool(&limits(5));
    let (idle, used) = (
        pool.checkout(&"a").await.unwrap(),
        pool.checkout(&"a").await.unwrap(),
    );
    let old = used.number;
    idle.release().await;
    pool.bump_generation(|key| *key == "a");
    settle().await;
    assert_eq!(server.open(), 1);
    used.release().await;
    assert_eq!(server.open(), 0);
    let fresh = pool.checkout(&"a").await.unwrap();
    assert!(fresh.number > old);
    fresh.release().await;
    assert_eq!(
        (pool.stats().idle, pool.stats().counters.closings.outdated),
        (1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn drain_refuses_and_closes() {
    let (pool, server) = pool(&limits(2));
    let (idle, used) = (
        pool.checkout(&"a").await.unwrap(),
        pool.checkout(&"a").await.unwrap(),
    );
    let maintaining = tokio::spawn(pool.clone().maintain());
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.checkout(&"a").await }
    });
    settle().await;
    assert_eq!(pool.stats().waiting, 1);
    server.world.lock().reset_takes = Duration::from_millis(50);
    let releasing = tokio::spawn(idle.release());
    settle().await;
    assert_eq!(pool.stats().resetting, 1);
    pool.drain().await;
    assert_eq!(server.open(), 1, "also the one that was being reset");
    releasing.await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, CheckoutError::ShuttingDown));
    assert_eq!(error.for_client().sqlstate, "57P03");
    assert!(matches!(
        pool.checkout(&"a").await.unwrap_err(),
        CheckoutError::ShuttingDown
    ));
    used.release().await;
    assert_eq!((server.open(), server.polite()), (0, 2));
    sleep(Duration::from_millis(1)).await;
    assert!(maintaining.is_finished());
}
