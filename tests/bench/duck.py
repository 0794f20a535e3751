"""Runs a file of statements in DuckDB: `duck.py FILE THREADS`. Prints wall and CPU seconds of it, Python's own start left out."""

import resource
import sys
import time

import duckdb


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


sql = open(sys.argv[1]).read()
began, used = time.monotonic(), cpu()
connection = duckdb.connect(config={"threads": int(sys.argv[2])})
connection.execute("SET enable_progress_bar = false")
connection.execute(sql)
connection.close()
print(time.monotonic() - began, cpu() - used)
