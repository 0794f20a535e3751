"""The stadium at its loudest: the simulator's stress profile through every shipped query at once, at the speed of the match."""

import contextlib
import pathlib
import re
import subprocess
import tempfile
import time

import measure
import server

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Four minutes of the match with the goal of seed 42 in its first, which is when the crowd is loudest.
SPAN = ["--from", "15m", "--for", "4m"]
SPAN_S, LIMIT_S, POLL_S = 240, 600, 1.0
QUERY = "engagement_per_minute"


def simulator(binary, folder, runs):
    """Million records per second of CPU that the simulator writes to files."""
    rates = []
    for number in range(runs + 1):
        with tempfile.TemporaryDirectory(dir=folder) as target:
            cost, text = measure.process([binary, "simulate", "--profile", "standard", "--to", target, "--for", "45m"], LIMIT_S)
            records = sum(int(count) for count in re.findall(r"^[\w-]+: (\d+) records$", text, re.M))
            if records == 0:
                raise measure.Failed(f"the simulator did not say what it wrote\n{text[-500:]}")
            if number > 0:
                rates.append(records / cost.cpu / 1e6)
    return rates


def all_queries(binary, folder, brokers):
    """Rows for the table of other figures: lag, freshness, CPU, memory."""
    with tempfile.TemporaryDirectory(dir=folder) as data:
        serving = server.Server(binary, data, brokers, ROOT, 1)
        with contextlib.closing(serving):
            simulate = subprocess.Popen(
                [binary, "simulate", "--profile", "stress", *SPAN, "--speed", "1", "--rows", "punctual,late", "--to", f"kafka://{brokers}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            try:
                seen = watch(serving, simulate)
            finally:
                if simulate.poll() is None:
                    simulate.kill()
                told, _ = simulate.communicate()
            if simulate.returncode != 0:
                raise measure.Failed(f"touchline simulate ended with {simulate.returncode}\n{told[-1000:]}")
            records = sum(int(count) for count in re.findall(r"^[\w-]+: (\d+) records$", told, re.M))
            text = settled(serving)
    queries = len(set(re.findall(r'^touchline_query_input_rows_total\{query="(\w+)"\}', text, re.M)))
    lag = [sample["lag"] for sample in seen]
    p99 = quantile(text, QUERY, 0.99)
    span = seen[-1]["at"] - seen[0]["at"]
    return [
        [f"stress: {records:,} records in {SPAN_S} s of match through {queries} queries; the most that one second brought to one query",
         f"{max_rate(seen):,.0f} records", ""],
        ["stress: records not read yet, of all queries together: median, most, at the end",
         f"{sorted(lag)[len(lag) // 2]:,.0f}, {max(lag):,.0f}, {lag_of(text):,.0f}", "does not grow"],
        [f"stress: `{QUERY}`, from the epoch that closes a window until readers see its rows, p99", f"≤ {p99:g} s", "< 1 s"],
        ["stress: CPU of the server, of two cores", f"{(seen[-1]['cpu'] - seen[0]['cpu']) / span:.2f} cores", ""],
        ["stress: peak resident memory of the server", f"{max(sample['memory'] for sample in seen) / 2**20:.0f} MiB", ""],
    ]


def watch(serving, simulate):
    """A sample a second until the simulator has ended."""
    seen, started = [], time.monotonic()
    while simulate.poll() is None:
        if time.monotonic() - started > LIMIT_S:
            raise measure.Failed(f"the simulator did not end within {LIMIT_S} s")
        text = serving.exposition()
        seen.append({
            "at": time.monotonic(),
            "lag": lag_of(text),
            "rows": value(text, f'touchline_query_input_rows_total{{query="{QUERY}"}}'),
            "cpu": measure.cpu_of(serving.child.pid),
            "memory": value(text, "process_resident_memory_bytes"),
        })
        time.sleep(POLL_S)
    if len(seen) < SPAN_S / 2:
        raise measure.Failed(f"the simulator ended after {len(seen)} samples")
    return seen


def settled(serving):
    """The metrics once nothing is left to read."""
    started = time.monotonic()
    while True:
        text = serving.exposition()
        if lag_of(text) == 0 or time.monotonic() - started > 60:
            return text
        time.sleep(POLL_S)


def max_rate(seen):
    pairs = zip(seen, seen[1:])
    return max((after["rows"] - before["rows"]) / (after["at"] - before["at"]) for before, after in pairs)


def value(text, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(found.group(1)) if found else 0.0


def lag_of(text):
    return sum(map(float, re.findall(r"^touchline_source_lag_rows\{[^}]*\} (\S+)$", text, re.M)))


def quantile(text, query, share):
    """The upper bound of the histogram's bucket in which that share of the observations is reached."""
    buckets = re.findall(rf'^touchline_query_visible_seconds_bucket\{{([^}}]*)\}} (\d+)$', text, re.M)
    own = [(re.search(r'le="([^"]+)"', labels).group(1), int(count)) for labels, count in buckets if f'query="{query}"' in labels]
    if not own or own[-1][1] == 0:
        raise measure.Failed(f"query {query} emitted nothing")
    return next(float(bound.replace("+Inf", "inf")) for bound, count in own if count >= share * own[-1][1])
