"""What the queries should answer: computed by DuckDB from the readable records, from what the queries promise and not from their text.

The queries over match events alone are those of `real_input`.
"""

import duckdb

import oracle
import records

COLUMNS = {
    "match-events": oracle.COLUMNS,
    "engagements": {
        "event_id": "VARCHAR", "match_id": "VARCHAR", "user_id": "VARCHAR", "session_id": "VARCHAR", "engagement_type": "VARCHAR",
        "engagement_subtype": "VARCHAR", "related_game_event_id": "VARCHAR", "game_minute": "INTEGER", "device_type": "VARCHAR",
        "platform": "VARCHAR", "country_code": "VARCHAR", "content": "VARCHAR", "timestamp": "TIMESTAMP",
    },
    "live-matches": {
        "match_id": "VARCHAR", "competition": "VARCHAR", "home_team": "VARCHAR", "away_team": "VARCHAR", "home_score": "INTEGER",
        "away_score": "INTEGER", "status": "VARCHAR", "minute": "INTEGER", "added_time": "INTEGER", "timestamp": "TIMESTAMP",
    },
    "player-live-stats": {
        "match_id": "VARCHAR", "player_id": "VARCHAR", "shots": "INTEGER", "shots_on_target": "INTEGER", "goals": "INTEGER",
        "assists": "INTEGER", "passes_completed": "INTEGER", "pass_accuracy": "DOUBLE", "tackles": "INTEGER",
        "interceptions": "INTEGER", "timestamp": "TIMESTAMP",
    },
    "team-live-stats": {
        "match_id": "VARCHAR", "team_id": "VARCHAR", "team": "VARCHAR", "side": "VARCHAR", "possession_pct": "DOUBLE",
        "shots": "INTEGER", "shots_on_target": "INTEGER", "corners": "INTEGER", "fouls": "INTEGER", "offsides": "INTEGER",
        "yellow_cards": "INTEGER", "red_cards": "INTEGER", "saves": "INTEGER", "passes": "INTEGER", "passes_completed": "INTEGER",
        "pass_accuracy": "DOUBLE", "xg": "DOUBLE", "timestamp": "TIMESTAMP",
    },
}
# How the oracle calls the topics.
TABLES = {"match-events": "events", "engagements": "acts", "live-matches": "boards", "player-live-stats": "players_so_far",
          "team-live-stats": "teams_so_far"}

# Row by row: late records are rows like any other.
STATELESS = ("shots_with_players", "event_alerts", "match_archive", "engagement_archive")
# Where a result is looked at, if not everywhere. The archives are nowhere else.
PLACES = {view: ("parquet", "flight") for view in ("match_archive", "engagement_archive", "viewer_sessions")}
# One row a record or a sitting, a million of them: compared as tables, to the last bit, and not row by row.
LARGE = ("match_archive", "engagement_archive", "viewer_sessions")
# Columns that are estimates, and by what share of the exact number they may be off. Of small numbers by ESTIMATE_MIN: among a thousand
# windows there is one in which two viewers out of fifty have their hash in common with others.
ESTIMATES = {"engagement_per_minute": {"users": 0.03}}
ESTIMATE_MIN = 3

ACTS, EVENTS, FIRST = "SELECT * FROM acts", "SELECT * FROM events", "SELECT * FROM events WHERE first_report(op, revision)"
IMPACT = "('goal', 'own_goal', 'red_card', 'penalty', 'var_review')"
# Of every query that has late rows: its rows of each topic, and for each of those the slide and size of the windows (seconds) that a row
# is in.
WINDOWS = {
    "momentum_5m": [(FIRST + " AND team_id IS NOT NULL", 300, 300)],
    "momentum_index": [(FIRST, 60, 600)],
    "possession_pressure": [(FIRST, 60, 300)],
    "heatmap_15m": [(FIRST + " AND player_id IS NOT NULL", 900, 900)],
    "engagement_per_minute": [(ACTS, 60, 60)],
    "engagement_total_1m": [(ACTS, 60, 60)],
    "device_minutes": [(ACTS, 60, 60)],
    "crowd_10s": [(ACTS, 10, 10)],
    "sentiment_30s": [(ACTS + " WHERE engagement_type = 'reaction'", 30, 30)],
    "concurrent_viewers": [(ACTS, 10, 60)],
    # An act that comes too late is in no session: nobody knows which one that would have been.
    "viewer_sessions": [(ACTS, None, None)],
    # The events are in windows of a second. A join has none: an act that is late has missed the join as a whole.
    "goal_uplift": [(ACTS, None, None), (f"{FIRST} AND event_type IN {IMPACT}", 1, 1)],
    "goal_reactions": [(source, None, None) for source in (
        ACTS + " WHERE engagement_type = 'reaction'", FIRST + " AND event_type IN ('goal', 'own_goal')")],
    "scoreboard": [("SELECT * FROM boards", 10, 10)],
    "win_probability": [("SELECT * FROM boards", 60, 120), ("SELECT * FROM teams_so_far", 60, 120)],
    "player_ratings": [("SELECT * FROM players_so_far", 60, 60)],
    "team_stats_1m": [("SELECT * FROM teams_so_far", 60, 60)],
    # These read views: what is late for those never gets here, and what gets here is not late.
    "spike_alerts": [],
    "viewer_retention": [],
}
VIEWS = (*WINDOWS, *STATELESS)

# Columns of the topic that a query reads, of those that a spoilt record can spoil. All read match_id and the event time. What reads
# another view alone meets no record.
READS = {
    "shots_with_players": {"match-events": {"minute", "event_id", "event_type"}},
    "event_alerts": {"match-events": {"minute", "event_id", "event_type"}},
    "match_archive": {"match-events": {"minute", "event_id", "event_type"}},
    "momentum_5m": {"match-events": {"event_type"}},
    "momentum_index": {"match-events": {"event_type"}},
    "possession_pressure": {"match-events": {"event_type"}},
    "heatmap_15m": {"match-events": set()},
    "goal_uplift": {"match-events": {"event_id", "event_type"}, "engagements": set()},
    "goal_reactions": {"match-events": {"event_id", "event_type"}, "engagements": {"event_id", "engagement_type"}},
    "engagement_archive": {"engagements": {"game_minute", "event_id", "engagement_type"}},
    "engagement_per_minute": {"engagements": {"engagement_type"}},
    "engagement_total_1m": {"engagements": set()},
    "device_minutes": {"engagements": set()},
    "crowd_10s": {"engagements": {"engagement_type"}},
    "sentiment_30s": {"engagements": {"engagement_type"}},
    "concurrent_viewers": {"engagements": set()},
    "viewer_sessions": {"engagements": {"engagement_type"}},
    "scoreboard": {"live-matches": {"home_score", "minute", "status"}},
    "win_probability": {"live-matches": {"home_score", "minute", "status"}, "team-live-stats": set()},
    "player_ratings": {"player-live-stats": {"shots"}},
    "team_stats_1m": {"team-live-stats": {"shots"}},
}

MACROS = """
CREATE MACRO bucket(seconds, moment) AS time_bucket(to_seconds(seconds), moment);
CREATE MACRO mood(word) AS CASE word
  WHEN 'emoji_goal' THEN 0.616 WHEN 'emoji_clap' THEN 0.52 WHEN 'emoji_heart' THEN 0.746 WHEN 'emoji_laugh' THEN 0.221
  WHEN 'emoji_fire' THEN 0.139 WHEN 'emoji_wow' THEN 0.19 WHEN 'emoji_cry' THEN -0.093 WHEN 'emoji_angry' THEN -0.173
  WHEN 'cheer' THEN 0.738 WHEN 'boo' THEN -0.188 END::DOUBLE;
-- Share of a match's goals that are still to come; 95 minutes are played, and goals get likelier by 0.006 a minute.
CREATE MACRO to_come(minute) AS greatest(1 - (minute + 0.006 * minute ** 2 / 2) / (95 + 0.006 * 95 ** 2 / 2), 0.005);
CREATE MACRO poisson(k, mean) AS exp(-mean) * mean ** k / factorial(k::INTEGER)::DOUBLE;
"""

# Every act with the number of its viewer's sitting: a new one begins after more than five minutes without an act.
SITTINGS = """
        WITH silences AS (
          SELECT *, happened - lag(happened) OVER (PARTITION BY match_id, user_id ORDER BY happened) > INTERVAL '5 minutes' AS begins
          FROM acts),
        sittings AS (
          SELECT *, count(*) FILTER (begins) OVER (PARTITION BY match_id, user_id ORDER BY happened) AS number FROM silences)"""

# Of each day so far, hour by hour as long as the watermark has got there: how many viewers' longest sitting has lasted so many minutes.
LONGEST = f"""{SITTINGS},
        stays AS (
          SELECT match_id, user_id, min(happened) AS began, max(happened) AS gone FROM sittings GROUP BY match_id, user_id, number),
        so_far AS (
          SELECT bucket(86400, gone + INTERVAL '5 minutes') AS window_start, window_start + to_hours(hour) AS window_end, stays.*
          FROM stays, range(1, 25) AS hours(hour)
          WHERE window_end > gone + INTERVAL '5 minutes' AND window_end <= watermark()),
        longest AS (
          SELECT window_start, window_end, match_id, user_id, max(epoch_ms(gone) - epoch_ms(began)) // 60000 AS minutes
          FROM so_far GROUP BY ALL)"""

QUERIES = {
    "heatmap_15m": """
        SELECT window_start, window_end, match_id, player_id,
               list_transform(range(96), lambda cell: len(list_filter(coalesce(cells, []), lambda hit: hit = cell))) AS cells, touches
        FROM (
          SELECT bucket(900, happened) AS window_start, window_start + INTERVAL '15 minutes' AS window_end, match_id, player_id,
                 list(least(floor(x / 10), 11)::INTEGER + 12 * least(floor(y / 10), 7)::INTEGER) FILTER (x IS NOT NULL) AS cells,
                 count(x) AS touches
          FROM events WHERE player_id IS NOT NULL AND first_report(op, revision) GROUP BY ALL)""",
    "engagement_per_minute": """
        SELECT bucket(60, happened) AS window_start, window_start + INTERVAL '1 minute' AS window_end, match_id, engagement_type,
               count(*) AS events, count(DISTINCT user_id) AS users, events / users AS per_user
        FROM acts GROUP BY ALL""",
    "engagement_total_1m": """
        SELECT bucket(60, happened) AS window_start, window_start + INTERVAL '1 minute' AS window_end, match_id,
               count(*) AS events, count(DISTINCT user_id) AS users
        FROM acts GROUP BY ALL""",
    "device_minutes": """
        SELECT bucket(60, happened) AS window_start, window_start + INTERVAL '1 minute' AS window_end, match_id,
               coalesce(device_type, 'unknown') AS device_type, coalesce(platform, 'unknown') AS platform,
               count(*) AS events, count(DISTINCT user_id) AS users
        FROM acts GROUP BY ALL""",
    "crowd_10s": """
        SELECT bucket(10, happened) AS window_start, window_start + INTERVAL '10 seconds' AS window_end, match_id, count(*) AS events,
               count(*) FILTER (engagement_type = 'reaction') AS reactions, count(related_game_event_id) AS about_an_event
        FROM acts GROUP BY ALL""",
    "sentiment_30s": """
        SELECT bucket(30, happened) AS window_start, window_start + INTERVAL '30 seconds' AS window_end, match_id,
               count(*) AS reactions, avg(mood(engagement_subtype)) AS sentiment,
               count(*) FILTER (mood(engagement_subtype) < 0) / count(*) AS negative_share
        FROM acts WHERE engagement_type = 'reaction' GROUP BY ALL""",
    # Each ten seconds beside those of the five minutes before.
    "spike_alerts": """
        WITH tens AS (SELECT match_id, bucket(10, happened) AS tick, count(*) AS events FROM acts GROUP BY ALL)
        SELECT now.tick + INTERVAL '10 seconds' AS window_end, now.match_id, now.events, avg(before.events) AS avg_prev,
               (now.events - avg_prev) / sqrt(avg_prev) AS z
        FROM tens AS now JOIN tens AS before
          ON before.match_id = now.match_id AND before.tick < now.tick AND before.tick >= now.tick - INTERVAL '300 seconds'
        GROUP BY now.tick, now.match_id, now.events HAVING z > 6 AND now.events > 2 * avg_prev""",
    "concurrent_viewers": """
        WITH seen AS (
          SELECT *, bucket(10, happened) + to_seconds(10 * slide) AS window_end FROM acts, range(1, 7) AS slides(slide)),
        last_seen AS (
          SELECT window_end, match_id, user_id, max(device_type) AS device_type,
                 arg_max(engagement_subtype, (happened, engagement_subtype)) AS last_act
          FROM seen GROUP BY ALL)
        SELECT window_end, match_id, coalesce(device_type, 'unknown') AS device_type, count(*) AS viewers
        FROM last_seen WHERE last_act <> 'leave' GROUP BY ALL""",
    "viewer_sessions": f"""{SITTINGS}
        SELECT min(happened) AS window_start, max(happened) + INTERVAL '5 minutes' AS window_end, match_id, user_id, count(*) AS events,
               count(*) FILTER (engagement_type = 'reaction') AS reactions,
               (epoch_ms(max(happened)) - epoch_ms(min(happened))) / 1000 AS length_s,
               arg_min(engagement_subtype, (happened, engagement_subtype)) AS first_act,
               arg_max(engagement_subtype, (happened, engagement_subtype)) AS last_act,
               max(coalesce(device_type, 'unknown')) AS device_type, bool_or(engagement_subtype = 'leave') AS left_explicitly
        FROM sittings GROUP BY match_id, user_id, number""",
    # Each point of the curve beside all viewers: those who stayed at least as long.
    "viewer_retention": f"""{LONGEST},
        points AS (SELECT window_start, window_end, match_id, minutes, count(*) AS leave FROM longest GROUP BY ALL)
        SELECT point.window_start, point.window_end, point.match_id, point.minutes,
               sum(other.leave) FILTER (other.minutes >= point.minutes)::BIGINT AS viewers, viewers / sum(other.leave) AS share
        FROM points AS point JOIN points AS other USING (window_end, match_id)
        GROUP BY ALL""",
    "goal_uplift": f"""
        WITH impacts AS (
          SELECT DISTINCT match_id, event_id, event_type, team_id, happened AS event_time
          FROM events WHERE event_type IN {IMPACT} AND first_report(op, revision))
        SELECT impacts.*, count(*) FILTER (happened >= event_time) AS after_n, count(*) FILTER (happened < event_time) AS before_n,
               count(DISTINCT user_id) FILTER (happened >= event_time) AS users_after,
               ((after_n + 0.5) / 60) / ((before_n + 0.5) / 300) AS uplift
        FROM impacts LEFT JOIN acts ON acts.match_id = impacts.match_id
          AND happened >= event_time - INTERVAL '300 seconds' AND happened < event_time + INTERVAL '60 seconds'
        GROUP BY ALL""",
    "goal_reactions": """
        WITH goals AS (
          SELECT match_id, event_id, any_value(team_id) AS team_id, min(happened) AS scored
          FROM events WHERE event_type IN ('goal', 'own_goal') AND first_report(op, revision) GROUP BY match_id, event_id)
        SELECT match_id, goals.event_id, team_id, scored AS event_time, coalesce(device_type, 'unknown') AS device_type,
               count(DISTINCT acts.event_id) AS reactions, count(DISTINCT user_id) AS users, min(happened) AS first_at
        FROM goals JOIN acts USING (match_id)
        WHERE engagement_type = 'reaction' AND happened >= scored AND happened < scored + INTERVAL '60 seconds'
        GROUP BY ALL""",
    "scoreboard": """
        SELECT bucket(10, happened) AS window_start, window_start + INTERVAL '10 seconds' AS window_end, match_id,
               arg_max_null(COLUMNS(['competition', 'home_team', 'away_team', 'home_score', 'away_score', 'status', 'minute']), happened),
               max(happened) AS as_of, arg_max_null(added_time, happened) AS added_time
        FROM boards GROUP BY ALL""",
    "win_probability": """
        WITH latest AS (
          SELECT window_end, match_id, arg_max(home_score, happened) AS home_score, arg_max(away_score, happened) AS away_score,
                 arg_max(status, happened) AS status,
                 arg_max(CASE WHEN minute >= 90 THEN minute + coalesce(added_time, 0) ELSE minute END, happened) AS minute
          FROM (SELECT *, bucket(60, happened) + to_minutes(slide) AS window_end FROM boards, range(1, 3) AS slides(slide))
          GROUP BY ALL),
        sent_off AS (
          SELECT window_end, match_id, max(red_cards) FILTER (side = 'home') AS home_reds,
                 max(red_cards) FILTER (side = 'away') AS away_reds
          FROM (SELECT *, bucket(60, happened) + to_minutes(slide) AS window_end FROM teams_so_far, range(1, 3) AS slides(slide))
          GROUP BY ALL),
        states AS (
          SELECT latest.*, coalesce(home_reds, 0) AS home_reds, coalesce(away_reds, 0) AS away_reds,
                 1.53 * to_come(minute) * (2 / 3) ** coalesce(home_reds, 0) * 1.57 ** coalesce(away_reds, 0) AS home_mean,
                 1.18 * to_come(minute) * (2 / 3) ** coalesce(away_reds, 0) * 1.57 ** coalesce(home_reds, 0) AS away_mean
          FROM latest LEFT JOIN sent_off USING (window_end, match_id)),
        results AS (
          SELECT states.*, sign(home_score + h - away_score - a) AS result,
                 CASE WHEN status = 'FINISHED' THEN (h = 0 AND a = 0)::INTEGER::DOUBLE
                      ELSE poisson(h, home_mean) * poisson(a, away_mean) END AS p
          FROM states, range(21) AS home_goals(h), range(21) AS away_goals(a))
        SELECT window_end - INTERVAL '2 minutes' AS window_start, window_end, match_id, minute, home_score, away_score,
               home_reds, away_reds,
               coalesce(sum(p) FILTER (result > 0), 0) / sum(p) AS home, coalesce(sum(p) FILTER (result = 0), 0) / sum(p) AS draw,
               coalesce(sum(p) FILTER (result < 0), 0) / sum(p) AS away
        FROM results GROUP BY ALL""",
    "player_ratings": """
        WITH latest AS (
          SELECT bucket(60, happened) AS window_start, match_id, player_id, max_by(players_so_far, happened) AS s
          FROM players_so_far GROUP BY ALL)
        SELECT window_start, window_start + INTERVAL '1 minute' AS window_end, match_id, player_id, player_name, position,
               s.shots, s.goals, s.assists, s.pass_accuracy,
               least(greatest(6 + s.goals + 0.7 * s.assists + 0.15 * s.shots_on_target + 0.1 * s.tackles + 0.1 * s.interceptions
                              + coalesce(2 * (s.pass_accuracy / 100 - 0.8), 0), 1), 10)::DOUBLE AS rating
        FROM latest LEFT JOIN players USING (player_id)""",
    "team_stats_1m": """
        WITH latest AS (
          SELECT bucket(60, happened) AS window_start, match_id, team_id, max_by(teams_so_far, happened) AS s
          FROM teams_so_far GROUP BY ALL)
        SELECT window_start, window_start + INTERVAL '1 minute' AS window_end, match_id, team_id, s.side, team_name,
               s.possession_pct, s.pass_accuracy, s.shots, s.shots_on_target, s.corners, s.fouls, s.offsides, s.yellow_cards,
               s.red_cards, s.saves, s.xg
        FROM latest LEFT JOIN teams USING (team_id)""",
    "engagement_archive": """
        SELECT * EXCLUDE (happened, "timestamp"), happened AS event_time, happened::DATE AS event_date FROM acts""",
} | {view: oracle.QUERIES[view] for view in
     ("momentum_5m", "momentum_index", "possession_pressure", "shots_with_players", "event_alerts", "match_archive")}


# The questions of queries/README.md to finished views: over all records or only those in time, and what to answer.
PAGE = {
    "the score of every match": ("NOT late", """
        SELECT match_id, max_by(COLUMNS(['home_team', 'home_score', 'away_score', 'away_team', 'status', 'minute']), happened)
        FROM boards GROUP BY match_id"""),
    "every change of lead": ("NOT late", """
        WITH tens AS (
          SELECT match_id, bucket(10, happened) AS tick, max_by(home_score, happened) AS home_score,
                 max_by(away_score, happened) AS away_score
          FROM boards GROUP BY ALL)
        SELECT * EXCLUDE (tick), tick + INTERVAL '10 seconds' AS window_end FROM tens
        QUALIFY sign(home_score - away_score) <> lag(sign(home_score - away_score)) OVER (PARTITION BY match_id ORDER BY tick)"""),
    "the five liveliest minutes of each match": ("NOT late", """
        SELECT match_id, window_start, events, users,
               row_number() OVER (PARTITION BY match_id ORDER BY events DESC, window_start) AS place
        FROM minutes QUALIFY place <= 5"""),
    "how the audience stays, as a share of the first minute's": ("NOT late", """
        SELECT match_id, window_start, users,
               100 * users / first(users) OVER (PARTITION BY match_id ORDER BY window_start) AS retention_pct
        FROM minutes"""),
    "each device's share of the minute": ("NOT late", """
        WITH devices AS (
          SELECT bucket(60, happened) AS window_start, match_id, device_type, platform, count(*) AS events FROM acts GROUP BY ALL)
        SELECT *, events / sum(events) OVER (PARTITION BY match_id, window_start) AS share FROM devices"""),
    "the best players of each match": ("NOT late", f"""
        WITH newest AS (
          FROM ({QUERIES["player_ratings"]}) QUALIFY row_number() OVER (PARTITION BY match_id, player_id ORDER BY window_start DESC) = 1)
        SELECT match_id, player_id, player_name, position, rating,
               dense_rank() OVER (PARTITION BY match_id ORDER BY round(rating, 6) DESC) AS place
        FROM newest QUALIFY place <= 3"""),
    "the goals as they stand after all corrections": ("true", """
        SELECT match_id, max_by(COLUMNS(['event_id', 'event_type', 'minute', 'team_id', 'player_id']), revision)
        FROM events WHERE event_type IN ('goal', 'own_goal') GROUP BY match_id, event_id HAVING max_by(op, revision) <> 'retract'"""),
    "who sat before the screen for how long": ("true", """
        SELECT match_id, user_id, session_id, min(happened) AS began, max(happened) AS ended, count(*) AS acts,
               count(*) FILTER (engagement_type = 'reaction') AS reactions, bool_or(engagement_subtype = 'leave') AS left_explicitly
        FROM acts GROUP BY ALL"""),
}
# Of these five minutes may have none.
MAYBE_EMPTY = ("every change of lead", "the goals as they stand after all corrections")


# What truth files hold beside the answers of views, from the punctual records.
BESIDE = {
    "sessions_by_gap": f"""{SITTINGS}
        SELECT match_id, user_id, min(happened) AS window_start, max(happened) + INTERVAL '5 minutes' AS window_end,
               count(*) AS events, count(*) FILTER (engagement_type = 'reaction') AS reactions, max(device_type) AS device_type,
               bool_or(engagement_subtype = 'leave') AS left_explicitly
        FROM sittings GROUP BY match_id, user_id, number""",
}


class Answers:
    """`readable`: of each topic an NDJSON file with its readable records, their place and whether they are late.
    `watermark`: where the punctual records leave it, in every topic."""

    def __init__(self, readable, lookups, watermark):
        self.watermark = watermark
        self.db = duckdb.connect(config={"threads": 2})
        self.db.execute("SET TimeZone = 'UTC'")
        for topic, table in TABLES.items():
            columns = COLUMNS[topic] | {"source_partition": "INTEGER", "source_offset": "BIGINT", "late": "BOOLEAN"}
            declared = ", ".join(f'"{name}": \'{kind}\'' for name, kind in columns.items())
            self.db.execute(f"""
                CREATE TABLE all_{table} AS SELECT *, "timestamp" AS happened
                FROM read_json('{readable[topic]}', format = 'newline_delimited', columns = {{{declared}}})""")
        for table in ("players", "teams"):
            self.db.execute(f"CREATE TABLE {table} AS FROM read_csv('{lookups / table}.csv', header = true, all_varchar = true)")
        self.show("NOT late")
        self.db.execute(oracle.MACROS)
        self.db.execute(MACROS)
        self.db.execute(f"CREATE MACRO watermark() AS TIMESTAMP '{watermark}'")
        self.db.execute(f"CREATE VIEW minutes AS {QUERIES['engagement_total_1m']}")

    def show(self, which):
        for table in TABLES.values():
            self.db.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * EXCLUDE (late) FROM all_{table} WHERE {which}")

    def of(self, view, with_late):
        """The rows that a view should have, as an Arrow table. Late records are only rows of stateless views."""
        self.show("true" if with_late and view in STATELESS else "NOT late")
        return self.db.execute(QUERIES[view]).to_arrow_table()

    def table_differences(self, view, with_late, tables):
        """Of each place's Arrow table: lines on how it differs from the answer, rows of matches that stand apart left out."""
        self.show("true" if with_late and view in STATELESS else "NOT late")
        lines = {}
        for place, table in tables.items():
            if table is None:
                lines[place] = ["there is nothing"]
                continue
            self.db.register("found", table)
            names = ", ".join(f'"{name}"' for name in table.column_names)
            ours = f"SELECT {names} FROM found WHERE match_id NOT IN {records.APART}"
            theirs = f"SELECT {names} FROM ({QUERIES[view]})"
            lines[place] = [f"{what}: {row}" for what, left, right in (("too much", ours, theirs), ("missing", theirs, ours))
                            for row in self.db.execute(f"({left}) EXCEPT ALL ({right})").fetchmany(10)]
            columns = {column[0] for column in self.db.execute(f"FROM ({QUERIES[view]}) LIMIT 0").description}
            if columns != set(table.column_names):
                lines[place].append(f"columns {sorted(table.column_names)} instead of {sorted(columns)}")
            self.db.unregister("found")
        return lines

    def late_entries(self, view):
        """(missed_from, missed_to, match_id) -> how many late rows missed these windows, where all of them come when all is closed."""
        self.show("late")
        entries = {}
        for source, slide, size in WINDOWS[view]:
            missed = "NULL, NULL" if slide is None else (
                f"bucket({slide}, happened) - to_seconds({size - slide}), bucket({slide}, happened) + to_seconds({size})")
            rows = self.db.execute(f"SELECT {missed}, match_id, count(*) FROM ({source}) GROUP BY ALL").fetchall()
            for *window, count in rows:
                entries[tuple(window)] = entries.get(tuple(window), 0) + count
        return entries

    def beside(self, name):
        self.show("NOT late")
        return self.db.execute(BESIDE[name]).to_arrow_table()

    def page(self, title):
        """The answer to a question of the page."""
        which, sql = PAGE[title]
        self.show(which)
        return self.db.execute(sql).to_arrow_table()
