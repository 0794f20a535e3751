"""Measures Touchline beside DuckDB and Flink SQL on the same bytes, checks the rows, and prints a table. README.md says how."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "services"))

import extras  # noqa: E402
import flink  # noqa: E402
import generate  # noqa: E402
import lasting  # noqa: E402
import measure  # noqa: E402
import operators  # noqa: E402
import queries  # noqa: E402
import report  # noqa: E402
import served  # noqa: E402
import server  # noqa: E402
import stress  # noqa: E402
import service  # noqa: E402
import topic  # noqa: E402

OTHERS, OPERATORS, SERVED, STADIUM = ["epoch", "start", "memory"], ["operators"], ["served"], ["simulate", "stress"]
LASTING = ["recovery"]
PARTS = ["file", "kafka", *OTHERS, *OPERATORS, *SERVED, *STADIUM, *LASTING]
TOUCHLINE = "Touchline, 1 partition"
TOUCHLINE_WIDE = "Touchline, {} partitions"
FLINK_COLD, FLINK_WARM = "Flink, with its start", "Flink, warm"
LIMIT_S = 600


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    def __init__(self, options, binary, folder):
        self.options, self.binary, self.folder = options, binary, pathlib.Path(folder)
        self.data_dir = service.cache_dir() / "bench-data"
        self.data_dir.mkdir(exist_ok=True)
        self.data = generate.file(generate.Shape(options.events, options.seed), self.data_dir)
        self.cores = os.cpu_count()
        self.measured, self.flink, self.why_no_flink = {}, None, ""
        self.oracles = {}
        if options.flink:
            try:
                self.flink = flink.install()
            except service.Unavailable as error:
                self.why_no_flink = f"not runnable here: {error}"
                say(f"NOT AVAILABLE: Flink ({error})")

    def oracle(self, query):
        """The rows as DuckDB has them, from the file."""
        if query not in self.oracles:
            out = self.folder / f"{query}.oracle.parquet"
            self.duckdb(query, 1, out)
            self.oracles[query] = queries.parquet(out)
        return self.oracles[query]

    def check(self, engine, query, rows):
        wrong = queries.differences(query, rows, self.oracle(query))
        if wrong:
            raise measure.Failed(f"{engine} and DuckDB differ in {wrong} rows of {query}: a wrong answer is not measured")

    def duckdb(self, query, threads, out):
        statements = self.folder / "duckdb.sql"
        statements.write_text(queries.duckdb_file(self.data, query, out))
        _, text = measure.process([sys.executable, HERE / "duck.py", statements, threads], LIMIT_S)
        return measure.Cost(*map(float, text.split()))

    def touchline(self, query, partitions):
        cost, out = extras.run_file(self.binary, self.data, query, self.folder, "--partitions", partitions)
        self.check("Touchline", query, queries.parquet(out))
        return cost

    def start_flink(self, query, source, name):
        """A warmed-up job, and the cost of its first pass; its rows are checked."""
        rows = self.folder / f"{name}.flink"
        statements = self.folder / "flink.sql"
        statements.write_text(queries.flink_file(source, query, rows))
        job = flink.Job(self.flink, statements, self.folder / f"{name}.flink.log")
        try:
            cold = job.run(LIMIT_S)
            self.check("Flink", query, queries.csv(query, rows))
        except BaseException:
            job.close()
            raise
        return job, cold

    def rounds(self, query, source, engines, flink_source):
        """Runs all engines in turn, `--runs` times, after one round that is not counted; Flink's is the one that starts it."""
        costs = {name: [] for name in engines}
        self.measured[query, source] = costs
        job = None
        if self.flink and query in self.options.flink:
            try:
                job, cold = self.start_flink(query, flink_source, f"{query}-{source}")
                say(f"{query} from {source}: {FLINK_COLD}: {cold.cpu:.2f} CPU s, {cold.wall:.2f} s")
                costs[FLINK_COLD], costs[FLINK_WARM] = [cold], []
                engines = {**engines, FLINK_WARM: lambda: job.run(LIMIT_S)}
            except measure.Failed as error:
                say(str(error))
                costs["Flink"] = f"failed: {str(error).splitlines()[0]}"
        else:
            costs["Flink"] = self.why_no_flink if self.options.flink and not self.flink else "left out"
        try:
            for number in range(-1, self.options.runs):
                for name, run in engines.items():
                    if name == FLINK_WARM and number < 0:
                        continue
                    cost = run()
                    if number >= 0:
                        costs[name].append(cost)
                        say(f"{query} from {source}, run {number + 1}: {name}: {cost.cpu:.2f} CPU s, {cost.wall:.2f} s")
        finally:
            if job:
                job.close()

    def from_file(self):
        for query in self.options.queries:
            out = self.folder / "duckdb.parquet"
            engines = {TOUCHLINE: lambda: self.touchline(query, 1), "DuckDB, 1 thread": lambda: self.duckdb(query, 1, out)}
            if self.cores > 1:
                engines[TOUCHLINE_WIDE.format(self.cores)] = lambda: self.touchline(query, self.cores)
                engines[f"DuckDB, {self.cores} threads"] = lambda: self.duckdb(query, self.cores, out)
            self.rounds(query, "file", engines, f"'connector' = 'filesystem', 'path' = 'file://{self.data}'")

    def from_kafka(self):
        try:
            broker = topic.Broker()
        except service.Unavailable as error:
            say(f"NOT AVAILABLE: Kafka ({error})")
            return
        with contextlib.closing(broker):
            say("filling the topic")
            name = topic.fill(broker.address, self.data, generate.closing_record())
            try:
                for query in self.options.queries:
                    engines = {TOUCHLINE: lambda: self.touchline_kafka(query, broker.address, name, 1)}
                    if self.cores > 1:
                        wide = TOUCHLINE_WIDE.format(self.cores)
                        engines[wide] = lambda: self.touchline_kafka(query, broker.address, name, self.cores)
                    self.rounds(query, "kafka", engines, (
                        f"'connector' = 'kafka', 'topic' = '{name}', 'properties.bootstrap.servers' = '{broker.address}', "
                        f"'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'"
                    ))
                    self.measured[query, "kafka"]["DuckDB"] = "does not read Kafka"
            finally:
                topic.delete(broker.address, name)

    def touchline_kafka(self, query, broker, name, partitions):
        schema = queries.text("touchline", "source", SOURCE=f"'connector' = 'kafka', 'topic' = '{name}'")
        views = {"measured": queries.text("touchline", query)}
        rows_out = queries.rows(self.oracle(query))
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            serving = server.of_queries(self.binary, folder, broker, schema, views, partitions)
            with contextlib.closing(serving):
                cost, _ = serving.until_read(self.options.events + 1, rows_out, LIMIT_S)
                rows = pathlib.Path(folder) / "rows.parquet"
                serving.save(rows)
            self.check("Touchline", query, queries.parquet(rows))
        return cost

    def others(self, parts):
        """Rows of a table: what, how much, the goal."""
        rows, runs = [], self.options.runs
        if "epoch" in parts:
            say("one-row epochs")
            for name, times in extras.one_row_epoch(self.binary, self.data_dir, self.folder, runs).items():
                rows.append([f"epoch of one row, `{name}`", report.shown([t * 1e6 for t in times], "{:.0f} µs ({:.0f}–{:.0f})"), "< 1 ms"])
        if "start" in parts:
            say("starts of the demo")
            for view, times in extras.first_row(self.binary, runs).items():
                rows.append([f"`demo` on a new folder to a row of `{view}` read by Flight SQL", report.shown(times, "{:.2f} s ({:.2f}–{:.2f})"), "< 2 s"])
        if "memory" in parts:
            say("memory of open keys")
            each, peaks = extras.bytes_a_key(self.binary, self.data_dir, self.folder, runs)
            rows.append(["memory an open key of the tumble, at 1 M keys", report.shown(each, "{:.0f} bytes ({:.0f}–{:.0f})"), "< 300 bytes"])
            large, small = peaks[-1]
            rows.append(["peak memory of that run, and of one with 40 keys", f"{large / 2**20:.0f} MiB, {small / 2**20:.0f} MiB", ""])
            if self.options.minutes:
                say(f"memory of a steady load, for {self.options.minutes} minutes")
                rows.extend(lasting.steady(self, self.options.minutes))
        if "recovery" in parts:
            say("starts with much state")
            rows.extend(lasting.measured(self))
        if "operators" in parts:
            say("joins and sessions beside a tumble")
            rows.extend(operators.measured(self.binary, self.data_dir, self.folder, runs, self.flink))
        if "served" in parts:
            say("a server of many queries")
            try:
                broker = topic.Broker()
            except service.Unavailable as error:
                say(f"NOT AVAILABLE: Kafka ({error})")
            else:
                with contextlib.closing(broker):
                    rows.extend(served.measured(self, broker.address))
        if "simulate" in parts:
            say("the simulator")
            rates = stress.simulator(self.binary, self.folder, runs)
            rows.append(["simulator, `standard` profile to files, million records per second per core", report.shown(rates), "≥ 0.5"])
        if "stress" in parts:
            say("the stress profile through all queries, as fast as a match goes")
            try:
                broker = topic.Broker(own=True)
            except service.Unavailable as error:
                say(f"NOT AVAILABLE: Kafka ({error})")
            else:
                with contextlib.closing(broker):
                    rows.extend(stress.all_queries(self.binary, self.folder, broker.address))
        return rows

    def goals(self):
        """The ratios that were set as goals."""
        costs = self.measured.get(("tumble", "file"), {})
        own, rows = costs.get(TOUCHLINE), []
        events = self.options.events
        for engine, goal in [(FLINK_WARM, 5), (FLINK_COLD, 5), ("DuckDB, 1 thread", 0.5)]:
            if own and costs.get(engine):
                ratio = report.rate(events, own) / report.rate(events, costs[engine])
                rows.append([f"tumble, events per second per core, against {engine}", f"{ratio:.2f}", f"≥ {goal}"])
        return rows

    def head(self, command, stopped):
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        about = (
            f"`{command}`, commit {report.commit()}, {date}, load average at the end {os.getloadavg()[0]:.1f}.\n{report.machine()}.\n"
            f"{self.options.events:,} events of {generate.RECORD_BYTES} bytes, {self.options.runs} runs."
        )
        if self.options.touchline:
            about += "\nThe binary of Touchline was given, and not built from that commit by this run."
        return about + ("\nIt was stopped before its end: what is missing was not measured." if stopped else "")

    def texts(self, others, command, stopped):
        """The measured parts, each as the name of its block in README.md, and Markdown."""
        head = self.head(command, stopped)
        for source in ("file", "kafka"):
            measured = {query: engines for (query, of), engines in self.measured.items() if of == source}
            if not measured:
                continue
            tables = [head]
            if source == "file" and (goals := self.goals()):
                tables.append(report.table(["what", "times faster", "goal"], goals))
            tables.append(report.rates(self.options.events, measured, TOUCHLINE))
            yield source, "\n\n".join(tables)
        for name, rows in others.items():
            if rows:
                yield name, f"{head}\n\n{report.table(['what', 'median (min–max)', 'goal'], rows)}"


def build():
    """The binary of this checkout, built."""
    say("building touchline (--touchline PATH takes a binary that is there)")
    subprocess.run(["cargo", "build", "--release", "--locked", "-p", "touchline"], cwd=ROOT, check=True)
    told = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, check=True, capture_output=True).stdout
    return pathlib.Path(json.loads(told)["target_directory"]) / "release" / "touchline"


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="Measures Touchline beside DuckDB and Flink SQL.")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of everything; medians are shown")
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--queries", nargs="+", choices=queries.NAMES, default=queries.NAMES)
    parser.add_argument("--flink", nargs="*", choices=queries.NAMES, default=queries.NAMES, metavar="QUERY",
                        help="queries to measure Flink with, which takes most of the time; --flink alone leaves it out")
    parser.add_argument("--minutes", type=int, default=0, metavar="N",
                        help="in the part memory: also three queries at a steady load for so long, with a verdict from 16 on; 120 shows a slow leak")
    parser.add_argument("--touchline", metavar="PATH", type=pathlib.Path, help="a binary to measure; default: this checkout is built")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    options = parser.parse_args()
    # A path of this machine says nothing to others.
    command = shlex.join(["tests/bench/run", *(os.path.basename(word) if os.sep in word else word for word in sys.argv[1:])])

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    binary = options.touchline.resolve() if options.touchline else build()
    with tempfile.TemporaryDirectory(prefix="touchline-bench-") as folder:
        bench = Bench(options, binary, folder)
        others, failed, stopped = {}, None, False
        try:
            for block, own in ("others", OTHERS), ("operators", OPERATORS), ("served", SERVED), ("stadium", STADIUM), ("lasting", LASTING):
                others[block] = bench.others([part for part in own if part in options.only])
            if "file" in options.only:
                bench.from_file()
            if "kafka" in options.only:
                bench.from_kafka()
        except measure.Failed as error:
            # What was measured before is still worth seeing, but not worth keeping.
            failed = error
        except KeyboardInterrupt:
            stopped = True
        texts = list(bench.texts(others, command, stopped))
    for _, text in texts:
        print(f"{text}\n")
    say(f"took {time.monotonic() - started:.0f} s")
    if failed:
        raise failed
    if options.write:
        for name, text in texts:
            report.write(name, text)


if __name__ == "__main__":
    try:
        main()
    except (measure.Failed, service.Unavailable, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")
