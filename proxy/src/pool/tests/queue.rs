//! Waiting, delivery, and leaving.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::fake::limits;
use super::fake::pool;
use super::fake::settle;

#[tokio::test(start_paused = true)]
async fn a_released_connection_is_lent_again() {
    let (pool, server) = pool(&limits(2));
    let lease = pool.checkout(&"a").await.unwrap();
    let first = lease.number;
    lease.release().await;
    let lease = pool.checkout(&"a").await.unwrap();
    assert_eq!(lease.number, first);
    drop(lease);
    settle().await;
    let world = server.world.lock();
    assert_eq!((world.dials, world.open.len()), (1, 0));
    let counters = pool.stats().counters;
    assert_eq!(
        (
            counters.leases.opened,
            counters.leases.released,
            counters.leases.dropped
        ),
        (2, 1, 1)
    );
}

// Case 76.
#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order() {
    let (pool, _server) = pool(&limits(1));
    let held = pool.checkout(&"a").await.unwrap();
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..5 {
        let (pool, sender) = (pool.clone(), sender.clone());
        tokio::spawn(async move {
            let lease = pool.checkout(&"a").await.unwrap();
            sender.send(number).unwrap();
            sleep(Duration::from_millis(10)).await;
            lease.release().await;
        });
        settle().await;
    }
    assert_eq!(pool.stats().waiting, 5);
    let start = Instant::now();
    held.release().await;
    for number in 0..5 {
        assert_eq!(order.recv().await, Some(number));
    }
    assert!(
        start.elapsed() < Duration::from_millis(100),
        "no login in between"
    );
}
