"""A `touchline serve` of our own on a temporary directory, watched from outside: `/metrics`, `/proc`, Flight SQL."""

import json
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time
import urllib.request

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow.parquet

import measure

POLL_S = 0.05


def of_queries(binary, folder, brokers, schema, views, partitions, engine=""):
    """A server with one table and these views, each a name and what it selects."""
    folder = pathlib.Path(folder)
    for kind in ("schemas", "queries"):
        (folder / kind).mkdir()
    (folder / "schemas" / "engagements.sql").write_text(schema)
    for name, text in views.items():
        (folder / "queries" / f"{name}.sql").write_text(f"CREATE MATERIALIZED VIEW {name} AS\n{text.strip()};\n")
    return Server(binary, folder, brokers, folder, partitions, engine)


def exposition(address):
    """What `/metrics` says, as text."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return answer.read().decode()


def stop(child):
    """Ends a server, by force where it does not end by itself."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Server:
    def __init__(self, binary, folder, brokers, definitions, partitions, engine=""):
        """`definitions`: where schemas/ and queries/ are. `engine`: further lines of that section."""
        folder = pathlib.Path(folder)
        config = folder / "touchline.toml"
        config.write_text(
            f'data_dir = "{folder}/data"\n[kafka]\nbrokers = "{brokers}"\n[engine]\npartitions = {partitions}\n{engine}\n'
            f'[flight]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n[log]\nformat = "json"\nlevel = "info"\n'
            f'[catalog]\nschemas_dir = "{definitions}/schemas"\nqueries_dir = "{definitions}/queries"\n'
        )
        self.lines, self.log = queue.Queue(), []
        self.started = time.monotonic()
        self.child = subprocess.Popen([binary, "serve", "--config", config], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder)
        threading.Thread(target=self.read, daemon=True).start()
        try:
            self.flight, self.http = self.addresses()
        except BaseException:
            self.close()
            raise

    def read(self):
        for line in self.child.stderr:
            self.log.append(line)
            self.lines.put(line)
        self.lines.put(None)

    def failed(self, what):
        return measure.Failed(f"touchline serve {what}\n{''.join(self.log[-20:])}")

    def addresses(self):
        while True:
            try:
                line = self.lines.get(timeout=30)
            except queue.Empty:
                raise self.failed("did not start within 30 s") from None
            if line is None:
                raise self.failed("ended")
            found = {}
            for key in ("flight", "http"):
                match = re.search(rf'"{key}": ?"([^"]+)"', line)
                if match:
                    found[key] = match.group(1)
            if len(found) == 2:
                return found["flight"], found["http"]

    def exposition(self):
        return exposition(self.http)

    def metrics(self):
        text = self.exposition()
        return {name: float(value) for name, value in re.findall(r"^touchline_query_(\w+?)(?:_total)?\{query=\"measured\"\} (\S+)$", text, re.M)}

    def until_read(self, rows_in, rows_out, limit_s):
        """Cost from the start of the process until that many rows were read and emitted, and the last of them durable."""
        while time.monotonic() - self.started < limit_s:
            if self.child.poll() is not None:
                raise self.failed("ended")
            now = self.metrics()
            if now.get("input_rows", 0) >= rows_in and now.get("output_rows", 0) >= rows_out and self.visible() >= rows_out:
                return measure.Cost(time.monotonic() - self.started, measure.cpu_of(self.child.pid)), now
            time.sleep(POLL_S)
        raise self.failed(f"did not read everything within {limit_s} s: {json.dumps(self.metrics())}")

    def visible(self):
        with flight_sql.connect(f"grpc://{self.flight}", autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM measured")
            return cursor.fetchone()[0]

    def save(self, path):
        """All rows of the view, as its readers see them, into a Parquet file."""
        with flight_sql.connect(f"grpc://{self.flight}", autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT * FROM measured")
            pyarrow.parquet.write_table(cursor.fetch_arrow_table(), path)

    def close(self):
        stop(self.child)
