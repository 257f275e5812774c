//! Random lives of a pool, judged by the model after each event.

use std::time::Duration;

use proptest::prelude::*;

use super::model::At;
use super::model::Key;
use super::model::Model;
use crate::pool::core::ConnId;
use crate::pool::core::Leave;
use crate::pool::core::Limits;

#[derive(Debug, Clone)]
enum Event {
    Advance(u64),
    Bump(Key),
    Checkout(Key),
    CloseIdle(Key),
    Closed(usize),
    Dead(usize),
    DialFailed(usize),
    DialLost(usize),
    DialRefused(usize),
    Dialled(usize),
    Discard(usize),
    Drop(usize),
    Leave(usize),
    PutBack(usize),
    Release(usize),
    ResetDone(usize),
    ResetFailed(usize),
    ResetSlow(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let key = || 0..4_u8;
    let which = || 0..64_usize;
    prop_oneof![
        3 => prop_oneof![0..20_u64, 100..600_u64, 5_000..120_000_u64].prop_map(Event::Advance),
        1 => key().prop_map(Event::Bump),
        8 => key().prop_map(Event::Checkout),
        1 => key().prop_map(Event::CloseIdle),
        5 => which().prop_map(Event::Closed),
        1 => which().prop_map(Event::Dead),
        2 => which().prop_map(Event::DialFailed),
        1 => which().prop_map(Event::DialLost),
        2 => which().prop_map(Event::DialRefused),
        7 => which().prop_map(Event::Dialled),
        1 => which().prop_map(Event::Discard),
        1 => which().prop_map(Event::Drop),
        2 => which().prop_map(Event::Leave),
        1 => which().prop_map(Event::PutBack),
        6 => which().prop_map(Event::Release),
        6 => which().prop_map(Event::ResetDone),
        1 => which().prop_map(Event::ResetFailed),
        1 => which().prop_map(Event::ResetSlow),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        1..7_usize,
        0..3_usize,
        1..4_usize,
        1..40_u32,
        prop_oneof![Just(0), Just(250)],
    )
        .prop_map(
            |(connections_max, min_idle, dials_max, connects_per_second, patience)| Limits {
                connections_max,
                min_idle: min_idle.min(connections_max),
                idle_timeout: Duration::from_secs(60),
                lifetime_max: Duration::from_secs(300),
                connects_per_second,
                dials_max,
                waiting_max: 12,
                key_patience: Duration::from_millis(patience),
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(limits in limits(), events in prop::collection::vec(event(), 1..160)) {
        let mut model = Model::new(limits);
        for event in events {
            apply(&mut model, event);
        }
        serve_everybody(&mut model);
        close_everything(&mut model);
    }
}

fn apply(model: &mut Model, event: Event) {
    let pick = |model: &Model, at: At, which: usize| -> Option<ConnId> {
        let ids = model.ids(at);
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    };
    let (at, which): (At, usize) = match event {
        Event::Advance(millis) => return model.advance(Duration::from_millis(millis)),
        Event::Bump(key) => return model.bump(key),
        Event::Checkout(key) => {
            model.checkout(key);
            return;
        }
        Event::CloseIdle(key) => return model.close_idle(key),
        Event::Leave(which) => {
            if !model.queue.is_empty() {
                let (ticket, _) = model.queue[which % model.queue.len()];
                model.leave(ticket, Leave::Cancelled);
                model.leave(ticket, Leave::TimedOut);
            }
            return;
        }
        Event::Closed(which) => (At::Closing, which),
        Event::Dead(which) => (At::Idle, which),
        Event::DialFailed(which) | Event::DialLost(which) => (At::Dialling, which),
        Event::DialRefused(which) | Event::Dialled(which) => (At::Dialling, which),
        Event::Discard(which) | Event::Drop(which) => (At::Leased, which),
        Event::PutBack(which) | Event::Release(which) => (At::Leased, which),
        Event::ResetDone(which) | Event::ResetFailed(which) | Event::ResetSlow(which) => {
            (At::Resetting, which)
        }
    };
    let Some(id) = pick(model, at, which) else {
        return;
    };
    match event {
        Event::Dead(_) => model.dead(id),
        Event::DialFailed(_) => {
            model.dial_failed(id);
        }
        Event::DialRefused(_) => model.refused(id),
        Event::Dialled(_) => model.dialled(id),
        Event::Discard(_) => model.discard(id),
        Event::PutBack(_) => model.put_back(id),
        Event::Release(_) => {
            model.release(id);
        }
        Event::ResetDone(_) => model.reset_done(id),
        Event::ResetSlow(_) => model.reset_is_slow(id),
        Event::Closed(_) | Event::DialLost(_) | Event::Drop(_) | Event::ResetFailed(_) => {
            model.vacate(id)
        }
        Event::Advance(_)
        | Event::Bump(_)
        | Event::Checkout(_)
        | Event::CloseIdle(_)
        | Event::Leave(_) => {}
    }
}

/// From now on the server works and clients give back: every client that waits is served.
fn serve_everybody(model: &mut Model) {
    for _ in 0..2_000 {
        if model.queue.is_empty() {
            return;
        }
        finish_what_is_under_way(model);
        for id in model.ids(At::Leased) {
            model.release(id);
        }
        let wake = model
            .core
            .retry_at()
            .map_or(Duration::ZERO, |at| at - model.now);
        model.advance(wake);
    }
    panic!("still waiting: {:?}", model.core);
}

/// When all is closed, no key is left.
fn close_everything(model: &mut Model) {
    for _ in 0..100 {
        if model.conns.is_empty() {
            assert!(
                model.core.keys.is_empty() && model.core.names.is_empty(),
                "{:?}",
                model.core
            );
            return;
        }
        model
            .ids(At::Leased)
            .into_iter()
            .for_each(|id| model.discard(id));
        (0..4).for_each(|key| model.close_idle(key));
        finish_what_is_under_way(model);
    }
    panic!("still open: {:?}", model.conns);
}

fn finish_what_is_under_way(model: &mut Model) {
    model
        .ids(At::Closing)
        .into_iter()
        .for_each(|id| model.vacate(id));
    model
        .ids(At::Resetting)
        .into_iter()
        .for_each(|id| model.reset_done(id));
    model
        .ids(At::Dialling)
        .into_iter()
        .for_each(|id| model.dialled(id));
}
