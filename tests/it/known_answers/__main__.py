"""A simulated match and its crowd through real Kafka into a real server that runs every shipped query, compared with what is known.

    python tests/it/known_answers --binary target/release/touchline --profile smoke --partitions 8 --spelling mixed

Known are the simulator's truth files, and the answers that DuckDB computes from the records as they lie in the simulator's files.
Parquet, Postgres and Flight SQL must agree to the last row. Punctual records come first, and the server is killed in the middle of
them; when all windows have closed the late ones come, so that it is known of every one for which windows it is late.

Needs the environment variables that tests/run sets. Ends with 0 where every answer is right, else with 1 and what is not.
"""

import argparse
import collections
import datetime
import json
import math
import os
import pathlib
import re
import sys
import time
import uuid

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "real_input"))

import answers
import records
from server import ROOT, Failure, Server, Topic, bounded, plain, until, value_of

SCHEMAS = ("match_events", "engagements", "live_matches", "player_live_stats", "team_live_stats", "players", "teams")
# Chunks in which the topics are filled, and the one after which the server is killed.
CHUNKS = 8
KILL_AFTER = 4
READ_LIMIT_S = 120
RESULT_LIMIT_S = 40
AGAIN_S = 1
DIFFERENCES_SHOWN = 5
# What the truth files call otherwise than the views.
TRUTH_NAMES = {
    "momentum_index": {"home_decayed": "home_weight", "away_decayed": "away_weight", "momentum_decayed": "momentum"},
}
# Views whose rows the truth files hold, one by one.
TRUTH_VIEWS = ("momentum_5m", "momentum_index", "possession_pressure", "heatmap_15m", "engagement_per_minute", "device_minutes",
               "crowd_10s", "sentiment_30s", "goal_uplift")


def say(text):
    print(f"known_answers: {text}", file=sys.stderr, flush=True)


# --- comparing


def close(found, expected, tolerance):
    if found is None or expected is None:
        return found is expected
    if tolerance:
        return abs(found - expected) <= max(answers.ESTIMATE_MIN, tolerance * expected)
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)


def hashable(value):
    return tuple(value) if isinstance(value, list) else value


def differences(found, expected, estimates):
    """Lines on how two lists of rows differ, as multisets. Numbers with a fraction are compared with a tolerance."""
    columns = set(expected[0]) if expected else set()
    if found and expected and set(found[0]) != columns:
        return [f"columns {sorted(found[0])} instead of {sorted(columns)}"]
    loose = {name for rows in (found, expected) for row in rows for name, value in row.items() if isinstance(value, float)}
    loose = sorted(loose | set(estimates))
    exact = sorted(columns - set(loose))

    def groups(rows):
        result = collections.defaultdict(list)
        for row in rows:
            result[tuple(hashable(row[name]) for name in exact)].append([row[name] for name in loose])
        for values in result.values():
            values.sort(key=lambda row: [(value is None, value or 0) for value in row])
        return result

    lines = []
    left, right = groups(found), groups(expected)
    for key in {*left, *right}:
        ours, theirs = left.get(key, []), right.get(key, [])
        named = dict(zip(exact, key))
        if len(ours) != len(theirs):
            lines.append(f"{len(ours)} rows instead of {len(theirs)}: {named}")
            continue
        for our, their in zip(ours, theirs):
            wrong = {name: (expected, found) for name, found, expected in zip(loose, our, their)
                     if not close(found, expected, estimates.get(name))}
            if wrong:
                lines.append(f"{named}: (expected, found) is {wrong}")
    return lines


def estimated(view, found, expected):
    """As `differences`, with the tolerance for columns that are estimates."""
    if view == "engagement_per_minute":
        # A rate among estimated users is as exact as they are: what must be exact is that it is the rate among these users.
        found, expected = ([{**row, "per_user": row["per_user"] - row["events"] / row["users"]} for row in rows]
                           for rows in (found, expected))
    return differences(found, expected, answers.ESTIMATES.get(view, {}))


class Findings:
    """What is wrong, collected, so that one run tells all of it."""

    def __init__(self):
        self.lines = []

    def add(self, what, lines):
        if lines:
            self.lines.append(f"{what}: {len(lines)} differences")
            self.lines.extend(f"    {line}" for line in lines[:DIFFERENCES_SHOWN])

    def raise_any(self):
        if self.lines:
            raise Failure("\n".join(["answers that are wrong:", *self.lines]))


def without(rows):
    return [row for row in rows if row.get("match_id") not in records.APART]


# --- filling


class Feed:
    """The topics of one server, and how much has been sent to each of their partitions."""

    def __init__(self, name, partitions):
        self.topics = {topic: Topic(os.environ["TOUCHLINE_TEST_KAFKA"], f"{name}-{topic}", partitions[topic]) for topic in partitions}
        self.sent = {topic: [0] * partitions[topic] for topic in partitions}
        # Every line that was sent, by its place, for the dead letters.
        self.lines = {}

    def send(self, topic, partition, lines):
        for line in lines:
            self.lines[topic, partition, self.sent[topic][partition]] = line
            self.sent[topic][partition] += 1
        return [(partition, line) for line in lines]

    def produce(self, topic, batch):
        self.topics[topic].produce(batch)

    def chunk(self, input_lines, begin, end):
        """The share from `begin` to `end` of every partition of every topic."""
        for topic, partitions in input_lines.items():
            batch = []
            for number, lines in enumerate(partitions):
                batch += self.send(topic, number, lines[round(len(lines) * begin):round(len(lines) * end)])
            self.produce(topic, batch)

    def read_by(self, server):
        """Whether every query has read all that was sent, and those above views what these have shown so far."""
        lag = server.sql(
            'SELECT query, source, sum(position) AS position, CASE WHEN count("end") = count(*) THEN sum("end") END AS "end" '
            "FROM touchline.lag GROUP BY query, source")
        read = {(row["query"], row["source"]): row["position"] for row in lag}
        wanted = {(view, topic) for view, topics in answers.READS.items() for topic in topics}
        behind = [key for key in wanted
                  if min((read[query, source] for query, source in read
                          if query == key[0] and same_name(source, key[1])), default=-1) < sum(self.sent[key[1]])]
        behind += [(row["query"], row["source"]) for row in lag
                   if row["source"] in answers.VIEWS and (row["end"] is None or row["position"] < row["end"])]
        self.behind = behind
        return not behind


def same_name(source, topic):
    """A source is named after its table or its topic."""
    return topic in source.replace("_", "-")


def sealed(server):
    """Whether all rows that have been emitted are in public files."""
    rows = server.sql("SELECT name, state, reason, tail_rows FROM touchline.queries")
    for row in rows:
        if row["state"] not in ("RUNNING", "IDLE"):
            raise Failure(f"a query is not as it should be: {row}")
    return len(rows) == len(answers.VIEWS) and not any(row["tail_rows"] for row in rows)


# --- the run


def run(options, directory):
    name = f"known-{uuid.uuid4().hex}"
    started = time.monotonic()
    with Server(options.binary, name, directory, SCHEMAS, answers.VIEWS) as server:
        # Here the wall clock would decide: three seconds in which the machine is busy elsewhere would close windows.
        crowd = server.queries / "crowd_10s.sql"
        text = crowd.read_text(encoding="utf-8")
        if "EMIT TIMEOUT INTERVAL '3 seconds'" not in text:
            raise Failure("crowd_10s has another timeout than this test knows")
        crowd.write_text(text.replace("'3 seconds'", "'1 hour'"), encoding="utf-8")
        # And a partition that is read to its end would be idle while slower queries still read, and its next records late: the
        # others, which come a little before, would lead alone.
        for schema in server.schemas.glob("*.sql"):
            text = schema.read_text(encoding="utf-8")
            schema.write_text(text.replace("'idle-timeout' = '30 seconds'", "'idle-timeout' = '1 hour'"), encoding="utf-8")
        try:
            punctual = records.simulate(options.binary, directory / "punctual", "punctual", options, seal=True)
            late = records.simulate(options.binary, directory / "late", "late", options, seal=False)
            punctual, late = used(punctual, late)
            for table in ("players", "teams"):
                (server.lookups / f"{table}.csv").write_bytes((directory / "punctual" / f"{table}.csv").read_bytes())
            known = load(directory, punctual, late, server.lookups)
            feed = Feed(name, {topic: len(partitions) for topic, partitions in punctual.items()})
            fill(server, feed, punctual)
            finish(server, feed, known, with_late=False)
            findings = Findings()
            check_truth(server, known, directory / "punctual" / "truth", findings)
            check_late(server, known, None, findings, late_came=False)
            for name in answers.BESIDE:
                truth = truth_rows(directory / "punctual" / "truth", name)
                findings.add(f"{name}: truth and DuckDB", differences(truth, plain(known.beside(name)), {}))
            findings.raise_any()
            say(f"punctual records are right after {time.monotonic() - started:.1f} s")
            feed.chunk(late, 0, 1)
            finish(server, feed, known, with_late=True)
            check_late(server, known, directory / "punctual" / "truth", findings, late_came=True)
            check_dead(server, feed, directory / "punctual" / "truth", findings)
            check_pages(server, known, findings)
            check_sessions(server, directory / "punctual" / "truth", findings)
            findings.raise_any()
            server.stop()
        except Exception:
            for number in range(1, server.starts + 1):
                log = (directory / f"server-{number}.log").read_text(encoding="utf-8", errors="replace").splitlines()
                print(f"--- end of the log of start {number}", *log[-20:], sep="\n", file=sys.stderr)
            raise
        sent = {topic: sum(partitions) for topic, partitions in feed.sent.items()}
        say(f"right after {time.monotonic() - started:.1f} s: {options.profile}, {options.partitions} partitions, {options.spelling}, "
            f"killed once; records {sent}")


def used(punctual, late):
    """Without the partitions that no key has led to: where none is ever idle, they would hold all windows open to the end."""
    numbers = {topic: [number for number, lines in enumerate(partitions) if len(lines) > 1 or late[topic][number]]
               for topic, partitions in punctual.items()}
    return [{topic: [partitions[number] for number in numbers[topic]] for topic, partitions in rows.items()}
            for rows in (punctual, late)]


def load(directory, punctual, late, lookups):
    normal = records.Normal(lookups / "teams.csv")
    readable = {}
    for topic in records.TOPICS:
        readable[topic] = directory / f"{topic}.readable.ndjson"
        with open(readable[topic], "w", encoding="utf-8") as out:
            partitions = len(punctual[topic])
            records.write_readable(normal, topic, punctual[topic], [0] * partitions, False, out)
            records.write_readable(normal, topic, late[topic], [len(lines) for lines in punctual[topic]], True, out)
    # The record that ends each partition, less the delay of every topic's watermark.
    watermark = moment(json.loads(punctual["engagements"][0][-1])["timestamp"]) - datetime.timedelta(seconds=5)
    return answers.Answers(readable, lookups, watermark)


def fill(server, feed, punctual):
    """Little by little, the record that ends each partition last; the server is killed in between."""
    server.start()
    body = {topic: [lines[:-1] for lines in partitions] for topic, partitions in punctual.items()}
    for number in range(CHUNKS):
        feed.chunk(body, number / CHUNKS, (number + 1) / CHUNKS)
        if number == KILL_AFTER:
            # In the midst of reading this chunk.
            server.kill()
            say(f"killed after {sum(map(sum, feed.sent.values()))} records")
            server.start()
        until(READ_LIMIT_S, lambda: feed.read_by(server), lambda: f"all that was sent is read; behind are {feed.behind}")
    for topic, partitions in punctual.items():
        feed.produce(topic, [pair for number, lines in enumerate(partitions) for pair in feed.send(topic, number, lines[-1:])])


def finish(server, feed, known, with_late):
    """Waits until all is read and every row in its three places, and looks at each of them."""
    until(READ_LIMIT_S, lambda: feed.read_by(server) and sealed(server),
          lambda: "\n".join(["all that was sent is read and emitted", *map(str, server.sql("SELECT * FROM touchline.queries"))]))
    deadline = time.monotonic() + RESULT_LIMIT_S
    while True:
        findings = Findings()
        check_results(server, known, findings, with_late)
        # Postgres follows the others, and a window that has just closed is in none of them yet.
        if not findings.lines or time.monotonic() > deadline:
            if findings.lines and not with_late:
                # Counts that are too low may have their reason there.
                check_late(server, known, None, findings, late_came=False)
            findings.raise_any()
            return
        time.sleep(AGAIN_S)


def check_results(server, known, findings, with_late):
    """Parquet, Postgres and Flight SQL agree, and say what DuckDB says."""
    for view in answers.LARGE:
        tables = {place: getattr(server, f"table_from_{place}")(view) for place in answers.PLACES[view]}
        for place, lines in known.table_differences(view, with_late, tables).items():
            findings.add(f"{view}: {place} and DuckDB", lines)
    for view in answers.VIEWS:
        if view in answers.LARGE:
            continue
        expected = plain(known.of(view, with_late))
        found = {place: without(getattr(server, f"from_{place}")(view))
                 for place in answers.PLACES.get(view, ("parquet", "postgres", "flight"))}
        for place, rows in found.items():
            if place != "flight":
                findings.add(f"{view}: {place} and flight", differences(rows, found["flight"], {}))
        findings.add(f"{view}: flight and DuckDB", estimated(view, found["flight"], expected))
        if not expected and view not in ("event_alerts", "goal_reactions", "goal_uplift", "spike_alerts"):
            findings.add(f"{view}", ["DuckDB expects no rows, so nothing has been compared"])


def moment(text):
    return value_of(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")))


def truth_rows(folder, view):
    with open(folder / f"{view}.ndjson", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        for column in ("window_start", "window_end", "event_time", "began", "ended"):
            if column in row:
                row[column] = moment(row[column])
    return rows


def retention(sessions, watermark):
    """How long viewers stay, from their sessions: of each day so far, hour by hour, as far as the watermark has got."""
    hour, longest = datetime.timedelta(hours=1), collections.defaultdict(dict)
    for row in sessions:
        # A session ends five minutes after its last act.
        minutes = (row["window_end"] - datetime.timedelta(minutes=5) - row["window_start"]) // datetime.timedelta(minutes=1)
        day = datetime.datetime.combine(row["window_end"].date(), datetime.time())
        for end in (day + number * hour for number in range(1, 25)):
            if row["window_end"] < end <= watermark:
                viewers = longest[day, end, row["match_id"]]
                viewers[row["user_id"]] = max(minutes, viewers.get(row["user_id"], 0))
    rows = []
    for (day, end, match), viewers in longest.items():
        left = len(viewers)
        for minutes, leave in sorted(collections.Counter(viewers.values()).items()):
            rows.append({"window_start": day, "window_end": end, "match_id": match, "minutes": minutes,
                         "viewers": left, "share": left / len(viewers)})
            left -= leave
    return rows


def check_truth(server, known, folder, findings):
    """The views say what the simulator knows."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    for view in TRUTH_VIEWS:
        names = TRUTH_NAMES.get(view, {})
        truth = truth_rows(folder, view)
        found = without(server.from_flight(view))
        columns = set(found[0]) if found else set()
        if names:
            # The truth has both the plain sums and the decayed ones; only the latter are in the view.
            truth = [{**{name: value for name, value in row.items() if name in columns and name not in names.values()},
                      **{ours: row[theirs] for theirs, ours in names.items()}} for row in truth]
        findings.add(f"{view}: flight and truth", estimated(view, found, truth))
        rows = summary["queries"][view]["result_rows"]
        if len(found) != rows:
            findings.add(f"{view}: rows", [f"{len(found)} rows, the summary says {rows}"])
    # The truth knows what a session is, and not what its first and last act were.
    truth = truth_rows(folder, "sessions_by_gap")
    found = [{name: row[name] for name in truth[0]} for row in without(server.from_flight("viewer_sessions"))]
    findings.add("viewer_sessions: flight and truth", differences(found, truth, {}))
    found = without(server.from_flight("viewer_retention"))
    findings.add("viewer_retention: flight and truth", differences(found, retention(truth, known.watermark), {}))
    for view, key in (("shots_with_players", "event_id"), ("event_alerts", "alert_id")):
        truth = [row for row in truth_rows(folder, view) for _ in range(row["punctual"])]
        truth = [{name: value for name, value in row.items() if name not in ("punctual", "late")} for row in truth]
        findings.add(f"{view}: flight and truth", differences(without(server.from_flight(view)), truth, {}))
    truth = {(row["match_id"], row["event_type"], row["op"], row["revision"]): row["punctual"]
             for row in truth_rows(folder, "match_archive") if row["punctual"]}
    found = collections.Counter((row["match_id"], row["event_type"], row["op"], row["revision"])
                                for row in without(server.from_flight("match_archive")) if row["event_type"] != "pass")
    findings.add("match_archive: counts and truth", [f"{key}: {found.get(key)} instead of {truth.get(key)}"
                                                     for key in {*found, *truth} if found.get(key) != truth.get(key)])


def check_late(server, known, truth, findings, late_came):
    """The late ledger holds each late row once, with the windows that it missed and where it was read, and nothing else."""
    ledger = server.sql("SELECT query, missed_from, missed_to, topic, \"offset\", event_time, \"row\" FROM touchline.late")
    counts = collections.Counter()
    for row in ledger:
        match = json.loads(row["row"]).get("match_id")
        if match not in records.APART:
            counts[row["query"], row["missed_from"], row["missed_to"], match] += 1
    findings.add("late rows without origin or time", [str(row) for row in ledger
                                                      if None in (row["topic"], row["offset"], row["event_time"])])
    if not late_came:
        findings.add("late rows among punctual records", [f"{key}: {count}" for key, count in counts.items()])
        return
    summary = json.loads((truth / "summary.json").read_text(encoding="utf-8"))
    totals = {row["name"]: row["rows_late"] for row in server.sql("SELECT name, rows_late FROM touchline.queries")}
    for view in answers.WINDOWS:
        expected = {(view, *window): count for window, count in known.late_entries(view).items()}
        found = {key: count for key, count in counts.items() if key[0] == view}
        findings.add(f"{view}: late rows", [f"{key}: {found.get(key)} instead of {expected.get(key)}"
                                            for key in {*found, *expected} if found.get(key) != expected.get(key)])
        entries = sum(found.values())
        if totals[view] != entries:
            findings.add(f"{view}: rows_late", [f"touchline.queries says {totals[view]}, the ledger has {entries}"])
        if view in summary["queries"] and entries != summary["queries"][view]["late_entries"]:
            findings.add(f"{view}: late rows and truth", [f"{entries} instead of {summary['queries'][view]['late_entries']}"])


def check_dead(server, feed, truth, findings):
    """Every spoilt record is in the dead letters of each query that reads what is spoilt, as it came and with the reason."""
    with open(truth / "dead_letters.ndjson", encoding="utf-8") as lines:
        kinds = [json.loads(line) for line in lines]
    reasons = collections.defaultdict(set)
    for kind in kinds:
        reasons[kind["topic"]].add(kind["reason"])
    found = collections.Counter()
    for letter in server.sql("SELECT query, topic, \"partition\", \"offset\", value, reason FROM touchline.dead_letters"):
        topic = letter["topic"].removeprefix(f"{server.name}-")
        if feed.lines.get((topic, letter["partition"], letter["offset"])) != letter["value"]:
            findings.add("dead letters", [f"not the bytes of the record: {letter}"])
        # "the record is not valid JSON" also begins as "the record is [, not a JSON object" does.
        fitting = max((reason for reason in reasons[topic] if letter["reason"].startswith(reason)), key=len, default=None)
        if fitting is None:
            findings.add("dead letters", [f"a reason that the truth does not name: {letter}"])
        found[letter["query"], topic, fitting] += 1
    expected = collections.Counter()
    for view, topics in answers.READS.items():
        for kind in kinds:
            read = topics.get(kind["topic"])
            if read is not None and kind["field"] in {None, "match_id", "event_time", *read}:
                expected[view, kind["topic"], kind["reason"]] += kind["records"]
    findings.add("dead letters and truth", [f"{key}: {found[key]} instead of {expected[key]}"
                                            for key in {*found, *expected} if found[key] != expected[key]])
    findings.add("spoilt records that no query has refused",
                 [str(kind) for kind in kinds
                  if not any(found[view, kind["topic"], kind["reason"]] for view in answers.VIEWS)])


def questions():
    """The examples of queries/README.md that read finished views: their first line says so, and what is asked."""
    page = (ROOT / "queries" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sql\n-- Read: (.*?)\n(.*?)```", page, re.DOTALL)
    return {title.strip(): sql for title, sql in blocks}


def check_pages(server, known, findings):
    """What the page asks of the views is answered as DuckDB answers from the records."""
    shown = questions()
    for title in {*shown, *answers.PAGE}:
        if title not in shown or title not in answers.PAGE:
            findings.add("queries/README.md", [f"\"{title}\" is on the page or in answers.PAGE, not in both"])
            continue
        found = without(server.sql(shown[title].strip().removesuffix(";")))
        expected = plain(known.page(title))
        findings.add(f"queries/README.md, \"{title}\"", differences(found, expected, {}))
        if not expected and title not in answers.MAYBE_EMPTY:
            findings.add(f"queries/README.md, \"{title}\"", ["no rows, so nothing has been compared"])


def check_sessions(server, truth, findings):
    """The page's question for sessions is answered as the simulator knows it."""
    found = without(server.sql(questions()["who sat before the screen for how long"].strip().removesuffix(";")))
    names = {"events": "acts"}
    known = [{names.get(name, name): value for name, value in row.items() if name != "device_type"}
             for row in truth_rows(truth, "sessions")]
    findings.add("sessions: the page and truth", differences(found, known, {}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--profile", choices=("smoke", "standard"), default="smoke")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--spelling", choices=("snake", "camel", "upper", "mixed"), default="snake")
    parser.add_argument("--matches", type=int, default=1)
    parser.add_argument("--viewers", type=int)
    parser.add_argument("--dirt", type=float)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--heartbeats", action="store_true")
    parser.add_argument("--limit", type=int, default=280, help="seconds for all of it")
    options = parser.parse_args()
    return bounded(options.limit, say, lambda directory: run(options, directory))


if __name__ == "__main__":
    sys.exit(main())
