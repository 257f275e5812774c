//! Waiting, delivery, and leaving.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::advance;
use tokio::time::sleep;

use super::fake::limits;
use super::fake::pool;
use super::fake::settle;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::pool::CheckoutError;

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
    assert_eq!((world.dials, world.open.len(), world.polite), (1, 0, 0));
    let counters = pool.stats().counters;
    assert_eq!(
        (
            counters.leases.opened,
            counters.leases.released,
            counters.leases.dropped
        ),
        (2, 1, 1)
    );
    assert_eq!(counters.closings.dropped, 1);
    assert_eq!(
        (counters.waits.count, counters.waits.max),
        (2, Duration::from_millis(50))
    );
    assert_eq!(counters.waits.buckets[0], 1);
    assert_eq!(counters.waits.buckets[4], 1);
}

// Case 76.
#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order() {
    let (pool, _server) = pool(&limits(1));
    let held = pool.checkout(&"a").await.unwrap();
    let (sender, mut order) = mpsc::unbounded_channel();
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
    assert_eq!(
        start.elapsed(),
        Duration::from_millis(40),
        "no login in between"
    );
}

// Case 76: it never comes free.
#[tokio::test(start_paused = true)]
async fn a_client_is_told_that_it_waits_and_then_why_in_vain() {
    let (pool, _server) = pool(&limits(1));
    let held = pool.checkout(&"a").await.unwrap();
    let others: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn({
                let pool = pool.clone();
                async move { drop(pool.checkout(&"a").await) }
            })
        })
        .collect();
    sleep(Duration::from_millis(1)).await;
    let start = Instant::now();
    let notice = Mutex::new(None);
    let note = |waiting: &crate::pool::Waiting| {
        *notice.lock() = Some((waiting.to_string(), start.elapsed()))
    };
    let error = pool.checkout_with(&"a", note).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(60));
    let told = "waiting for an upstream connection: place 3 of 3, 1 of 1 in use".to_owned();
    assert_eq!(notice.into_inner(), Some((told, Duration::from_secs(5))));
    let client = error.for_client();
    assert_eq!(client.sqlstate, "53300");
    assert_eq!(
        client.message,
        "rds-sidecar: no upstream connection became free within 60s: 1 of 1 in use by 1 client, 1 client waiting"
    );
    let hint = client.hint.unwrap();
    assert!(
        hint.contains("max_connections") && hint.contains("checkout_timeout"),
        "{hint}"
    );
    assert_eq!(error.retry(), Retry::Later);
    assert_eq!(pool.stats().counters.timeouts, 3);
    drop(others);
    held.release().await;
    drop(pool.checkout(&"a").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_wastes_no_login() {
    let (pool, server) = pool(&limits(3));
    {
        let mut checkout = pin!(pool.checkout(&"a"));
        assert!(
            checkout
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    assert_eq!((pool.stats().waiting, pool.stats().dialling), (0, 1));
    sleep(Duration::from_millis(60)).await;
    assert_eq!(pool.stats().idle, 1);
    pool.checkout(&"a").await.unwrap().release().await;
    assert_eq!(server.dials(), 1);
    assert_eq!(pool.stats().counters.cancelled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_nobody_takes_goes_to_the_next() {
    let (pool, server) = pool(&limits(1));
    let held = pool.checkout(&"a").await.unwrap();
    let mut leaving = Box::pin(pool.checkout(&"a"));
    assert!(
        leaving
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let mut staying = Box::pin(pool.checkout(&"a"));
    assert!(
        staying
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    held.release().await;
    assert_eq!((pool.stats().leased, pool.stats().waiting), (1, 1));
    drop(leaving);
    let lease = staying.await.unwrap();
    assert_eq!((lease.number, server.dials()), (1, 1));
    assert_eq!(pool.stats().counters.leases.undelivered, 1);
}

// Dropped after `polls` polls, at every moment of a checkout that first waits for a login, then for a release.
#[tokio::test(start_paused = true)]
async fn a_checkout_dropped_at_any_moment_loses_nothing() {
    for polls in 0..6 {
        for millis in [0, 1, 49, 50, 51, 99, 100, 101] {
            let (pool, server) = pool(&limits(1));
            let holder = tokio::spawn({
                let pool = pool.clone();
                async move {
                    let lease = pool.checkout(&"a").await.unwrap();
                    sleep(Duration::from_millis(50)).await;
                    lease.release().await;
                }
            });
            settle().await;
            {
                let mut checkout = pin!(pool.checkout(&"a"));
                for _ in 0..polls {
                    // Polled to its end, it must not be polled again: the lease is dropped right here.
                    if checkout
                        .as_mut()
                        .poll(&mut Context::from_waker(Waker::noop()))
                        .is_ready()
                    {
                        break;
                    }
                    advance(Duration::from_millis(millis)).await;
                }
            }
            holder.await.unwrap();
            settle().await;
            let stats = pool.stats();
            assert_eq!(
                (stats.waiting, stats.leased, stats.dialling),
                (0, 0, 0),
                "{polls} polls {millis} ms"
            );
            assert_eq!(stats.idle, server.open());
            pool.checkout(&"a").await.unwrap().release().await;
            assert_eq!(server.open_max(), 1);
        }
    }
}

// The connection comes in the very moment in which the client's time is over.
#[tokio::test(start_paused = true)]
async fn delivery_at_the_deadline_loses_nothing() {
    let patience = Duration::from_secs(2);
    let (pool, server) = pool(&config::Pool {
        checkout_timeout: patience,
        ..limits(1)
    });
    for round in 0..50 {
        let lease = pool.checkout(&"a").await.unwrap();
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.checkout(&"a").await }
        });
        settle().await;
        advance(patience).await;
        if round % 2 == 0 {
            settle().await;
        }
        lease.release().await;
        match waiting.await.unwrap() {
            Ok(lease) => lease.release().await,
            Err(error) => assert!(matches!(error, CheckoutError::Timeout(_)), "{error}"),
        }
        settle().await;
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.leased, stats.waiting), (1, 0, 0));
    }
    assert_eq!(server.dials(), 1);
}

// Real threads and real time: clients that come, leave, lose patience, release, discard and drop all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_among_threads() {
    let limits = config::Pool {
        checkout_timeout: Duration::from_millis(2),
        connects_per_second: 1_000_000,
        ..limits(3)
    };
    let (pool, server) = pool(&limits);
    server.world.lock().dial_takes = Duration::from_micros(100);
    let lent = Arc::new(Mutex::new(0_u64));
    let clients: Vec<_> = (0..24_u64)
        .map(|client| {
            let (pool, lent) = (pool.clone(), Arc::clone(&lent));
            tokio::spawn(async move {
                for round in 0..150 {
                    let key = if (client + round) % 5 == 0 { "b" } else { "a" };
                    let patience = Duration::from_micros(200 * (1 + (client * 7 + round) % 12));
                    let checkout = tokio::time::timeout(patience, pool.checkout(&key));
                    let Ok(Ok(lease)) = checkout.await else {
                        continue;
                    };
                    *lent.lock() += 1;
                    match (client + round * 3) % 8 {
                        0 => drop(lease),
                        1 => lease.discard().await,
                        _ => lease.release().await,
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    sleep(Duration::from_millis(50)).await;
    let stats = pool.stats();
    assert_eq!(
        (
            stats.leased,
            stats.resetting,
            stats.dialling,
            stats.closing,
            stats.waiting
        ),
        (0, 0, 0, 0, 0)
    );
    assert_eq!(stats.idle, server.open());
    assert!(server.open_max() <= 3, "{}", server.open_max());
    let leases = stats.counters.leases;
    let ended = leases.released + leases.discarded + leases.dropped + leases.undelivered;
    assert_eq!(leases.opened, ended);
    assert!(*lent.lock() > 100, "{}", lent.lock());
}

#[tokio::test(start_paused = true)]
async fn the_queue_has_an_end() {
    let (pool, _server) = pool(&limits(1));
    let _held = pool.checkout(&"a").await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..10_000 {
        let mut checkout = Box::pin(pool.checkout(&"a"));
        assert!(
            checkout
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        waiting.push(checkout);
    }
    let error = pool.checkout(&"a").await.unwrap_err();
    assert!(
        matches!(error, CheckoutError::QueueFull { waiting: 10_000 }),
        "{error}"
    );
    assert_eq!(error.for_client().sqlstate, "53300");
    drop(waiting);
    assert_eq!(pool.stats().waiting, 0);
}

// A runtime that ends drops all tasks: nothing may panic or begin anew for ever.
#[test]
fn the_end_of_the_runtime_ends_the_pool() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (pool, lease, server) = runtime.block_on(async {
        let (pool, server) = pool(&limits(2));
        let lease = pool.checkout(&"a").await.unwrap();
        for key in ["a", "b", "a", "b"] {
            let pool = pool.clone();
            tokio::spawn(async move { drop(pool.checkout(&key).await) });
        }
        settle().await;
        assert_eq!((pool.stats().dialling, pool.stats().waiting), (1, 4));
        (pool, lease, server)
    });
    drop(runtime);
    drop(lease);
    assert_eq!((pool.stats().leased, pool.stats().dialling), (0, 0));
    assert!((server.open() == 0));
}
