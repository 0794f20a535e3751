"""The simulator's files as records in one spelling, and what becomes of those that are late or spoilt.

What a record is, and whether it can be read, is decided here from the bytes, by Python's own JSON: nothing of the server's decoder.
"""

import csv
import json
import subprocess

TOPICS = ("match-events", "engagements", "live-matches", "player-live-stats", "team-live-stats")
# Records that end a partition, and spoilt copies whose match can still be read: both stand apart in the results.
APART = ("end", "dirt")
SIMULATION_LIMIT_S = 180


def simulate(binary, directory, rows, options, seal):
    """Runs the simulator. Returns per topic its partitions, each a list of lines (bytes)."""
    command = [binary, "simulate", "--profile", options.profile, "--seed", options.seed, "--matches", options.matches,
               "--partitions", options.partitions, "--spelling", options.spelling, "--rows", rows, "--to", directory]
    command += ["--viewers", options.viewers] if options.viewers else []
    command += ["--dirt", options.dirt] if options.dirt else []
    command += ["--heartbeats"] if options.heartbeats else []
    command += ["--seal"] if seal else []
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=SIMULATION_LIMIT_S)
    return {topic: [(directory / topic / f"{number:02}.ndjson").read_bytes().splitlines() for number in range(options.partitions)]
            for topic in TOPICS}


def snake(name):
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)


class Normal:
    """Turns a record of any spelling into the one of the schema."""

    def __init__(self, teams):
        with open(teams, encoding="utf-8", newline="") as rows:
            self.team_ids = {row["team_name"]: row["team_id"] for row in csv.DictReader(rows)}

    def read(self, topic, line):
        """The record, or None where it is spoilt or stands apart."""
        try:
            record = json.loads(line)
        except ValueError:
            return None
        if not isinstance(record, dict):
            return None
        record = {snake(name): value for name, value in record.items()}
        if not isinstance(record.get("match_id"), str) or record["match_id"] in APART or not record["timestamp"].startswith("20"):
            return None
        if topic == "match-events":
            record["event_type"] = record["event_type"].lower()
            if "side" in record:
                record["team_side"] = record.pop("side")
                record["team_id"] = self.team_ids.get(record.pop("team"))
        elif topic == "engagements":
            record["engagement_type"] = record["engagement_type"].lower()
        return record


def write_readable(normal, topic, partitions, first_offsets, late, out):
    """Appends the readable records of a topic to `out`, with their place and whether they are late."""
    for number, lines in enumerate(partitions):
        for index, line in enumerate(lines):
            record = normal.read(topic, line)
            if record is not None:
                record |= {"source_partition": number, "source_offset": first_offsets[number] + index, "late": late}
                out.write(json.dumps(record) + "\n")
