"""The queries in each engine's words, and whether two engines gave the same rows.

`touchline/`, `duckdb/` and `flink/` hold them: `source.sql` declares the input, NAME.sql is the query.
"""

import pathlib

import duckdb

import generate

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ["tumble", "hop", "filter"]
TITLES = {
    "tumble": "1-minute tumbling count and average by match and type",
    "hop": "the same in windows of 10 minutes, one every 10 seconds",
    "filter": "filter and project, about 1 row of 16",
}
# Name and type in Touchline and, but for text, in Flink.
WINDOWED = [("window_start", "TIMESTAMP(3)"), ("match_id", "VARCHAR"), ("engagement_type", "VARCHAR"), ("events", "BIGINT"), ("watch_ms", "DOUBLE")]
COLUMNS = {
    "tumble": WINDOWED,
    "hop": WINDOWED,
    "filter": [("event_time", "TIMESTAMP(3)"), ("match_id", "VARCHAR"), ("watch_s", "BIGINT")],
}
RELATIVE_ERROR = 1e-9


def text(engine, name, **values):
    sql = (HERE / engine / f"{name}.sql").read_text()
    for key, value in values.items():
        sql = sql.replace(f"${{{key}}}", str(value))
    return sql


def touchline_file(data, query, out):
    """A file for `touchline run` that writes the query's rows as Parquet."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS[query])
    return (
        text("touchline", "source", SOURCE=f"'connector' = 'filesystem', 'path' = '{data}'")
        + f"CREATE TABLE target ({columns}) WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'parquet');\n"
        + f"INSERT INTO target\n{text('touchline', query)};\n"
    )


def duckdb_file(data, query, out):
    return text("duckdb", "source", DATA=data) + f"COPY (\n{text('duckdb', query)}) TO '{out}' (FORMAT parquet, COMPRESSION zstd);\n"


def flink_file(source, query, rows):
    """Two INSERTs at the end: the first writes the rows as CSV, the second discards them."""
    columns = ", ".join(f"{name} {'STRING' if kind == 'VARCHAR' else kind}" for name, kind in COLUMNS[query])
    statements = [
        text("flink", "source", SOURCE=source).strip().rstrip(";"),
        f"CREATE TABLE written ({columns}) WITH ('connector' = 'filesystem', 'path' = 'file://{rows}', 'format' = 'csv')",
        f"CREATE TABLE discarded ({columns}) WITH ('connector' = 'blackhole')",
        f"INSERT INTO written\n{text('flink', query)}",
        f"INSERT INTO discarded\n{text('flink', query)}",
    ]
    return ";\n".join(statements) + "\n"


def parquet(path):
    return f"read_parquet('{path}')"


def csv(query, folder):
    columns = ", ".join(f"'{name}': '{kind.removesuffix('(3)')}'" for name, kind in COLUMNS[query])
    return f"read_csv('{folder}/*', header = false, columns = {{{columns}}})"


def differences(query, ours, theirs):
    """How many rows are in one result and not in the other, or differ. `ours`, `theirs`: relations of DuckDB's SQL.

    Averages may differ by a relative 1e-9, all else is exact. What the closing record of a topic contributes is left out.
    """
    (time, _), *rest = COLUMNS[query]
    names = ", ".join(name for name, _ in rest)
    closing = f"match_id <> '{generate.CLOSING_MATCH}'"
    sides = f"""WITH ours AS (SELECT epoch_ms({time}) AS ms, {names} FROM {ours} WHERE {closing}),
        theirs AS (SELECT epoch_ms({time}) AS ms, {names} FROM {theirs} WHERE {closing})"""
    with duckdb.connect() as connection:
        if query == "filter":
            both = "(SELECT * FROM ours EXCEPT ALL SELECT * FROM theirs) UNION ALL (SELECT * FROM theirs EXCEPT ALL SELECT * FROM ours)"
            return connection.execute(f"{sides} SELECT count(*) FROM ({both})").fetchone()[0]
        # A doubled key would join twice: the counts would show it.
        wrong, ours_rows, theirs_rows = connection.execute(
            f"""{sides} SELECT
              (SELECT count(*) FROM ours FULL JOIN theirs USING (ms, match_id, engagement_type)
               WHERE ours.events IS DISTINCT FROM theirs.events
                  OR NOT coalesce(abs(ours.watch_ms - theirs.watch_ms) <= {RELATIVE_ERROR} * abs(theirs.watch_ms), false)),
              (SELECT count(*) FROM ours), (SELECT count(*) FROM theirs)"""
        ).fetchone()
        return wrong + abs(ours_rows - theirs_rows)


def rows(relation):
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT count(*) FROM {relation}").fetchone()[0]
