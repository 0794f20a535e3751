"""Measurements as Markdown, and their place in README.md."""

import os
import pathlib
import platform
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
BEGIN, END = "<!-- {}: written by tests/bench/run --write -->", "<!-- end -->"
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
    """`measured`: {query: {engine: [Cost], or why there is none}}. `baseline`: the engine that the ratios are of."""
    rows = []
    for query, engines in measured.items():
        ours = rate(events, engines[baseline]) if engines.get(baseline) else None
        for engine, costs in engines.items():
            if isinstance(costs, str):
                rows.append([query, engine, "–", "–", "–", "–", costs])
            if not costs or isinstance(costs, str):
                continue
            own = rate(events, costs)
            times = "–" if engine == baseline or ours is None else f"{ours / own:.2f}"
            cpu, wall = [cost.cpu for cost in costs], [cost.wall for cost in costs]
            rows.append([query, engine, str(len(costs)), shown(cpu), shown(wall), f"{own:.3f}", times])
    header = ["query", "engine", "runs", "CPU s, median (min–max)", "wall s", "M events/s per core", f"{baseline} is faster by"]
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


def write(name, text):
    """Puts `text` into the block `name` of README.md."""
    readme, begin = HERE / "README.md", BEGIN.format(name)
    before, found, rest = readme.read_text().partition(begin)
    if not found:
        raise ValueError(f"README.md has no line {begin}")
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{begin}\n{text}\n{END}{after}")
