"""Offsets: commits, what a consumer starts from, seeking, looking up by time, lag."""

import json

import kit
import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicPartition,
)


def values(messages):
    return [int(m.value()) for m in messages]


def filled(unique, count=10, **config):
    topic = kit.create_topic(unique(), **config)
    kit.produce(topic, [b"%d" % n for n in range(count)])
    return topic


@pytest.mark.parametrize("asynchronous", [False, True])
def test_committed_offsets_survive_the_consumer(unique, asynchronous):
    topic, group = filled(unique), unique("g")
    done = []
    first = kit.consumer(group, on_commit=lambda error, parts: done.append((error, parts)))
    first.subscribe([topic])
    assert values(kit.poll(first, 10)) == list(range(10))
    answered = first.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=asynchronous)
    if asynchronous:
        kit.wait_for(lambda: first.poll(0.05) or done, "the commit is answered")
        error, answered = done[0]
        assert error is None
    assert [(p.offset, p.error) for p in answered] == [(4, None)]
    first.close()
    second = kit.consumer(group)
    assert second.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 4
    second.subscribe([topic])
    assert values(kit.poll(second, 6)) == list(range(4, 10))
    second.commit(asynchronous=False)
    assert second.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 10
    second.close()


def test_automatic_commits(unique):
    topic, group = filled(unique), unique("g")
    first = kit.consumer(group, enable_auto_commit=True, auto_commit_interval_ms=200)
    first.subscribe([topic])
    kit.poll(first, 10)
    first.close()
    second = kit.consumer(group)
    assert second.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == 10
    second.close()


@pytest.mark.parametrize("metadata", ["", "plain", "größe ✓ 漢字", "m" * 4000])
def test_offset_metadata_round_trip(unique, metadata):
    topic, group = filled(unique), unique("g")
    client = kit.consumer(group)
    wanted = TopicPartition(topic, 0, 3, metadata)
    answered = client.commit(offsets=[wanted], asynchronous=False)
    assert answered[0].error is None
    found = client.committed([TopicPartition(topic, 0)], timeout=10)[0]
    assert (found.offset, found.metadata or "") == (3, metadata)
    client.close()


def test_offset_metadata_too_large(unique):
    topic, group = filled(unique), unique("g")
    client = kit.consumer(group)
    wanted = TopicPartition(topic, 0, 3, "m" * 5000)
    try:
        error = client.commit(offsets=[wanted], asynchronous=False)[0].error
    except KafkaException as refused:
        error = refused.args[0]
    assert error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    assert client.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == OFFSET_INVALID
    client.close()


def test_commits_without_membership(unique):
    topic, group = filled(unique), unique("g")
    client = kit.consumer(group)
    client.assign([TopicPartition(topic, 0)])
    assert values(kit.poll(client, 5)) == list(range(5))
    client.commit(asynchronous=False)
    client.close()
    client = kit.consumer(group)
    client.assign([TopicPartition(topic, 0)])
    assert values(kit.poll(client, 5)) == list(range(5, 10))
    client.close()


@pytest.mark.parametrize("reset", ["earliest", "latest", "error"])
def test_auto_offset_reset(unique, reset):
    topic = filled(unique)
    client = kit.consumer(unique("g"), auto_offset_reset=reset)
    client.assign([TopicPartition(topic, 0)])
    if reset == "earliest":
        assert values(kit.poll(client, 10)) == list(range(10))
    elif reset == "latest":
        assert kit.nothing_comes(client, 1.5)
        kit.produce(topic, [b"10"])
        assert values(kit.poll(client, 1)) == [10]
    else:
        assert kit.poll_error(client).code() == KafkaError._AUTO_OFFSET_RESET
    client.close()


@pytest.mark.parametrize("reset, first", [("earliest", 0), ("latest", 10), ("error", None)])
def test_offset_out_of_range(unique, reset, first):
    topic = filled(unique)
    client = kit.consumer(unique("g"), auto_offset_reset=reset)
    client.assign([TopicPartition(topic, 0, 1_000_000)])
    if first is None:
        error = kit.poll_error(client)
        assert error.code() == KafkaError._AUTO_OFFSET_RESET
        assert "out of range" in error.str()
    elif first == 0:
        assert values(kit.poll(client, 10)) == list(range(10))
    else:
        assert kit.nothing_comes(client, 2)
        kit.produce(topic, [b"10"])
        assert values(kit.poll(client, 1)) == [10]
    client.close()


def test_seek(unique):
    topic = filled(unique)
    client = kit.consumer()
    client.assign([TopicPartition(topic, 0, 0)])
    kit.poll(client, 10)
    for target, first in [(OFFSET_BEGINNING, 0), (7, 7), (OFFSET_END, 10), (2, 2)]:
        client.seek(TopicPartition(topic, 0, target))
        if first == 10:
            assert kit.nothing_comes(client, 1)
        else:
            assert values(kit.poll(client, 10 - first)) == list(range(first, 10))
    client.close()


def test_offsets_for_times(unique):
    topic = kit.create_topic(unique(), partitions=2)
    client, sent, base_ms = kit.producer(), {}, 1_600_000_000_000
    for n in range(10):
        # One batch each, so that a lookup has to find the batch as well as the record.
        stamp = base_ms + n * 1000
        kit.enqueue(client, sent, n, topic, b"%d" % n, partition=0, timestamp=stamp)
        if n % 3 == 2:
            assert client.flush(20) == 0
    assert client.flush(20) == 0
    reader = kit.consumer()
    cases = [
        (0, 0),
        (base_ms, 0),
        (base_ms + 1, 1),
        (base_ms + 4000, 4),
        (base_ms + 4999, 5),
        (base_ms + 9000, 9),
        (base_ms + 9001, OFFSET_END),
    ]
    for stamp, wanted in cases:
        query = [TopicPartition(topic, 0, stamp), TopicPartition(topic, 1, stamp)]
        found = reader.offsets_for_times(query, timeout=10)
        assert [p.error for p in found] == [None, None]
        assert [p.offset for p in found] == [wanted, OFFSET_END], stamp - base_ms
    start = reader.offsets_for_times([TopicPartition(topic, 0, base_ms + 6500)], timeout=10)
    reader.assign(start)
    assert values(kit.poll(reader, 3)) == [7, 8, 9]
    reader.close()


def test_watermarks(unique):
    topic = kit.create_topic(unique(), partitions=2)
    client = kit.consumer()
    assert client.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, 0)
    kit.produce(topic, [b"x"] * 25, partition=0)
    assert client.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, 25)
    assert client.get_watermark_offsets(TopicPartition(topic, 1), timeout=10) == (0, 0)
    client.assign([TopicPartition(topic, 0, 20)])
    kit.poll(client, 5)
    cached = client.get_watermark_offsets(TopicPartition(topic, 0), cached=True)
    assert cached[1] == 25
    client.close()


def test_lag_as_the_client_sees_it(unique):
    topic, group, lags = filled(unique, 30), unique("g"), []

    def stats(text):
        topics = json.loads(text)["topics"]
        if topic in topics:
            lags.append(topics[topic]["partitions"]["0"]["consumer_lag"])

    client = kit.consumer(group, stats_cb=stats, statistics_interval_ms=100)
    client.assign([TopicPartition(topic, 0, 0)])
    kit.poll(client, 30)
    client.commit(offsets=[TopicPartition(topic, 0, 10)], asynchronous=False)
    kit.wait_for(lambda: client.poll(0.05) or 20 in lags, "a lag of 20 is reported")
    client.commit(offsets=[TopicPartition(topic, 0, 30)], asynchronous=False)
    kit.wait_for(lambda: client.poll(0.05) or lags[-1] == 0, "no lag is left")
    client.close()


def test_pause_and_resume(unique):
    topic = kit.create_topic(unique(), partitions=2)
    client = kit.consumer()
    both = [TopicPartition(topic, 0, 0), TopicPartition(topic, 1, 0)]
    client.assign(both)
    kit.produce(topic, [b"0"], partition=0)
    kit.produce(topic, [b"1"], partition=1)
    assert sorted(values(kit.poll(client, 2))) == [0, 1]
    client.pause(both[:1])
    kit.produce(topic, [b"2"], partition=0)
    kit.produce(topic, [b"3"], partition=1)
    assert values(kit.poll(client, 1)) == [3]
    assert kit.nothing_comes(client, 1)
    client.resume(both[:1])
    assert values(kit.poll(client, 1)) == [2]
    client.close()


def test_commit_with_an_old_generation_is_refused(unique):
    topic, group = filled(unique), unique("g")
    client = kit.consumer(group)
    client.subscribe([topic])
    kit.poll(client, 10)
    outsider = kit.consumer(group)
    with pytest.raises(KafkaException) as refused:
        outsider.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    codes = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION}
    assert refused.value.args[0].code() in codes
    outsider.close()
    client.close()


def test_consumer_positions(unique):
    topic = filled(unique)
    client = kit.consumer()
    client.assign([TopicPartition(topic, 0, 3)])
    kit.poll(client, 7)
    assert client.position([TopicPartition(topic, 0)])[0].offset == 10
    client.close()
