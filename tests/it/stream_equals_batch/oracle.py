"""DuckDB as an oracle: reads one question a line, writes one answer a line.

A question is {"tables": {name: {"columns": "k VARCHAR, …", "rows": [[…], …]}}, "query": "SELECT …"}; times are microseconds, and what
JSON has no number for is a text. An answer is {"rows": [[…], …]} or {"error": "…"}; there a float is {"f": text} and a time {"t": µs}.
"""

import datetime
import decimal
import json
import sys

import duckdb

EPOCH = datetime.datetime(1970, 1, 1)


def shown(value):
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return {"f": repr(value)}
    if isinstance(value, decimal.Decimal):
        return {"f": repr(float(value))}
    if isinstance(value, datetime.datetime):
        return {"t": (value - EPOCH) // datetime.timedelta(microseconds=1)}
    if isinstance(value, (list, tuple)):
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {"s": [[name, shown(each)] for name, each in value.items()]}
    raise TypeError(f"no answer has a {type(value)}")


def answered(connection, question):
    for name, table in question["tables"].items():
        connection.execute(f"CREATE OR REPLACE TABLE {name} ({table['columns']})")
        if table["rows"]:
            values = ", ".join(f"({', '.join(row)})" for row in table["rows"])
            connection.execute(f"INSERT INTO {name} VALUES {values}")
    return [[shown(value) for value in row] for row in connection.execute(question["query"]).fetchall()]


def main():
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    for line in sys.stdin:
        try:
            answer = {"rows": answered(connection, json.loads(line))}
        except duckdb.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
