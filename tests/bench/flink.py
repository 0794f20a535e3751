"""Flink SQL: the distribution of PyPI's `apache-flink-libraries`, the Kafka connector of Maven, one JVM with a job in it.

No Python stands between: the JVM runs flink/FlinkJob.java, so that its CPU time is Flink's alone.
"""

import pathlib
import queue
import shutil
import subprocess
import sys
import threading
import time

import measure
import service

# The newest for which there is a Kafka connector.
VERSION = "2.2.1"
CONNECTOR = "5.0.0-2.2"
SETTINGS = [
    "parallelism.default=1", "taskmanager.numberOfTaskSlots=1", "pipeline.object-reuse=true", "state.backend.type=hashmap",
    "table.local-time-zone=UTC",
]
JAVA = ["-Xms4g", "-Xmx4g", "-XX:+UseParallelGC"]
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
 <groupId>touchline.tests</groupId><artifactId>flink-kafka</artifactId><version>1</version><packaging>pom</packaging>
 <dependencies>
  <dependency><groupId>org.apache.flink</groupId><artifactId>flink-sql-connector-kafka</artifactId><version>{CONNECTOR}</version></dependency>
 </dependencies></project>
"""
HERE = pathlib.Path(__file__).resolve().parent


def install():
    """The class path. Raises `service.Unavailable`."""
    service.need("javac", "install a JDK 17")
    target = service.cache_dir() / f"flink-{VERSION}"
    with service.locked(target.name):
        if not target.is_dir():
            staging = pathlib.Path(f"{target}.part")
            shutil.rmtree(staging, ignore_errors=True)
            service.install([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                             "--target", staging, f"apache-flink-libraries=={VERSION}"], f"Flink {VERSION}")
            staging.rename(target)
    jars = f"{target}/pyflink/lib/*:{service.jars(f'flink-sql-connector-kafka-{CONNECTOR}', POM)}"
    classes = target / "job"
    service.install(["javac", "-cp", jars, "-d", classes, HERE / "flink" / "FlinkJob.java"], "the Flink job")
    return f"{classes}:{jars}"


class Job:
    """A JVM that runs the job once each time it is asked. The first time it also starts, compiles, and writes the rows."""

    def __init__(self, class_path, statements, log):
        self.log = log
        self.lines = queue.Queue()
        with open(log, "wb") as errors:
            self.jvm = subprocess.Popen(
                ["java", *JAVA, "-cp", class_path, "FlinkJob", str(statements), *SETTINGS],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
            )
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.jvm.stdout:
            self.lines.put(line)
        self.lines.put("")

    def run(self, limit_s):
        """Cost of one pass; of the first one with everything since the start of the JVM."""
        started = time.monotonic()
        self.jvm.stdin.write("run\n")
        while True:
            try:
                line = self.lines.get(timeout=max(0.1, limit_s - (time.monotonic() - started)))
            except queue.Empty:
                raise measure.Failed(f"Flink took longer than {limit_s} s\n{service.tail(self.log)}") from None
            if line.startswith("pass "):
                wall, cpu = map(float, line.split()[1:])
                return measure.Cost(wall / 1000, cpu / 1000)
            if not line:
                raise measure.Failed(f"Flink ended\n{service.tail(self.log)}")

    def close(self):
        self.jvm.stdin.close()
        try:
            self.jvm.wait(20)
        except subprocess.TimeoutExpired:
            self.jvm.kill()
            self.jvm.wait()
