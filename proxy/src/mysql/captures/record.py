#!/usr/bin/env python3
"""Records what a real server answers to every command, one file a conversation.

    record.py HOST PORT USER DIRECTORY

USER has no password and may do anything; the schema `test` exists; the server runs with local_infile=1 and a binary
log. A file is named CONVERSATION.FLAGS.bin and holds the capabilities of the login (eight bytes, little endian: MySQL's
and MariaDB's extended ones) and then what was said: `>` (client) or `<` (server), a four-byte length, bytes. The next
`>` was sent only when the server had said all.

The files here are of MariaDB 10.11.19.
"""
import socket
import struct
import sys

FLAGS = {
    # PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH, TRANSACTIONS, LONG_*, LOCAL_FILES, MULTI_STATEMENTS/RESULTS, PS_MULTI_RESULTS
    "eof": (0x000FA285, 0),
    # and SESSION_TRACK, DEPRECATE_EOF
    "ok": (0x018FA285, 0),
    # the same without LONG_PASSWORD, and BULK, EXTENDED_METADATA, CACHE_METADATA
    "maria": (0x018FA284, 0x1C),
}


class Conversation:
    def __init__(self, host, port, user, flags):
        self.log = []
        self.socket = socket.create_connection((host, port))
        self.receive(wait=2)
        mysql, mariadb = FLAGS[flags]
        login = struct.pack("<IIB19xI", mysql, 1 << 30, 45, mariadb) + user.encode() + b"\0\0" + b"mysql_native_password\0"
        self.socket.sendall(struct.pack("<I", len(login) | 1 << 24) + login)
        reply = self.receive(wait=2)
        assert reply[4] == 0, reply
        for statement in (b"USE test", b"SET SESSION session_track_state_change=1"):
            self.command(b"\x03" + statement)
        self.log = []

    def receive(self, wait=0.15):
        """Reads until the server says nothing for a while."""
        data = b""
        self.socket.settimeout(wait)
        try:
            while chunk := self.socket.recv(65536):
                data += chunk
                self.socket.settimeout(0.15)
        except TimeoutError:
            pass
        return data

    def send(self, *packets):
        """Sends (sequence, payload) in one write, and reads what comes back."""
        data = b"".join(struct.pack("<I", len(payload) | sequence << 24) + payload for sequence, payload in packets)
        self.socket.sendall(data)
        self.log.append((b">", data))
        reply = self.receive()
        if reply:
            self.log.append((b"<", reply))
        return reply

    def command(self, *payloads):
        return self.send(*((0, payload) for payload in payloads))

    def query(self, *texts):
        return self.command(*(b"\x03" + text.encode() for text in texts))

    def quiet(self, *texts):
        """Runs statements that are not part of the record."""
        log, self.log = self.log, []
        for text in texts:
            self.query(text)
        self.log = log

    def prepare(self, text):
        return self.command(b"\x16" + text.encode())[5:9]

    def execute(self, statement, flags=0, parameters=b""):
        return self.command(b"\x17" + statement + bytes([flags]) + b"\1\0\0\0" + parameters)


CONVERSATIONS = {}


def conversation(*flags):
    def keep(function):
        for name in flags:
            CONVERSATIONS[f"{function.__name__}.{name}"] = (function, name)
        return function

    return keep


both = conversation("eof", "ok")
all_three = conversation("eof", "ok", "maria")


@both
def query_ok(c):
    c.query("SET @a = 1")
    c.query("SET NAMES latin1")
    c.query("DO 1")


@all_three
def query_rows(c):
    c.query("SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL")
    c.query("SELECT NULL, 1")
    c.query("SELECT '', 1")
    c.query("SELECT 1 FROM DUAL WHERE 0")
    c.query("SELECT CAST('x' AS SIGNED)")


@both
def query_error(c):
    c.query("SELECT nonsense")


@both
def query_error_behind_rows(c):
    c.quiet("CREATE TEMPORARY TABLE t (a INT)", "INSERT INTO t VALUES (1), (3), (3)")
    c.query("SELECT seq, REPEAT('x', 9), (SELECT a FROM t WHERE a = seq) FROM seq_1_to_5")


@both
def multi_statement(c):
    c.query("SELECT 1; SET @a = 2; SELECT 2, 3; DO 1")
    c.query("SELECT 1; SELECT 1 FROM DUAL WHERE 0")


@both
def multi_statement_error(c):
    c.query("SELECT 1; SELECT nonsense; SELECT 2")


@both
def call(c):
    c.quiet("DROP PROCEDURE IF EXISTS p", "CREATE PROCEDURE p(IN a INT, OUT b INT) BEGIN SELECT a; SELECT a, 2; SET b = 7; END")
    c.query("CALL p(1, @b)")
    statement = c.prepare("CALL p(?, ?)")
    c.execute(statement, 0, b"\0\1\x03\0\x03\0" + struct.pack("<ii", 1, 2))


@both
def load_local(c):
    c.quiet("CREATE TEMPORARY TABLE t (a INT PRIMARY KEY)")
    c.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t")
    c.send((2, b"1\n2\n"), (3, b"3\n"))
    c.send((4, b""))
    c.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t")
    c.send((2, b""))
    c.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t")
    c.send((2, b"word\n1\n"), (3, b""))
    c.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t; SELECT COUNT(*) FROM t")
    c.send((2, b"9\n"), (3, b""))


@both
def load_local_error(c):
    c.quiet("CREATE TEMPORARY TABLE t (a INT PRIMARY KEY, b INT NOT NULL CHECK (b > 5))")
    c.query("LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE t")
    c.send((2, b"1\t1\n" * 3))
    c.send((3, b"2\t2\n"))
    c.send((4, b""))


@all_three
def prepared(c):
    c.quiet("CREATE TEMPORARY TABLE t (a INT, b VARCHAR(9))")
    for text in ("DO 1", "SELECT 1, 2", "INSERT INTO t VALUES (?, ?)", "SELECT a FROM t WHERE a = ? OR b = ?"):
        c.prepare(text)
    statement = c.prepare("SELECT ?, 'x'")
    for _ in range(2):
        c.execute(statement, 0, b"\0\1\x03\0" + struct.pack("<i", 5))
    c.execute(statement, 0, b"\0\0" + struct.pack("<i", 6))
    c.command(b"\x1a" + statement)
    c.command(b"\x19" + statement)
    c.command(b"\x0e")


@both
def prepared_error(c):
    c.command(b"\x16SELECT nonsense")
    c.command(b"\x17\x99\0\0\0\0\1\0\0\0")
    c.command(b"\x1c\x99\0\0\0\1\0\0\0")


@all_three
def cursor(c):
    statement = c.prepare("SELECT seq FROM seq_1_to_5")
    c.execute(statement, 1)
    for _ in range(3):
        c.command(b"\x1c" + statement + struct.pack("<I", 2))
    c.command(b"\x1c" + statement + struct.pack("<I", 2))
    c.command(b"\x0e")
    empty = c.prepare("SELECT seq FROM seq_1_to_5 WHERE seq > 5")
    c.execute(empty, 1)
    c.command(b"\x1c" + empty + struct.pack("<I", 2))
    c.command(b"\x0e")


@both
def long_data(c):
    statement = c.prepare("SELECT LENGTH(?)")
    c.command(b"\x18" + statement + b"\0\0" + b"x" * 100, b"\x18" + statement + b"\0\0" + b"y" * 100)
    c.execute(statement, 0, b"\0\1\xfb\0")


@both
def simple_commands(c):
    c.command(b"\x02test")
    c.command(b"\x0e")
    c.command(b"\x09")
    c.command(b"\x0d")
    c.command(b"\x07\x01")
    c.command(b"\x1b\x01\0")
    c.command(b"\x1b\x00\0")
    c.command(b"\x1f")


@both
def failing_commands(c):
    c.command(b"\x02absent")
    c.command(b"\x0c\xff\xff\xff\x0f")
    c.command(b"\x55")
    c.command(b"\xfe")
    c.command(b"")


@both
def field_list(c):
    c.quiet("CREATE TABLE IF NOT EXISTS listed (a INT DEFAULT 3, b VARCHAR(5))")
    c.command(b"\x04listed\0")
    c.command(b"\x04listed\0b")


@both
def field_list_error(c):
    c.command(b"\x04absent\0")


@both
def process_info(c):
    c.command(b"\x0a")


@both
def transaction_open(c):
    c.query("BEGIN")
    c.query("SELECT 1")


@both
def transaction_closed(c):
    c.query("SET autocommit = 0")
    c.query("SELECT COUNT(*) FROM listed")
    c.query("SELECT nonsense")
    c.query("COMMIT")


@all_three
def pipelined(c):
    c.command(b"\x03SELECT 1", b"\x0e", b"\x16SELECT ?, 2", b"\x19\x63\0\0\0", b"\x09", b"\x03DO 1; SELECT 3", b"\x1f")


@conversation("maria")
def bulk_execute(c):
    c.quiet("CREATE TEMPORARY TABLE t (a INT)")
    statement = c.prepare("INSERT INTO t VALUES (?)")
    c.command(b"\xfa" + statement + b"\x80\0" + b"\x03\0" + b"".join(b"\0" + struct.pack("<i", n) for n in (1, 2, 3)))
    returning = c.prepare("INSERT INTO t VALUES (?) RETURNING a")
    c.command(b"\xfa" + returning + b"\x80\0" + b"\x03\0" + b"".join(b"\0" + struct.pack("<i", n) for n in (4, 5)))


@conversation("maria")
def last_prepared(c):
    c.command(b"\x16SELECT 7", b"\x17\xff\xff\xff\xff\0\1\0\0\0")
    c.command(b"\x16SELECT 7, 8", b"\x17\xff\xff\xff\xff\0\1\0\0\0")


@conversation("ok")
def binlog_dump(c):
    c.command(b"\x15" + struct.pack("<I", 99) + b"\0\0\0" + struct.pack("<HII", 0, 0, 0))
    c.command(b"\x12" + struct.pack("<IHI", 4, 1, 99) + b"binlog.000001")


def main():
    host, port, user, directory = sys.argv[1:]
    for name, (function, flags) in CONVERSATIONS.items():
        c = Conversation(host, int(port), user, flags)
        function(c)
        with open(f"{directory}/{name}.bin", "wb") as file:
            file.write(struct.pack("<II", *FLAGS[flags]))
            for side, data in c.log:
                file.write(side + struct.pack("<I", len(data)) + data)
        print(f"{name}: {sum(len(data) for _, data in c.log)} bytes", flush=True)


if __name__ == "__main__":
    main()
