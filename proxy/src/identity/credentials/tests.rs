//! Time is tokio's, paused; the wall clock is moved by hand.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::*;
use crate::identity::fixture::Hands;
use crate::identity::fixture::in_seconds;

/// A source of credentials that counts how often it is asked.
#[derive(Clone, Default)]
struct Well {
    asked: Arc<AtomicUsize>,
}

impl Well {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn gives(&self, outcome: Outcome) -> impl FnOnce() -> Asking + Send + use<> {
        let asked = Arc::clone(&self.asked);
        move || {
            Box::pin(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
                outcome
            })
        }
    }
}

fn keys(name: &str, expiry: Option<SystemTime>) -> Credentials {
    Credentials::new(name, "secret", Some("session".to_owned()), expiry, "test")
}

fn hour(name: &str, hands: &Hands) -> Outcome {
    Ok(keys(name, Some(hands.now() + Duration::from_secs(3_600))))
}

fn broken() -> Outcome {
    Err(IdentityError::Unreachable {
        endpoint: "sts".to_owned(),
        reason: "Connection refused".to_owned(),
    })
}

fn refused() -> Outcome {
    Err(IdentityError::RegionUnknown)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_are_one_request() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (cache, ask) = (Arc::clone(&cache), well.gives(hour("one", &hands)));
        callers.spawn(async move { cache.fetch(None, ask).await.unwrap() });
    }
    for credentials in callers.join_all().await {
        assert_eq!(credentials.access_key_id(), "one");
    }
    assert_eq!(well.asked(), 1);
    assert_eq!(cache.counters().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_of_a_failing_source_are_one_request_too() {
    let (_, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (cache, ask) = (Arc::clone(&cache), well.gives(broken()));
        callers.spawn(async move { cache.fetch(None, ask).await.unwrap_err() });
    }
    callers.join_all().await;
    assert_eq!((well.asked(), cache.counters().refresh_failures), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_does_not_stop_the_fetch_for_the_others() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    let first = cache.fetch(None, well.gives(hour("one", &hands)));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), first)
            .await
            .is_err()
    );
    let got = cache
        .fetch(None, well.gives(hour("two", &hands)))
        .await
        .unwrap();
    assert_eq!((got.access_key_id(), well.asked()), ("one", 1));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_is_an_error_and_not_the_end() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    let error = cache
        .fetch(None, || Box::pin(async { panic!("scripted") }))
        .await
        .unwrap_err();
    assert!(matches!(error, IdentityError::TimedOut { .. }), "{error:?}");
    assert!(
        cache
            .fetch(None, well.gives(hour("one", &hands)))
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn due_at_70_percent_usable_until_the_slack_valid_to_the_end() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    assert_eq!(cache.due_in(), Duration::ZERO);
    cache
        .fetch(None, well.gives(hour("one", &hands)))
        .await
        .unwrap();
    let due = cache.due_in().as_secs();
    assert!((2_340..=2_520).contains(&due), "{due}");
    hands.forward(2_520);
    assert_eq!(cache.due_in(), Duration::ZERO);
    assert!(cache.usable().is_some());
    hands.forward(3_570 - 2_520);
    assert!(cache.usable().is_none() && cache.valid().is_some());
    hands.forward(30);
    assert!(cache.valid().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_notices_at_once() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    cache
        .fetch(None, well.gives(hour("one", &hands)))
        .await
        .unwrap();
    // tokio's clock has stood still, the wall clock has not.
    hands.forward(8 * 3_600);
    assert!(cache.usable().is_none());
    assert_eq!(cache.due_in(), Duration::ZERO);
    let got = cache
        .fetch(None, well.gives(hour("two", &hands)))
        .await
        .unwrap();
    assert_eq!(got.access_key_id(), "two");
}

#[tokio::test(start_paused = true)]
async fn the_old_ones_are_kept_while_valid_when_a_refresh_fails() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    cache
        .fetch(None, well.gives(hour("one", &hands)))
        .await
        .unwrap();
    hands.forward(3_000);
    cache.fetch(None, well.gives(broken())).await.unwrap_err();
    assert_eq!(cache.usable().unwrap().access_key_id(), "one");
    let state = cache.subscribe().borrow().clone();
    assert!(
        matches!(
            &state,
            IdentityState::Ready(Ready {
                failing: Some(_),
                ..
            })
        ),
        "{state:?}"
    );
    hands.forward(600);
    cache.look_at_clock();
    let state = cache.subscribe().borrow().clone();
    assert!(
        matches!(&state, IdentityState::Failed { since, .. } if *since == in_seconds(3_000)),
        "{state:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_longer_and_longer() {
    let (_, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    let mut waits = Vec::new();
    for round in 1..=7 {
        assert!(cache.fetch(None, well.gives(refused())).await.is_err());
        assert_eq!(well.asked(), round, "the memory had lapsed");
        assert!(cache.fetch(None, well.gives(refused())).await.is_err());
        assert_eq!(well.asked(), round, "the memory answers");
        waits.push(cache.due_in());
        tokio::time::sleep(cache.due_in()).await;
    }
    for (wait, seconds) in waits.iter().zip([1, 2, 4, 8, 16, 30, 30]) {
        let most = Duration::from_secs(seconds).mul_f64(1.2);
        assert!(
            *wait <= most && *wait > Duration::from_secs(seconds).mul_f64(0.9),
            "{waits:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn success_forgets_failures() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    cache.fetch(None, well.gives(refused())).await.unwrap_err();
    tokio::time::sleep(cache.due_in()).await;
    cache
        .fetch(None, well.gives(hour("one", &hands)))
        .await
        .unwrap();
    assert!(cache.due_in() > Duration::from_secs(2_000));
    assert!(matches!(
        *cache.subscribe().borrow(),
        IdentityState::Ready(Ready { failing: None, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn invalidation_fetches_anew_but_not_for_every_refused_login() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    cache
        .fetch(None, well.gives(hour("one", &hands)))
        .await
        .unwrap();
    assert!(cache.invalidate());
    assert!(cache.usable().is_none() && cache.valid().is_some());
    let got = cache
        .fetch(None, well.gives(hour("two", &hands)))
        .await
        .unwrap();
    assert_eq!(got.access_key_id(), "two");
    assert!(!cache.invalidate());
    assert!(cache.usable().is_some());
    tokio::time::advance(INVALIDATION_GAP).await;
    assert!(cache.invalidate());
}

#[tokio::test(start_paused = true)]
async fn what_is_superseded_while_it_is_fetched_is_only_a_last_resort() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    let superseding = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cache.supersede();
    };
    let (got, ()) = tokio::join!(
        cache.fetch(None, well.gives(hour("one", &hands))),
        superseding
    );
    assert_eq!(got.unwrap().access_key_id(), "one");
    assert!(cache.usable().is_none() && cache.valid().is_some());
    assert_eq!(cache.due_in(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn credentials_without_an_end_are_never_due() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    cache
        .fetch(None, well.gives(Ok(keys("static", None))))
        .await
        .unwrap();
    hands.forward(365 * 24 * 3_600);
    assert!(cache.usable().is_some());
    assert_eq!(cache.due_in(), Duration::MAX);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_over_on_arrival_are_a_failure() {
    let (hands, clock) = Hands::new();
    let (cache, well) = (Cache::new(clock), Well::default());
    let error = cache
        .fetch(None, well.gives(Ok(keys("old", Some(hands.now())))))
        .await
        .unwrap_err();
    assert_eq!(error, IdentityError::Sign(SignError::CredentialsExpired));
    assert!(
        cache.due_in() > Duration::ZERO,
        "remembered, not asked for in a loop"
    );
}
