"""Uses MySQL as a test suite would, through one driver, and says in JSON what came of it.

    mysql_commands.py DRIVER PORT USER

What it says must not depend on whether PORT is the server's or rds-sidecar's.
"""
import json
import os
import sys
import tempfile

DRIVER, PORT, USER = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# Pure Python takes seconds for what others do in one.
LONG = 2_000_000 if DRIVER == "mysql-connector-python" else 20_000_000
COMMON = {"host": "127.0.0.1", "port": PORT, "user": USER, "password": "", "database": "app"}


def connect(**more):
    if DRIVER == "pymysql":
        import pymysql
        from pymysql.constants import CLIENT

        return pymysql.connect(**COMMON, local_infile=True, client_flag=CLIENT.MULTI_STATEMENTS, **more)
    if DRIVER == "mysqlclient":
        import MySQLdb

        return MySQLdb.connect(**COMMON, local_infile=1, **more)
    import mysql.connector

    return mysql.connector.connect(**COMMON, allow_local_infile=True, use_pure=True, ssl_disabled=True, **more)


def rows_of(cursor):
    return [list(row) for row in cursor.fetchall()] if cursor.description else cursor.rowcount


def all_results(cursor):
    results = [rows_of(cursor)]
    while cursor.nextset():
        results.append(rows_of(cursor))
    return results


def number(error):
    return getattr(error, "errno", None) or error.args[0]


def attempt(action):
    try:
        return action()
    except Exception as error:
        return ["error", number(error)]


def one(cursor, sql, *arguments):
    cursor.execute(sql, *arguments)
    return rows_of(cursor)


def values(cursor):
    yield one(cursor, "SELECT 1, NULL, '', 'größe', 1.5, CAST('2024-02-29' AS DATE)")
    yield one(cursor, "SELECT 1 FROM DUAL WHERE 0")
    yield one(cursor, "SELECT %s, %s", ("it's", 7))
    yield attempt(lambda: one(cursor, "SELECT nonsense"))
    yield one(cursor, "SELECT 'still there'")
    yield one(cursor, "SELECT CAST('x' AS SIGNED)"), one(cursor, "SHOW WARNINGS")
    yield one(cursor, "SELECT LENGTH(%s)", ("x" * LONG,))
    cursor.execute(f"SELECT REPEAT('y', {LONG})")
    yield len(cursor.fetchone()[0])


def tables(connection, cursor):
    cursor.execute("CREATE TEMPORARY TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)")
    cursor.executemany("INSERT INTO t (n) VALUES (%s)", [(n,) for n in range(500)])
    yield cursor.rowcount, one(cursor, "SELECT COUNT(*), CAST(SUM(n) AS SIGNED) FROM t")
    connection.commit()
    cursor.execute("UPDATE t SET n = 0")
    connection.rollback()
    yield one(cursor, "SELECT CAST(SUM(n) AS SIGNED) FROM t")
    cursor.execute("INSERT INTO t (n) VALUES (1)")
    yield cursor.lastrowid
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{n}\n" for n in range(200_000)))
        file.flush()
        cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE t (n)")
        yield cursor.rowcount, one(cursor, "SELECT COUNT(*) FROM t")
    if DRIVER == "mysql-connector-python":
        # It says nothing to a server that asks for a file that is not there; both wait for `net_read_timeout`, 30 s.
        return
    missing = os.path.join(tempfile.gettempdir(), "no such file")
    yield bool(attempt(lambda: one(cursor, f"LOAD DATA LOCAL INFILE '{missing}' INTO TABLE t (n)")))


def several(connection, cursor):
    if DRIVER == "mysql-connector-python":
        cursor.execute("SELECT 1; SELECT 2, 3; DO 1", map_results=False)
        yield [list(row) for row in cursor.fetchall()]
        while cursor.nextset():
            yield rows_of(cursor)
        prepared = connection.cursor(prepared=True)
        for n in range(3):
            yield one(prepared, "SELECT ?, ?", (n, "text"))
        prepared.close()
    else:
        cursor.execute("SELECT 1; SELECT 2, 3; DO 1")
        yield all_results(cursor)
        yield attempt(lambda: (cursor.execute("SELECT 1; SELECT nonsense"), all_results(cursor)))


def streamed(connection):
    if DRIVER == "mysql-connector-python":
        cursor = connection.cursor(buffered=False)
    elif DRIVER == "pymysql":
        from pymysql.cursors import SSCursor

        cursor = connection.cursor(SSCursor)
    else:
        from MySQLdb.cursors import SSCursor

        cursor = connection.cursor(SSCursor)
    digits = "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)"
    cursor.execute(f"SELECT REPEAT('z', 100) FROM {', '.join(f'{digits} AS t{n}' for n in range(6))}")
    total = sum(len(row[0]) for row in cursor)
    cursor.close()
    return total


def main():
    connection = connect()
    cursor = connection.cursor()
    said = [*values(cursor), *tables(connection, cursor)]
    said.append(attempt(lambda: list(several(connection, connection.cursor()))))
    connection.close()
    connection = connect()
    said.append(streamed(connection))
    connection.ping()
    if DRIVER == "mysql-connector-python":
        cursor = connection.cursor()
        cursor.execute("SET @a = 1")
        connection.cmd_reset_connection()
        said.append(one(connection.cursor(), "SELECT @a"))
        connection.cmd_change_user(USER, "", "app")
        said.append(one(connection.cursor(), "SELECT DATABASE()"))
    if DRIVER == "mysqlclient":
        connection.change_user(USER, "", "app")
        cursor = connection.cursor()
        said.append(one(cursor, "SELECT DATABASE()"))
    connection.close()
    json.dump(said, sys.stdout, default=str)


main()
