"""What joins and sessions of streams cost beside a tumble over the same rows, all in one run.

`operators/` has the queries in Touchline's words and DuckDB's, and the join in Flink's. Every result is compared with DuckDB's, row by row.
"""

import pathlib
import statistics
import sys

import duckdb

import flink
import generate
import measure
import queries

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 600

# Rows in all: two files of half as many for the join, one for the sessions.
ROWS = 2_000_000
# Each key comes every 200 s, in both files within 2 s: one partner a row within 60 s.
KEYS = 100_000
JOINED = {"matches": KEYS // len(generate.TYPES), "skewed": False, "span_ms": 200 * ROWS // 2 // KEYS * 1_000}
# The first keys are busy all the time, the last ones now and then.
SESSIONS = {"matches": KEYS, "skewed": True, "span_ms": 2_000_000}

TUMBLED = [("window_start", "TIMESTAMP(3)"), ("match_id", "VARCHAR"), ("events", "BIGINT"), ("watch_ms", "BIGINT")]
# Name of the query, the columns of its result, and how many files it reads.
COLUMNS = {
    "tumble_of_two": [("window_start", "TIMESTAMP(3)"), ("match_id", "VARCHAR"), ("engagement_type", "VARCHAR"), ("events", "BIGINT"), ("watch_ms", "BIGINT")],
    "join": [("event_time", "TIMESTAMP(3)"), ("match_id", "VARCHAR"), ("engagement_type", "VARCHAR"), ("watch_ms", "BIGINT")],
    "tumble": TUMBLED,
    "session": [("window_start", "TIMESTAMP(3)"), ("window_end", "TIMESTAMP(3)"), *TUMBLED[1:]],
}
# What is compared with what, and the least that was set as a goal.
RATIOS = [("join", "tumble_of_two", 0.7), ("session", "tumble", 0.5)]


def text(engine, name, **values):
    sql = (HERE / "operators" / f"{name}.{engine}.sql").read_text()
    for key, value in values.items():
        sql = sql.replace(f"${{{key}}}", str(value))
    return sql


class Operators:
    def __init__(self, binary, data_dir, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)
        half = [generate.file(generate.Shape(events=ROWS // 2, seed=seed, **JOINED), data_dir) for seed in (42, 43)]
        whole = generate.file(generate.Shape(events=ROWS, **SESSIONS), data_dir)
        self.files = {"join": half, "tumble_of_two": half, "session": [whole, whole], "tumble": [whole, whole]}

    def oracle(self, query):
        out = self.folder / f"{query}.oracle.parquet"
        a, b = self.files[query]
        with duckdb.connect(config={"threads": 2}) as connection:
            connection.execute(text("duckdb", "source", A=a, B=b))
            connection.execute(f"COPY ({text('duckdb', query)}) TO '{out}' (FORMAT parquet)")
        return queries.parquet(out)

    def touchline(self, query):
        out, statements = self.folder / f"{query}.parquet", self.folder / f"{query}.sql"
        a, b = self.files[query]
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS[query])
        statements.write_text(
            text("touchline", "source", A=a, B=b)
            + f"CREATE TABLE target ({columns}) WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'parquet');\n"
            + f"INSERT INTO target\n{text('touchline', query)};\n"
        )
        cost, _ = measure.process([self.binary, "run", "--partitions", "1", statements], LIMIT_S)
        return cost, queries.parquet(out)

    def check(self, engine, query, rows, oracle):
        """Every row, as often as it is there."""
        (time, _), *rest = COLUMNS[query]
        times = [name for name, kind in COLUMNS[query] if kind.startswith("TIMESTAMP")]
        columns = ", ".join([f"epoch_ms({name}) AS {name}" for name in times] + [name for name, _ in COLUMNS[query] if name not in times])
        with duckdb.connect() as connection:
            one, other = (f"SELECT {columns} FROM {relation}" for relation in (rows, oracle))
            wrong = connection.execute(
                f"SELECT count(*) FROM (({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one}))"
            ).fetchone()[0]
        if wrong:
            raise measure.Failed(f"{engine} and DuckDB differ in {wrong} rows of {query}: a wrong answer is not measured")

    def flink(self, class_path):
        """The job of the join, and the cost of its first pass; its rows are checked."""
        a, b = self.files["join"]
        rows, statements = self.folder / "join.flink", self.folder / "join.flink.sql"
        columns = ", ".join(f"{name} {'STRING' if kind == 'VARCHAR' else kind}" for name, kind in COLUMNS["join"])
        statements.write_text(";\n".join([
            text("flink", "source", A=a, B=b).strip().rstrip(";"),
            f"CREATE TABLE written ({columns}) WITH ('connector' = 'filesystem', 'path' = 'file://{rows}', 'format' = 'csv')",
            f"CREATE TABLE discarded ({columns}) WITH ('connector' = 'blackhole')",
            f"INSERT INTO written\n{text('flink', 'join')}",
            f"INSERT INTO discarded\n{text('flink', 'join')}",
        ]) + "\n")
        job = flink.Job(class_path, statements, self.folder / "join.flink.log")
        try:
            cold = job.run(LIMIT_S)
            described = ", ".join(f"'{name}': '{kind.removesuffix('(3)')}'" for name, kind in COLUMNS["join"])
            self.check("Flink", "join", f"read_csv('{rows}/*', header = false, columns = {{{described}}})", self.oracle("join"))
        except BaseException:
            job.close()
            raise
        return job, cold


def measured(binary, data_dir, folder, runs, class_path):
    """Rows of a table: what, how much, the goal. `class_path`: of Flink, where it can be had."""
    operators = Operators(binary, data_dir, folder)
    costs = {query: [] for query in COLUMNS}
    oracles = {query: operators.oracle(query) for query in COLUMNS}
    job, warm = None, []
    rows = []
    try:
        if class_path:
            job, cold = operators.flink(class_path)
        # One round before is not counted.
        for number in range(-1, runs):
            for query in COLUMNS:
                cost, out = operators.touchline(query)
                operators.check("Touchline", query, out, oracles[query])
                if number >= 0:
                    costs[query].append(cost.cpu)
                    print(f"bench: {query}, run {number + 1}: {cost.cpu:.2f} CPU s", file=sys.stderr, flush=True)
            if job and number >= 0:
                warm.append(job.run(LIMIT_S).cpu)
    finally:
        if job:
            job.close()
    middle = {query: statistics.median(each) for query, each in costs.items()}
    for query, beside, goal in RATIOS:
        shown = f"{ROWS / middle[query] / 1e6:.3f} M rows/s per core, {middle[beside] / middle[query]:.2f} of the tumble's"
        rows.append([f"`{query}`, {KEYS:,} keys", shown, f"≥ {goal} of the tumble's"])
    if job:
        rows.append(["`join`, times faster than Flink with its start", f"{cold.cpu / middle['join']:.1f}", "≥ 20"])
        rows.append(["`join`, times faster than Flink, warm", f"{statistics.median(warm) / middle['join']:.1f}", ""])
    return rows
