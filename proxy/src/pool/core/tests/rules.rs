//! Rules one by one.

use std::time::Duration;

use super::model::At;
use super::model::Model;
use crate::pool::core::Limits;
use crate::pool::core::Release;

fn limits(connections_max: usize) -> Limits {
    Limits {
        connections_max,
        min_idle: 0,
        idle_timeout: Duration::from_secs(60),
        lifetime_max: Duration::from_secs(1_000),
        connects_per_second: 1_000,
        dials_max: 8,
        waiting_max: 100,
        key_patience: Duration::from_millis(250),
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A pool with `number` leases of key 0.
fn with_leases(limits: Limits, number: usize) -> Model {
    let mut model = Model::new(limits);
    for _ in 0..number {
        model.checkout(0);
        let dial = model.ids(At::Dialling)[0];
        model.dialled(dial);
    }
    model
}

fn give_back(model: &mut Model) {
    let id = model.ids(At::Leased)[0];
    assert_eq!(model.release(id), Release::Reset);
    model.reset_done(id);
}

#[test]
fn a_connection_under_reset_spares_a_login() {
    let mut model = with_leases(limits(5), 1);
    let id = model.ids(At::Leased)[0];
    model.release(id);
    model.checkout(0);
    assert_eq!(model.count(At::Dialling), 0);
    model.reset_is_slow(id);
    assert_eq!(
        model.count(At::Dialling),
        1,
        "but not when the reset takes long"
    );
}

#[test]
fn the_newest_idle_is_lent_and_the_oldest_expires() {
    let mut model = with_leases(limits(3), 3);
    let ids = model.ids(At::Leased);
    for id in &ids {
        model.release(*id);
        model.reset_done(*id);
        model.advance(millis(1_000));
    }
    model.checkout(0);
    assert_eq!(model.ids(At::Leased), [ids[2]]);
    model.advance(millis(57_000));
    assert_eq!(model.ids(At::Closing), [ids[0]]);
    assert_eq!(model.core.deadline(), Some(model.now + millis(1_000)));
}

// Case 80.
#[test]
fn expiry_keeps_min_idle_and_leases() {
    let mut model = with_leases(
        Limits {
            min_idle: 2,
            ..limits(5)
        },
        4,
    );
    while model.count(At::Dialling) > 0 {
        let dial = model.ids(At::Dialling)[0];
        model.dialled(dial);
    }
    give_back(&mut model);
    give_back(&mut model);
    assert_eq!((model.count(At::Leased), model.count(At::Idle)), (2, 3));
    model.advance(Duration::from_secs(61));
    assert_eq!(
        (
            model.count(At::Leased),
            model.count(At::Idle),
            model.count(At::Closing)
        ),
        (2, 2, 1)
    );
    model.advance(Duration::from_secs(1_000));
    assert_eq!(
        (model.count(At::Leased), model.count(At::Idle)),
        (2, 0),
        "max_lifetime ends them all"
    );
    model
        .ids(At::Closing)
        .into_iter()
        .for_each(|id| model.vacate(id));
    assert_eq!(
        model.count(At::Dialling),
        2,
        "and for keys in use they are opened anew"
    );
    let old = model.ids(At::Leased)[0];
    assert_eq!(
        model.release(old),
        Release::Close,
        "a lease ends when it comes back"
    );
}

#[test]
fn lifetimes_differ_by_a_tenth() {
    let mut model = Model::new(limits(2));
    for jitter in [0.0, 1.0] {
        model.jitter = jitter;
        model.checkout(0);
        let dial = model.ids(At::Dialling)[0];
        model.dialled(dial);
    }
    give_back(&mut model);
    give_back(&mut model);
    let idle = model.ids(At::Idle);
    let ends = |id| {
        model
            .core
            .idle
            .iter()
            .find(|idle| idle.id == id)
            .map(|idle| idle.held.expires_at - model.now)
    };
    assert_eq!(ends(idle[0]), Some(Duration::from_secs(1_000)));
    assert_eq!(ends(idle[1]), Some(Duration::from_secs(900)));
}

#[test]
fn an_idle_connection_of_another_key_makes_room() {
    let mut model = with_leases(limits(2), 2);
    give_back(&mut model);
    let idle = model.ids(At::Idle);
    model.checkout(1);
    model.checkout(1);
    assert_eq!(model.ids(At::Closing), idle, "leases are left alone");
    assert_eq!(model.count(At::Dialling), 0, "not before it is closed");
    model.vacate(idle[0]);
    assert_eq!(model.count(At::Dialling), 1);
    assert_eq!(model.core.stats().counters.closings.evicted, 1);
}

#[test]
fn no_more_is_closed_than_makes_room() {
    let mut model = with_leases(limits(3), 3);
    (0..3).for_each(|_| give_back(&mut model));
    model.checkout(1);
    model.checkout(2);
    assert_eq!((model.count(At::Closing), model.count(At::Idle)), (2, 1));
}

// Nobody starves: the busy key's connections always find a client of their own, and still the other key's is served.
#[test]
fn a_patient_client_of_another_key_takes_over() {
    let mut model = with_leases(limits(2), 2);
    let stranger = model.checkout(1).unwrap();
    let mut closed = 0;
    for round in 0..40 {
        model.checkout(0);
        model.advance(millis(10));
        let id = model.ids(At::Leased)[0];
        match model.release(id) {
            Release::Reset => model.reset_done(id),
            Release::Close => {
                assert!(round >= 24, "not before 250 ms");
                closed += 1;
                model.vacate(id);
                let dial = model.ids(At::Dialling)[0];
                assert_eq!(model.key_of(dial), 1);
                model.dialled(dial);
                assert!(model.served.contains(&stranger));
                break;
            }
        }
    }
    assert_eq!(closed, 1);
}

#[test]
fn who_came_first_is_not_passed_over() {
    let mut model = with_leases(limits(1), 1);
    let own = model.checkout(0).unwrap();
    model.checkout(1);
    model.advance(millis(1_000));
    give_back(&mut model);
    assert_eq!(model.served.last(), Some(&own));
}

#[test]
fn a_connection_that_no_client_of_its_key_needs_goes_to_a_stranger_at_once() {
    let mut model = with_leases(limits(1), 1);
    model.checkout(1);
    let id = model.ids(At::Leased)[0];
    assert_eq!(model.release(id), Release::Close);
    model.vacate(id);
    assert_eq!(model.count(At::Dialling), 1);
}

#[test]
fn room_goes_to_the_first_who_came_over_all_keys() {
    let mut model = with_leases(limits(1), 1);
    model.checkout(2);
    model.checkout(1);
    model.checkout(0);
    let id = model.ids(At::Leased)[0];
    model.vacate(id);
    let dial = model.ids(At::Dialling)[0];
    assert_eq!(model.key_of(dial), 2);
}

#[test]
fn a_full_server_is_probed_ever_more_rarely() {
    let mut model = with_leases(limits(5), 2);
    model.checkout(0);
    model.checkout(0);
    assert_eq!(model.count(At::Dialling), 2);
    // Both belong to one wave: the pause is not doubled.
    for dial in model.ids(At::Dialling) {
        model.refused(dial);
    }
    assert_eq!(model.core.stats().learned_max, Some(2));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let pause = model.core.retry_at().unwrap() - model.now;
        pauses.push(pause.as_millis());
        model.advance(pause - millis(1));
        assert_eq!(model.count(At::Dialling), 0);
        model.advance(millis(1));
        assert_eq!(model.count(At::Dialling), 1, "one probe, though two wait");
        let probe = model.ids(At::Dialling)[0];
        model.refused(probe);
    }
    assert_eq!(pauses, [75, 150, 300, 600, 1_200, 2_400, 3_750, 3_750]);
    assert_eq!(model.queue.len(), 2, "nobody was told");
}

#[test]
fn a_successful_probe_raises_the_limit_by_one() {
    let mut model = with_leases(limits(4), 2);
    model.checkout(0);
    model.checkout(0);
    for dial in model.ids(At::Dialling) {
        model.refused(dial);
    }
    for max in [Some(3), None] {
        let wait = model.core.retry_at().unwrap() - model.now;
        model.advance(wait);
        let probe = model.ids(At::Dialling)[0];
        assert_eq!(model.count(At::Dialling), 1);
        model.dialled(probe);
        assert_eq!(model.core.stats().learned_max, max);
    }
    assert!(model.queue.is_empty());
}

#[test]
fn the_limit_of_one_role_does_not_stop_the_others() {
    let mut model = with_leases(limits(9), 2);
    model.checkout(0);
    let dial = model.ids(At::Dialling)[0];
    model.refused(dial);
    for _ in 0..4 {
        model.checkout(1);
    }
    assert_eq!(model.count(At::Dialling), 4);
}

#[test]
fn a_full_server_gets_back_what_other_keys_do_not_use() {
    let mut model = with_leases(limits(9), 1);
    give_back(&mut model);
    model.checkout(1);
    let dial = model.ids(At::Dialling)[0];
    model.refused(dial);
    assert_eq!(model.count(At::Closing), 1);
}

#[test]
fn a_released_connection_serves_while_the_server_is_full() {
    let mut model = with_leases(limits(5), 1);
    let ticket = model.checkout(0).unwrap();
    let dial = model.ids(At::Dialling)[0];
    model.refused(dial);
    give_back(&mut model);
    assert_eq!(model.served.last(), Some(&ticket));
}

#[test]
fn an_error_reaches_the_oldest_and_spares_whom_another_connection_serves() {
    let mut model = with_leases(limits(5), 1);
    let first = model.checkout(0).unwrap();
    let second = model.checkout(0).unwrap();
    let dials = model.ids(At::Dialling);
    assert_eq!(model.dial_failed(dials[1]), Some(first));
    let id = model.ids(At::Leased)[0];
    model.release(id);
    assert_eq!(
        model.dial_failed(dials[0]),
        None,
        "the connection under reset will serve it"
    );
    model.reset_done(id);
    assert_eq!(model.served.last(), Some(&second));
}

#[test]
fn a_bumped_dial_is_closed_and_begun_anew() {
    let mut model = Model::new(limits(2));
    model.checkout(0);
    let old = model.ids(At::Dialling)[0];
    model.bump(0);
    model.dialled(old);
    assert_eq!(model.ids(At::Closing), [old]);
    assert_eq!(model.count(At::Dialling), 1);
}
