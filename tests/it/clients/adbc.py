"""What a program does over ADBC with TLS and a login: `adbc.py URI CA_FILE USER`, with the password in the variable PASSWORD.

Prints one line for each attempt: its name, and the rows it got or the status and the text of the error.
"""

import os
import sys

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error

URI, CA_FILE, USER = sys.argv[1:4]
with open(CA_FILE) as file:
    TRUSTED = {DatabaseOptions.TLS_ROOT_CERTS.value: file.read()}


def attempt(name, options, work):
    try:
        with flight_sql.connect(URI, db_kwargs=options) as connection, connection.cursor() as cursor:
            print(f"{name}: {work(cursor)}")
    except Error as error:
        print(f"{name}: {error.status_code.name}: {' '.join(str(error).split())}")


def rows(cursor):
    cursor.execute("SELECT 1 AS one, 'ü' AS two")
    return cursor.fetchall()


def many(cursor):
    cursor.executemany("SELECT CAST(? AS BIGINT) AS n", [(1,), (2,)])
    return cursor.rowcount


def login(password):
    return {**TRUSTED, "username": USER, "password": password}


attempt("right password", login(os.environ["PASSWORD"]), rows)
attempt("many", login(os.environ["PASSWORD"]), many)
attempt("wrong password", login("not it"), rows)
attempt("no login", TRUSTED, rows)
attempt("not trusted", {"username": USER, "password": os.environ["PASSWORD"]}, rows)
