"""What a process has cost: wall time, CPU time of all its threads and of the children it waited for, peak memory."""

import dataclasses
import os
import statistics
import subprocess
import threading
import time


class Failed(Exception):
    """A process that did not do its work; the text says which and why."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds; `rss_max` in bytes, 0 where it was not looked at."""

    wall: float
    cpu: float
    rss_max: int = 0


def process(command, limit_s, **options):
    """Runs a command to its end. Its error output is shown only where it fails."""
    start = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    output = []
    reader = threading.Thread(target=lambda: output.append(child.stdout.read()), daemon=True)
    reader.start()
    killer = threading.Timer(limit_s, child.kill)
    killer.start()
    # wait4 and not wait: the usage of this child alone.
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    killer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    reader.join(5)
    text = b"".join(output).decode(errors="replace")
    if child.returncode != 0:
        raise Failed(f"{command[0]} ended with {child.returncode} after {wall:.1f} s\n{text[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024), text


def cpu_of(pid):
    """CPU seconds that a living process has used so far, with 10 ms of resolution."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def spread(values):
    return statistics.median(values), min(values), max(values)
