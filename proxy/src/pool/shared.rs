//! What happens to the pool, step by step: change the core, then begin whatever can go on.
//!
//! Invariant: the lock is held for bookkeeping only; connections are closed, tasks spawned and clients woken after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::fault::Retry;
use crate::pool::Backend;
use crate::pool::CheckoutError;
use crate::pool::Lease;
use crate::pool::Stats;
use crate::pool::Waiting;
use crate::pool::core::Arrival;
use crate::pool::core::Checkout;
use crate::pool::core::ConnId;
use crate::pool::core::Core;
use crate::pool::core::DialFailure;
use crate::pool::core::Leave;
use crate::pool::core::Release;
use crate::pool::core::Step;
use crate::pool::core::Ticket;
use crate::pool::lease::Place;
use crate::pool::state::Delivery;
use crate::pool::state::Placed;
use crate::pool::state::State;

/// A source of numbers in 0..1.
pub(super) type Jitter = Box<dyn Fn() -> f64 + Send + Sync>;

pub(super) struct Shared<B: Backend> {
    backend: B,
    jitter: Jitter,
    /// How often idle connections are looked at.
    sweep: Duration,
    state: Mutex<State<B>>,
    /// A connection is gone.
    pub(super) gone: Notify,
    /// `maintain` has to be up earlier than it thinks.
    pub(super) alarm: Notify,
}

/// What a client that asks gets at once.
pub(super) enum Asked<B: Backend> {
    Lent(Lease<B>),
    Queued(Ticket, oneshot::Receiver<Delivery<B>>),
    Refused(CheckoutError<B::Error>),
}

/// Something to begin outside the lock.
enum Job<B: Backend> {
    Close(ConnId, B::Conn),
    Dial(ConnId, B::Key),
}

impl<B: Backend> Shared<B> {
    pub(super) fn new(backend: B, core: Core<B::Key>, jitter: Jitter, sweep: Duration) -> Self {
        let state = State {
            core,
            parked: HashMap::new(),
            waiters: HashMap::new(),
            refusals: HashMap::new(),
            alarm_at: None,
        };
        Self {
            backend,
            jitter,
            sweep,
            state: Mutex::new(state),
            gone: Notify::new(),
            alarm: Notify::new(),
        }
    }

    pub(super) fn backend(&self) -> &B {
        &self.backend
    }

    pub(super) fn stats(&self) -> Stats {
        self.state.lock().core.stats()
    }

    /// Changes or asks the core, then begins whatever can go on.
    pub(super) fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State<B>, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.state.lock();
        let answer = change(&mut state, now);
        let job = self.next_job(&mut state, now);
        drop(state);
        self.run(job, now);
        answer
    }

    /// Lends an idle connection, or puts the client into the queue.
    pub(super) fn ask(self: &Arc<Self>, name: &B::Key) -> Asked<B> {
        let mut dead = Vec::new();
        let asked = self.with(|state, now| {
            let key = loop {
                let key = state.core.enter(name);
                match state
                    .core
                    .newest_idle(key)
                    .and_then(|id| state.take_if_dead(id, &self.backend))
                {
                    Some(conn) => dead.push(conn),
                    None => break key,
                }
            };
            match state.core.checkout(key, now) {
                Checkout::Draining => Asked::Refused(CheckoutError::ShuttingDown),
                Checkout::QueueFull => Asked::Refused(CheckoutError::QueueFull {
                    waiting: state.core.stats().waiting,
                }),
                Checkout::Reuse(id) => match state.parked.remove(&id) {
                    Some(conn) => Asked::Lent(self.lease(id, conn)),
                    None => {
                        state.core.vacate(id);
                        Asked::Refused(CheckoutError::ShuttingDown)
                    }
                },
                Checkout::Wait(ticket) => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiters.insert(ticket, sender);
                    Asked::Queued(ticket, receiver)
                }
            }
        });
        drop(dead);
        asked
    }

    /// Takes a client out of the queue. False: its delivery is on the way or there.
    pub(super) fn leave(self: &Arc<Self>, ticket: Ticket, why: Leave) -> bool {
        self.with(|state, _| {
            let was_waiting = state.core.leave(ticket, why);
            if was_waiting {
                state.waiters.remove(&ticket);
            }
            was_waiting
        })
    }

    /// Takes a client out of the queue because its time is over: what it is to be told. `None`: its delivery is on
    /// the way or there.
    pub(super) fn time_out(self: &Arc<Self>, ticket: Ticket) -> Option<(Stats, Option<B::Error>)> {
        self.with(|state, _| {
            let stats = state.core.stats();
            let refusal = match state.core.is_limited(ticket.key()) {
                true => state.refusals.get(&ticket.key()).cloned(),
                false => None,
            };
            let was_waiting = state.core.leave(ticket, Leave::TimedOut);
            was_waiting.then(|| {
                state.waiters.remove(&ticket);
                (stats, refusal)
            })
        })
    }

    pub(super) fn waiting(&self, ticket: Ticket, waited: Duration) -> Waiting {
        let state = self.state.lock();
        Waiting {
            position: state.core.position(ticket),
            waited,
            stats: state.core.stats(),
        }
    }

    pub(super) fn any_left(&self, ids: &[ConnId]) -> bool {
        self.state.lock().core.any_left(ids)
    }

    pub(super) fn sweep_interval(&self) -> Duration {
        self.sweep
    }

    /// When `maintain` has to be up again; `None`: not before it is woken.
    pub(super) fn next_alarm(&self, sweep_at: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let look = state.core.has_idle().then_some(sweep_at);
        state.alarm_at = look.into_iter().chain(state.core.deadline()).min();
        state.alarm_at
    }

    pub(super) fn release(self: &Arc<Self>, id: ConnId) -> Release {
        self.with(|state, now| state.core.release(id, now))
    }

    pub(super) fn reset_is_slow(self: &Arc<Self>, id: ConnId) {
        self.with(|state, _| state.core.reset_is_slow(id));
    }

    pub(super) fn discard(self: &Arc<Self>, id: ConnId) {
        self.with(|state, _| state.core.discard(id));
    }

    /// A place is free.
    pub(super) fn vacate(self: &Arc<Self>, id: ConnId) {
        let was_dial = self.state.lock().core.vacate(id);
        // A dial that ends in a panic makes room for another. Otherwise one only ends unfinished because the runtime
        // ends, and another would end at once like it.
        if !was_dial || std::thread::panicking() {
            self.with(|_, _| ());
        }
        self.gone.notify_waiters();
    }

    /// A connection was reset.
    pub(super) fn check_in(self: &Arc<Self>, id: ConnId, conn: B::Conn) {
        self.place(id, conn, |core, now| core.reset_done(id, now));
    }

    /// A lease that its client did not take.
    pub(super) fn put_back(self: &Arc<Self>, lease: Lease<B>) {
        let (conn, place) = lease.into_parts();
        let id = place.settle();
        self.place(id, conn, |core, now| core.put_back(id, now));
    }

    /// Drops idle connections that are dead.
    pub(super) fn sweep(self: &Arc<Self>) {
        let ids = self.state.lock().core.idle_ids();
        for id in ids {
            // One short lock each; the connection is dropped after it.
            let dead = self.with(|state, _| state.take_if_dead(id, &self.backend));
            drop(dead);
        }
    }

    /// Refuses everybody; returns what has to close.
    pub(super) fn drain(self: &Arc<Self>) -> Vec<ConnId> {
        let (told, closing) = self.with(|state, _| {
            let tickets = state.core.drain();
            let told: Vec<_> = tickets
                .iter()
                .filter_map(|ticket| state.waiters.remove(ticket))
                .collect();
            (told, state.core.leaving_ids())
        });
        for sender in told {
            // A client that left at this moment needs no telling.
            drop(sender.send(Err(CheckoutError::ShuttingDown)));
        }
        // `maintain` ends, whether it sleeps now or is about to.
        self.alarm.notify_waiters();
        self.alarm.notify_one();
        closing
    }

    fn lease(self: &Arc<Self>, id: ConnId, conn: B::Conn) -> Lease<B> {
        Lease::new(conn, Place::new(Arc::clone(self), id))
    }

    fn next_job(&self, state: &mut State<B>, now: Instant) -> Option<Job<B>> {
        loop {
            match state.core.next(now) {
                Some(Step::Dial(id, key)) => return Some(Job::Dial(id, key)),
                Some(Step::Close(id)) => match state.parked.remove(&id) {
                    Some(conn) => return Some(Job::Close(id, conn)),
                    None => {
                        state.core.vacate(id);
                    }
                },
                None => break,
            }
        }
        if state.set_alarm(now, self.sweep) {
            self.alarm.notify_one();
        }
        None
    }

    fn run(self: &Arc<Self>, mut job: Option<Job<B>>, now: Instant) {
        while let Some(due) = job {
            match due {
                Job::Close(id, conn) => self.close(id, conn),
                Job::Dial(id, key) => self.dial(id, key),
            }
            job = self.next_job(&mut self.state.lock(), now);
        }
    }

    /// Closes in a task of its own a connection that the core counts as closing.
    fn close(self: &Arc<Self>, id: ConnId, conn: B::Conn) {
        let place = Place::new(Arc::clone(self), id);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(place.close(conn));
        }
    }

    /// A task of its own: a client that leaves does not waste a login.
    fn dial(self: &Arc<Self>, id: ConnId, key: B::Key) {
        let place = Place::new(Arc::clone(self), id);
        let shared = Arc::clone(self);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let result = shared.backend.dial(&key).await;
                let id = place.settle();
                match result {
                    Ok(conn) => shared.dialled(id, conn),
                    Err(error) => shared.dial_failed(id, error),
                }
            });
        }
    }

    /// Puts a free connection where `decide` says: to a client, to the idle ones, or away.
    fn place(
        self: &Arc<Self>,
        id: ConnId,
        conn: B::Conn,
        decide: impl FnOnce(&mut Core<B::Key>, Instant) -> Arrival,
    ) {
        let mut placed = self.with(|state, now| {
            let arrival = decide(&mut state.core, now);
            state.settle(id, conn, arrival)
        });
        loop {
            match placed {
                Placed::Parked => return,
                Placed::Close(conn) => return self.close(id, conn),
                Placed::Deliver(client, conn) => match client.send(Ok(self.lease(id, conn))) {
                    Err(Ok(lease)) => {
                        // The client left between the decision and the delivery.
                        let (conn, place) = lease.into_parts();
                        place.settle();
                        placed = self.with(|state, now| {
                            let arrival = state.core.put_back(id, now);
                            state.settle(id, conn, arrival)
                        });
                    }
                    Ok(()) | Err(Err(_)) => return,
                },
            }
        }
    }

    fn dialled(self: &Arc<Self>, id: ConnId, conn: B::Conn) {
        let jitter = self.jitter();
        self.place(id, conn, |core, now| core.dialled(id, now, jitter));
    }

    fn dial_failed(self: &Arc<Self>, id: ConnId, error: B::Error) {
        tracing::debug!(?id, %error, "upstream dial failed");
        let jitter = self.jitter();
        if error.retry() == Retry::LimitReached {
            self.with(|state, now| state.refused(id, error, now, jitter));
        } else {
            let why = DialFailure::Other(error.blame());
            let client = self.with(|state, now| {
                let ticket = state.core.dial_failed(id, why, now, jitter)?;
                state.waiters.remove(&ticket)
            });
            if let Some(client) = client {
                // A client that left at this moment needs no telling.
                drop(client.send(Err(CheckoutError::Dial(error))));
            }
        }
        self.gone.notify_waiters();
    }

    fn jitter(&self) -> f64 {
        let jitter = (self.jitter)();
        if (0.0..=1.0).contains(&jitter) {
            jitter
        } else {
            0.5
        }
    }
}
