"""Measurements as Markdown, and their place in README.md."""

import os
import pathlib
import platform
import statistics
import subprocess

import queries

HERE = pathlib.Path(__file__).resolve().parent
BEGIN, END = "<!-- begin: written by tests/bench/run -->", "<!-- end -->"
SECONDS = "{:.2f} ({:.2f}–{:.2f})"


def table(header, rows):
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def shown(values, form=SECONDS):
    return form.format(statistics.median(values), min(values), max(values))


def rate(events, costs):
    """Million events per second of CPU, by the median."""
    return events / statistics.median(cost.cpu for cost in costs) / 1e6


def rates(events, measured, baseline):
    """`measured`: {(query, source): {engine: [Cost]}}. `baseline`: the engine that the ratios are of."""
    rows = []
    for (query, source), engines in measured.items():
        ours = rate(events, engines[baseline]) if engines.get(baseline) else None
        for engine, costs in engines.items():
            if isinstance(costs, str):
                rows.append([query, source, engine, "–", "–", "–", costs])
                continue
            own = rate(events, costs)
            times = "–" if engine == baseline or ours is None else f"{ours / own:.2f}"
            rows.append([query, source, engine, shown([c.cpu for c in costs]), shown([c.wall for c in costs]), f"{own:.3f}", times])
    header = ["query", "source", "engine", "CPU s, median (min–max)", "wall s", "M events/s per core", f"{baseline} is faster by"]
    return table(header, rows)


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}"


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", HERE, *arguments], capture_output=True, text=True, check=False).stdout.strip()

    dirty = git("status", "--porcelain", "--untracked-files=no", "--", "../../server", "../../udfs", "../../Cargo.lock")
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if dirty else "")


def write(text):
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def titles():
    return "\n".join(f"* `{name}`: {queries.TITLES[name]}" for name in queries.NAMES)
