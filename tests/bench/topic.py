"""A real Kafka broker, and topics filled with the records of a file."""

import itertools
import os
import pathlib
import shlex
import subprocess

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

import service

SERVICES = pathlib.Path(service.__file__).resolve().parent
NAME = "engagements"
numbers = itertools.count()


class Broker:
    """The one named by TOUCHLINE_TEST_KAFKA, else one of our own that ends with us. `own`: of our own in any case."""

    def __init__(self, own=False):
        self.process = None
        self.address = None if own else os.environ.get("TOUCHLINE_TEST_KAFKA")
        if self.address:
            return
        self.process = subprocess.Popen([SERVICES / "kafka", "--until-eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("export "):
                name, _, value = shlex.split(line)[1].partition("=")
                if name == "TOUCHLINE_TEST_KAFKA":
                    self.address = value
            if line.strip() == "ready":
                return
        self.process.wait()
        raise service.Unavailable("Kafka could not be started")

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(60)


def create(broker, partitions=1):
    """Makes an empty topic of a new name, and returns that."""
    name = f"{NAME}-{os.getpid()}-{next(numbers)}"
    admin = AdminClient({"bootstrap.servers": broker})
    for made in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        made.result(30)
    return name


def fill(broker, lines, last, partitions=1):
    """Makes a topic of a new name with these lines, partition by partition in turn, then the record `last` in each. Returns the name."""
    name = create(broker, partitions)
    producer = confluent_kafka.Producer({
        "bootstrap.servers": broker, "linger.ms": 50, "batch.size": 1 << 20, "acks": 1,
        "queue.buffering.max.messages": 500_000, "queue.buffering.max.kbytes": 512 << 10,
    })
    refused = []

    def delivered(error, _message):
        if error is not None:
            refused.append(error)

    with open(lines, "rb") as file:
        for number, line in enumerate(file):
            record = line[:-1]
            while True:
                try:
                    producer.produce(name, record, partition=number % partitions, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.05)
            if number % 20_000 == 0:
                producer.poll(0)
    # Behind all others: it closes the windows.
    if producer.flush(120) == 0:
        for partition in range(partitions):
            producer.produce(name, last, partition=partition, on_delivery=delivered)
        if producer.flush(60) == 0 and not refused:
            return name
    raise service.Unavailable(f"the topic could not be filled: {refused[:1] or 'Kafka does not take records'}")


def delete(broker, name):
    admin = AdminClient({"bootstrap.servers": broker})
    for gone in admin.delete_topics([name]).values():
        gone.result(30)
