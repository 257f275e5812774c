"""Logs in as told through one of the Python drivers: a JSON list of attempts on stdin, their outcomes on stdout."""

import json
import sys


def pymysql(attempt):
    import pymysql

    where = {"unix_socket": attempt["socket"]} if "socket" in attempt else {"host": "127.0.0.1", "port": attempt["port"]}
    tls = {"ssl": {"check_hostname": False, "verify_mode": "none"}} if attempt["tls"] else {"ssl_disabled": True}
    return pymysql.connect(user=attempt["user"], password=attempt["password"], database=attempt["database"], **where, **tls)


def connector(attempt):
    import mysql.connector

    where = {"unix_socket": attempt["socket"]} if "socket" in attempt else {"host": "127.0.0.1", "port": attempt["port"]}
    connection = mysql.connector.connect(
        user=attempt["user"],
        password=attempt["password"],
        database=attempt["database"],
        ssl_disabled=not attempt["tls"],
        **where,
    )
    return connection


def mysqlclient(attempt):
    import MySQLdb

    where = {"unix_socket": attempt["socket"]} if "socket" in attempt else {"host": "127.0.0.1", "port": attempt["port"]}
    tls = {"ssl": {"cipher": "DEFAULT"}} if attempt["tls"] else {}
    return MySQLdb.connect(user=attempt["user"], password=attempt["password"], database=attempt["database"], **where, **tls)


def log_in(connect, attempt):
    try:
        connection = connect(attempt)
    except Exception as error:
        return {"code": error.args[0], "message": str(error)}
    version = getattr(connection, "server_info", None) or connection.get_server_info()
    cursor = connection.cursor()
    cursor.execute("SELECT CURRENT_USER(), 6 * 7")
    user, answer = cursor.fetchone()
    connection.close()
    return {"user": user, "answer": int(answer), "version": version}


driver = {"pymysql": pymysql, "connector": connector, "mysqlclient": mysqlclient}[sys.argv[1]]
print(json.dumps([log_in(driver, attempt) for attempt in json.load(sys.stdin)]))
