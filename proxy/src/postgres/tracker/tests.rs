//! Conversations written as the tags that pass, client lines as `>`, server lines as `<`.

use super::*;
use proptest::prelude::*;

/// Feeds a script such as `">PBDES <12nCZI"`; after `Z` comes the transaction status.
fn feed(tracker: &mut Tracker, script: &str) {
    for part in script.split_whitespace() {
        let (side, tags) = part.split_at(1);
        let mut tags = tags.bytes();
        while let Some(tag) = tags.next() {
            match (side, tag) {
                (">", tag) => tracker.client(tag),
                (_, b'Z') => tracker.ready(Transaction::parse(&[tags.next().unwrap()]).unwrap()),
                (_, tag) => tracker.server(tag),
            }
        }
    }
}

fn after(script: &str) -> Standing {
    let mut tracker = Tracker::default();
    feed(&mut tracker, script);
    tracker.standing()
}

const IDLE: Standing = Standing::Ready(Transaction::Idle);

#[test]
fn a_simple_query_is_over_at_its_ready() {
    assert_eq!(after(""), IDLE);
    assert_eq!(after(">Q"), Standing::Busy);
    assert_eq!(after(">Q <TDDC"), Standing::Busy);
    assert_eq!(after(">Q <TDDCZI"), IDLE);
    assert_eq!(after(">Q <CZT"), Standing::Ready(Transaction::Open));
    assert_eq!(after(">Q <EZE"), Standing::Ready(Transaction::Failed));
    assert_eq!(after(">Q <IZI"), IDLE);
    assert_eq!(
        after(">Q <TDCTDCEZI"),
        IDLE,
        "several statements, one ready"
    );
}

#[test]
fn two_queries_in_flight_need_two_readies() {
    assert_eq!(after(">QQ <CZI"), Standing::Busy);
    assert_eq!(after(">QQ <CZICZI"), IDLE);
}

#[test]
fn extended_batches() {
    assert_eq!(after(">PBDES <12TDDCZI"), IDLE);
    assert_eq!(after(">PBDES <12nC"), Standing::Busy);
    assert_eq!(after(">PDS <1tTZI"), IDLE, "describe of a statement");
    assert_eq!(after(">BES <2DsZI"), IDLE, "portal suspended");
    assert_eq!(after(">BES <2IZI"), IDLE, "empty query");
    assert_eq!(after(">CS <3ZI"), IDLE);
}

/// E.25, pgdog #1330: everything is answered, and yet the portal lives until the Sync.
#[test]
fn flush_without_sync_keeps_the_server() {
    assert_eq!(after(">BH <2"), Standing::Busy);
    assert_eq!(after(">BHEHEH <2DsDs"), Standing::Busy);
    assert_eq!(after(">BHEHEHS <2DsDsZI"), IDLE);
    assert_eq!(
        after(">SPH <ZI1"),
        Standing::Busy,
        "the Sync came before the Parse"
    );
}

/// E.23: an error skips to the Sync, whether the rest was sent before or after the error was seen.
#[test]
fn an_error_skips_to_the_next_sync() {
    assert_eq!(after(">PBESPBES <1E"), Standing::Busy);
    assert_eq!(after(">PBESPBES <1EZI12CZI"), IDLE);
    assert_eq!(after(">PBE <1E"), Standing::Busy);
    assert_eq!(
        after(">PBE <1E >BEQ >S <ZI"),
        IDLE,
        "even a Query is skipped"
    );
    assert_eq!(after(">PBE <1E >S <ZI >Q <CZI"), IDLE);
}

#[test]
fn an_error_of_the_commit_at_sync_skips_nothing() {
    assert_eq!(after(">BESQ <2CEZI"), Standing::Busy);
    assert_eq!(after(">BESQ <2CEZICZI"), IDLE);
}

/// E.27 of the catalogue: one ready for the Query, none for the extended messages before it.
#[test]
fn a_query_after_unsynced_messages() {
    assert_eq!(after(">PBEQ <12CTDCZI"), IDLE);
}

#[test]
fn copy_in_ignores_the_syncs_that_libpq_sends_behind_execute() {
    assert_eq!(after(">PBES <12G"), Standing::CopyIn);
    assert_eq!(after(">PBES <12G >ddc"), Standing::CopyIn);
    assert_eq!(after(">PBES <12G >ddcS <C"), Standing::Busy);
    assert_eq!(after(">PBES <12G >ddcS <CZI"), IDLE, "pgbouncer #1025");
    assert_eq!(after(">PBES <12G >ddfS <EZI"), IDLE);
}

#[test]
fn copy_in_errors_before_and_after_the_clients_end() {
    assert_eq!(after(">PBES <12G >dd <E"), Standing::Busy);
    assert_eq!(
        after(">PBES <12G >dd <E >dcS <ZI"),
        IDLE,
        "late CopyDone is no phantom"
    );
    assert_eq!(after(">PBES <12G >dcS <EZI"), IDLE);
    assert_eq!(after(">Q <G >dd <EZI"), IDLE);
    assert_eq!(after(">Q <G >dd <E >c <ZI"), IDLE);
    assert_eq!(after(">Q <G >dd <EZI >dc"), IDLE);
    assert_eq!(after(">Q <G >dd <EZI >dcQ <CZI"), IDLE);
    assert_eq!(after(">Q <G >dc <EZI"), IDLE);
}

#[test]
fn copy_in_simple_and_two_in_one_query() {
    assert_eq!(after(">Q <G >ddc <CZI"), IDLE);
    assert_eq!(after(">Q <G >dc <CG"), Standing::CopyIn);
    assert_eq!(after(">Q <G >dc <CG >dc <CZI"), IDLE);
    assert_eq!(
        after(">Qdc <GCZI"),
        IDLE,
        "data sent before the server asked"
    );
}

#[test]
fn copy_ends_that_end_nothing_are_dropped_as_the_server_does() {
    assert_eq!(after(">PBE <12G >ddccCCS <C33ZI"), IDLE, "one end too many");
    assert_eq!(after(">PBEddccCCS <12GC33ZI"), IDLE, "the same, sent ahead");
    assert_eq!(after(">PBECcCS <12C33ZI"), IDLE, "no COPY at all");
    assert_eq!(after(">PBECcQ <12C3EZI"), IDLE, "an error behind it");
    assert_eq!(after(">PBECcES <12C3CZI"), IDLE, "an Execute behind it");
}

#[test]
fn copy_out_and_asynchronous_messages() {
    assert_eq!(after(">Q <HdNdSdAcCZI"), IDLE);
    assert_eq!(after("<ANS"), IDLE);
}

#[test]
fn function_calls() {
    assert_eq!(after(">F <VZI"), IDLE);
    assert_eq!(after(">F <EZI"), IDLE);
}

/// E.22
#[test]
fn ten_thousand_syncs() {
    let mut tracker = Tracker::default();
    feed(&mut tracker, &format!(">{}", "S".repeat(10_000)));
    for _ in 0..9_999 {
        feed(&mut tracker, "<ZI");
        assert_eq!(tracker.standing(), Standing::Busy);
    }
    feed(&mut tracker, "<ZI");
    assert_eq!(tracker.standing(), IDLE);
}

#[test]
fn a_reply_nobody_asked_for_is_never_ready_again() {
    assert_eq!(after("<ZI"), Standing::Busy);
    assert_eq!(after(">Q <1CZI"), Standing::Busy);
    assert_eq!(after(">Q <CZI >Q <?CZI"), Standing::Busy);
}

#[test]
fn replication_is_never_ready() {
    assert_eq!(after(">Q <W"), Standing::Busy);
}

/// A tiny Postgres: answers a client's script by the rules of the manual and tells how much it owes.
#[derive(Default)]
struct Server {
    skipping: bool,
    copying: Option<bool>,
    replies: Vec<String>,
}

impl Server {
    fn reply(&mut self, text: &str) {
        self.replies.push(text.to_owned());
    }

    /// `fails`: what a statement does; `copies`: it is a COPY FROM STDIN.
    fn take(&mut self, tag: u8, fails: bool, copies: bool) {
        if let Some(extended) = self.copying {
            match tag {
                b'd' if fails => self.copy_over("E", extended),
                b'c' => self.copy_over("C", extended),
                b'f' => self.copy_over("E", extended),
                _ => {}
            }
            return;
        }
        match tag {
            b'S' => {
                self.skipping = false;
                self.reply("ZI");
            }
            _ if self.skipping => {}
            b'Q' | b'E' if copies => {
                self.copying = Some(tag == b'E');
                self.reply("G");
            }
            b'Q' => self.reply(if fails { "EZI" } else { "TDCZI" }),
            b'P' | b'B' | b'C' | b'D' | b'E' if fails => {
                self.skipping = true;
                self.reply("E");
            }
            b'P' => self.reply("1"),
            b'B' => self.reply("2"),
            b'C' => self.reply("3"),
            b'D' => self.reply("T"),
            b'E' => self.reply("DC"),
            _ => {}
        }
    }

    fn copy_over(&mut self, outcome: &str, extended: bool) {
        self.copying = None;
        self.reply(outcome);
        if extended {
            self.skipping = outcome == "E";
        } else {
            self.reply("ZI");
        }
    }
}

/// A well-behaved client sends, in copy mode, only data and its end, after the Sync that goes with an Execute.
fn batches() -> impl Strategy<Value = Vec<(&'static str, bool, bool)>> {
    let batch = prop_oneof![
        Just("Q"),
        Just("S"),
        Just("PBDES"),
        Just("PBESPBES"),
        Just("PBE"),
        Just("PBH"),
        Just("CS"),
        Just("PDS"),
    ];
    proptest::collection::vec((batch, any::<bool>(), proptest::bool::weighted(0.2)), 0..30)
}

proptest! {
    /// However late the replies arrive, the tracker is ready exactly when the server owes nothing.
    #[test]
    fn agrees_with_a_model_of_the_server(batches in batches(), lag in proptest::collection::vec(0_usize..6, 256)) {
        let (mut server, mut tracker, mut lag) = (Server::default(), Tracker::default(), lag.into_iter());
        for (batch, fails, copies) in batches {
            let statement_fails = fails && !copies;
            for tag in batch.bytes() {
                server.take(tag, statement_fails && matches!(tag, b'Q' | b'E'), copies && matches!(tag, b'Q' | b'E'));
                tracker.client(tag);
            }
            if server.copying.is_some() {
                // The client sees the G before it sends data.
                deliver(&mut server, &mut tracker, usize::MAX);
                for tag in b"dddc" {
                    server.take(*tag, fails && *tag == b'd', false);
                    tracker.client(*tag);
                }
                if batch.ends_with('S') {
                    server.take(b'S', false, false);
                    tracker.client(b'S');
                }
            }
            deliver(&mut server, &mut tracker, lag.next().unwrap_or(0));
        }
        server.take(b'S', false, false);
        tracker.client(b'S');
        prop_assert_ne!(tracker.standing(), IDLE);
        deliver(&mut server, &mut tracker, usize::MAX);
        prop_assert_eq!(tracker.standing(), IDLE);
        prop_assert!(!tracker.owes_reply());
    }

    #[test]
    fn any_bytes_never_panic(tags in proptest::collection::vec((any::<bool>(), any::<u8>()), 0..200)) {
        let mut tracker = Tracker::default();
        for (client, tag) in tags {
            if client { tracker.client(tag) } else { tracker.server(tag) }
        }
        tracker.ready(Transaction::Idle);
        tracker.standing();
    }
}

fn deliver(server: &mut Server, tracker: &mut Tracker, count: usize) {
    let count = count.min(server.replies.len());
    for reply in server.replies.drain(..count) {
        feed(tracker, &format!("<{reply}"));
    }
}
