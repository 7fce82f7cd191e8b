"""Fetch: long polls answer when data comes, minimum and maximum sizes, large answers."""

import threading
import time

import kit
import pytest
from confluent_kafka import TopicPartition


def waiting_consumer(topic, **settings):
    """A consumer at the end of the topic whose fetch already waits at the broker."""
    client = kit.consumer(**settings)
    client.assign([TopicPartition(topic, 0, 0)])
    kit.produce(topic, [b"first"])
    kit.poll(client, 1)
    assert kit.nothing_comes(client, 0.7)
    return client


def test_a_waiting_fetch_answers_when_a_message_comes(unique):
    topic = kit.create_topic(unique())
    client = waiting_consumer(topic, **{"fetch.wait.max.ms": 8000})
    sender, delays = kit.producer(linger_ms=0), []
    for n in range(10):
        begin = time.monotonic()
        sender.produce(topic, b"%d" % n)
        assert sender.flush(10) == 0
        kit.poll(client, 1)
        delays.append(time.monotonic() - begin)
        time.sleep(0.05)
    delays.sort()
    assert delays[5] < 0.3 and delays[-1] < 2.0, delays
    client.close()


def test_an_empty_fetch_waits(unique):
    """An idle consumer asks rarely: its fetches wait as long as it allows them to."""
    topic, requests = kit.create_topic(unique()), []

    def stats(text):
        requests.append(text)

    settings = {"fetch.wait.max.ms": 500, "statistics.interval.ms": 200, "stats_cb": stats}
    client = waiting_consumer(topic, **settings)
    begin = fetches(requests)
    kit.nothing_comes(client, 3)
    asked = fetches(requests) - begin
    assert 2 <= asked <= 12, f"{asked} fetches in 3 s"
    client.close()


def fetches(stats_texts):
    """Fetch requests sent so far, over all connections, in the newest statistics."""
    import json

    brokers = json.loads(stats_texts[-1])["brokers"].values()
    return sum(broker["req"].get("Fetch", 0) for broker in brokers)


def test_minimum_bytes(unique):
    """Small messages wait together until there is enough, or until the time is up."""
    topic = kit.create_topic(unique())
    settings = {"fetch.wait.max.ms": 3000, "fetch.min.bytes": 50_000}
    client = kit.consumer(**settings)
    client.assign([TopicPartition(topic, 0, 0)])
    assert kit.nothing_comes(client, 0.5)
    begin = time.monotonic()
    kit.produce(topic, [b"small"])
    kit.poll(client, 1)
    alone = time.monotonic() - begin
    assert 1.0 < alone < 5.0, f"one small message came after {alone:.2f} s"
    kit.nothing_comes(client, 0.3)
    begin = time.monotonic()
    kit.produce(topic, [b"x" * 60_000])
    kit.poll(client, 1)
    assert time.monotonic() - begin < 1.5, "enough bytes were there at once"
    client.close()


def test_many_small_waits_at_once(unique):
    """Ten consumers wait on ten partitions; each is woken by its own message only."""
    topic = kit.create_topic(unique(), partitions=10)
    clients = [kit.consumer(**{"fetch.wait.max.ms": 8000}) for _ in range(10)]
    for number, client in enumerate(clients):
        client.assign([TopicPartition(topic, number, 0)])
        client.poll(0)
    time.sleep(1)
    got, begin = {}, time.monotonic()

    def read(number):
        got[number] = [m.value() for m in kit.poll(clients[number], 1)]

    threads = [threading.Thread(target=read, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    sender = kit.producer(linger_ms=0)
    for number in range(10):
        sender.produce(topic, b"%d" % number, partition=number)
    assert sender.flush(10) == 0
    for thread in threads:
        thread.join(20)
    assert got == {n: [b"%d" % n] for n in range(10)}
    assert time.monotonic() - begin < 4
    for client in clients:
        client.close()


@pytest.mark.parametrize("limit", [1, 1000, 100_000, 50_000_000])
def test_fetch_sizes(unique, limit):
    """However small the limit, a message larger than it still comes; nothing is skipped."""
    topic = kit.create_topic(unique())
    client, sent = kit.producer(linger_ms=0), {}
    sizes = [10, 200_000, 1, 900_000, 3000, 0, 65_536, 500] * (1 if limit == 1 else 8)
    for n, size in enumerate(sizes):
        kit.enqueue(client, sent, n, topic, b"%d " % n + b"x" * size)
        if n % 8 == 0:
            client.flush(10)
    assert client.flush(30) == 0
    settings = {"fetch.message.max.bytes": max(limit, 1), "fetch.max.bytes": 60_000_000}
    messages = kit.read(topic, len(sizes), **settings)
    assert [len(m.value()) - len(b"%d " % n) for n, m in enumerate(messages)] == sizes


def test_start_inside_a_batch(unique):
    topic = kit.create_topic(unique())
    values = [b"%d" % n for n in range(100)]
    kit.produce(topic, values, linger_ms=200)
    for start in (0, 1, 50, 99):
        messages = kit.read(topic, 100 - start, start=start)
        assert [m.value() for m in messages] == values[start:]


def test_a_consumer_joins_and_leaves_partitions(unique):
    """Fetch sessions: partitions come and go without a new connection."""
    topic = kit.create_topic(unique(), partitions=4)
    for number in range(4):
        kit.produce(topic, [b"%d" % number], partition=number)
    client = kit.consumer()
    client.assign([TopicPartition(topic, 0, 0)])
    assert [m.partition() for m in kit.poll(client, 1)] == [0]
    client.incremental_assign([TopicPartition(topic, n, 0) for n in (1, 2)])
    assert sorted(m.partition() for m in kit.poll(client, 2)) == [1, 2]
    client.incremental_unassign([TopicPartition(topic, 1)])
    kit.produce(topic, [b"again"], partition=1)
    assert kit.nothing_comes(client, 1)
    client.incremental_assign([TopicPartition(topic, 3, 0)])
    kit.produce(topic, [b"again"], partition=0)
    assert sorted(m.partition() for m in kit.poll(client, 2)) == [0, 3]
    client.close()
