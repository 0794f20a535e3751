"""A `touchline serve` of the test's own: its folders, its topic, its Postgres schema, and what can be read from it."""

import datetime
import decimal
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi
import confluent_kafka
import confluent_kafka.admin
import psycopg
import psycopg.sql
import pyarrow.dataset
import pyarrow.fs

import oracle

ROOT = pathlib.Path(__file__).resolve().parents[3]
# How long records may wait for room in the producer, all of one call together.
SEND_LIMIT_S = 120

START_LIMIT_S = 60
# What the server promises after SIGTERM, and some time for a busy machine to notice.
STOP_LIMIT_S = 10 + 5
# For one call of Flight SQL.
CALL_LIMIT_S = 60.0
POLL_S = 0.1

CONFIG = """
data_dir = "{data_dir}"

[storage]
{storage}

[s3]
{s3}

[kafka]
brokers = "{kafka}"

[postgres]
url = "${{env:REAL_INPUT_POSTGRES}}"
schema = "{name}"
# The matches were played years ago.
retention_days = 36500

[flight]
listen = "127.0.0.1:0"

[http]
listen = "127.0.0.1:0"

[engine]
partitions = 2
# So that epochs run narrow and wide.
epoch_rows_wide = 64
# Public files soon, and several of them.
seal_age = "1s"

[catalog]
schemas_dir = "{schemas}"
queries_dir = "{queries}"

[log]
format = "json"
"""


class Failure(Exception):
    """The product does not do what it should."""


def bounded(limit_s, say, work):
    """Runs `work` with a folder of its own, for so long at the most. The exit status: 1 after a failure, which is said."""
    def too_long(_number, _frame):
        raise Failure(f"still running after {limit_s} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit_s)
    with tempfile.TemporaryDirectory(prefix="touchline-trial-") as directory:
        try:
            work(pathlib.Path(directory))
        except Failure as failure:
            say(f"FAILED: {failure}")
            return 1
    return 0


def until(limit_s, condition, what):
    """The first true value of `condition`, asked again and again; a failure that says `what` after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"after {limit_s} s still not so: {what() if callable(what) else what}")
        time.sleep(POLL_S)


class Topic:
    def __init__(self, brokers, name, partitions):
        self.name = name
        # Errors only in the log: 3 is that in syslog's counting.
        common = {"bootstrap.servers": brokers, "log_level": 3}
        self.producer = confluent_kafka.Producer({**common, "enable.idempotence": True, "linger.ms": 1})
        admin = confluent_kafka.admin.AdminClient(common)
        made = admin.create_topics([confluent_kafka.admin.NewTopic(name, num_partitions=partitions, replication_factor=1)])
        made[name].result(30)

    def produce(self, topic):
        """Returns when all are in the topic, in this order within each partition."""
        failed = []

        def delivered(error, _message):
            if error is not None:
                failed.append(error)

        deadline = time.monotonic() + SEND_LIMIT_S
        for partition, line in topic:
            while True:
                try:
                    self.producer.produce(self.name, value=line, partition=partition, on_delivery=delivered)
                    break
                except BufferError:
                    # The broker is slower than we are: its acknowledgements make room.
                    if time.monotonic() > deadline:
                        raise
                    self.producer.poll(1)
            self.producer.poll(0)
        left = self.producer.flush(60)
        if left or failed:
            raise RuntimeError(f"{left} records not delivered, errors: {failed[:3]}")


class Server:
    """Also the places where its results are. `with` ends the process in any case."""

    def __init__(self, binary, name, directory, schemas, views, s3=None):
        self.binary, self.name, self.directory, self.s3 = binary, name, directory, s3
        self.postgres_url = os.environ["TOUCHLINE_TEST_POSTGRES"]
        self.process = self.flight = None
        self.starts = 0
        self.schemas, self.queries = directory / "schemas", directory / "queries"
        # Tables to look up lie beside the schema that names them.
        self.lookups = self.schemas / "data"
        self.lookups.mkdir(parents=True)
        self.queries.mkdir()
        for schema in schemas:
            text = (ROOT / "schemas" / f"{schema}.sql").read_text(encoding="utf-8")
            # Topics of its own: `<name>-match-events`.
            text = re.sub(r"'topic' = '([^']+)'", rf"'topic' = '{name}-\1'", text)
            (self.schemas / f"{schema}.sql").write_text(text, encoding="utf-8")
        for view in views:
            shutil.copy(ROOT / "queries" / f"{view}.sql", self.queries)
        storage = s3_settings = ""
        if s3:
            storage = "".join(f'{kind}_url = "s3://{s3["bucket"]}/{name}/{kind}"\n' for kind in ("tables", "state"))
            s3_settings = f'endpoint = "{s3["endpoint"]}"\nallow_http = true\n'
        self.config = directory / "touchline.toml"
        self.config.write_text(CONFIG.format(
            data_dir=directory / "data", storage=storage, s3=s3_settings, kafka=os.environ["TOUCHLINE_TEST_KAFKA"],
            name=name, schemas=self.schemas, queries=self.queries), encoding="utf-8")
        with psycopg.connect(self.postgres_url) as db:
            db.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(name)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with psycopg.connect(self.postgres_url) as db:
            db.execute(psycopg.sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(psycopg.sql.Identifier(self.name)))

    def log(self):
        return self.directory / f"server-{self.starts}.log"

    def start(self):
        self.starts += 1
        # None of the caller's own settings, which would win over the file.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHLINE_")}
        environment["REAL_INPUT_POSTGRES"] = self.postgres_url
        with open(self.log(), "wb") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--config", self.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        address = until(START_LIMIT_S, self.address, f"the server has said where it listens in {self.log()}")
        limits = {option.value: str(CALL_LIMIT_S) for option in (
            adbc_driver_flightsql.ConnectionOptions.TIMEOUT_FETCH, adbc_driver_flightsql.ConnectionOptions.TIMEOUT_QUERY)}
        self.flight = adbc_driver_flightsql.dbapi.connect(f"grpc://{address}", conn_kwargs=limits, autocommit=True)

    def address(self):
        """Of the Flight SQL listener, as the log has it."""
        for line in self.log().read_text(encoding="utf-8").splitlines():
            if '"serving"' in line:
                return json.loads(line)["flight"]
        self.check_alive()
        return None

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure(f"the server has ended by itself, exit code {self.process.returncode}")

    def kill(self):
        """As by `kill -9`."""
        self.process.kill()
        self.process.wait()
        self.flight.close()

    def stop(self):
        self.flight.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"the server has not stopped within {STOP_LIMIT_S} s of SIGTERM") from None
        if code != 0:
            raise Failure(f"after SIGTERM the server ended with exit code {code}")

    def table(self, statement):
        """An Arrow table, by Flight SQL."""
        self.check_alive()
        with self.flight.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetch_arrow_table()

    def sql(self, statement):
        """Rows as dicts, by Flight SQL."""
        return plain(self.table(statement))

    def table_from_flight(self, view):
        # What is there for those who read is not in the files.
        columns = "* EXCEPT (text, value_bytes)" if view == oracle.DEAD_LETTERS else "*"
        return self.table(f"SELECT {columns} FROM {view}")

    def from_flight(self, view):
        return plain(self.table_from_flight(view))

    def from_postgres(self, view):
        with psycopg.connect(self.postgres_url, row_factory=psycopg.rows.dict_row) as db:
            found = db.execute("SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = %s", (self.name, view))
            if not found.fetchone():
                return []
            query = psycopg.sql.SQL("SELECT * FROM {}").format(psycopg.sql.Identifier(self.name, view))
            return [{column: value_of(value) for column, value in row.items()} for row in db.execute(query)]

    def from_parquet(self, view):
        table = self.table_from_parquet(view)
        return [] if table is None else plain(table)

    def table_from_parquet(self, view):
        """All public files of a view, found by listing its folder and by nothing else; None where there are none."""
        if self.s3:
            files = pyarrow.fs.S3FileSystem(
                endpoint_override=self.s3["endpoint"], region=self.s3["region"], access_key=self.s3["key"],
                secret_key=self.s3["secret"], force_virtual_addressing=False)
            folder = f"{self.s3['bucket']}/{self.name}/tables/{view}"
        else:
            files = pyarrow.fs.LocalFileSystem()
            folder = str(self.directory / "data" / "tables" / view)
        found = files.get_file_info(pyarrow.fs.FileSelector(folder, recursive=True, allow_not_found=True))
        paths = sorted(file.path for file in found if file.path.endswith(".parquet"))
        return pyarrow.dataset.dataset(paths, filesystem=files, format="parquet").to_table() if paths else None


def plain(table):
    return [{column: value_of(value) for column, value in row.items()} for row in table.to_pylist()]


def value_of(value):
    """As Python has it, without the differences in type that the three places may have: a time is UTC, a number a number."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value
