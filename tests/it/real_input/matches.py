"""Two real matches as records of topic match-events; where their files are absent, simulated ones.

The records are what a provider of match events sends: an action a record, with the match clock turned into event time. Half of
them spell their fields in camel case, as some providers do and the aliases of the schema allow.
"""

import datetime
import gzip
import json
import pathlib
import random
import re
import subprocess
import sys
import uuid

# Both matches are played on one evening, the second a little later, so that windows hold rows of both. Long past, because a server
# does not believe event times that lie in its future.
KICK_OFF = datetime.datetime(2018, 7, 15, 15, 0, 0)
KICK_OFFS_APART_S = 7 * 60
# Seconds from kick-off to the start of a period, and the minute that its clock starts from and stops at. Periods do not overlap.
PERIODS = {"1H": (0, 0, 45, 1), "2H": (3720, 45, 90, 2), "E1": (7200, 90, 105, 1), "E2": (8520, 105, 120, 2), "P": (9900, 120, 120, 2)}
# The sides are not in the files: who was at home, by match.
HOME_TEAM = {"2058017": 4418, "2499841": 1673}

GOAL, OWN_GOAL, HEAD, ACCURATE = 101, 102, 403, 1801
RED_CARD, YELLOW_CARD, SECOND_YELLOW_CARD = 1701, 1702, 1703
INTERCEPTION, SLIDING_TACKLE, LEFT_FOOT, RIGHT_FOOT = 1401, 1601, 401, 402

# The schema lets a record be this late. Less, for the last record of a partition that may be read must still not be late.
DISORDER_S = 4.5
# Longer than any window, so that the last record closes all that the matches have opened.
AFTER_THE_END = datetime.timedelta(hours=1)
BROKEN_RECORDS = 8
# No shot of these matches is corrected afterwards: a hot table would have the last version only, the files have both.
SIMULATED_SEED = "42"
END_MATCH = "end-of-input"


def camel(name):
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def at(instant):
    return instant.isoformat(timespec="milliseconds") + "Z"


def event_id(*name):
    """The files number their acts; the schema wants UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, name))))


def event_type(act, shot):
    """One word of the schema's list; None where it has none, as for a throw-in or a duel."""
    tags = act["tags"]
    if OWN_GOAL in tags:
        return "own_goal"
    if shot:
        return "goal" if GOAL in tags else "shot_on_target" if ACCURATE in tags else "shot"
    if act["event"] in ("Pass", "Foul", "Save attempt", "Offside"):
        return {"Pass": "pass", "Foul": "foul", "Save attempt": "save", "Offside": "offside"}[act["event"]]
    if act["event"] == "Free Kick" and act["sub_event"] in ("Free Kick", "Free kick cross"):
        return "free_kick"
    if SLIDING_TACKLE in tags:
        return "tackle"
    if INTERCEPTION in tags:
        return "interception"
    return "corner" if act["sub_event"] == "Corner" else None


def records_of(act, kick_off):
    """The records of one act: itself where the schema has a word for it, and a card or an awarded penalty that came with it."""
    starts, minute_first, minute_last, half = PERIODS[act["period"]]
    minute = minute_first + int(act["sec"] // 60)
    shot = act["event"] == "Shot" or act["sub_event"] in ("Penalty", "Free kick shot")
    tags = act["tags"]
    team, player = act["team_id"], act["player_id"]
    record = {
        "event_id": event_id(act["id"]),
        "match_id": act["match_id"],
        "event_type": event_type(act, shot),
        "team_id": str(team),
        "team_side": "home" if team == HOME_TEAM[act["match_id"]] else "away",
        "player_id": str(player) if player else None,
        "minute": min(minute, minute_last),
        "added_time": minute - minute_last + 1 if minute >= minute_last and act["period"] != "P" else None,
        "period": half,
        "x": act["x"], "y": act["y"], "end_x": act["end_x"], "end_y": act["end_y"],
        "completed": ACCURATE in tags if act["event"] == "Pass" else None,
        "body_part": ("head" if HEAD in tags else "foot" if {LEFT_FOOT, RIGHT_FOOT} & set(tags) else None) if shot else None,
        "shot_type": {"Penalty": "penalty", "Free kick shot": "free_kick"}.get(act["sub_event"], "open") if shot else None,
        "description": f"{act['event']}: {act['sub_event']}",
        "timestamp": at(kick_off + datetime.timedelta(seconds=starts + act["sec"])),
    }
    if record["event_type"]:
        yield record
    extra = []
    if act["sub_event"] == "Penalty" and act["period"] != "P":
        extra.append("penalty")
    if RED_CARD in tags or SECOND_YELLOW_CARD in tags:
        extra.append("red_card")
    if YELLOW_CARD in tags:
        extra.append("yellow_card")
    for kind in extra:
        nothing = dict.fromkeys(("end_x", "end_y", "completed", "body_part", "shot_type"))
        yield {**record, **nothing, "event_id": event_id(act["id"], kind), "event_type": kind}


def real(files, data):
    """Records of the real matches. Writes the tables to look up into `data`: made for the occasion, and not of everybody."""
    records, players, teams = [], {}, set()
    for number, file in enumerate(files):
        kick_off = KICK_OFF + datetime.timedelta(seconds=number * KICK_OFFS_APART_S)
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                act = json.loads(line)
                teams.add(act["team_id"])
                if act["player_id"]:
                    players.setdefault(act["player_id"], act["team_id"])
                records.extend(records_of(act, kick_off))
    # Some players and one team are missing: a shot of theirs stays in the result, without a name.
    with open(data / "players.csv", "w", encoding="utf-8") as out:
        out.write("player_id,player_name,team_id,position,shirt\n")
        for number, (player, team) in enumerate(sorted(players.items())):
            if number % 5:
                out.write(f'{player},"Player {player}, né {number}",{team},{("GK", "DEF", "MID", "FWD")[number % 4]},{number % 16 + 1}\n')
    with open(data / "teams.csv", "w", encoding="utf-8") as out:
        out.write("team_id,team_name,city\n")
        for team in sorted(teams)[1:]:
            out.write(f"{team},Team {team},\n")
    return records


def simulated(binary, data):
    """Records of two matches by `touchline simulate`, which writes the tables to look up beside them."""
    command = [binary, "simulate", "--profile", "standard", "--viewers", "10", "--matches", "2", "--dirt", "0"]
    command += ["--seed", SIMULATED_SEED, "--start", at(KICK_OFF), "--to", data]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
    with open(data / "match-events" / "00.ndjson", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def load(folder, binary, data):
    """Records of two matches, in the order in which they happened."""
    files = sorted(pathlib.Path(folder).glob("*.ndjson.gz"))
    if files:
        records = real(files, data)
    else:
        print(f"NO REAL MATCHES in {folder}: the test runs on simulated ones", file=sys.stderr, flush=True)
        records = simulated(binary, data)
    return sorted(records, key=lambda record: record["timestamp"])


def arrange(records, partitions, seed):
    """The topic: (partition, record) in the order of arrival, in some disorder, but nothing later than the schema allows.

    A record of event time t is overtaken only by records of at most t + DISORDER_S, whatever the partition. Two partitions are
    those of the matches; of any other number each takes what chance gives it. The last record of each comes long after all others.
    """
    chance = random.Random(seed)
    matches = sorted({record["match_id"] for record in records})
    arrivals = []
    for record in records:
        instant = datetime.datetime.fromisoformat(record["timestamp"].removesuffix("Z"))
        arrivals.append((instant + datetime.timedelta(seconds=chance.uniform(0, DISORDER_S)), record))
    arrivals.sort(key=lambda arrival: arrival[0])
    topic = []
    for _, record in arrivals:
        partition = matches.index(record["match_id"]) if partitions == 2 else chance.randrange(partitions)
        if chance.random() < 0.5:
            record = {camel(name): value for name, value in record.items()}
        topic.append((partition, record))
    end = arrivals[-1][0] + AFTER_THE_END
    for partition in range(partitions):
        topic.append((partition, {
            "event_id": event_id(END_MATCH, partition), "match_id": END_MATCH, "event_type": "full_time", "timestamp": at(end),
        }))
    return topic


def with_broken_records(topic, seed):
    """Puts some records that no query can read among the others, none of them last. Returns also at which indices they are."""
    chance = random.Random(seed)
    broken = {}
    for kind in range(BROKEN_RECORDS):
        partition, line = topic[chance.randrange(len(topic) - 100)]
        time_lost = re.sub(r'("timestamp": ?)"[^"]*"', r'\1"tomorrow"', line)
        broken[chance.randrange(len(topic) - 100)] = (partition, (line[:-20], "no JSON", "", time_lost)[kind % 4])
    result, indices = [], set()
    for index, record in enumerate(topic):
        if index in broken:
            indices.add(len(result))
            result.append(broken[index])
        result.append(record)
    return result, indices
