"""psycopg 3 as a test suite uses it: extended protocol, prepared statements, pipelines, COPY, notifications."""

import sys
import threading

import psycopg
from psycopg import errors
from psycopg.rows import dict_row

DSN = sys.argv[1]


def connect(**options):
    return psycopg.connect(DSN, **options)


def info():
    with connect(application_name="suite", options="-c search_path=pg_temp") as connection:
        assert connection.execute("SELECT pg_backend_pid()").fetchone()[0] == connection.info.backend_pid
        assert connection.info.parameter_status("integer_datetimes") == "on"
        assert connection.info.parameter_status("application_name") == "suite"
        assert connection.execute("SHOW search_path").fetchone() == ("pg_temp",)
        assert 150_000 <= connection.info.server_version


def prepared():
    with connect(prepare_threshold=0) as connection:
        for i in range(250):
            assert connection.execute(f"SELECT %s + {i}", (1,)).fetchone() == (1 + i,)
        for i in range(50):
            assert connection.execute("SELECT %s::text", (str(i),), prepare=True).fetchone() == (str(i),)
        connection.rollback()
        assert connection.execute("SELECT %s::text", ("again",)).fetchone() == ("again",)


def pipeline():
    with connect(autocommit=True) as connection:
        with connection.pipeline() as pipeline:
            cursors = [connection.execute("SELECT %s", (i,)) for i in range(500)]
            pipeline.sync()
            assert [cursor.fetchone()[0] for cursor in cursors] == list(range(500))
        try:
            with connection.pipeline():
                connection.execute("SELECT 1")
                connection.execute("SELECT 1 / %s", (0,))
                connection.execute("SELECT 2")
        except errors.DivisionByZero:
            pass
        else:
            raise AssertionError("no DivisionByZero")
        assert connection.execute("SELECT 'alive'").fetchone() == ("alive",)


def transactions():
    with connect() as connection:
        connection.execute("CREATE TEMP TABLE t (i int)")
        with connection.transaction():
            connection.execute("INSERT INTO t VALUES (1)")
            try:
                with connection.transaction():
                    connection.execute("INSERT INTO t VALUES (2)")
                    raise psycopg.Rollback
            except psycopg.Rollback:
                pass
            try:
                with connection.transaction():
                    connection.execute("SELECT * FROM none_such")
            except errors.UndefinedTable:
                pass
            with connection.transaction(force_rollback=True):
                connection.execute("INSERT INTO t VALUES (3)")
        assert connection.execute("SELECT array_agg(i) FROM t").fetchone() == ([1],)


def copy():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t (i int, x text, b bytea)")
        with cursor.copy("COPY t FROM STDIN (FORMAT binary)") as stream:
            stream.set_types(["int4", "text", "bytea"])
            for i in range(3_000):
                stream.write_row((i, f"x{i}", bytes([i % 256])))
        with cursor.copy("COPY t TO STDOUT") as stream:
            assert sum(1 for _ in stream.rows()) == 3_000
        try:
            with cursor.copy("COPY t FROM STDIN") as stream:
                stream.write_row((1, "x", b""))
                raise ZeroDivisionError
        except ZeroDivisionError:
            connection.rollback()
        assert cursor.execute("SELECT 1").fetchone() == (1,)


def cursors():
    with connect() as connection:
        with connection.cursor("named", scrollable=True, row_factory=dict_row) as cursor:
            cursor.execute("SELECT generate_series(1, 100) AS i")
            cursor.scroll(49)
            assert cursor.fetchone() == {"i": 50}
            cursor.scroll(0, mode="absolute")
            assert len(cursor.fetchmany(70)) == 70
        connection.rollback()
        rows = connection.cursor().stream("SELECT generate_series(1, 2000)")
        assert sum(row[0] for row in rows) == 2_001_000


def notifications():
    with connect(autocommit=True) as listener, connect(autocommit=True) as notifier:
        listener.execute("LISTEN psycopg3_channel")
        later = threading.Timer(0.05, lambda: notifier.execute("SELECT pg_notify('psycopg3_channel', 'hello')"))
        later.start()
        (notify,) = listener.notifies(timeout=20, stop_after=1)
        assert (notify.payload, notify.pid) == ("hello", notifier.info.backend_pid)
        later.join()


def cancelled():
    with connect(autocommit=True) as connection:
        threading.Timer(0.1, connection.cancel_safe).start()
        try:
            connection.execute("SELECT pg_sleep(60)")
        except errors.QueryCanceled:
            pass
        assert connection.execute("SELECT 1").fetchone() == (1,)


def errors_at_login():
    try:
        psycopg.connect(DSN, dbname="none_such")
    except psycopg.OperationalError as error:
        assert 'FATAL:  database "none_such" does not exist' in str(error), error
    else:
        raise AssertionError("none_such exists")


for part in [info, prepared, pipeline, transactions, copy, cursors, notifications, cancelled, errors_at_login]:
    part()
print("ok")
