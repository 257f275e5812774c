//! A logged-in raw client, and the comparison of a sidecar with a direct connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use postgres_protocol::authentication::sasl::ChannelBinding;
use postgres_protocol::authentication::sasl::SCRAM_SHA_256;
use postgres_protocol::authentication::sasl::ScramSha256;

use crate::support::World;
use crate::support::world;
use crate::wire;
use crate::wire::Message;
use crate::wire::Wire;

/// A session that remembers all it was told.
pub(crate) struct Session {
    pub(crate) wire: Wire,
    pub(crate) pid: u32,
    pub(crate) secret: Vec<u8>,
    /// Everything since AuthenticationOk, in text. Process ids and cancel keys are left out.
    pub(crate) transcript: Vec<String>,
}

impl Session {
    /// Sends the startup packet and logs in; the server's refusal otherwise.
    pub(crate) fn login(mut wire: Wire, startup: &[u8], password: &str) -> Result<Self, Message> {
        wire.send(startup);
        Self::go_on(wire, password)
    }

    /// As [`Self::login`], with the startup packet sent.
    pub(crate) fn go_on(mut wire: Wire, password: &str) -> Result<Self, Message> {
        if let Some(refusal) = authenticate(&mut wire, password) {
            return Err(refusal);
        }
        let mut session = Self {
            wire,
            pid: 0,
            secret: Vec::new(),
            transcript: Vec::new(),
        };
        let mut greeting = session.try_until(b'Z');
        let last = greeting.pop().expect("an answer to the startup packet");
        let key = greeting.iter().find(|message| message.tag == b'K');
        if let Some(key) = key {
            session.pid = u32::from_be_bytes(*key.body.first_chunk().unwrap());
            session.secret = key.body[4..].to_vec();
        }
        if last.tag == b'Z' {
            Ok(session)
        } else {
            Err(last)
        }
    }

    /// A session in clear text, where nobody asks for a password.
    pub(crate) fn open(port: u16, parameters: &[(&str, &str)]) -> Self {
        Self::login(Wire::tcp(port), &wire::startup(0, parameters), "").unwrap_or_else(|refusal| {
            panic!("refused: {}", refusal.words());
        })
    }

    pub(crate) fn send(&mut self, messages: &[Vec<u8>]) {
        self.wire.send(&messages.concat());
    }

    /// Reads up to the next ReadyForQuery.
    pub(crate) fn ready(&mut self) -> Vec<Message> {
        self.until(b'Z')
    }

    /// Reads up to a message with this tag.
    pub(crate) fn until(&mut self, tag: u8) -> Vec<Message> {
        let messages = self.try_until(tag);
        let last = messages.last().map(|message| message.tag);
        assert_eq!(last, Some(tag), "ended early: {:#?}", self.transcript);
        messages
    }

    /// Reads up to a message with this tag, or to the end.
    pub(crate) fn try_until(&mut self, tag: u8) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.wire.receive() {
            self.note(&message);
            messages.push(message);
            if messages.last().is_some_and(|message| message.tag == tag) {
                return messages;
            }
        }
        self.transcript.push("the end".into());
        messages
    }

    /// Runs SQL in one Query; all that comes back.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&[wire::query(sql)]);
        self.ready()
    }

    /// The first value of the first row.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        let messages = self.query(sql);
        let row = messages.iter().find(|message| message.tag == b'D');
        let row = row.unwrap_or_else(|| panic!("no row: {:#?}", self.transcript));
        row.row()[0].clone().expect("a value that is not null")
    }

    /// A parameter as reported last.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let prefix = format!("S {name}\\x00");
        let reports = self.transcript.iter().rev();
        let value = reports
            .filter_map(|line| line.strip_prefix(&prefix))
            .next()?;
        Some(value.trim_end_matches("\\x00").to_owned())
    }

    fn note(&mut self, message: &Message) {
        self.transcript
            .push(match (message.tag, message.body.split_first_chunk::<4>()) {
                (b'K', Some((_, secret))) => format!("K a secret of {} bytes", secret.len()),
                (b'A', Some((pid, rest))) => {
                    let own = u32::from_be_bytes(*pid) == self.pid;
                    format!("A own={own} {}", rest.escape_ascii())
                }
                (b'T', _) => format!("T {}", without_table_oids(&message.body).escape_ascii()),
                _ => message.to_string(),
            });
    }
}

/// A temporary table is another one in each session.
fn without_table_oids(description: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (description[..2].to_vec(), &description[2..]);
    while let Some(end) = rest.iter().position(|&byte| byte == 0) {
        let field = &rest[..end + 1 + 18];
        out.extend_from_slice(&field[..=end]);
        out.extend_from_slice(&field[end + 5..]);
        rest = &rest[field.len()..];
    }
    out
}

/// Answers what the server asks until AuthenticationOk; none, or what came instead.
fn authenticate(wire: &mut Wire, password: &str) -> Option<Message> {
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    loop {
        let message = wire.receive().unwrap_or(Message {
            tag: b'X',
            body: Vec::new(),
        });
        let code = message.body.split_first_chunk::<4>();
        match (
            message.tag,
            code.map(|(code, data)| (u32::from_be_bytes(*code), data)),
        ) {
            (b'R', Some((0, _))) => return None,
            (b'R', Some((10, _))) => {
                let first = scram.message();
                let length = u32::try_from(first.len()).unwrap().to_be_bytes();
                let mechanism = [SCRAM_SHA_256.as_bytes(), &[0]].concat();
                wire.send(&wire::message(
                    b'p',
                    &[&mechanism[..], &length, first].concat(),
                ));
            }
            (b'R', Some((11, data))) => {
                scram.update(data).unwrap();
                wire.send(&wire::message(b'p', scram.message()));
            }
            (b'R', Some((12, data))) => scram.finish(data).unwrap(),
            _ => return Some(message),
        }
    }
}

/// Plays `script` on a direct connection, on a new connection through the sidecar, and on one that another client
/// used before; all three must have been told the same.
pub(crate) fn same(parameters: &[(&str, &str)], script: impl Fn(&mut Session)) {
    let world = world();
    let direct = play(world.direct(parameters), &script);
    for how in ["first", "second"] {
        let through = play(world.session(parameters), &script);
        assert_same(&direct, &through, how);
    }
}

/// As [`same`] for the user's plain parameters.
pub(crate) fn same_answers(script: impl Fn(&mut Session)) {
    same(World::PARAMETERS, script);
}

fn play(session: Result<Session, Message>, script: impl Fn(&mut Session)) -> Vec<String> {
    match session {
        Ok(mut session) => {
            script(&mut session);
            let _ = session.wire.try_send(&wire::terminate());
            session.transcript
        }
        Err(refusal) => vec![refusal.words()],
    }
}

fn assert_same(direct: &[String], through: &[String], how: &str) {
    let differs = direct.iter().zip(through).position(|(a, b)| a != b);
    let differs =
        differs.or((direct.len() != through.len()).then(|| direct.len().min(through.len())));
    if let Some(at) = differs {
        let (from, missing) = (at.saturating_sub(3), "(nothing)".to_owned());
        panic!(
            "the {how} session through the sidecar differs at message {at}\n  before: {:#?}\n  direct:  {}\n  \
             sidecar: {}",
            &direct[from..at],
            direct.get(at).unwrap_or(&missing),
            through.get(at).unwrap_or(&missing)
        );
    }
}
