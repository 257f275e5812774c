//! A tiny MySQL: answers commands by the rules of the manual, and knows how much it owes and where it stands.

use super::*;

/// One statement of a COM_QUERY.
#[derive(Debug, Clone)]
enum Statement {
    Begin,
    Commit,
    Fails,
    /// Columns, and the first byte and length of each row.
    Rows(u8, Vec<(u8, u8)>),
}

#[derive(Debug, Clone)]
enum Step {
    Close,
    Fetch(u8),
    LongData(u8),
    Ping,
    Prepare(u8, u8),
    Query(Vec<Statement>),
    Statistics,
    Unknown(u8),
}

struct Server {
    eof: bool,
    cached: bool,
    open: bool,
    /// Nothing after the last OK tells whether a transaction is open.
    failed: bool,
    replies: Vec<Vec<u8>>,
}

impl Server {
    fn new(capabilities: Capabilities) -> Self {
        Self {
            eof: !capabilities.contains(Capabilities::DEPRECATE_EOF),
            cached: capabilities.contains(Capabilities::MARIADB_CLIENT_CACHE_METADATA),
            open: false,
            failed: false,
            replies: Vec::new(),
        }
    }

    fn status(&mut self, more: bool) -> [u8; 2] {
        self.failed = false;
        [2 | u8::from(self.open) | if more { 8 } else { 0 }, 0]
    }

    fn ok(&mut self, more: bool, out: &mut Vec<u8>) {
        let [a, b] = self.status(more);
        out.extend(packet(1, &[0, 0, 0, a, b, 0, 0]));
    }

    fn end(&mut self, more: bool, out: &mut Vec<u8>) {
        let [a, b] = self.status(more);
        let length = if self.eof { 5 } else { 7 };
        out.extend(packet(1, &[0xfe, 0, 0, a, b, 0, 0][..length]));
    }

    fn definitions(&mut self, count: u8, out: &mut Vec<u8>) {
        (0..count).for_each(|_| out.extend(packet(1, b"\x03def and so on")));
        if self.eof {
            self.end(false, out);
        }
    }

    fn fail(&mut self, out: &mut Vec<u8>) {
        self.failed = true;
        out.extend(packet(1, ERROR));
    }

    /// Takes a command; what is asked of the wire is returned, what is answered goes into `replies`.
    fn take(&mut self, step: &Step) -> Vec<u8> {
        let mut out = Vec::new();
        let asked = match step {
            Step::Close => return command(b"\x19\x01\0\0\0"),
            Step::LongData(length) => {
                return command(&[&b"\x18\x01\0\0\0\0\0"[..], &vec![1; (*length).into()]].concat());
            }
            Step::Ping => {
                self.ok(false, &mut out);
                command(b"\x0e")
            }
            Step::Fetch(rows) => {
                (0..*rows).for_each(|_| out.extend(packet(1, b"\0\0row")));
                self.end(false, &mut out);
                command(b"\x1c\x01\0\0\0\x01\0\0\0")
            }
            Step::Prepare(columns, parameters) => {
                out.extend(packet(
                    1,
                    &[0, 1, 0, 0, 0, *columns, 0, *parameters, 0, 0, 0, 0],
                ));
                for count in [*parameters, *columns] {
                    if count > 0 {
                        self.definitions(count, &mut out);
                    }
                }
                command(b"\x16SELECT")
            }
            Step::Statistics => {
                out.extend(packet(1, b"\xfe or anything"));
                command(b"\x09")
            }
            Step::Unknown(code) => {
                self.fail(&mut out);
                command(&[*code, 1, 2])
            }
            Step::Query(statements) => {
                self.query(statements, &mut out);
                query("SELECT something or other")
            }
        };
        self.replies.push(out);
        asked
    }

    fn query(&mut self, statements: &[Statement], out: &mut Vec<u8>) {
        for (index, statement) in statements.iter().enumerate() {
            let more = index + 1 < statements.len();
            match statement {
                Statement::Begin | Statement::Commit => {
                    self.open = matches!(statement, Statement::Begin);
                    self.ok(more, out);
                }
                Statement::Fails => return self.fail(out),
                Statement::Rows(columns, rows) => {
                    let length = if self.cached { 2 } else { 1 };
                    out.extend(packet(1, &[*columns, 1][..length]));
                    self.definitions(*columns, out);
                    for (first, length) in rows {
                        let mut row = vec![*first; usize::from(*length) + 1];
                        // FE would be the length of a row longer than a packet, FF no row.
                        row[0] = (*first).min(0xfd);
                        out.extend(packet(1, &row));
                    }
                    self.end(more, out);
                }
            }
        }
    }
}

fn statement() -> impl Strategy<Value = Statement> {
    let rows = proptest::collection::vec((any::<u8>(), 0_u8..40), 0..5);
    prop_oneof![
        Just(Statement::Begin),
        Just(Statement::Commit),
        Just(Statement::Fails),
        (1_u8..4, rows).prop_map(|(columns, rows)| Statement::Rows(columns, rows)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec(statement(), 1..4).prop_map(Step::Query),
        1 => Just(Step::Close),
        1 => (0_u8..4).prop_map(Step::Fetch),
        1 => (0_u8..40).prop_map(Step::LongData),
        1 => Just(Step::Ping),
        2 => (0_u8..3, 0_u8..3).prop_map(|(columns, parameters)| Step::Prepare(columns, parameters)),
        1 => Just(Step::Statistics),
        1 => prop_oneof![Just(0x55_u8), Just(0x05), Just(0x0b), Just(0x1d)].prop_map(Step::Unknown),
    ]
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    prop_oneof![
        Just(OLD),
        Just(OLD | Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK),
        Just(OLD | Capabilities::DEPRECATE_EOF | Capabilities::MARIADB_CLIENT_CACHE_METADATA),
        Just(OLD | Capabilities::MARIADB_CLIENT_CACHE_METADATA),
    ]
}

proptest! {
    /// However late and in whatever pieces the replies arrive, the server is ready exactly when it owes nothing, and
    /// then its transaction is what it last said.
    #[test]
    fn agrees_with_a_model_of_the_server(
        capabilities in capabilities(),
        steps in proptest::collection::vec((step(), 0_usize..4), 1..20),
        piece in 1_usize..50,
    ) {
        let (mut model, mut observer) = (Server::new(capabilities), Observer::new(capabilities));
        let (mut held, mut owed) = (Vec::new(), 0_usize);
        for (step, answers) in steps {
            let before = model.replies.len();
            client(&mut observer, &model.take(&step));
            owed += model.replies.len() - before;
            let now = answers.min(model.replies.len());
            for reply in model.replies.drain(..now).collect::<Vec<_>>() {
                deliver(&mut observer, &mut held, &reply, piece);
                owed -= 1;
                prop_assert_eq!(observer.standing() == Standing::Busy, owed > 0);
            }
        }
        for reply in std::mem::take(&mut model.replies) {
            prop_assert_eq!(observer.standing(), Standing::Busy);
            deliver(&mut observer, &mut held, &reply, piece);
        }
        prop_assert!(held.is_empty());
        let expected = match (model.failed, model.open) {
            (true, _) => Transaction::Unknown,
            (false, true) => Transaction::Open,
            (false, false) => Transaction::Idle,
        };
        prop_assert_eq!(observer.standing(), Standing::Ready(expected));
    }
}

fn deliver(observer: &mut Observer, held: &mut Vec<u8>, reply: &[u8], piece: usize) {
    for bytes in reply.chunks(piece) {
        held.extend_from_slice(bytes);
        let seen = observer.server(held, &mut Told::default());
        held.drain(..seen.pass);
    }
}
