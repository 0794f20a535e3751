"""What many queries in one server cost, how soon they answer, what they need at rest, and whether they use two cores.

`served/` has the views. Each has a column `watch_ms`: a cost or a latency counts only if the rows and the sum of that column
are what DuckDB has from the same lines.
"""

import collections
import contextlib
import dataclasses
import math
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import types

import adbc_driver_flightsql.dbapi as flight_sql
import confluent_kafka
import duckdb

import extras
import generate
import measure
import queries
import report
import server
import service
import stress
import topic

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S, POLL_S = 200, 0.05
# More rounds would make the part longer than eight minutes.
RUNS_MAX = 3
MATCHES = generate.Shape().matches
# Records a second at the live end, which is how fast the event time of `generate`'s file passes, and for how long.
LIVE_RATE, LIVE_S = 20_000, 10
CHAINED = generate.Shape(events=40_000, matches=8, skewed=False, span_ms=40_000)
CHAINED_RATE, WINDOWS_MIN = 1_000, 30
# The first 100,000 records have a key each; then they come in turn.
EARLY_KEYS, EARLY_RATE, EARLY_S = 100_000, 20_000, 25
EARLY = generate.Shape(events=EARLY_KEYS + EARLY_RATE * EARLY_S, matches=EARLY_KEYS // len(generate.TYPES), skewed=False, span_ms=30_000)
PROBED, PROBED_MS = "m-999999", 10_000
REST_S, SETTLE_S, PARTITIONS = 60, 10, 4


@dataclasses.dataclass(frozen=True)
class View:
    """`answer`: its rows and the sum of its `watch_ms`, by DuckDB from a table `events`."""

    name: str
    text: str
    answer: str


def grouped(by, value="watch_ms", where="true"):
    return f"SELECT count(*), sum(w) FROM (SELECT sum({value}) AS w FROM events WHERE {where} GROUP BY {by})"


def few(number):
    """One of 100 views of about 1 % of the rows each (0.6 to 1.1), those of a few matches: by turns in windows and row by row."""
    # The share of the rows that is of matches below m is the cube root of m / MATCHES; the first tenth is of five loud matches.
    first, end = (f"m-{int(MATCHES * (0.1 + 0.009 * at) ** 3):06}" for at in (number, number + 1))
    kept = f"match_id >= '{first}' AND match_id < '{end}'"
    if number % 2 == 0:
        return View(f"few_{number}", queries.text("served", "few_in_windows", FIRST=first, END=end),
                    grouped("event_time // 10000, match_id", where=kept))
    return View(f"few_{number}", queries.text("served", "few_row_by_row", FIRST=first, END=end),
                f"SELECT count(*), sum(watch_ms) FROM events WHERE {kept}")


def whole(number):
    """A tumble over all rows; no two are the same."""
    return View(f"whole_{number}", queries.text("served", "whole", NUMBER=number),
                grouped("event_time // 60000, match_id, engagement_type", f"watch_ms + {number}"))


UPSTREAM = View("upstream", queries.text("served", "upstream"), grouped("event_time // 1000, match_id"))
DOWNSTREAM = View("downstream", queries.text("served", "downstream"), grouped("event_time // 1000"))
CHANGING = View("early", queries.text("served", "early"), grouped("event_time // 3600000, match_id, engagement_type"))
FEW, WHOLE = [few(number) for number in range(100)], [whole(number) for number in range(20)]


def expected(data, lines, views):
    """{name: rows and sum} of views over the first lines of a file."""
    with duckdb.connect() as connection:
        connection.execute(queries.text("duckdb", "source", DATA=data))
        connection.execute(f"CREATE TABLE events AS SELECT * FROM engagements LIMIT {lines}")
        return {view.name: connection.execute(view.answer).fetchone() for view in views}


def check(serving, answers, limit_s=5):
    """Waits until Flight SQL gives these rows and sums."""
    began = time.monotonic()
    with connected(serving) as cursor:
        for name, right in answers.items():
            given = None
            while given != right:
                if given and time.monotonic() - began > limit_s:
                    raise serving.failed(f"and DuckDB differ in {name}, by rows and sum: {given}, {right}; a wrong answer is not measured")
                cursor.execute(f"SELECT count(*), sum(watch_ms) FROM {name}")
                given = tuple(cursor.fetchone())


@contextlib.contextmanager
def connected(serving):
    with flight_sql.connect(f"grpc://{serving.flight}", autocommit=True) as connection, connection.cursor() as cursor:
        yield cursor


@contextlib.contextmanager
def on_cores(number):
    """What is started within runs on so many cores; None is all of them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def latencies(seconds):
    """The median and the 99th percentile."""
    p50, p99 = (sorted(seconds)[math.ceil(share * len(seconds)) - 1] for share in (0.5, 0.99))
    return f"{p50 * 1e3:.0f} ms, {p99 * 1e3:.0f} ms"


def ended(feed):
    """Waits for `feed.py`: records a second that it came to."""
    told, _ = feed.communicate(timeout=LIMIT_S)
    if feed.returncode != 0:
        raise measure.Failed(f"feed.py ended with {feed.returncode}")
    return float(told)


def samples(text, name):
    """[({label: value}, number)] of a metric."""
    for labels, number in re.findall(rf"^{name}\{{([^}}]*)\}} (\S+)$", text, re.M):
        yield dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(number)


def records_read(text):
    """Records of topics; what several queries have read counts once."""
    read, views = collections.Counter(), set()
    for labels, number in samples(text, "touchline_source_position"):
        read |= {(labels["source"], labels["partition"]): number}
        views.add(labels["query"])
    return sum(number for (source, _), number in read.items() if source not in views)


# Of queries that do what they should.
WELL = {"RUNNING", "CATCHING_UP", "IDLE", "LAGGING"}


def in_states(text):
    return [labels["state"] for labels, number in samples(text, "touchline_query_state") if number == 1]


class Served:
    def __init__(self, bench, broker):
        self.bench, self.broker = bench, broker
        self.events, self.runs = bench.options.events, min(bench.options.runs, RUNS_MAX)
        self.producer = confluent_kafka.Producer({"bootstrap.servers": broker, "linger.ms": 0, "acks": 1})

    @contextlib.contextmanager
    def serving(self, name, views, engine="", cores=None):
        """A server of these views over the topic, as delivered but for `engine`."""
        schema = queries.text("touchline", "source", SOURCE=f"'connector' = 'kafka', 'topic' = '{name}'")
        texts = {view.name: view.text for view in views}
        with tempfile.TemporaryDirectory(dir=self.bench.folder) as folder:
            with on_cores(cores):
                running = server.of_queries(self.bench.binary, folder, self.broker, schema, texts, cores or 0, engine)
            with contextlib.closing(running):
                self.until(running, "started all queries", lambda text: len(in_states(text)) == len(views) and WELL.issuperset(in_states(text)))
                yield running

    @contextlib.contextmanager
    def topic(self, fill=False, partitions=1):
        """A new topic, empty or with the events of the benchmark and what closes their windows."""
        filled = (self.bench.data, generate.closing_record(), partitions)
        name = topic.fill(self.broker, *filled) if fill else topic.create(self.broker)
        try:
            yield name
        finally:
            topic.delete(self.broker, name)

    @contextlib.contextmanager
    def fed(self, name, data, first, rate, count):
        """`feed.py` at work."""
        arguments = [self.broker, name, data, str(first), str(rate), str(count)]
        feed = subprocess.Popen([sys.executable, HERE / "feed.py", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            yield feed
        finally:
            feed.kill()
            feed.wait()

    def put(self, name, record):
        """Returns when Kafka has it."""
        self.producer.produce(name, record)
        if self.producer.flush(30) > 0:
            raise measure.Failed("Kafka does not take a record")

    def until(self, serving, what, done):
        """Waits until `/metrics` is as wanted."""
        began = time.monotonic()
        while time.monotonic() - began < LIMIT_S:
            if serving.child.poll() is not None:
                raise serving.failed("ended")
            asked = time.monotonic()
            # The demo may not listen yet.
            with contextlib.suppress(OSError):
                if done(serving.exposition()):
                    return
            # Of a hundred queries the answer is long, and making it must not count.
            time.sleep(max(POLL_S, 20 * (time.monotonic() - asked)))
        raise serving.failed(f"had not {what} within {LIMIT_S} s")

    def until_read(self, serving, records, answers):
        """Until each view has read so many records and committed its rows: the cost since the start of the server."""
        def done(text):
            read = collections.Counter()
            for labels, number in samples(text, "touchline_source_position"):
                read[labels["query"]] += number
            there = {labels["query"]: number for labels, number in samples(text, "touchline_query_tail_rows")}
            # Rows go from the tail into a file when they are a minute old.
            sealed = {labels["query"] for labels, number in samples(text, "touchline_query_sealed_files_total") if number > 0}
            return all(read[name] >= records and (name in sealed or there[name] >= rows) for name, (rows, _) in answers.items())

        self.until(serving, "read everything", done)
        cost = measure.Cost(time.monotonic() - serving.started, measure.cpu_of(serving.child.pid))
        check(serving, answers)
        return cost

    def read(self, name, views, answers, partitions=1, cores=None):
        """Cost of a server that reads the filled topic."""
        with self.serving(name, views, cores=cores) as serving:
            return self.until_read(serving, self.events + partitions, {view.name: answers[view.name] for view in views})

    def catching_up(self):
        """Many queries over a topic that was filled before."""
        sets = {"windows": FEW[:1], "rows": FEW[1:2], "20": FEW[:20], "100": FEW}
        sets |= {f"whole {number}": WHOLE[number : number + 1] for number in range(3)} | {"whole": WHOLE}
        answers = expected(self.bench.data, self.events, FEW + WHOLE)
        cpu = {label: [] for label in sets}
        with self.topic(fill=True) as name:
            for _ in range(self.runs):
                for label, views in sets.items():
                    cpu[label].append(self.read(name, views, answers).cpu)
        middle = {label: statistics.median(seconds) for label, seconds in cpu.items()}
        one = (middle["windows"] + middle["rows"]) / 2
        for label, limit in ("20", 2), ("100", 3):
            yield [f"{label} queries of 1 % of the rows each, over a filled topic: CPU s of the server, and of one with 1 query",
                   f"{report.shown(cpu[label])} and {one:.2f}, {middle[label] / one:.2f} times", f"< {limit} times"]
        # 20 servers are measured by 3.
        apart = sum(middle[f"whole {number}"] for number in range(3)) * len(WHOLE) / 3
        yield ["20 tumbles over all rows, over a filled topic: CPU s of one server, and of 20 servers (3 servers, times 20 / 3)",
               f"{report.shown(cpu['whole'])} and {apart:.2f}, {middle['whole'] / apart:.2f} times", "≤ 0.4 times"]

    def live_end(self):
        """The queries of few rows while records come at a fixed rate."""
        count = LIVE_RATE * LIVE_S
        answers = expected(self.bench.data, count, FEW)
        used = {}
        for label, views in {"windows": FEW[:1], "rows": FEW[1:2], "20": FEW[:20], "100": FEW}.items():
            with self.topic() as name, self.serving(name, views) as serving:
                with self.fed(name, self.bench.data, 0, LIVE_RATE, count) as feed:
                    self.until(serving, "read a record", lambda text: records_read(text) > 0)
                    began, before = time.monotonic(), measure.cpu_of(serving.child.pid)
                    ended(feed)
                    used[label] = (measure.cpu_of(serving.child.pid) - before) / (time.monotonic() - began)
                self.put(name, generate.closing_record())
                self.until_read(serving, count + 1, {view.name: answers[view.name] for view in views})
        one = (used["windows"] + used["rows"]) / 2
        yield [f"1 query of 1 % of the rows, {LIVE_RATE:,} records a second for {LIVE_S} s: CPU of the server", f"{one:.3f} cores", ""]
        for label in "20", "100":
            yield [f"{label} of them: CPU of the server", f"{used[label]:.3f} cores, {used[label] / one:.2f} times", ""]

    def chained(self):
        """From a view's window being readable until the view above it has it."""
        data, views = generate.file(CHAINED, self.bench.data_dir), [UPSTREAM, DOWNSTREAM]
        with self.topic() as name, self.serving(name, views) as serving:
            with self.fed(name, data, 0, CHAINED_RATE, CHAINED.events) as feed:
                seen = {view.name: [] for view in views}
                for view, times in seen.items():
                    threading.Thread(target=watch, args=(serving, view, feed, times), daemon=True).start()
                ended(feed)
            self.put(name, generate.closing_record())
            check(serving, expected(data, CHAINED.events, views), limit_s=30)
        took = [below - above for above, below in zip(seen["upstream"], seen["downstream"])]
        if len(took) < WINDOWS_MIN:
            raise measure.Failed(f"only {len(took)} windows of a view on a view were seen")
        yield [f"a view on a view, from a window readable in the one until it is in the other, p50 and p99 of {len(took)} windows",
               latencies(took), "p99 < 400 ms"]

    def early(self):
        yield self.changes("checkpoints every 50 ms", 'checkpoint_interval = "50ms"', 100)
        yield self.changes("as delivered", "", 350)

    def changes(self, label, engine, limit_ms):
        """From the arrival of a record until its key's row is readable, while others come."""
        data = generate.file(EARLY, self.bench.data_dir)
        answers = expected(data, EARLY.events, [CHANGING])
        # Of one key that no other record has, in the same hour: its row counts the probes.
        probe = generate.closing_record().replace(generate.CLOSING_MATCH.encode(), PROBED.encode())
        probe = probe.replace(str(generate.CLOSING_MS).encode(), str(generate.START_MS).encode())
        took, asked, pauses = [], [], random.Random(self.bench.options.seed)
        with self.topic() as name, self.serving(name, [CHANGING], engine) as serving, connected(serving) as cursor:
            with self.fed(name, data, EARLY_KEYS, EARLY_RATE, EARLY.events) as feed:
                self.until(serving, "read all keys", lambda text: records_read(text) >= EARLY_KEYS)
                time.sleep(2)
                while feed.poll() is None:
                    self.put(name, probe)
                    arrived = time.monotonic()
                    row = None
                    while row is None or row[0] <= len(took):
                        if time.monotonic() - arrived > 30:
                            raise serving.failed("did not show a record within 30 s")
                        time.sleep(0.002)
                        began = time.monotonic()
                        cursor.execute(f"SELECT events FROM early WHERE match_id = '{PROBED}'")
                        row = cursor.fetchone()
                        asked.append(time.monotonic() - began)
                    took.append(time.monotonic() - arrived)
                    # Not in step with the checkpoints.
                    time.sleep(pauses.uniform(0, 0.1))
                rate = ended(feed)
            rows, total = answers[CHANGING.name]
            check(serving, {CHANGING.name: (rows + 1, total + len(took) * PROBED_MS)}, limit_s=60)
        return [f"`EMIT CHANGES`, {rows:,} keys, {rate:,.0f} records a second, {label}: from a record in Kafka until its row is readable, "
                f"p50 and p99 of {len(took)}; of that a statement takes {statistics.median(asked) * 1e3:.0f} ms",
                latencies(took), f"p99 < {limit_ms} ms"]

    def at_rest(self):
        """The demo once its matches have caught up with the clock."""
        with tempfile.TemporaryDirectory(dir=self.bench.folder) as folder:
            port = service.free_port()
            options = ["--data-dir", f"{folder}/data", "--flight-port", "0", "--http-port", str(port), "--speed", "1200"]
            child = subprocess.Popen([self.bench.binary, "demo", *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, cwd=extras.ROOT)
            demo = types.SimpleNamespace(child=child, exposition=lambda: server.exposition(f"127.0.0.1:{port}"),
                                         failed=lambda what: measure.Failed(f"touchline demo {what}"))
            try:
                self.until(demo, "caught up with the clock", lambda text: time.time() - 15 < max(
                    (number for _, number in samples(text, "touchline_source_event_time_seconds")), default=0))
                time.sleep(SETTLE_S)
                read, began, cpu, memory = records_read(demo.exposition()), time.monotonic(), measure.cpu_of(child.pid), []
                while (span := time.monotonic() - began) < REST_S:
                    memory.append(stress.value(demo.exposition(), "process_resident_memory_bytes") / 1e6)
                    time.sleep(1)
                cpu, text = measure.cpu_of(child.pid) - cpu, demo.exposition()
            finally:
                server.stop(child)
        if not WELL.issuperset(states := in_states(text)):
            raise measure.Failed(f"not all queries of the demo run: {states}")
        rate = (records_read(text) - read) / span
        yield [f"at rest: `demo`, {len(states)} queries, {rate:.0f} records a second: CPU of the process, which also plays the matches",
               f"{cpu / span:.3f} cores", "≤ 0.15 cores"]
        yield ["at rest: resident memory", report.shown(memory, "{:.0f} MB ({:.0f}–{:.0f})"), "≤ 250 MB"]

    def two_cores(self):
        """Wall time on one core and on two."""
        walls = {(of, cores): [] for of in ("file", "topic") for cores in (1, 2)}
        answers = expected(self.bench.data, self.events, WHOLE[:1])
        with self.topic(fill=True, partitions=PARTITIONS) as name:
            for _ in range(self.runs):
                for cores in 1, 2:
                    with on_cores(cores):
                        walls["file", cores].append(self.bench.touchline("tumble", cores).wall)
                    walls["topic", cores].append(self.read(name, WHOLE[:1], answers, PARTITIONS, cores).wall)
        for of, what in ("file", "`run`, tumble of a file"), ("topic", f"`serve`, tumble of a filled topic of {PARTITIONS} partitions"):
            one, two = walls[of, 1], walls[of, 2]
            yield [f"{what}: wall s with 1 thread on 1 core, and with 2 on 2",
                   f"{report.shown(one)}, {report.shown(two)}: {statistics.median(one) / statistics.median(two):.2f} times faster",
                   "≥ 1.7 times"]


def watch(serving, view, feed, seen):
    """Notes when each window of a view is first readable, until the feed ends."""
    with connected(serving) as cursor:
        while feed.poll() is None:
            cursor.execute(f"SELECT count(DISTINCT window_start) FROM {view}")
            windows = cursor.fetchone()[0]
            seen.extend([time.monotonic()] * (windows - len(seen)))
            time.sleep(0.01)


def measured(bench, broker):
    """Rows of a table: what, how much, the limit."""
    served, rows = Served(bench, broker), []
    parts = [served.catching_up, served.live_end, served.chained, served.early, served.at_rest]
    if bench.cores > 1:
        parts.append(served.two_cores)
    for part in parts:
        for row in part():
            print(f"bench: {row[0]}: {row[1]} [{row[2]}]", file=sys.stderr, flush=True)
            rows.append(row)
    return rows
