"""How soon a server is ready again with much state, and whether a steady load makes it grow.

Both over the embedded log, so that a broker's own memory and start are not in it, and filled by HTTP.
"""

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import measure
import queries
import report
import server

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S, POLL_S = 600, 0.02
# Rows of state have a key of 36 bytes and a text of 440.
STATE_BYTES = {"10 MB": 10_000_000, "100 MB": 100_000_000, "1 GB": 1_000_000_000}
KEY_BYTES, TEXT_BYTES = 36, 440
# What the server takes in one request.
RECORDS = 1_000
STARTS = 3
READY_S = 5
OPENED_MS = 1_764_169_200_000
KEYS = """CREATE TABLE keys (k VARCHAR NOT NULL, note VARCHAR NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'keys', 'format' = 'json', 'http.ingest' = 'true', 'http.key' = 'k', 'idle-timeout' = 'never');
"""
OPEN = """SELECT window_start, k, count(*) AS n, max(note) AS note FROM TUMBLE(keys, ts, INTERVAL '1 hour')
GROUP BY window_start, window_end, k"""

STEADY_RATE, MATCHES = 2_000, 500
# The verdict compares medians of so many minutes.
TOGETHER, SETTLED_MIN, GROWTH_MAX = 3, 10, 1.10
STEADY = ["tumble", "hop", "filter"]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def post(serving, table, lines):
    """Records into the embedded log; returns when they are durable."""
    connection = http.client.HTTPConnection(serving.http, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", f"/api/ingest/{table}", b"\n".join(lines), {"Content-Type": "application/x-ndjson"})
        answer = connection.getresponse()
        said = answer.read()
    if answer.status != 202 or json.loads(said)["rejected"]:
        raise serving.failed(f"did not take records: {answer.status} {said[:300]!r}")


def asked(serving, statement):
    with server.flight_sql.connect(f"grpc://{serving.flight}", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def until(serving, what, done):
    began = time.monotonic()
    while not (value := done()):
        if serving.child.poll() is not None:
            raise serving.failed("ended")
        if time.monotonic() - began > LIMIT_S:
            raise serving.failed(f"had not {what} within {LIMIT_S} s")
        time.sleep(POLL_S)
    return value


def is_ready(serving):
    """All queries are there, and one can be asked."""
    connection = http.client.HTTPConnection(serving.http, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, server.flight_sql.Error):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200 and asked(serving, "SELECT count(*) FROM measured") is not None
    return False


def key(number):
    mixed = number * 0x9E3779B97F4A7C15 % 2**64 >> 32
    return f"{mixed:08x}-0000-4000-8000-{number:012}"


def of_keys(first, count):
    """Texts that are no smaller when they are compressed than half."""
    draw = random.Random(first)
    for number in range(first, first + count):
        yield b'{"k":"%s","note":"%s","ts":%d}' % (key(number).encode(), draw.randbytes(TEXT_BYTES // 2).hex().encode(), OPENED_MS + number % 1_000)


class Recovery:
    def __init__(self, bench, label):
        self.bench, self.label = bench, label
        self.keys = STATE_BYTES[label] // (KEY_BYTES + TEXT_BYTES)
        self.definitions = pathlib.Path(tempfile.mkdtemp(dir=bench.folder))
        for kind, text in ("schemas", KEYS), ("queries", f"CREATE MATERIALIZED VIEW measured AS\n{OPEN};\n"):
            (self.definitions / kind).mkdir()
            (self.definitions / kind / "keys.sql").write_text(text)

    def server(self):
        return server.Server(self.bench.binary, self.definitions, "embedded", self.definitions, 0)

    def fill(self):
        """What the state takes in memory and on disk, bytes, as the server says."""
        with contextlib.closing(self.server()) as serving:
            until(serving, "become ready", lambda: is_ready(serving))
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                parts = range(0, self.keys, RECORDS)
                for _ in pool.map(lambda first: post(serving, "keys", list(of_keys(first, min(RECORDS, self.keys - first)))), parts):
                    pass
            columns = "rows_in, state_bytes + state_disk_bytes, checkpoint"
            rows, state, checkpoint = until(serving, "read all keys", lambda: next(
                (row for row in asked(serving, f"SELECT {columns} FROM touchline.queries") if row[0] >= self.keys), None))
            # The last of them are durable with a later checkpoint, at the latest with that of the stop.
            say(f"{self.label}: {rows:,} keys, {state / 1e6:.0f} MB of state, checkpoint {checkpoint}")
        return state

    def starts(self):
        """Seconds from the start of the process until it is ready, after a stop, and after a kill."""
        took = {"stop": [], "kill": []}
        for after, times in took.items():
            for _ in range(STARTS):
                serving = self.server()
                try:
                    until(serving, "become ready", lambda: is_ready(serving))
                    times.append(time.monotonic() - serving.started)
                    if after == "stop":
                        continue
                    serving.child.kill()
                    serving.child.wait()
                finally:
                    serving.close()
        return took

    def check(self):
        """The window closes with all keys in it: a start that is fast because it has forgotten something is no start."""
        with contextlib.closing(self.server()) as serving:
            until(serving, "become ready", lambda: is_ready(serving))
            # Enough keys for each partition to get one: the window closes when all are beyond it.
            later = [b'{"k":"later-%d","note":"","ts":%d}' % (number, OPENED_MS + 7_200_000) for number in range(64)]
            post(serving, "keys", later)
            closed = "SELECT count(*), sum(n), count(DISTINCT k) FROM measured"
            found = until(serving, "closed the window", lambda: next((row for row in asked(serving, closed) if row[0]), None))
            if tuple(found) != (self.keys, self.keys, self.keys):
                raise serving.failed(f"has {found} rows, records and keys of {self.keys}: a wrong answer is not measured")


def recovery(bench):
    """Rows of a table: what, how much, the goal."""
    for label in STATE_BYTES:
        measured = Recovery(bench, label)
        state = measured.fill()
        took = measured.starts()
        measured.check()
        subprocess.run(["rm", "-rf", measured.definitions], check=True)
        form = "{:.2f} s ({:.2f}–{:.2f})"
        yield [f"{state / 1e6:,.0f} MB of state, {measured.keys:,} open keys: from the start of the process until it is ready, after a stop and after a kill",
               f"{report.shown(took['stop'], form)}, {report.shown(took['kill'], form)}", f"≤ {READY_S} s"]


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def event(number, now_ms, draw):
    kind = ("reaction", "comment", "share", "click")[number % 4]
    return (f'{{"event_id":"{number:012}","match_id":"m-{draw.randrange(MATCHES):06}","engagement_type":"{kind}",'
            f'"watch_ms":{draw.randrange(100, 100_000)},"event_time":{now_ms},"text":"{"x" * 100}"}}').encode()


def steady(bench, minutes):
    """Three queries, 2,000 events a second for so many minutes: resident memory of each, and whether it has grown since the tenth."""
    schema = queries.text("touchline", "source", SOURCE="'connector' = 'kafka', 'topic' = 'e', 'http.ingest' = 'true'")
    views = {name: queries.text("touchline", name) for name in STEADY}
    resident, draw, sent = [], random.Random(bench.options.seed), 0
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        with contextlib.closing(server.of_queries(bench.binary, folder, "embedded", schema, views, 0)) as serving:
            until(serving, "started all queries", lambda: len(asked(serving, "SELECT name FROM touchline.queries")) == len(STEADY))
            began = time.monotonic()
            while len(resident) < minutes:
                due = int((time.monotonic() - began) * STEADY_RATE)
                for first in range(sent, due, RECORDS):
                    now_ms = int(time.time() * 1000)
                    post(serving, "engagements", [event(number, now_ms, draw) for number in range(first, min(first + RECORDS, due))])
                sent = max(sent, due)
                time.sleep(0.1)
                if time.monotonic() - began >= 60 * (len(resident) + 1):
                    resident.append(resident_bytes(serving.child.pid))
                    say(f"minute {len(resident)}: {resident[-1] / 1e6:.0f} MB resident, {sent:,} events")
            read = min(row[0] for row in asked(serving, "SELECT rows_in FROM touchline.queries"))
    if read < sent - 60 * STEADY_RATE:
        raise measure.Failed(f"the server has read {read:,} events of {sent:,}: it did not keep up, so its memory says nothing")
    shown = f"{resident[0] / 1e6:.0f} MB after the first minute, {max(resident) / 1e6:.0f} MB at the most, {resident[-1] / 1e6:.0f} MB at the end"
    if minutes < SETTLED_MIN + 2 * TOGETHER:
        return [[f"three queries, {STEADY_RATE:,} events a second for {minutes} minutes: resident memory", shown, ""]]
    middle = statistics.median(resident[SETTLED_MIN - TOGETHER : SETTLED_MIN])
    end = statistics.median(resident[-TOGETHER:])
    verdict = "kept" if end <= middle * GROWTH_MAX else "NOT KEPT"
    return [[f"three queries, {STEADY_RATE:,} events a second for {minutes} minutes: resident memory at the end, of that at minute {SETTLED_MIN}",
             f"{end / middle:.2f} ({middle / 1e6:.0f} MB, then {end / 1e6:.0f} MB; {shown}): {verdict}", f"≤ {GROWTH_MAX:.2f}"]]


def measured(bench):
    for row in recovery(bench):
        say(f"{row[0]}: {row[1]} [{row[2]}]")
        yield row
