"""A folder with definitions, and the real server in it: over its embedded log, on loopback, on ports of its own."""

import http.client
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As the tests have it: a busy machine starts slowly.
START_LIMIT_S = 60
WAIT_LIMIT_S = 60
LOOK_EVERY_S = 0.01

# Each row says where it was read, so that it can be compared with the offsets of a checkpoint.
STREAM = """CREATE TABLE e (id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, p INT METADATA FROM 'partition' VIRTUAL,
  o BIGINT METADATA FROM 'offset' VIRTUAL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json', 'http.ingest' = 'true');
"""
KEPT = "CREATE MATERIALIZED VIEW kept AS SELECT id, p, o, ts FROM e;\n"


class Failure(Exception):
    """The product does not do what it should."""


def quietly(unraisable):
    """The driver complains when a cursor goes whose server has gone before, which here is the usual thing."""
    if "Underflow in closing" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


sys.unraisablehook = quietly


def say(text):
    print(f"{pathlib.Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def with_packages():
    """Goes on in the Python environment of the tests, which `tests/run` names, or else `tests/services/python` makes."""
    try:
        import adbc_driver_flightsql, duckdb, pyarrow  # noqa: E401, F401
        return
    except ImportError:
        pass
    interpreter = os.environ.get("TOUCHLINE_TEST_PYTHON")
    if not interpreter:
        said = subprocess.run([ROOT / "tests" / "services" / "python"], stdout=subprocess.PIPE, text=True, check=True).stdout
        exports = [shlex.split(line)[1] for line in said.splitlines() if line.startswith("export ")]
        interpreter = dict(export.split("=", 1) for export in exports)["TOUCHLINE_TEST_PYTHON"]
    os.execv(interpreter, [interpreter, "-B", *sys.argv])


def binary_argument(parser):
    built = os.environ.get("TOUCHLINE_TEST_BINARY") or ROOT / "target" / "release" / "touchline"
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path(built).resolve(), help="default: %(default)s")


def until(condition, what, limit_s=WAIT_LIMIT_S):
    """The first true value of `condition`. `what`: a text, or a function that makes one when time is up."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"not so after {limit_s} s: {what() if callable(what) else what}")
        time.sleep(LOOK_EVERY_S)


class Site:
    """`with` removes the folder."""

    def __init__(self, binary, views=KEPT, stream=STREAM):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="touchline-trial-"))
        self.write("schemas/e.sql", stream)
        self.write("queries/views.sql", views)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    @staticmethod
    def environment(settings):
        """None of the caller's own settings, which would win."""
        rest = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHLINE_")}
        return {**rest, **{f"TOUCHLINE_{name}": str(value) for name, value in settings.items()}}

    def run(self, *arguments):
        """A command to its end: its exit code, output and errors."""
        ran = subprocess.run([self.binary, *arguments], cwd=self.folder, env=self.environment({}), stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=WAIT_LIMIT_S)
        return ran.returncode, ran.stdout, ran.stderr

    def committed(self, view):
        """The next offset of each partition in the newest checkpoint of a view."""
        code, out, err = self.run("state", "show", view, "--output", "json")
        if code != 0:
            raise Failure(f"state show ended with {code}\n{err}")
        facts = [json.loads(line) for line in out.splitlines()]
        return {int(fact["what"].split()[1]): int(fact["value"].split()[2].rstrip(","))
                for fact in facts if fact["of"] == "source e" and fact["what"].startswith("partition ")}


class Server:
    """`settings`: as `TOUCHLINE_…` without that. `with` ends it by force, if nothing else has."""

    def __init__(self, site, **settings):
        self.site = site
        settings = {"FLIGHT_LISTEN": "127.0.0.1:0", "HTTP_LISTEN": "127.0.0.1:0", "LOG_FORMAT": "json", **settings}
        # A file, so that a server that nobody listens to is not held up by a pipe.
        handle, name = tempfile.mkstemp(dir=site.folder, prefix="server-", suffix=".log")
        self.log_path = pathlib.Path(name)
        self.child = subprocess.Popen([site.binary, "serve"], cwd=site.folder, env=site.environment(settings), stdin=subprocess.DEVNULL,
                                      stdout=handle, stderr=handle)
        os.close(handle)
        self.flight = self.http = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def ended(self):
        return self.child.poll() is not None

    def serving(self, limit_s=START_LIMIT_S):
        """Waits until it listens, and returns itself."""
        def listens():
            for line in self.log().splitlines():
                if '"serving"' in line:
                    said = json.loads(line)
                    self.flight, self.http = said["flight"], said["http"]
                    return True
            if self.ended():
                raise Failure(f"the server ended at its start with {self.child.returncode}\n{self.log()}")
            return False

        until(listens, lambda: f"the server listens\n{self.log()}", limit_s)
        return self

    def kill(self):
        """As a power cut would."""
        if not self.ended():
            self.child.kill()
        self.child.wait()

    def send(self, number):
        self.child.send_signal(number)

    def stop(self, limit_s=20):
        """Its exit code after SIGTERM."""
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Failure(f"the server has not stopped within {limit_s} s of SIGTERM\n{self.log()}") from None

    def request(self, method, path, body=None, timeout_s=10):
        """Status and body."""
        connection = http.client.HTTPConnection(self.http, timeout=timeout_s)
        try:
            headers = {"Content-Type": "application/x-ndjson"} if body is not None else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def post(self, records):
        """Records by HTTP: whether they are in the log for sure."""
        body = "\n".join(map(json.dumps, records))
        try:
            status, _ = self.request("POST", "/api/ingest/e", body)
        except (OSError, http.client.HTTPException):
            return False
        return status == 202

    def connect(self, timeout_s=10):
        import adbc_driver_flightsql
        import adbc_driver_flightsql.dbapi
        options = adbc_driver_flightsql.ConnectionOptions
        limits = {option.value: str(float(timeout_s)) for option in (options.TIMEOUT_FETCH, options.TIMEOUT_QUERY)}
        return adbc_driver_flightsql.dbapi.connect(f"grpc://{self.flight}", conn_kwargs=limits, autocommit=True)

    def rows(self, sql, timeout_s=10):
        """By Flight SQL."""
        with self.connect(timeout_s) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
