"""Seeded engagement events as NDJSON: 11 fields, 249 bytes a record without its line end, so 250 bytes a line of the file.

The same parameters give the same bytes. Values of the fields vary in length, as real ones do, and a text field takes up the
slack: no reader can profit from every key being at the same place in every record.
"""

import dataclasses
import os

import numpy

RECORD_BYTES = 249
TYPES = ["reaction", "comment", "share", "poll_vote", "prediction", "click", "session", "video_action"]
DEVICES = ["mobile", "tv", "desktop", "tablet"]
COUNTRIES = numpy.array([list(b"DE"), list(b"GB"), list(b"ES"), list(b"FR"), list(b"BR"), list(b"AR"), list(b"JP"), list(b"US")], "u1")
# Not on a minute, so that the first and the last window are partial ones.
START_MS = 1_764_170_000_000
# A record that comes last in a topic and closes every window: a topic has no end by itself.
CLOSING_MS = START_MS + 3_600_000
CLOSING_MATCH = "m-100000"
CHUNK = 250_000
HEX = numpy.frombuffer(b"0123456789abcdef", "u1")
WORDS = numpy.frombuffer(b"what a goal that was the best one of this season so far and they know it well enough too ", "u1")


@dataclasses.dataclass(frozen=True)
class Shape:
    """`matches`: match ids. `skewed`: cubic skew over them; else they come in turn, each with all 8 types.
    `span_ms`: event time from first to last record; `disorder_ms`: how far a record may be behind one before it."""

    events: int = 2_000_000
    seed: int = 42
    matches: int = 5_000
    skewed: bool = True
    span_ms: int = 100_000
    disorder_ms: int = 2_000

    def name(self):
        skew = "skewed" if self.skewed else "even"
        return f"engagements-v1-{self.events}-{self.seed}-{self.matches}-{skew}-{self.span_ms}-{self.disorder_ms}.ndjson"


def file(shape, folder):
    """The path of the file of this shape in `folder`, written if it is not there."""
    path = os.path.join(folder, shape.name())
    if not os.path.exists(path):
        staging = f"{path}.{os.getpid()}"
        with open(staging, "wb") as out:
            for lines in chunks(shape):
                out.write(lines)
        os.rename(staging, path)
    return path


def closing_record():
    record, _ = template("session", "tv", 2, 5)
    record = bytearray(record)
    for digits, at, value in digit_fields(bytes(record)):
        record[at : at + digits] = b"%0*d" % (digits, CLOSING_MS if value == "event_time" else 10 ** (digits - 1))
    return bytes(record).replace(b"@", b"0").replace(b"#", b" ")


def template(kind, device, minute_digits, watch_digits):
    """One record with `@` where a value goes and `#` where text goes, and its length without the text."""
    head = (
        f'{{"event_id":"{"@" * 12}","match_id":"m-{"@" * 6}","user_id":"u-{"@" * 6}","engagement_type":"{kind}",'
        f'"game_minute":{"@" * minute_digits},"device_type":"{device}","country_code":"@@","engagement_subtype":"e{"@" * 2}",'
        f'"text":"'
    )
    tail = f'","watch_ms":{"@" * watch_digits},"event_time":{"@" * 13}}}'
    slack = RECORD_BYTES - len(head) - len(tail)
    assert slack > 0, "the longest values still fit"
    return (head + "#" * slack + tail).encode(), slack


def digit_fields(record):
    """Digits, place and name of the fields that are decimal digits."""
    for name, prefix in [("match_id", b'"match_id":"m-'), ("user_id", b'"user_id":"u-'), ("game_minute", b'"game_minute":'),
                         ("watch_ms", b'"watch_ms":'), ("event_time", b'"event_time":')]:
        at = record.index(prefix) + len(prefix)
        yield len(record[at:]) - len(record[at:].lstrip(b"@")), at, name


def chunks(shape):
    random = numpy.random.Generator(numpy.random.PCG64(shape.seed))
    for first in range(0, shape.events, CHUNK):
        count = min(CHUNK, shape.events - first)
        number = numpy.arange(first, first + count, dtype="i8")
        if shape.skewed:
            match = numpy.minimum((shape.matches * random.random(count) ** 3).astype("i8"), shape.matches - 1)
            kind = random.integers(0, len(TYPES), count)
        else:
            match, kind = number // len(TYPES) % shape.matches, number % len(TYPES)
        values = {
            "match_id": match,
            "user_id": random.integers(0, 1_000_000, count),
            "game_minute": random.integers(1, 95, count),
            "watch_ms": random.integers(100, 100_000, count),
            "event_time": START_MS + number * shape.span_ms // shape.events - random.integers(0, shape.disorder_ms + 1, count),
        }
        device, country = random.integers(0, len(DEVICES), count), random.integers(0, len(COUNTRIES), count)
        event_id = HEX[random.integers(0, 16, (count, 12), dtype="u1")]
        subtype = HEX[random.integers(0, 16, (count, 2), dtype="u1")]
        words = random.integers(0, len(WORDS), count)

        minute_digits = 1 + (values["game_minute"] >= 10)
        watch_digits = 3 + (values["watch_ms"] >= 1_000) + (values["watch_ms"] >= 10_000)
        group = ((kind * len(DEVICES) + device) * 3 + minute_digits) * 6 + watch_digits
        lines = numpy.empty((count, RECORD_BYTES + 1), "u1")
        lines[:, RECORD_BYTES] = ord("\n")
        for which in numpy.unique(group):
            rows = numpy.flatnonzero(group == which)
            one = rows[0]
            record, slack = template(TYPES[kind[one]], DEVICES[device[one]], int(minute_digits[one]), int(watch_digits[one]))
            block = numpy.tile(numpy.frombuffer(record, "u1"), (len(rows), 1))
            for digits, at, name in digit_fields(record):
                left = values[name][rows]
                for place in range(at + digits - 1, at - 1, -1):
                    block[:, place] = ord("0") + left % 10
                    left = left // 10
            block[:, 13:25] = event_id[rows]
            at = record.index(b'"country_code":"') + 16
            block[:, at : at + 2] = COUNTRIES[country[rows]]
            at = record.index(b'@@","text"')
            block[:, at : at + 2] = subtype[rows]
            at = record.index(b"#")
            block[:, at : at + slack] = WORDS[(words[rows, None] + numpy.arange(slack)) % len(WORDS)]
            lines[rows, :RECORD_BYTES] = block
        yield lines.tobytes()
