"""What is produced comes back: values, keys, headers, timestamps, under every compression."""

import hashlib
import random

import kit
import pytest

# (key, value): absent and empty are different things on the wire, and both must survive.
EDGES = [
    (None, None),
    (None, b""),
    (b"", None),
    (b"", b""),
    (b"key", None),
    (b"key", b"value"),
    (bytes(range(256)), bytes(range(255, -1, -1))),
    ("ключ".encode(), "значение".encode()),
]

HEADERS = [
    ("a", b"1"),
    ("a", b"2"),
    ("null", None),
    ("empty", b""),
    ("bytes", b"\xff\xfe\x00\x80"),
    ("", b"no name"),
    ("a", b"1"),
]


@pytest.mark.parametrize("codec", kit.CODECS)
def test_keys_values_headers_timestamps(unique, codec):
    topic = kit.create_topic(unique())
    client, sent = kit.producer(compression_type=codec), {}
    first_ms = 1_600_000_000_123
    # Repeated bodies make batches that a codec can shrink; librdkafka keeps others plain.
    records = EDGES + [(b"k%d" % n, b"abc" * 200) for n in range(50)]
    for index, (key, value) in enumerate(records):
        stamp = first_ms + index * 1000
        kit.enqueue(client, sent, index, topic, value, key, headers=HEADERS, timestamp=stamp)
    assert client.flush(30) == 0
    messages = kit.read(topic, len(records))
    assert [(m.key(), m.value()) for m in messages] == records
    assert [m.offset() for m in messages] == list(range(len(records)))
    assert [sent[i].offset for i in range(len(records))] == list(range(len(records)))
    assert all(m.headers() == HEADERS for m in messages)
    create_time = 1
    expected = [(create_time, first_ms + i * 1000) for i in range(len(records))]
    assert [m.timestamp() for m in messages] == expected


def test_no_headers_stay_absent(unique):
    topic = kit.create_topic(unique())
    kit.produce(topic, [b"x"])
    assert not kit.read(topic, 1)[0].headers()


def mixed_sizes(total_bytes, seed):
    """Bodies from 0 bytes to 900 kB, half of them compressible, `total_bytes` in all."""
    rng = random.Random(seed)
    bodies, size = [], 0
    while size < total_bytes:
        length = rng.choice([0, 1, 17, 100, 1000, 1024, 10_000, 65_536, 300_000, 900_000])
        bodies.append(rng.randbytes(length) if rng.random() < 0.5 else b"sabir" * (length // 5))
        size += len(bodies[-1])
    return bodies


@pytest.mark.parametrize("codec", kit.CODECS)
def test_ten_megabytes_by_hash(unique, codec):
    topic = kit.create_topic(unique())
    bodies = mixed_sizes(10_000_000, codec)
    kit.produce(topic, bodies, compression_type=codec)
    messages = kit.read(topic, len(bodies), check_crcs=True)
    wanted, got = hashlib.sha256(), hashlib.sha256()
    for body, message in zip(bodies, messages, strict=True):
        wanted.update(b"%d:" % len(body) + body)
        got.update(b"%d:" % len(message.value()) + message.value())
    assert got.hexdigest() == wanted.hexdigest()


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(unique, acks):
    topic = kit.create_topic(unique())
    values = [b"%d" % n for n in range(500)]
    sent = kit.produce(topic, values, acks=acks)
    assert [m.value() for m in kit.read(topic, 500)] == values
    if acks != "0":
        assert [s.offset for s in sent] == list(range(500))


def test_idempotent_producer_keeps_order(unique):
    topic = kit.create_topic(unique(), partitions=3)
    values = [b"%d" % n for n in range(3000)]
    settings = {"enable.idempotence": True, "batch.num.messages": 50, "linger.ms": 1}
    kit.produce(topic, values, keys=[b"%d" % (n % 7) for n in range(3000)], **settings)
    messages = kit.read(topic, 3000, partitions=range(3))
    per_key = {}
    for message in messages:
        per_key.setdefault(message.key(), []).append(int(message.value()))
    assert sum(map(len, per_key.values())) == 3000
    assert all(numbers == sorted(set(numbers)) for numbers in per_key.values())


def test_several_producers_share_a_partition(unique):
    topic = kit.create_topic(unique())
    clients = [kit.producer(**{"enable.idempotence": True}) for _ in range(4)]
    sent = {}
    for n in range(1000):
        kit.enqueue(clients[n % 4], sent, n, topic, b"%d" % n)
    assert all(client.flush(30) == 0 for client in clients)
    assert sorted(s.offset for s in sent.values()) == list(range(1000))
    messages = kit.read(topic, 1000)
    assert [m.offset() for m in messages] == list(range(1000))
    by_offset = {m.offset(): m.value() for m in messages}
    assert all(by_offset[sent[n].offset] == b"%d" % n for n in range(1000))


def test_a_hundred_partitions(unique):
    topic = kit.create_topic(unique(), partitions=100)
    client, sent = kit.producer(), {}
    for n in range(1000):
        kit.enqueue(client, sent, n, topic, b"%d" % n, partition=n % 100)
    assert client.flush(30) == 0
    messages = kit.read(topic, 1000, partitions=range(100))
    assert sorted(int(m.value()) for m in messages) == list(range(1000))
    for message in messages:
        assert int(message.value()) == message.offset() * 100 + message.partition()


@pytest.mark.parametrize("kind, clock", [("CreateTime", 1), ("LogAppendTime", 2)])
def test_timestamp_type(unique, kind, clock):
    topic = kit.create_topic(unique(), message_timestamp_type=kind)
    client, sent = kit.producer(), {}
    old = 1_500_000_000_000
    kit.enqueue(client, sent, 0, topic, b"x", timestamp=old)
    assert client.flush(30) == 0
    got_kind, stamp = kit.read(topic, 1)[0].timestamp()
    assert got_kind == clock
    assert (stamp == old) == (kind == "CreateTime")
    assert sent[0].timestamp == (got_kind, stamp)
