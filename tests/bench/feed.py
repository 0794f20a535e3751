"""Sends lines of a file to a topic: `feed.py BROKER TOPIC FILE FIRST RATE COUNT`. FIRST of them at once, then RATE a second, COUNT in all.

Prints how many a second that were. A process of its own, so that whoever measures does not wait for its lock.
"""

import itertools
import sys
import time

import confluent_kafka

broker, topic, path = sys.argv[1:4]
first, rate, count = map(int, sys.argv[4:])
# A millisecond's records are sent together: a sleep is not more exact than that.
together = max(1, rate // 1_000)
producer = confluent_kafka.Producer({"bootstrap.servers": broker, "linger.ms": 5, "acks": 1, "queue.buffering.max.messages": 500_000})
with open(path, "rb") as lines:
    for line in itertools.islice(lines, first):
        producer.produce(topic, line[:-1])
    missing = producer.flush(60)
    began = time.monotonic()
    for number, line in enumerate(itertools.islice(lines, count - first)):
        if number % together == 0:
            producer.poll(0)
            time.sleep(max(0, began + number / rate - time.monotonic()))
        producer.produce(topic, line[:-1])
    took = time.monotonic() - began
if missing + producer.flush(60) > 0:
    sys.exit("Kafka did not take all records")
print((count - first) / took)
