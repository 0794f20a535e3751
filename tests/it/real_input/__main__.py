"""Real matches through real Kafka into a real server, and every row of every result compared with DuckDB's.

    python tests/it/real_input --binary target/release/touchline --partitions 4 --kills 3 [--storage s3] [--matches DIR] [--seed N]

Needs the environment variables that tests/run sets. Ends with 0 where nothing is lost, doubled or wrong, else with 1 and what is.
"""

import argparse
import json
import math
import os
import pathlib
import sys
import tempfile
import time
import uuid

import matches
import oracle
from server import Failure, Server, Topic, until

# From the last record in the topic to the last row in its three places.
RESULT_LIMIT_S = 90
READ_LIMIT_S = 60
# Chunks in which the topic is filled while the server runs, and is killed.
CHUNKS = 40
DIFFERENCES_SHOWN = 5


def say(text):
    print(f"real_input: {text}", file=sys.stderr, flush=True)


def same(left, right):
    if isinstance(left, float) or isinstance(right, float):
        return left is not None and right is not None and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return left == right


def differences(expected, found, key, partial):
    """What is lost, doubled, added or wrong. `partial`: rows may be missing still, but what is there is right and there once."""
    of = lambda row: tuple(row[column] for column in key)
    wanted, seen = {of(row): row for row in expected}, set()
    if len(wanted) != len(expected):
        yield f"the key {key} is not unique in the expected rows"
    for row in found:
        if row["match_id"] == matches.END_MATCH:
            continue
        name = of(row)
        if name in seen:
            yield f"doubled: {row}"
        elif name not in wanted:
            yield f"added: {row}"
        else:
            other = wanted[name]
            wrong = {column: (other.get(column), row.get(column)) for column in {*row, *other}
                     if column not in row or column not in other or not same(other[column], row[column])}
            if wrong:
                yield f"wrong: {dict(zip(key, name))}: (expected, found) is {wrong}"
        seen.add(name)
    if not partial:
        for name in wanted.keys() - seen:
            yield f"lost: {wanted[name]}"


def compare(server, expected, places, partial=False):
    """One line for each difference, some of each view and place."""
    lines = []
    for view, rows in expected.items():
        for place in places:
            if place == "postgres" and view in oracle.NOT_IN_POSTGRES:
                continue
            found = getattr(server, f"from_{place}")(view)
            wrong = list(differences(rows, found, oracle.KEYS[view], partial))
            if wrong:
                lines.append(f"{view} in {place}: {len(wrong)} differences; {len(rows)} rows expected, {len(found)} found")
                lines.extend(f"    {line}" for line in wrong[:DIFFERENCES_SHOWN])
    return lines


def fill_with_kills(server, topic, lines, kills, expected):
    """Fills the topic little by little; at `kills` places the server is killed just after a chunk, and what is public is looked at."""
    at = [round(len(lines) * chunk / CHUNKS) for chunk in range(CHUNKS + 1)]
    fatal = {round(CHUNKS * (kill + 1) / (kills + 1)) for kill in range(kills)}
    for chunk in range(CHUNKS):
        topic.produce(lines[at[chunk]:at[chunk + 1]])
        # Not all at once: what has been read so far must be somewhere on its way when the server dies.
        until(READ_LIMIT_S, lambda: records_read(server) >= at[chunk], lambda: f"{at[chunk]} records read: {server.sql('SELECT * FROM touchline.lag')}")
        if chunk in fatal:
            server.kill()
            say(f"killed after {at[chunk + 1]} of {len(lines)} records")
            wrong = compare(server, expected, ("parquet", "postgres"), partial=True)
            if wrong:
                raise Failure("\n".join(["while the server was dead:", *wrong]))
            server.start()


def records_read(server):
    """By the slowest query; 0 until all have begun."""
    read = {}
    for row in server.sql("SELECT query, position FROM touchline.lag"):
        read[row["query"]] = read.get(row["query"], 0) + row["position"]
    return min(read.values()) if len(read) == len(oracle.KEYS) else 0


def run(options, directory):
    name = f"real-input-{uuid.uuid4().hex}"
    s3 = None
    if options.storage == "s3":
        s3 = {
            "endpoint": os.environ["TOUCHLINE_TEST_S3_ENDPOINT"], "bucket": os.environ["TOUCHLINE_TEST_S3_BUCKET"],
            "region": os.environ.get("AWS_REGION", "us-east-1"), "key": os.environ["AWS_ACCESS_KEY_ID"],
            "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
    with Server(options.binary, name, directory, list(oracle.KEYS), s3) as server:
        try:
            say(f"seed {options.seed}, topic {name}")
            records = matches.load(options.matches, options.binary, server.lookups)
            topic_rows = matches.arrange(records, options.partitions, options.seed)
            lines = [(partition, json.dumps(record, ensure_ascii=False)) for partition, record in topic_rows]
            expected = expect(lines, options.partitions, directory, server.lookups)
            topic = Topic(os.environ["TOUCHLINE_TEST_KAFKA"], name, options.partitions)
            server.start()
            if options.kills:
                fill_with_kills(server, topic, lines, options.kills, expected)
            else:
                topic.produce(lines)
            started = time.monotonic()
            finish(server, expected)
            say(f"all rows are there {time.monotonic() - started:.1f} s after the last record")
            server.stop()
            # The last checkpoint must neither add nor repeat anything.
            wrong = compare(server, expected, ("parquet", "postgres"))
            if wrong:
                raise Failure("\n".join(["after the server had stopped:", *wrong]))
        except Exception:
            for number in range(1, server.starts + 1):
                log = (directory / f"server-{number}.log").read_text(encoding="utf-8", errors="replace").splitlines()
                print(f"--- end of the log of start {number}", *log[-20:], sep="\n", file=sys.stderr)
            raise
        rows = ", ".join(f"{view} {len(rows)}" for view, rows in expected.items())
        say(f"right: {len(records)} records, {options.partitions} partitions, {options.kills} kills, {options.storage}; rows: {rows}")


def expect(lines, partitions, directory, lookups):
    """The oracle's answers; it reads the bytes of the topic from a file, all but the last record of each partition."""
    offsets = [0] * partitions
    records, placement = directory / "records.ndjson", directory / "placement.ndjson"
    with open(records, "w", encoding="utf-8") as out, open(placement, "w", encoding="utf-8") as placed:
        for partition, line in lines[:-partitions]:
            out.write(line + "\n")
            placed.write(json.dumps({"source_partition": partition, "source_offset": offsets[partition]}) + "\n")
            offsets[partition] += 1
    answers = oracle.answers(records, placement, lookups, matches.camel)
    return {view: answer.to_pylist() for view, answer in answers.items()}


def finish(server, expected):
    """Waits until all input is read and all results are in their places, right; then looks at the counters."""
    wrong = ["nothing compared yet"]

    def complete():
        if any(row["lag"] for row in server.sql("SELECT lag FROM touchline.lag")):
            return False
        wrong[:] = compare(server, expected, ("parquet", "postgres", "flight"))
        return not wrong

    def state():
        queries = server.sql("SELECT * FROM touchline.queries")
        return "\n".join(["every row is in its place", *wrong, *map(str, queries), *map(str, server.sql("SELECT * FROM touchline.watermarks"))])

    until(RESULT_LIMIT_S, complete, state)
    for row in server.sql("SELECT name, state, reason, rows_late, rows_dead FROM touchline.queries"):
        if row["state"] != "running" or row["rows_late"] or row["rows_dead"]:
            raise Failure(f"a query is not as it should be: {row}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--storage", choices=("file", "s3"), default="file")
    parser.add_argument("--matches", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="touchline-real-input-") as directory:
        try:
            run(options, pathlib.Path(directory))
        except Failure as failure:
            say(f"FAILED: {failure}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
