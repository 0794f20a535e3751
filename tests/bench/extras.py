"""What is not a rate: the time of one epoch, from start to the first row, memory of an open key."""

import pathlib
import signal
import subprocess
import tempfile
import time

import adbc_driver_flightsql.dbapi as flight_sql

import generate
import measure
import queries
import service

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 120


def run_file(binary, data, query, folder, *options):
    """`touchline run` of a query over a file: its cost, and the Parquet file with the rows."""
    out = pathlib.Path(folder) / "touchline.parquet"
    statements = pathlib.Path(folder) / "touchline.sql"
    statements.write_text(queries.touchline_file(data, query, out))
    cost, _ = measure.process([binary, "run", *options, statements], LIMIT_S)
    return cost, out


def one_row_epoch(binary, data_dir, folder, runs):
    """Seconds an epoch of one row takes, for each query: what more rows add to the wall time, so that the start is left out."""
    few, many = 1_000, 21_000
    # One file is the beginning of the other: same seed, same event time a record.
    files = [generate.file(generate.Shape(events=n, span_ms=n // 100), data_dir) for n in (few, many)]
    times = {name: [] for name in queries.NAMES}
    for _ in range(runs):
        for name in queries.NAMES:
            costs = [run_file(binary, file, name, folder, "--epoch-rows", "1")[0] for file in files]
            times[name].append((costs[1].wall - costs[0].wall) / (many - few))
    return times


def first_row(binary, runs, views=("match_archive", "crowd_10s")):
    """Seconds from the start of `touchline demo` on a new folder until a row of each view is read by Flight SQL."""
    times = {view: [] for view in views}
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="touchline-bench-") as folder:
            port = service.free_port()
            started = time.monotonic()
            demo = subprocess.Popen(
                [binary, "demo", "--data-dir", f"{folder}/data", "--flight-port", str(port), "--http-port", "0", "--for", "60s"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
            )
            try:
                waiting = list(views)
                while waiting:
                    if time.monotonic() - started > LIMIT_S or demo.poll() is not None:
                        raise measure.Failed(f"touchline demo gave no row of {waiting}")
                    try:
                        with flight_sql.connect(f"grpc://127.0.0.1:{port}") as connection, connection.cursor() as cursor:
                            for view in list(waiting):
                                cursor.execute(f"SELECT * FROM {view} LIMIT 1")
                                if cursor.fetchone() is not None:
                                    times[view].append(time.monotonic() - started)
                                    waiting.remove(view)
                    except flight_sql.Error:
                        # Not listening yet, or the view is not registered yet.
                        pass
                    time.sleep(0.01)
            finally:
                demo.send_signal(signal.SIGTERM)
                try:
                    demo.communicate(timeout=20)
                except subprocess.TimeoutExpired:
                    demo.kill()
                    demo.communicate()
    return times


def bytes_a_key(binary, data_dir, folder, runs):
    """Peak memory of the tumble with 1 M open keys less that with 40, over as many bytes, in bytes a key. All keys are open in one
    window, and come twice. The peak is that of the whole run: with the rows that leave at the end."""
    keys = 1_000_000
    many, few = (
        generate.file(generate.Shape(events=2 * keys, matches=matches, skewed=False, span_ms=30_000), data_dir)
        for matches in (keys // len(generate.TYPES), 5)
    )
    each, peaks = [], []
    for _ in range(runs):
        large, out = run_file(binary, many, "tumble", folder, "--partitions", "1")
        if queries.rows(queries.parquet(out)) != keys:
            raise measure.Failed(f"the tumble over {keys} keys gave {queries.rows(queries.parquet(out))} rows")
        small, _ = run_file(binary, few, "tumble", folder, "--partitions", "1")
        each.append((large.rss_max - small.rss_max) / keys)
        peaks.append((large.rss_max, small.rss_max))
    return each, peaks
