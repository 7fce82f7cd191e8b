"""Produces under acks=all with librdkafka, reads its own tail and commits, until it is told to stop.

Prints, each flushed before the next step:

    made TOPIC PARTITIONS             its creation was acknowledged
    try ID HASH                       before the record is handed to the producer
    ack ID TOPIC PARTITION OFFSET     from the delivery report; -1: the client was not told
    fail ID CODE NAME                 from the delivery report
    fatal PRODUCER NAME               an idempotent producer cannot go on
    read ID HASH TOPIC PARTITION OFFSET   from the tail consumer
    commit TOPIC PARTITION OFFSET     a commit of the tail consumer was acknowledged

SIGTERM: no new records; waits for the reports, prints `stuck COUNT` if some stay out, and ends.
"""
import argparse
import random
import signal
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from record import GROUP, PREFIX, Lines, digest

FLUSH_S = 20  # how long reports may stay out after SIGTERM
SIZES = (100, 64 << 10)  # of the padding, in bytes; drawn so that each magnitude is as likely
OUT_MAX = 200  # records of one producer without a report
PIECE = 8  # records handed over at once

COMMON = {"acks": "all", "message.timeout.ms": 120000, "retry.backoff.ms": 20,
          "retry.backoff.max.ms": 100}
IDEMPOTENT = COMMON | {"enable.idempotence": True}
# One request at a time: only then does a resend keep the order without idempotence.
PLAIN = COMMON | {"max.in.flight.requests.per.connection": 1}
PRODUCERS = {
    "i0": IDEMPOTENT | {"compression.type": "lz4", "linger.ms": 5},
    "i1": IDEMPOTENT | {"compression.type": "zstd", "linger.ms": 0},
    "i2": IDEMPOTENT | {"compression.type": "none", "linger.ms": 30, "batch.size": 1000000},
    "p0": PLAIN | {"compression.type": "gzip", "linger.ms": 2},
    "p1": PLAIN | {"compression.type": "snappy", "linger.ms": 0},
}
CLIENT = {"reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100, "log_level": 3,
          "topic.metadata.refresh.sparse": True, "allow.auto.create.topics": False}


class Source:
    """One producer and the records it makes."""

    def __init__(self, name, settings, options, lines, topics, noise):
        self.name, self.run, self.lines, self.topics = name, options.run, lines, topics
        self.lots, self.noise = random.Random(f"{options.seed}/{options.run}/{name}"), noise
        if options.no_retries:
            settings = settings | {"retries": 0, "enable.idempotence": False}
        self.producer = Producer(settings | CLIENT | {"bootstrap.servers": options.bootstrap,
                                                      "error_cb": self.on_error})
        self.sequence, self.out, self.broken = 0, 0, False

    def on_error(self, error):
        if error.fatal() and not self.broken:
            self.broken = True
            self.lines.put("fatal", self.name, error.name())

    def value(self, identity):
        low, high = SIZES
        size = int(low * (high / low) ** self.lots.random())
        start = self.lots.randrange(len(self.noise) - size)
        padding = self.noise[start:start + size]
        if self.lots.random() < 0.5:
            padding = (padding[:50] * (size // 50 + 1))[:size]  # compressible
        return identity.encode() + b"\0" + padding

    def piece(self):
        """Hands over some records; how many bytes."""
        if self.broken or self.out + PIECE > OUT_MAX:
            return 0
        pieces = []
        for _ in range(PIECE):
            identity = f"{self.run}/{self.name}/{self.sequence}"
            self.sequence += 1
            value = self.value(identity)
            self.lines.put("try", identity, digest(value))
            pieces.append((identity, value))
        self.lines.flush()
        for identity, value in pieces:
            topic, partitions = self.lots.choice(self.topics)
            self.producer.produce(topic, value, partition=self.lots.randrange(partitions),
                                  on_delivery=lambda error, message, identity=identity:
                                  self.report(identity, error, message))
            self.out += 1
        return sum(len(value) for _, value in pieces)

    def report(self, identity, error, message):
        self.out -= 1
        if error:
            self.lines.put("fail", identity, error.code(), error.name())
        else:
            offset = message.offset()  # none after a resend that the broker knew as a duplicate
            self.lines.put("ack", identity, message.topic(), message.partition(),
                           -1 if offset is None else offset)


class Tail(threading.Thread):
    """Reads what arrives and commits how far it came."""

    def __init__(self, options, lines, topics, fresh_topic):
        super().__init__(daemon=True)
        self.lines, self.ended, self.next_commit = lines, False, 0
        # One at a time: the client sends commits again that a crash left without an answer, and of
        # several the older one may come last.
        self.committing = False
        self.consumer = Consumer(CLIENT | {
            "bootstrap.servers": options.bootstrap, "group.id": GROUP,
            "enable.auto.commit": False, "fetch.wait.max.ms": 50, "on_commit": self.on_commit})
        self.consumer.assign([
            TopicPartition(topic, partition,
                           OFFSET_BEGINNING if topic == fresh_topic else OFFSET_END)
            for topic, partitions in topics for partition in range(partitions)])

    def on_commit(self, error, places):
        self.committing = False
        for place in () if error else places:
            if not place.error and place.offset >= 0:
                self.lines.put("commit", place.topic, place.partition, place.offset)

    def run(self):
        from record import identity
        reached = {}
        while not self.ended:
            for message in self.consumer.consume(500, 0.05):
                if message.error():
                    continue
                value = message.value()
                self.lines.put("read", identity(value), digest(value), message.topic(),
                               message.partition(), message.offset())
                reached[message.topic(), message.partition()] = message.offset() + 1
            self.lines.flush()
            if reached and not self.committing and time.monotonic() > self.next_commit:
                self.next_commit = time.monotonic() + 0.1
                places = [TopicPartition(*place, offset) for place, offset in reached.items()]
                reached = {}
                try:
                    self.committing = True
                    self.consumer.commit(offsets=places, asynchronous=True)
                except KafkaException:
                    self.committing = False  # the broker is away: the next commit goes further
        self.consumer.close()


def make_topics(options, lines, topics):
    admin = AdminClient(CLIENT | {"bootstrap.servers": options.bootstrap})
    asked = admin.create_topics([NewTopic(name, count, 1) for name, count in topics],
                                request_timeout=20, operation_timeout=20)
    for name, count in topics:
        try:
            asked[name].result(30)
        except KafkaException as problem:
            if problem.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        lines.put("made", name, count)
    lines.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--run", required=True, help="distinct on a data directory")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--rate", type=float, default=12e6, help="bytes a second")
    parser.add_argument("--no-retries", action="store_true", help="report the broker's own answer")
    parser.add_argument("--no-tail", action="store_true")
    options = parser.parse_args()
    going = [True]
    signal.signal(signal.SIGTERM, lambda *_: going.clear())
    lines = Lines()
    fresh = f"{PREFIX}run-{options.run}"
    topics = [(PREFIX + "a", 1), (PREFIX + "b", 4), (PREFIX + "c", 7), (fresh, 2)]
    make_topics(options, lines, topics)
    tail = None if options.no_tail else Tail(options, lines, topics, fresh)
    noise = random.Random(options.seed).randbytes(1 << 20)
    sources = [Source(name, settings, options, lines, topics, noise)
               for name, settings in PRODUCERS.items()]
    if tail:
        tail.start()
    began, sent = time.monotonic(), 0
    while going:
        before = sent
        for source in sources:
            if sent <= options.rate * (time.monotonic() - began):
                sent += source.piece()
            source.producer.poll(0)
        lines.flush()
        if sent == before:
            began = max(began, time.monotonic() - sent / options.rate - 0.2)  # no burst later
            time.sleep(0.001)
    until = time.monotonic() + FLUSH_S
    while (out := sum(s.out for s in sources if not s.broken)) and time.monotonic() < until:
        for source in sources:
            source.producer.poll(0.005)
        lines.flush()
    if out:
        lines.put("stuck", out)
    if tail:
        tail.ended = True
        tail.join(10)
    lines.flush()
    sys.exit(3 if out else 0)


if __name__ == "__main__":
    main()
