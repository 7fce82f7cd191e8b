"""The few whole requests that the raw tests make, on old versions whose layout is simple."""

import time

from conftest import IS_PEER
from wire import (
    API_VERSIONS,
    CREATE_TOPICS,
    FETCH,
    INIT_PRODUCER_ID,
    LIST_OFFSETS,
    METADATA,
    PRODUCE,
    array,
    blob,
    i8,
    i16,
    i32,
    i64,
    string,
)


def api_versions(connection):
    """{key: (lowest, highest)} by ApiVersions 0."""
    reader = connection.call(API_VERSIONS, 0, b"")
    assert reader.i16() == 0
    ranges = reader.array(lambda: (reader.i16(), reader.i16(), reader.i16()))
    reader.done()
    return {key: (low, high) for key, low, high in ranges}


def metadata(connection, topics, create=False):
    """{topic: (error, partitions)} by Metadata 4."""
    body = array([string(topic) for topic in topics]) + i8(create)
    reader = connection.call(METADATA, 4, body)
    reader.i32()
    reader.array(lambda: (reader.i32(), reader.string(), reader.i32(), reader.string()))
    reader.string()
    reader.i32()

    def partition():
        found = (reader.i16(), reader.i32(), reader.i32())
        reader.array(reader.i32)
        reader.array(reader.i32)
        return found

    def topic():
        error, name = reader.i16(), reader.string()
        reader.i8()
        return name, (error, reader.array(partition))

    found = dict(reader.array(topic))
    reader.done()
    return found


def create_topic(connection, name, partitions=1, **config):
    pairs = [string(k.replace("_", ".")) + string(v) for k, v in config.items()]
    topic = string(name) + i32(partitions) + i16(1) + array([]) + array(pairs)
    reader = connection.call(CREATE_TOPICS, 2, array([topic]) + i32(10_000) + i8(0))
    reader.i32()
    answers = reader.array(lambda: (reader.string(), reader.i16(), reader.string()))
    assert [(n, e) for n, e, _ in answers] == [(name, 0)], answers
    reader.done()
    if IS_PEER:
        await_leaders(connection, name, partitions)
    return name


def auto_topic(connection, name):
    """Lets the broker create a topic by asking for its metadata."""
    deadline = time.monotonic() + 10
    while metadata(connection, [name], create=True)[name][0] != 0:
        assert time.monotonic() < deadline, "the topic is not created"
        time.sleep(0.02)
    if IS_PEER:
        await_leaders(connection, name, 1)
    return name


def await_leaders(connection, name, partitions):
    """Kafka has no leader for a new partition for a moment, and a batch refused meanwhile may
    come after its successor, out of order for good. Sabir must not need this.
    """
    deadline = time.monotonic() + 10
    while any(list_end(connection, name, n)[0] for n in range(partitions)):
        assert time.monotonic() < deadline, "the topic has no leader"
        time.sleep(0.02)


def produce_body(topic, records, partition=0, acks=-1, timeout_ms=10_000, transactional_id=None):
    data = array([string(topic) + array([i32(partition) + blob(records)])])
    return string(transactional_id) + i16(acks) + i32(timeout_ms) + data


def produce(connection, topic, records, partition=0, acks=-1, version=7, timeout_s=10):
    """(error, base offset, append time) by Produce 3 to 7."""
    connection.send(PRODUCE, version, produce_body(topic, records, partition, acks))
    reader = connection.receive(timeout_s=timeout_s)

    def answer():
        assert reader.i32() == partition
        found = (reader.i16(), reader.i64(), reader.i64())
        if version >= 5:
            reader.i64()
        return found

    [(name, [found])] = reader.array(lambda: (reader.string(), reader.array(answer)))
    assert name == topic
    reader.i32()
    reader.done()
    return found


def fetch_body(topic, partition, offset, max_wait_ms=1000, min_bytes=1, max_bytes=1 << 20):
    query = i32(partition) + i64(offset) + i32(max_bytes)
    head = i32(-1) + i32(max_wait_ms) + i32(min_bytes) + i32(max_bytes) + i8(0)
    return head + array([string(topic) + array([query])])


def fetch(connection, topic, offset, partition=0, **limits):
    """(error, high watermark, record bytes) by Fetch 4."""
    reader = connection.call(FETCH, 4, fetch_body(topic, partition, offset, **limits))
    reader.i32()

    def answer():
        reader.i32()
        error, high = reader.i16(), reader.i64()
        reader.i64()
        reader.array(lambda: (reader.i64(), reader.i64()))
        return error, high, reader.blob() or b""

    [(_, [found])] = reader.array(lambda: (reader.string(), reader.array(answer)))
    reader.done()
    return found


def end_offset(connection, topic, partition=0):
    error, offset = list_end(connection, topic, partition)
    assert error == 0, error
    return offset


def list_end(connection, topic, partition=0):
    """(error, end offset) by ListOffsets 1."""
    query = i32(partition) + i64(-1)
    body = i32(-1) + array([string(topic) + array([query])])
    reader = connection.call(LIST_OFFSETS, 1, body)

    def answer():
        return reader.i32(), reader.i16(), reader.i64(), reader.i64()

    [(_, [(_, error, _, offset)])] = reader.array(
        lambda: (reader.string(), reader.array(answer))
    )
    reader.done()
    return error, offset


def init_producer_id(connection, transactional_id=None):
    """(error, producer id, epoch) by InitProducerId 0."""
    while True:
        reader = connection.call(INIT_PRODUCER_ID, 0, string(transactional_id) + i32(60_000))
        reader.i32()
        found = (reader.i16(), reader.i64(), reader.i16())
        reader.done()
        # A peer that has just started fetches its first ids; Sabir must not need this.
        if found[0] != 14 or not IS_PEER:
            return found
        time.sleep(0.05)
