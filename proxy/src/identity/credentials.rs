//! The one copy of the AWS credentials: fetched by one at a time, kept while valid, renewed ahead.
//!
//! Validity is judged by the wall clock at every use, so that a machine may sleep. Knows nothing of STS: how
//! to fetch is an argument.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::identity::error::IdentityError;
use crate::identity::held::Failure;
use crate::identity::held::Held;
use crate::identity::id_token::IdToken;
use crate::identity::rds_token::SignError;
use crate::identity::state::Counters;
use crate::identity::state::IdentityState;
use crate::identity::state::Ready;
use crate::identity::text;
use crate::identity::token_source;

/// Between two invalidations: a database that refuses every login must not become a call to STS for each.
const INVALIDATION_GAP: Duration = Duration::from_secs(30);

/// What a fetch ends with.
pub(super) type Outcome = Result<Credentials, IdentityError>;
/// A fetch under way. Boxed, because it is started for one of many callers, and is large.
pub(super) type Asking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The cache.
pub(super) struct Cache {
    clock: Clock,
    inner: Mutex<Inner>,
    state: watch::Sender<IdentityState>,
    /// Something changed that makes [`Cache::due_in`] shorter.
    sooner: Notify,
}

#[derive(Default)]
struct Inner {
    held: Option<Held>,
    failure: Option<Failure>,
    flight: Option<watch::Receiver<Option<Outcome>>>,
    /// Counts [`Cache::supersede`]: a fetch that began before one is already outdated when it lands.
    generation: u64,
    invalidated_at: Option<Instant>,
    counters: Counters,
}

impl Cache {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let waiting = IdentityState::Waiting {
            awaited: "no credentials were needed yet".to_owned(),
        };
        Arc::new(Self {
            clock,
            inner: Mutex::default(),
            state: watch::Sender::new(waiting),
            sooner: Notify::new(),
        })
    }

    /// Is somebody being asked for credentials at this moment?
    pub(super) fn is_fetching(&self) -> bool {
        self.inner.lock().flight.is_some()
    }

    /// The credentials, if they are good for a new login.
    pub(super) fn usable(&self) -> Option<Credentials> {
        let now = self.clock.now();
        let inner = self.inner.lock();
        let held = inner
            .held
            .as_ref()
            .filter(|held| !held.superseded && held.lasts(now, held.slack));
        held.map(|held| held.credentials.clone())
    }

    /// The credentials, if they are valid at all: better than nothing when others cannot be had.
    pub(super) fn valid(&self) -> Option<Credentials> {
        let now = self.clock.now();
        let inner = self.inner.lock();
        inner
            .held
            .as_ref()
            .filter(|held| held.lasts(now, Duration::ZERO))
            .map(|held| held.credentials.clone())
    }

    /// Fetches credentials, unless those held are fresh, a fetch is under way (then its outcome is awaited) or
    /// one has just failed (then that is the answer). `ask` is called only to begin. Cancel safe: the fetch goes
    /// on for the others.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        token: Option<Arc<IdToken>>,
        ask: impl FnOnce() -> Asking + Send,
    ) -> Outcome {
        let mut flight = {
            let mut inner = self.inner.lock();
            if let Some(fresh) = inner.fresh(self.clock.now()) {
                return Ok(fresh);
            }
            // A sender that is gone died without landing: its task panicked.
            match inner
                .flight
                .clone()
                .filter(|flight| flight.has_changed().is_ok())
            {
                Some(flight) => flight,
                None => {
                    inner.forgive_other_token(token.as_deref());
                    if let Some(failure) = inner
                        .failure
                        .as_ref()
                        .filter(|failure| Instant::now() < failure.until)
                    {
                        return Err(failure.error.clone());
                    }
                    let flight = self.start(inner.generation, token, ask());
                    inner.flight = Some(flight.clone());
                    flight
                }
            }
        };
        match flight.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(IdentityError::TimedOut {
                after: Duration::ZERO,
            })),
            Err(_) => Err(IdentityError::TimedOut {
                after: Duration::ZERO,
            }),
        }
    }

    fn start(
        self: &Arc<Self>,
        generation: u64,
        token: Option<Arc<IdToken>>,
        ask: Asking,
    ) -> watch::Receiver<Option<Outcome>> {
        let (sender, receiver) = watch::channel(None);
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = ask.await.and_then(|credentials| cache.examine(credentials));
            cache.land(generation, token, &outcome);
            sender.send_replace(Some(outcome));
        });
        receiver
    }

    /// Credentials that are over on arrival mean that a clock is wrong.
    fn examine(&self, credentials: Credentials) -> Outcome {
        match credentials.expiry() {
            Some(expiry) if expiry <= self.clock.now() => {
                Err(IdentityError::Sign(SignError::CredentialsExpired))
            }
            Some(_) | None => Ok(credentials),
        }
    }

    fn land(&self, generation: u64, token: Option<Arc<IdToken>>, outcome: &Outcome) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        inner.flight = None;
        match outcome {
            Ok(credentials) => {
                let superseded = inner.generation != generation;
                let held = Held::new(credentials.clone(), token, now, superseded);
                let expires = held
                    .credentials
                    .expiry()
                    .map_or_else(|| "never".to_owned(), text::time);
                tracing::info!(expires, "credentials obtained");
                inner.counters.refreshes += 1;
                inner.failure = None;
                inner.held = Some(held);
            }
            Err(error) => {
                tracing::warn!(error = %error, detail = error.detail(), hint = error.hint(), "credentials refresh failed");
                inner.counters.refresh_failures += 1;
                inner.fail(error, token, now);
            }
        }
        self.publish(&inner, now);
    }

    fn publish(&self, inner: &Inner, now: SystemTime) {
        let failure = inner.failure.as_ref();
        let state = match (&inner.held, failure) {
            (Some(held), _) if held.lasts(now, Duration::ZERO) => IdentityState::Ready(Ready {
                claims: held.token.as_ref().map(|token| token.claims.clone()),
                expires_at: held.credentials.expiry(),
                refreshed_at: held.obtained_at,
                failing: failure.map(|failure| failure.error.clone()),
            }),
            (_, Some(failure)) => IdentityState::Failed {
                error: failure.error.clone(),
                since: failure.since,
            },
            (Some(_), None) => IdentityState::Waiting {
                awaited: "new credentials".to_owned(),
            },
            (None, None) => return,
        };
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    /// Says why no fetch can even begin. Changes nothing while there are valid credentials.
    pub(super) fn cannot_begin(&self, state: IdentityState) {
        if self.valid().is_some() {
            return;
        }
        self.state.send_if_modified(|current| {
            let same = match (&*current, &state) {
                (
                    IdentityState::Failed { error: old, .. },
                    IdentityState::Failed { error: new, .. },
                ) => old == new,
                (current, state) => current == state,
            };
            if !same {
                *current = state;
            }
            !same
        });
    }

    /// Marks the credentials as refused by a database, so that the next use fetches others. Returns false, and
    /// does nothing, when that was done less than 30 seconds ago.
    pub(super) fn invalidate(&self) -> bool {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        if inner
            .invalidated_at
            .is_some_and(|at| now.duration_since(at) < INVALIDATION_GAP)
        {
            return false;
        }
        inner.invalidated_at = Some(now);
        drop(inner);
        self.supersede();
        true
    }

    /// Marks the credentials as outdated: they remain the last resort. Forgets a remembered failure.
    pub(super) fn supersede(&self) {
        let mut inner = self.inner.lock();
        inner.generation += 1;
        inner.failure = None;
        if let Some(held) = &mut inner.held {
            held.superseded = true;
        }
        drop(inner);
        self.sooner.notify_one();
    }

    /// How long until credentials should be fetched: zero when there are none, they are due or outdated, but
    /// not before a remembered failure lapses.
    pub(super) fn due_in(&self) -> Duration {
        let now = self.clock.now();
        let inner = self.inner.lock();
        let due = match &inner.held {
            Some(held) if !held.superseded => match held.refresh_at {
                Some(at) => at.duration_since(now).unwrap_or_default(),
                None => Duration::MAX,
            },
            Some(_) | None => Duration::ZERO,
        };
        let lapse = inner
            .failure
            .as_ref()
            .map(|failure| failure.until.saturating_duration_since(Instant::now()));
        due.max(lapse.unwrap_or_default())
    }

    /// The ID token of the failure that is remembered, if there is one.
    pub(super) fn refused_token(&self) -> Option<Arc<IdToken>> {
        self.inner
            .lock()
            .failure
            .as_ref()
            .and_then(|failure| failure.token.clone())
    }

    /// Forgets a remembered failure when it was about another ID token than `token`.
    pub(super) fn forgive_other_token(&self, token: &IdToken) {
        self.inner.lock().forgive_other_token(Some(token));
    }

    /// Completes when [`Cache::due_in`] may have become shorter. Cancel safe.
    pub(super) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// Brings the published state up to date with the wall clock.
    pub(super) fn look_at_clock(&self) {
        let inner = self.inner.lock();
        self.publish(&inner, self.clock.now());
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<IdentityState> {
        self.state.subscribe()
    }

    pub(super) fn counters(&self) -> Counters {
        self.inner.lock().counters
    }

    pub(super) fn count_rds_token(&self) {
        self.inner.lock().counters.rds_tokens += 1;
    }
}

impl Inner {
    fn fresh(&self, now: SystemTime) -> Option<Credentials> {
        let held = self
            .held
            .as_ref()
            .filter(|held| !held.superseded && held.lasts(now, held.slack));
        held.filter(|held| held.refresh_at.is_none_or(|at| now < at))
            .map(|held| held.credentials.clone())
    }

    fn fail(&mut self, error: &IdentityError, token: Option<Arc<IdToken>>, now: SystemTime) {
        let before = self.failure.take();
        self.failure = Some(Failure::new(error.clone(), token, now, before));
    }

    fn forgive_other_token(&mut self, token: Option<&IdToken>) {
        let about = self
            .failure
            .as_ref()
            .and_then(|failure| failure.token.as_deref());
        if let (Some(about), Some(token)) = (about, token)
            && !token_source::same(about, token)
        {
            self.failure = None;
        }
    }
}

#[cfg(test)]
mod tests;
