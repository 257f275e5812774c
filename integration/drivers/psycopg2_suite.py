"""psycopg2 as a test suite uses it: libpq's simple protocol, named cursors, COPY, large objects, notifications."""

import io
import select
import sys

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras

DSN = sys.argv[1]


def pids_and_parameters():
    with psycopg2.connect(DSN) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone()[0] == connection.info.backend_pid
        assert connection.info.parameter_status("server_encoding") == "UTF8"
        assert connection.info.protocol_version == 3
        assert connection.encoding == "UTF8"
        connection.set_client_encoding("LATIN1")
        cursor.execute("SELECT %s", ("é",))
        assert cursor.fetchone() == ("é",)


def transactions():
    connection = psycopg2.connect(DSN)
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE t (i int PRIMARY KEY)")
    connection.commit()
    cursor.execute("INSERT INTO t VALUES (1)")
    assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INTRANS
    try:
        cursor.execute("INSERT INTO t VALUES (1)")
    except psycopg2.errors.UniqueViolation as error:
        assert error.diag.constraint_name == "t_pkey"
        assert error.diag.message_detail == "Key (i)=(1) already exists."
    else:
        raise AssertionError("no UniqueViolation")
    assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INERROR
    connection.rollback()
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True, autocommit=False)
    cursor.execute("SHOW transaction_isolation")
    assert cursor.fetchone() == ("serializable",)
    connection.close()


def named_cursor():
    with psycopg2.connect(DSN) as connection:
        with connection.cursor("server_side") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT generate_series(1, 1000)")
            assert sum(row[0] for row in cursor) == 500500
        with connection.cursor("held", withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, 10)")
            connection.commit()
            assert len(cursor.fetchall()) == 10


def copy():
    with psycopg2.connect(DSN) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t (i int, x text)")
        cursor.copy_from(io.StringIO("".join(f"{i}\tx{i}\n" for i in range(10_000))), "t")
        out = io.StringIO()
        cursor.copy_expert("COPY t TO STDOUT CSV", out)
        assert out.getvalue().count("\n") == 10_000
        try:
            cursor.copy_from(io.StringIO("no number\tx\n"), "t")
        except psycopg2.errors.InvalidTextRepresentation:
            connection.rollback()
        else:
            raise AssertionError("a bad row was taken")
        cursor.execute("SELECT 1")


def large_objects():
    with psycopg2.connect(DSN) as connection:
        large = connection.lobject(0, "wb")
        data = bytes(range(256)) * 4_000
        large.write(data)
        large.seek(1_000)
        assert large.tell() == 1_000
        large.close()
        large = connection.lobject(large.oid, "rb")
        assert large.read() == data
        large.unlink()


def notifications():
    listener, notifier = psycopg2.connect(DSN), psycopg2.connect(DSN)
    listener.autocommit = notifier.autocommit = True
    listener.cursor().execute("LISTEN psycopg2_channel")
    notifier.cursor().execute("NOTIFY psycopg2_channel, 'hello'")
    assert select.select([listener], [], [], 20)[0], "no notification within 20 s"
    listener.poll()
    (notify,) = listener.notifies
    assert (notify.channel, notify.payload, notify.pid) == ("psycopg2_channel", "hello", notifier.info.backend_pid)
    listener.close()
    notifier.close()


def many_values():
    with psycopg2.connect(DSN, options="-c statement_timeout=30s", application_name="suite") as connection:
        with connection.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
            cursor.execute("CREATE TEMP TABLE t (i int, j jsonb)")
            rows = [(i, psycopg2.extras.Json({"i": i})) for i in range(2_000)]
            psycopg2.extras.execute_values(cursor, "INSERT INTO t VALUES %s", rows)
            cursor.execute("SELECT sum((j->>'i')::int) AS sum, current_setting('statement_timeout') AS t FROM t")
            row = cursor.fetchone()
            assert (row["sum"], row["t"]) == (1_999_000, "30s")
    for notice in connection.notices:
        raise AssertionError(notice)


for part in [pids_and_parameters, transactions, named_cursor, copy, large_objects, notifications, many_values]:
    part()
print("ok")
