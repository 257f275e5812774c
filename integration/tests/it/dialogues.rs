//! Dialogues that nobody would write, from seeds: a sidecar answers them as the server does, and whoever comes next
//! finds a clean connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::session::Session;
use crate::session::same_answers;
use crate::support::World;
use crate::support::sidecar;
use crate::support::world;
use crate::wire::bind;
use crate::wire::close;
use crate::wire::copy_data;
use crate::wire::copy_done;
use crate::wire::copy_fail;
use crate::wire::describe;
use crate::wire::execute;
use crate::wire::flush;
use crate::wire::message;
use crate::wire::parse;
use crate::wire::query;
use crate::wire::sync;
use crate::wire::terminate;

const SEEDS: u64 = 12;
const DIALOGUES_PER_SESSION: u64 = 25;
const SESSIONS_ABANDONED: u64 = 120;
const MESSAGES_MAX: u64 = 14;

const SQL: &[&str] = &[
    "",
    "SELECT 1",
    "SELECT 1/0",
    "SELECT 1 / (0 * pg_backend_pid())",
    "SELEC",
    "SELECT i FROM generate_series(1, 3) i",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "SET TimeZone = 'Asia/Tokyo'",
    "COPY t TO STDOUT",
    "COPY none_such FROM STDIN",
    "INSERT INTO t VALUES (1)",
    "DECLARE c CURSOR FOR SELECT 1",
    "DO $$ BEGIN RAISE NOTICE 'noticed'; END $$",
    "DEALLOCATE ALL",
    "LISTEN chaos",
];

/// Several statements: only for Query.
const SCRIPTS: &[&str] = &[
    "SELECT 1; SELECT 2/0; SELECT 3",
    "BEGIN; SELECT 1; COMMIT; SELECT 2",
    "DISCARD ALL",
    ";;",
];

/// Knuth's MMIX generator: the same dialogues on every machine, for ever.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        let Self(state) = self;
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap();
        *from.get(at).unwrap()
    }
}

fn any_message(chance: &mut Chance) -> Vec<u8> {
    let statement = chance.pick(&["", "", "a", "b"]);
    let portal = chance.pick(&["", "", "p"]);
    match chance.below(23) {
        0 | 1 => query(chance.pick(SQL)),
        2 => query(chance.pick(SCRIPTS)),
        3..=5 => parse(statement, chance.pick(SQL)),
        6 | 7 => bind(portal, statement, &[]),
        8 => describe(chance.pick(b"SP"), statement),
        9..=11 => execute(portal, chance.pick(&[0, 0, 1])),
        12 => close(chance.pick(b"SP"), statement),
        13 => flush(),
        14..=16 => any_row_or_end(chance),
        // int4abs(-7)
        17 => message(
            b'F',
            b"\0\0\x05\x75\0\x01\0\x01\0\x01\0\0\0\x04\xff\xff\xff\xf9\0\x01",
        ),
        18 => any_copy(chance),
        _ => sync(),
    }
}

fn any_row_or_end(chance: &mut Chance) -> Vec<u8> {
    match chance.below(4) {
        0 => copy_done(),
        1 => copy_fail("enough"),
        _ => copy_data(chance.pick(&["1\n", "no number\n"])),
    }
}

/// A COPY with rows and an end for each time it could read some: PostgreSQL closes the connection when it finds
/// anything else inside one, and how much of what it said before arrives is then a matter of luck.
fn any_copy(chance: &mut Chance) -> Vec<u8> {
    let early_sync = chance.pick(&[&b""[..], &sync()]).to_vec();
    let extended = [
        parse("copy", "COPY t FROM STDIN"),
        bind("copy", "copy", &[]),
        execute("copy", 0),
        early_sync,
    ]
    .concat();
    let mut out = match chance.below(4) {
        0 => query("COPY t FROM STDIN; SELECT 5; COPY t TO STDOUT"),
        1 => query("COPY t FROM STDIN; COPY t FROM STDIN"),
        2 => query("COPY t FROM STDIN"),
        _ => extended,
    };
    for _ in 0..2 {
        for _ in 0..chance.below(3) {
            out.extend(copy_data(chance.pick(&["1\n", "2\n", "no number\n"])));
        }
        out.extend(chance.pick(&[&copy_done(), &copy_done(), &copy_fail("enough")]));
    }
    out.extend([close(b'S', "copy"), close(b'P', "copy")].concat());
    out
}

fn dialogue(chance: &mut Chance) -> Vec<Vec<u8>> {
    let count = 1 + chance.below(MESSAGES_MAX);
    (0..count).map(|_| any_message(chance)).collect()
}

/// Ends whatever is open, so that exactly one more row comes and with it the end of all answers.
fn come_to_rest(session: &mut Session) {
    session.send(&[
        copy_fail("the end"),
        sync(),
        query("ROLLBACK"),
        query("SELECT 'rest' AS the_end"),
    ]);
    while !session
        .ready()
        .iter()
        .any(|message| message.body.ends_with(b"\0\0\0\x04rest"))
    {}
}

#[test]
fn any_dialogue_is_answered_as_by_the_server() {
    for seed in 0..SEEDS {
        same_answers(|session| {
            let mut chance = Chance(seed);
            for _ in 0..DIALOGUES_PER_SESSION {
                session.query("CREATE TEMP TABLE IF NOT EXISTS t (i int)");
                let messages = dialogue(&mut chance);
                let shown: Vec<_> = messages
                    .iter()
                    .map(|message| message.escape_ascii().to_string())
                    .collect();
                session
                    .transcript
                    .push(format!("seed {seed}, sent: {shown:#?}"));
                session.send(&messages);
                come_to_rest(session);
            }
        });
    }
}

#[test]
fn whoever_comes_after_a_chaotic_client_finds_a_clean_connection() {
    let sidecar = sidecar(
        &world().sandbox,
        &["max_connections=1", "checkout_timeout=20s"],
        &[],
    );
    let mut chance = Chance(7);
    let (mut pids, mut before) = (std::collections::HashSet::new(), Vec::new());
    for number in 0..SESSIONS_ABANDONED {
        let mut session = Session::open(sidecar.port(), World::PARAMETERS);
        pids.insert(session.pid);
        let clean = session.value(
            "SELECT concat_ws(' ', (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_cursors), \
             (SELECT count(*) FROM pg_listening_channels()), to_regclass('t'), current_setting('TimeZone') <> \
             'Asia/Tokyo', txid_current_if_assigned())",
        );
        assert_eq!(clean, "0 0 0 t", "session {number}, after {before:#?}");
        session.query("CREATE TEMP TABLE t (i int)");
        let mut messages = dialogue(&mut chance);
        if chance.below(4) == 0 {
            // A COPY nobody ends, with what may not be said inside one.
            messages.splice(0..0, [query("COPY t FROM STDIN")]);
        }
        before = messages
            .iter()
            .map(|message| message.escape_ascii().to_string())
            .collect();
        match chance.below(3) {
            0 => messages.push(terminate()),
            // Cut in the middle of a message.
            1 => messages.push(b"Q\0\0\0\x20SELECT".to_vec()),
            _ => {}
        }
        // The server may have closed it meanwhile.
        let _ = session.wire.try_send(&messages.concat());
    }
    let reused = SESSIONS_ABANDONED - pids.len() as u64;
    assert!(
        reused > SESSIONS_ABANDONED / 4,
        "only {reused} of {SESSIONS_ABANDONED} connections were used again"
    );
}
