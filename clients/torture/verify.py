"""Reads everything back from a restarted broker with librdkafka and prints it:

    topic NAME PARTITIONS
    end TOPIC PARTITION LOW HIGH       the watermarks
    have ID HASH TOPIC PARTITION OFFSET
    group TOPIC PARTITION OFFSET       what the tail's group has committed
    refused TOPIC PARTITION FROM TO NAME    with --tolerant: these offsets were answered by an error
    done                               the last line; without it the reading is not whole

Exit status 1: something could not be read.
"""
import argparse
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from record import GROUP, PREFIX, Lines, digest, identity

TIMEOUT_S = 20  # for each request, and for a partition without progress


def client(options, **settings):
    return Consumer({
        "bootstrap.servers": options.bootstrap, "group.id": GROUP, "enable.auto.commit": False,
        "allow.auto.create.topics": False, "auto.offset.reset": "error", "check.crcs": True,
        "isolation.level": "read_uncommitted", "fetch.wait.max.ms": 20, "log_level": 3,
        "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 100,
        "fetch.error.backoff.ms": 50, "enable.partition.eof": False,
        "queued.max.messages.kbytes": 65536} | settings)


def patiently(act):
    """The answer of a request that the broker may still refuse just after its start."""
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return act()
        except KafkaException:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


class Reading:
    """All partitions at once, each from its low to its high watermark."""

    def __init__(self, options, lines):
        self.options, self.lines = options, lines
        self.consumer = client(options)
        self.left = {}  # (topic, partition) -> [next offset, high, when it moved last, last error]

    def layout(self):
        listed = patiently(lambda: self.consumer.list_topics(timeout=TIMEOUT_S)).topics
        places = []
        for name, topic in sorted(listed.items()):
            if name.startswith(PREFIX):
                self.lines.put("topic", name, len(topic.partitions))
                places += [TopicPartition(name, number) for number in sorted(topic.partitions)]
        for place in places:
            low, high = patiently(lambda place=place: self.consumer.get_watermark_offsets(
                place, timeout=TIMEOUT_S))
            self.lines.put("end", place.topic, place.partition, low, high)
            if low < high:
                self.left[place.topic, place.partition] = [low, high, time.monotonic(), None]
        return places

    def committed(self, places):
        for place in patiently(lambda: self.consumer.committed(places, timeout=TIMEOUT_S)):
            if place.offset >= 0:
                self.lines.put("group", place.topic, place.partition, place.offset)
        self.lines.flush()

    def take(self, message):
        place = message.topic(), message.partition()
        if message.error():
            if place in self.left:
                self.left[place][3] = message.error().name()
            return
        value = message.value() or b""
        self.lines.put("have", identity(value), digest(value), *place, message.offset())
        if place in self.left:
            state = self.left[place]
            state[0], state[2], state[3] = message.offset() + 1, time.monotonic(), None
            if state[0] >= state[1]:
                del self.left[place]

    def assign(self):
        self.consumer.assign([TopicPartition(*place, state[0])
                              for place, state in self.left.items()])

    def run(self):
        self.assign()
        patience = self.options.patience
        while self.left:
            for message in self.consumer.consume(1000, 0.2):
                self.take(message)
            self.lines.flush()
            now = time.monotonic()
            slow = [place for place, state in self.left.items() if now - state[2] > patience]
            if slow and not self.options.tolerant:
                for topic, partition in slow:
                    state = self.left[topic, partition]
                    print(f"no progress: {topic} {partition} at {state[0]} of {state[1]}: "
                          f"{state[3]}", file=sys.stderr)
                return False
            if slow and now - max(state[2] for state in self.left.values()) > patience:
                for topic, partition in slow:
                    self.skip(topic, partition)
                for state in self.left.values():
                    state[2] = time.monotonic()
        return True

    def skip(self, topic, partition):
        """Finds where a partition can be read again after a place that is answered by an error."""
        state = self.left[topic, partition]
        begin, high, error = state[0], state[1], state[3]
        low, step = begin + 1, 1
        while low < high and not self.readable(topic, partition, low):
            low, step = low + step, step * 2
        # The first readable offset lies between the last refused one and `low`.
        floor, ceiling = max(begin + 1, low - step // 2), min(low, high)
        while floor < ceiling:
            middle = (floor + ceiling) // 2
            if self.readable(topic, partition, middle):
                ceiling = middle
            else:
                floor = middle + 1
        self.lines.put("refused", topic, partition, begin, ceiling, error or "silent")
        self.lines.flush()
        if ceiling >= high:
            del self.left[topic, partition]
        else:
            state[0] = ceiling
            self.assign()  # not a seek: the client has stopped a partition with an error

    def readable(self, topic, partition, offset):
        """Whether a fetch at this offset gives the record of this offset."""
        probe = client(self.options)
        probe.assign([TopicPartition(topic, partition, offset)])
        until, found = time.monotonic() + self.options.patience, False
        while not found and time.monotonic() < until:
            message = probe.poll(0.1)
            if message is not None and not message.error():
                found = message.offset() == offset
                break
            if message is not None and message.error().code() == KafkaError._PARTITION_EOF:
                break
        probe.close()
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--tolerant", action="store_true", help="go on behind refused ranges")
    parser.add_argument("--patience", type=float, default=TIMEOUT_S, help="seconds")
    options = parser.parse_args()
    lines = Lines()
    reading = Reading(options, lines)
    places = reading.layout()
    if places:
        reading.committed(places)
    whole = reading.run()
    if whole:
        lines.put("done")
    lines.flush()
    reading.consumer.close()
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
