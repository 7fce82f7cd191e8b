"""Helpers of the librdkafka suite: clients with short settings, and loops with a deadline.

No assertions about the broker live here, only the ways the tests talk to it.
"""

import functools
import time
from dataclasses import dataclass

import calls
import wire
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import BOOTSTRAP, IS_PEER

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
DEADLINE_S = 30.0


@dataclass(frozen=True)
class Sent:
    """Where a record went, as the delivery report says."""

    partition: int
    offset: int
    timestamp: tuple


def producer(**settings):
    return Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, **dotted(settings)})


def consumer(group="unused", **settings):
    base = {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 500,
        "topic.metadata.refresh.interval.ms": 1000,
    }
    return Consumer({**base, **dotted(settings)})


def dotted(settings):
    """`auto_offset_reset` is written with dots in the client's own settings; callbacks are not."""
    callbacks = ("on_commit", "error_cb", "stats_cb")
    return {n if n in callbacks else n.replace("_", "."): v for n, v in settings.items()}


@functools.cache
def admin():
    """One for the whole run: a client that is collected fails its own pending calls."""
    return AdminClient({"bootstrap.servers": BOOTSTRAP})


def create_topic(name, partitions=1, **config):
    topic = NewTopic(name, partitions, 1, config=dotted(config))
    admin().create_topics([topic], request_timeout=20)[name].result(30)
    if IS_PEER:
        with wire.Connection() as connection:
            calls.await_leaders(connection, name, partitions)
    return name


def succeeds(call):
    """True when `call` raises no client error."""
    try:
        call()
        return True
    except KafkaException:
        return False


def produce(topic, values, partition=None, keys=None, **settings):
    """Send `values` with their delivery reports; returns one `Sent` each, in order."""
    client = producer(**settings)
    sent = {}
    for index, value in enumerate(values):
        enqueue(client, sent, index, topic, value, keys[index] if keys else None, partition)
    left = client.flush(DEADLINE_S)
    assert left == 0, f"{left} records were not delivered"
    return [sent[index] for index in range(len(sent))]


def enqueue(client, sent, index, topic, value, key=None, partition=None, **more):
    """One produce call; its report (or the `KafkaError`) lands in `sent[index]`."""

    def report(error, message):
        sent[index] = error or Sent(message.partition(), message.offset(), message.timestamp())

    if partition is not None:
        more["partition"] = partition
    while True:
        try:
            client.produce(topic, value=value, key=key, on_delivery=report, **more)
            return
        except BufferError:
            client.poll(0.1)


def read(topic, count, partitions=(0,), start=0, **settings):
    """Read `count` messages from the partitions without a group; closes the consumer."""
    client = consumer(**settings)
    try:
        client.assign([TopicPartition(topic, number, start) for number in partitions])
        return poll(client, count)
    finally:
        client.close()


def poll(client, count, deadline_s=DEADLINE_S):
    """Poll until `count` messages have come; an error event is raised."""
    messages = []
    deadline = time.monotonic() + deadline_s
    while len(messages) < count and time.monotonic() < deadline:
        for message in client.consume(min(count - len(messages), 1000), timeout=0.2):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
    assert len(messages) == count, f"{len(messages)} of {count} messages came"
    return messages


def poll_error(client, deadline_s=DEADLINE_S):
    """Poll until an error event comes and return it."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        message = client.poll(0.2)
        if message is not None and message.error():
            return message.error()
    raise AssertionError("no error event came")


def nothing_comes(client, seconds):
    """True when no message arrives within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if client.poll(0.1) is not None:
            return False
    return True


def wait_for(condition, what, deadline_s=DEADLINE_S):
    """Ask `condition` until it holds."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {deadline_s:.0f} s in vain for: {what}"
        time.sleep(0.05)


def delivery_error(topic, value=b"x", **settings):
    """The error code of one failed delivery (or of the produce call that refused it)."""
    more = {name: settings.pop(name) for name in ("partition",) if name in settings}
    client, sent = producer(**settings), {}
    try:
        enqueue(client, sent, 0, topic, value, **more)
    except KafkaException as refused:
        return refused.args[0].code()
    client.flush(DEADLINE_S)
    assert isinstance(sent.get(0), KafkaError), f"delivered: {sent.get(0)}"
    return sent[0].code()
