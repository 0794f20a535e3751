"""Real matches through real Kafka into a real server, and every row of every result compared with DuckDB's.

    python tests/it/real_input --binary target/release/touchline --matches DIR --partitions 4 --kills 3 --stops 2 --storage s3 --seed 7

Needs the environment variables that tests/run sets. Ends with 0 where nothing is lost, doubled or wrong, else with 1 and what is.
"""

import argparse
import json
import math
import os
import pathlib
import random
import sys
import time
import uuid

import matches
import oracle
from server import Failure, Server, Topic, bounded, until

SCHEMAS = ("match_events", "players", "teams")
# From the last record in the topic to the last row in its three places.
RESULT_LIMIT_S = 90
READ_LIMIT_S = 60
# As any test. A run takes some ten seconds.
RUN_LIMIT_S = 300
# Chunks in which the topic is filled while the server runs, and is killed.
CHUNKS = 40
DIFFERENCES_SHOWN = 5


def say(text):
    print(f"real_input: {text}", file=sys.stderr, flush=True)


def same(left, right):
    if isinstance(left, float) or isinstance(right, float):
        return left is not None and right is not None and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return left == right


def differences(expected, found, key):
    """Two lists: what is wrong for good (doubled, added or not as it should be), and what is not there (yet)."""
    of = lambda row: tuple(row[column] for column in key)
    faults = []
    wanted, seen = {of(row): row for row in expected}, set()
    if len(wanted) != len(expected):
        faults.append(f"the key {key} is not unique in the expected rows")
    for row in found:
        if row.get("match_id") == matches.END_MATCH:
            continue
        name = of(row)
        if name in seen:
            faults.append(f"doubled: {row}")
        elif name not in wanted:
            faults.append(f"added: {row}")
        else:
            other = wanted[name]
            wrong = {column: (other.get(column), row.get(column)) for column in {*row, *other} - oracle.NOT_COMPARED
                     if column not in row or column not in other or not same(other[column], row[column])}
            if wrong:
                faults.append(f"wrong: {dict(zip(key, name))}: (expected, found) is {wrong}")
        seen.add(name)
    return faults, [f"lost: {row}" for name, row in wanted.items() if name not in seen]


def compare(server, expected, places):
    """What is not there (yet), some of each view and place, a line each; no line where all is as it should be.

    Anything worse is a failure at once: what is public stays as it is.
    """
    faulty, incomplete = [], []
    for view, rows in expected.items():
        for place in places:
            if place not in oracle.PLACES.get(view, places):
                continue
            found = getattr(server, f"from_{place}")(view)
            for lines, into in zip(differences(rows, found, oracle.KEYS[view]), (faulty, incomplete)):
                if lines:
                    into.append(f"{view} in {place}: {len(lines)} differences; {len(rows)} rows expected, {len(found)} found")
                    into.extend(f"    {line}" for line in lines[:DIFFERENCES_SHOWN])
    if faulty:
        raise Failure("\n".join(["rows that are wrong", *faulty]))
    return incomplete


def fill_with_restarts(server, topic, lines, options, expected):
    """Fills the topic little by little. In between the server is killed or stopped, each time just after a chunk has come, and what
    is public then is looked at."""
    ends = ["killed"] * options.kills + ["stopped"] * options.stops
    random.Random(options.seed).shuffle(ends)
    at = [round(len(lines) * chunk / CHUNKS) for chunk in range(CHUNKS + 1)]
    end_after = {round(CHUNKS * (number + 1) / (len(ends) + 1)): end for number, end in enumerate(ends)}
    for chunk in range(CHUNKS):
        topic.produce(lines[at[chunk]:at[chunk + 1]])
        # Not all at once: what has been read so far must be somewhere on its way when the server ends.
        until(READ_LIMIT_S, lambda: records_read(server) >= at[chunk],
              lambda: f"{at[chunk]} records read: {server.sql('SELECT * FROM touchline.lag')}")
        if end := end_after.get(chunk):
            server.kill() if end == "killed" else server.stop()
            say(f"{end} after {at[chunk + 1]} of {len(lines)} records")
            compare(server, expected, ("parquet", "postgres"))
            server.start()


def records_read(server):
    """By the slowest query; 0 until all have begun."""
    read = {}
    for row in server.sql("SELECT query, position FROM touchline.lag"):
        read[row["query"]] = read.get(row["query"], 0) + row["position"]
    return min(read.values()) if len(read) == len(oracle.VIEWS) else 0


def run(options, directory):
    name = f"real-input-{uuid.uuid4().hex}"
    s3 = None
    if options.storage == "s3":
        s3 = {
            "endpoint": os.environ["TOUCHLINE_TEST_S3_ENDPOINT"], "bucket": os.environ["TOUCHLINE_TEST_S3_BUCKET"],
            "region": os.environ.get("AWS_REGION", "us-east-1"), "key": os.environ["AWS_ACCESS_KEY_ID"],
            "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
    with Server(options.binary, name, directory, SCHEMAS, oracle.VIEWS, s3) as server:
        try:
            say(f"seed {options.seed}, topic {name}")
            records = matches.load(options.matches, options.binary, server.lookups)
            topic_rows = matches.arrange(records, options.partitions, options.seed)
            lines = [(partition, json.dumps(record, ensure_ascii=False)) for partition, record in topic_rows]
            lines, dead = matches.with_broken_records(lines, options.seed)
            expected = expect(lines, dead, options.partitions, directory, server.lookups)
            topic = Topic(os.environ["TOUCHLINE_TEST_KAFKA"], f"{name}-match-events", options.partitions)
            server.start()
            if options.kills or options.stops:
                fill_with_restarts(server, topic, lines, options, expected)
            else:
                topic.produce(lines)
            started = time.monotonic()
            finish(server, expected)
            say(f"all rows are there {time.monotonic() - started:.1f} s after the last record")
            server.stop()
            # The last checkpoint must neither add nor repeat anything.
            lost = compare(server, expected, ("parquet", "postgres"))
            if lost:
                raise Failure("\n".join(["after the server had stopped:", *lost]))
        except Exception:
            for number in range(1, server.starts + 1):
                log = (directory / f"server-{number}.log").read_text(encoding="utf-8", errors="replace").splitlines()
                print(f"--- end of the log of start {number}", *log[-20:], sep="\n", file=sys.stderr)
            raise
        rows = ", ".join(f"{view} {len(rows)}" for view, rows in expected.items())
        say(f"right: {len(records)} records, {options.partitions} partitions, {options.kills} kills, {options.stops} stops, "
            f"{options.storage}; rows: {rows}")


def expect(lines, broken, partitions, directory, lookups):
    """The oracle's answers; it reads the bytes of the topic from a file, without broken records and the last of each partition."""
    offsets = [0] * partitions
    records, placement = directory / "records.ndjson", directory / "placement.ndjson"
    dead = []
    with open(records, "w", encoding="utf-8") as out, open(placement, "w", encoding="utf-8") as placed:
        for index, (partition, line) in enumerate(lines[:-partitions]):
            if index in broken:
                dead.append({"partition": partition, "offset": offsets[partition], "value": line.encode()})
            else:
                out.write(line + "\n")
                placed.write(json.dumps({"source_partition": partition, "source_offset": offsets[partition]}) + "\n")
            offsets[partition] += 1
    answers = oracle.answers(records, placement, lookups, matches.camel)
    expected = {view: answer.to_pylist() for view, answer in answers.items()}
    # Each query keeps what it could not read.
    expected[oracle.DEAD_LETTERS] = [{"query": view, **row} for view in oracle.VIEWS for row in dead]
    return expected


def finish(server, expected):
    """Waits until all input is read and all results are in their places; then looks at the counters."""
    lost = []

    def complete():
        lost[:] = compare(server, expected, ("parquet", "postgres", "flight"))
        return not lost and all(row["lag"] == 0 for row in server.sql("SELECT lag FROM touchline.lag"))

    def state():
        rows = [row for table in ("queries", "lag", "watermarks") for row in server.sql(f"SELECT * FROM touchline.{table}")]
        return "\n".join(["every row is in its place", *lost, *map(str, rows)])

    until(RESULT_LIMIT_S, complete, state)
    for row in server.sql("SELECT name, state, reason, rows_late FROM touchline.queries"):
        if row["state"] not in ("RUNNING", "IDLE") or row["rows_late"]:
            raise Failure(f"a query is not as it should be: {row}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--stops", type=int, default=0)
    parser.add_argument("--storage", choices=("file", "s3"), default="file")
    parser.add_argument("--matches", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    return bounded(RUN_LIMIT_S, say, lambda directory: run(options, directory))


if __name__ == "__main__":
    sys.exit(main())
