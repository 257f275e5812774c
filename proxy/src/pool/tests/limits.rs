//! What bounds the pool: the server, the rate of logins, time.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::fake::Failure;
use super::fake::limits;
use super::fake::pool;
use super::fake::settle;
use crate::fault::Blame;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::pool::CheckoutError;

// Case 77.
#[tokio::test(start_paused = true)]
async fn a_full_server_is_waited_for() {
    let (pool, server) = pool(&limits(5));
    server.world.lock().limit = Some(2);
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let lease = pool.checkout(&"a").await.unwrap();
                sleep(Duration::from_secs(1)).await;
                lease.release().await;
            })
        })
        .collect();
    sleep(Duration::from_millis(500)).await;
    let stats = pool.stats();
    assert_eq!(
        (
            stats.leased,
            stats.waiting,
            stats.learned_max,
            stats.limit()
        ),
        (2, 10, Some(2), 2)
    );
    let start = Instant::now();
    for client in clients {
        client.await.unwrap();
    }
    assert!(
        start.elapsed() <= Duration::from_millis(5_600),
        "two at a time, a second each: {:?}",
        start.elapsed()
    );
    let stats = pool.stats();
    assert_eq!((stats.learned_max, stats.idle), (Some(2), 2));
    assert_eq!(stats.counters.dials_failed.limit, server.dials() - 2);
    assert!(
        stats.counters.dials_failed.limit < 15,
        "{:?}",
        stats.counters
    );

    server.world.lock().limit = None;
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(pool.checkout(&"a").await.unwrap());
    }
    assert_eq!(pool.stats().learned_max, None, "it recovers");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_full_is_quoted() {
    let (pool, server) = pool(&limits(5));
    server.world.lock().limit = Some(0);
    let start = Instant::now();
    let error = pool.checkout(&"a").await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(60));
    assert_eq!(error.blame(), Blame::Upstream);
    let client = error.for_client();
    assert_eq!(
        client.message,
        "rds-sidecar: no upstream connection became free within 60s: 0 of 1 in use by 0 clients, 1 client waiting; \
         the server refused more: sorry, too many clients already"
    );
    assert_eq!(
        client.detail.as_deref(),
        Some("the server answered 53300 to the latest login while max_connections = 5 allows more")
    );
    assert!(client.hint.unwrap().contains("checkout_timeout"));
    assert!(server.dials() < 25, "backs off: {}", server.dials());
}

// Case 79.
#[tokio::test(start_paused = true)]
async fn logins_are_paced_and_few_at_once() {
    let (pool, server) = pool(&limits(100));
    server.world.lock().dial_takes = Duration::from_secs(1);
    let start = Instant::now();
    let clients: Vec<_> = (0..500)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let lease = pool.checkout(&"a").await.unwrap();
                sleep(Duration::from_millis(100)).await;
                lease.release().await;
            })
        })
        .collect();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(pool.stats().dialling, 8);
    for client in clients {
        client.await.unwrap();
    }
    let world = server.world.lock();
    assert_eq!(world.dialling_max, 8);
    let rate_max = 8 + 20 * start.elapsed().as_secs();
    assert!(world.dials <= rate_max, "{} logins", world.dials);
}

#[tokio::test(start_paused = true)]
async fn the_rate_holds_when_dials_are_quick() {
    let (pool, server) = pool(&limits(100));
    server.world.lock().dial_takes = Duration::ZERO;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let pool = pool.clone();
        clients.spawn(async move { pool.checkout(&"a").await.unwrap() });
    }
    sleep(Duration::from_millis(1_001)).await;
    assert_eq!(server.dials(), 8 + 20);
    assert_eq!(clients.join_all().await.len(), 100);
}

// Case 80.
#[tokio::test(start_paused = true)]
async fn idle_connections_end_and_min_idle_stays() {
    let (pool, server) = pool(&config::Pool {
        min_idle: 1,
        ..limits(4)
    });
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.checkout(&"a").await.unwrap());
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (pool.stats().leased, pool.stats().idle),
        (3, 1),
        "one at hand"
    );
    let kept = leases.pop().unwrap();
    for lease in leases {
        lease.release().await;
    }
    sleep(Duration::from_millis(59_900)).await;
    assert_eq!(
        pool.stats().idle,
        3 - 1,
        "the one that was idle before is over"
    );
    sleep(Duration::from_millis(200)).await;
    assert_eq!((pool.stats().leased, pool.stats().idle), (1, 1));
    assert_eq!(server.polite(), 2);
    sleep(Duration::from_secs(30 * 60)).await;
    assert_eq!(
        pool.stats().counters.closings.lifetime,
        1,
        "the idle one, renewed"
    );
    assert_eq!((pool.stats().leased, pool.stats().idle), (1, 1));
    kept.release().await;
    assert_eq!(
        pool.stats().counters.closings.lifetime,
        2,
        "too old to be reset"
    );
}

// Cases 58 and 81.
#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_never_lent() {
    let (pool, server) = pool(&limits(3));
    let (first, second) = (
        pool.checkout(&"a").await.unwrap(),
        pool.checkout(&"a").await.unwrap(),
    );
    let (old, new) = (first.number, second.number);
    first.release().await;
    second.release().await;
    server.world.lock().dead.insert(new);
    let lease = pool.checkout(&"a").await.unwrap();
    assert_eq!(lease.number, old, "the next one, at once");
    assert_eq!(server.open(), 1);
    lease.release().await;
    server.world.lock().dead.insert(old);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(
        (pool.stats().idle, pool.stats().counters.closings.dead),
        (0, 2),
        "noticed without anybody asking"
    );
    assert_eq!(server.open(), 0);
    assert!(pool.checkout(&"a").await.unwrap().number > new);
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_dial_is_the_clients() {
    let (pool, server) = pool(&limits(3));
    for (text, retry) in [
        ("no such database", Retry::Never),
        ("starting up", Retry::Later),
    ] {
        server
            .world
            .lock()
            .script
            .push_back(Failure { text, retry });
        let error = pool.checkout(&"a").await.unwrap_err();
        assert_eq!((error.to_string(), error.retry()), (text.to_owned(), retry));
        assert_eq!(error.for_client().message, text);
        assert!(matches!(error, CheckoutError::Dial(_)));
    }
    drop(pool.checkout(&"a").await.unwrap());
    assert_eq!(pool.stats().counters.dials_failed.upstream, 2);
}

#[tokio::test(start_paused = true)]
async fn one_error_is_told_to_one_client() {
    let (pool, server) = pool(&limits(3));
    server.world.lock().script.push_back(Failure {
        text: "reset by peer",
        retry: Retry::Later,
    });
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pool = pool.clone();
        clients.spawn(async move { pool.checkout(&"a").await });
    }
    let results = clients.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_panics_is_made_good() {
    let (pool, server) = pool(&limits(1));
    server.world.lock().dial_panics = true;
    let client = tokio::spawn({
        let pool = pool.clone();
        async move { drop(pool.checkout(&"a").await.unwrap()) }
    });
    sleep(Duration::from_millis(60)).await;
    server.world.lock().dial_panics = false;
    client.await.unwrap();
    assert!(pool.stats().counters.dials_failed.internal >= 1);
    settle().await;
    assert_eq!(pool.stats().dialling, 0);
}
