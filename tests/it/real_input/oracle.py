"""What the queries should answer, computed by DuckDB from the same records: written anew, from what the queries and functions promise.

No line of this comes from queries/ or udfs/, so a mistake there is not repeated here.
"""

import duckdb

# Of every view its key, by which rows are matched.
KEYS = {
    "momentum_5m": ["match_id", "team_id", "window_start"],
    "momentum_index": ["match_id", "window_start"],
    "possession_pressure": ["match_id", "window_start"],
    "shots_with_players": ["event_id"],
    "event_alerts": ["alert_id", "kind"],
    "match_archive": ["source_partition", "source_offset"],
}
VIEWS = tuple(KEYS)
# What else the server shows: the topic itself, and the records that cannot be read.
DEAD_LETTERS = "touchline.dead_letters"
KEYS |= {"match_events": ["source_partition", "source_offset"], DEAD_LETTERS: ["query", "partition", "offset"]}
# Where a result is, if not everywhere. match_archive says so itself, by 'postgres' = 'false'.
PLACES = {"match_archive": {"parquet", "flight"}, DEAD_LETTERS: {"parquet", "flight"}, "match_events": {"flight"}}
# When the server has met a dead letter, which topic it is from, and what it says of it; and columns of the topic that no match has.
NOT_COMPARED = {"seen_at", "topic", "timestamp", "key", "column", "reason"}

COLUMNS = {
    "event_id": "VARCHAR", "match_id": "VARCHAR", "event_type": "VARCHAR", "team_id": "VARCHAR", "team_side": "VARCHAR",
    "player_id": "VARCHAR", "assist_player_id": "VARCHAR", "minute": "INTEGER", "added_time": "INTEGER", "period": "INTEGER",
    "x": "DOUBLE", "y": "DOUBLE", "end_x": "DOUBLE", "end_y": "DOUBLE", "completed": "BOOLEAN", "body_part": "VARCHAR",
    "shot_type": "VARCHAR", "op": "VARCHAR", "revision": "INTEGER", "player_name": "VARCHAR", "xg": "DOUBLE", "description": "VARCHAR",
    "timestamp": "TIMESTAMP",
}

SHOTS = "('shot', 'shot_on_target', 'goal')"

MACROS = """
-- Metres to the middle of the goal, and across to it; a pitch of 105 m by 68 m on a frame of 120 by 80.
CREATE MACRO along(x) AS (120 - least(greatest(x, 0), 120)) * 105 / 120;
CREATE MACRO across(y) AS abs(least(greatest(y, 0), 80) - 40) * 68 / 80;
CREATE MACRO distance(x, y) AS sqrt(along(x) ** 2 + across(y) ** 2);
CREATE MACRO angle(x, y) AS atan2(7.32 * along(x), along(x) ** 2 + across(y) ** 2 - 3.66 ** 2);
CREATE MACRO logistic(z) AS 1 / (1 + exp(-z));
CREATE MACRO chance(x, y, part, kind) AS CASE
  WHEN x IS NULL OR y IS NULL THEN NULL
  WHEN lower(kind) = 'penalty' THEN 0.76::DOUBLE
  WHEN lower(kind) = 'free_kick' THEN logistic(-0.610035 - 0.076005 * distance(x, y))
  ELSE logistic(-1.044484 - 0.108908 * distance(x, y) + 1.574193 * angle(x, y)
                - CASE WHEN lower(part) = 'head' THEN 0.995994 ELSE 0 END)
END;

-- Singh's grid, an eighth of the width a row; the lower half mirrors the upper.
CREATE MACRO grid() AS [
  [0.00638303, 0.00779616, 0.00844854, 0.00977659, 0.01126267, 0.01248344, 0.01473596, 0.0174506, 0.02122129, 0.02756312, 0.03485072, 0.0379259],
  [0.00750072, 0.00878589, 0.00942382, 0.0105949, 0.01214719, 0.0138454, 0.01611813, 0.01870347, 0.02401521, 0.02953272, 0.04066992, 0.04647721],
  [0.0088799, 0.00977745, 0.01001304, 0.01110462, 0.01269174, 0.01429128, 0.01685596, 0.01935132, 0.0241224, 0.02855202, 0.05491138, 0.06442595],
  [0.00941056, 0.01082722, 0.01016549, 0.01132376, 0.01262646, 0.01484598, 0.01689528, 0.0199707, 0.02385149, 0.03511326, 0.10805102, 0.25745362]
];
CREATE MACRO row_of(y) AS least(floor(least(greatest(y, 0), 80) / 10), 7)::INTEGER;
CREATE MACRO threat(x, y) AS
  grid()[1 + least(row_of(y), 7 - row_of(y))][1 + least(floor(least(greatest(x, 0), 120) / 10), 11)::INTEGER]::DOUBLE;

CREATE MACRO weight(kind) AS CASE lower(kind)
  WHEN 'goal' THEN 5.0 WHEN 'penalty' THEN 4.0 WHEN 'shot_on_target' THEN 3.0 WHEN 'shot' THEN 2.0 WHEN 'corner' THEN 1.0
  WHEN 'final_third_entry' THEN 0.5 WHEN 'free_kick' THEN 0.5 WHEN 'red_card' THEN -3.0 ELSE 0.0 END::DOUBLE;
-- Neither a correction nor a retraction of something that has been counted.
CREATE MACRO first_report(op, revision) AS coalesce(revision, 0) = 0 AND coalesce(op, '') <> 'retract';
-- A share, or a rate; NULL where there is nothing to share.
CREATE MACRO ratio(part, whole) AS CASE WHEN whole > 0 THEN part::DOUBLE / whole END;

-- An event is in as many windows as the slides fit into the size.
CREATE MACRO hop(size_minutes) AS TABLE
  SELECT events.*, time_bucket(INTERVAL '1 minute', happened) - to_minutes(back) AS window_start,
         window_start + to_minutes(size_minutes) AS window_end
  FROM events, range(size_minutes) AS slides(back);
"""

QUERIES = {
    "momentum_5m": f"""
        SELECT time_bucket(INTERVAL '5 minutes', happened) AS window_start, window_start + INTERVAL '5 minutes' AS window_end,
               match_id, team_id, team_side,
               count(*) FILTER (event_type IN {SHOTS}) AS shots,
               sum(chance(x, y, body_part, shot_type)) FILTER (event_type IN {SHOTS}) AS xg,
               1 - coalesce(product(1 - chance(x, y, body_part, shot_type)) FILTER (event_type IN {SHOTS}), 1) AS goal_probability,
               sum(threat(end_x, end_y) - threat(x, y)) FILTER (event_type = 'pass' AND completed) AS xt,
               count(*) FILTER (event_type = 'corner') AS corners
        FROM events WHERE team_id IS NOT NULL AND first_report(op, revision)
        GROUP BY ALL""",
    # An action counts half 150 s before the end of the window.
    "momentum_index": """
        WITH sums AS (
          SELECT window_start, window_end, match_id,
                 coalesce(sum(weight(event_type) * faded) FILTER (team_side = 'home'), 0) AS home_weight,
                 coalesce(sum(weight(event_type) * faded) FILTER (team_side = 'away'), 0) AS away_weight
          FROM (SELECT *, 0.5 ** (epoch(window_end - happened) / 150) AS faded FROM hop(10))
          WHERE first_report(op, revision) GROUP BY ALL)
        SELECT *, CASE WHEN home_weight + away_weight + 1 > 0
                       THEN least(greatest((home_weight - away_weight) / (home_weight + away_weight + 1), -1), 1) END AS momentum
        FROM sums""",
    "possession_pressure": """
        WITH counts AS (
          SELECT window_start, window_end, match_id,
                 count(*) FILTER (pass AND team_side = 'home') AS home, count(*) FILTER (pass AND team_side = 'away') AS away,
                 count(*) FILTER (pass AND team_side = 'home' AND x >= 80) AS home_third,
                 count(*) FILTER (pass AND team_side = 'away' AND x >= 80) AS away_third,
                 count(*) FILTER (pass AND team_side = 'home' AND x < 72) AS home_build_up,
                 count(*) FILTER (pass AND team_side = 'away' AND x < 72) AS away_build_up,
                 count(*) FILTER (pass AND team_side = 'home' AND completed) AS home_completed,
                 count(*) FILTER (defence AND team_side = 'home' AND x >= 48) AS home_defence,
                 count(*) FILTER (defence AND team_side = 'away' AND x >= 48) AS away_defence
          FROM (SELECT *, event_type = 'pass' AS pass, event_type IN ('foul', 'interception', 'tackle') AS defence
                FROM hop(5) WHERE first_report(op, revision))
          GROUP BY ALL)
        SELECT window_start, window_end, match_id, ratio(home_third, home_third + away_third) AS home_tilt,
               ratio(home, home + away) AS home_possession, ratio(away_build_up, home_defence) AS home_ppda,
               ratio(home_build_up, away_defence) AS away_ppda, ratio(home_completed, home) AS home_pass_completion
        FROM counts""",
    "shots_with_players": f"""
        SELECT event_id, happened AS event_time, match_id, minute, event_type,
               (SELECT max(player_name) FROM players WHERE players.player_id = events.player_id) AS player_name,
               (SELECT max(position) FROM players WHERE players.player_id = events.player_id) AS position,
               (SELECT max(team_name) FROM teams WHERE teams.team_id = events.team_id) AS team_name,
               x, y, chance(x, y, body_part, shot_type) AS xg
        FROM events WHERE event_type IN {SHOTS} AND first_report(op, revision)""",
    "event_alerts": """
        SELECT event_id AS alert_id, match_id,
               CASE WHEN event_type IN ('penalty', 'red_card') THEN event_type WHEN op = 'retract' THEN 'goal_cancelled'
                    ELSE 'late_goal' END AS kind,
               CASE WHEN kind IN ('late_goal', 'penalty') THEN 2 ELSE 3 END AS severity, minute, team_id, happened AS event_time
        FROM events
        WHERE event_type IN ('penalty', 'red_card') AND first_report(op, revision)
           OR event_type IN ('goal', 'own_goal') AND (op = 'retract' OR minute >= 85 AND first_report(op, revision))""",
    # The source table itself, every record of the topic that can be read.
    "match_events": """
        SELECT * EXCLUDE (happened, "timestamp"), happened AS event_time FROM events""",
    "match_archive": """
        SELECT * EXCLUDE (happened, "timestamp"), happened AS event_time, happened::DATE AS event_date FROM events""",
}


def answers(records, placement, data, camel):
    """Of every view the rows that it should have: name to Arrow table.

    `records`: the NDJSON file that went into the topic. `placement`: NDJSON with partition and offset of each of its lines.
    `data`: the folder of the tables to look up. `camel`: the other spelling of a column.
    """
    spellings = {spelling: kind for name, kind in COLUMNS.items() for spelling in (name, camel(name))}
    declared = ", ".join(f'"{name}": \'{kind}\'' for name, kind in spellings.items())
    # What match_events says where a provider says nothing.
    silent = {"op": ", 'upsert'", "revision": ", 0"}
    columns = ", ".join(f'coalesce("{name}", "{camel(name)}"{silent.get(name, "")}) AS "{name}"' for name in COLUMNS)
    db = duckdb.connect(config={"threads": 1})
    db.execute("SET TimeZone = 'UTC'")
    db.execute(f"""
        CREATE TABLE events AS
        SELECT {columns}, "timestamp" AS happened, source_partition, source_offset
        FROM read_json('{records}', format = 'newline_delimited', columns = {{{declared}}})
        POSITIONAL JOIN read_json('{placement}', format = 'newline_delimited',
                                  columns = {{source_partition: 'INTEGER', source_offset: 'BIGINT'}})""")
    for table in ("players", "teams"):
        db.execute(f"CREATE TABLE {table} AS FROM read_csv('{data / table}.csv', header = true, all_varchar = true)")
    db.execute(MACROS)
    return {view: db.execute(query).to_arrow_table() for view, query in QUERIES.items()}
