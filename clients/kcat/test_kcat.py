"""kcat, the command-line client (librdkafka), run as a person runs it: whole processes.

kcat is not installed from a registry: it is the distribution's own package.
"""

import json
import subprocess
import time

import pytest
from conftest import BOOTSTRAP


def kcat(*args, text=b"", check=True, timeout=30):
    """Run kcat; returns its standard output."""
    command = ["kcat", "-b", BOOTSTRAP, *map(str, args)]
    done = subprocess.run(command, input=text, capture_output=True, timeout=timeout)
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return done.stdout if check else done


def consume(topic, *args, **more):
    return kcat("-C", "-q", "-e", "-t", topic, *args, **more)


def test_round_trip(unique):
    topic = unique()
    kcat("-P", "-t", topic, text=b"one\ntwo\nthree\n")
    assert consume(topic) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compression(unique, codec):
    topic, lines = unique(), b"".join(b"line %d of many\n" % n for n in range(5000))
    kcat("-P", "-t", topic, "-z", codec, text=lines)
    assert consume(topic, "-X", "check.crcs=true") == lines


def test_keys_headers_and_tombstones(unique):
    topic = unique()
    headers = ("-H", "a=1", "-H", "a=2", "-H", "empty=", "-H", "absent")
    kcat("-P", "-t", topic, "-K", "|", "-Z", *headers, text=b"k1|v1\nk2|\n")
    rows = [json.loads(line) for line in consume(topic, "-J").splitlines()]
    assert [(r["key"], r["payload"]) for r in rows] == [("k1", "v1"), ("k2", None)]
    assert [r["offset"] for r in rows] == [0, 1]
    wanted = ["a", "1", "a", "2", "empty", "", "absent", None]
    assert all(r["headers"] == wanted for r in rows)


@pytest.mark.parametrize("size", [1, 1000, 999_000])
def test_one_whole_file(unique, tmp_path, size):
    topic, path = unique(), tmp_path / "body"
    path.write_bytes(bytes(n * 7 % 256 for n in range(size)))
    kcat("-P", "-t", topic, path)
    assert consume(topic, "-D", "") == path.read_bytes()


@pytest.mark.parametrize(
    "start, wanted",
    [("beginning", range(10)), ("4", range(4, 10)), ("-3", range(7, 10)), ("end", ())],
)
def test_where_to_start(unique, start, wanted):
    topic = unique()
    kcat("-P", "-t", topic, text=b"".join(b"%d\n" % n for n in range(10)))
    assert consume(topic, "-p", 0, "-o", start).split() == [b"%d" % n for n in wanted]


def test_start_and_stop_by_time(unique):
    topic = unique()
    kcat("-P", "-t", topic, text=b"early\n")
    time.sleep(0.05)
    middle_ms = int(time.time() * 1000)
    time.sleep(0.05)
    kcat("-P", "-t", topic, text=b"late\n")
    assert consume(topic, "-o", f"s@{middle_ms}") == b"late\n"
    assert consume(topic, "-o", f"e@{middle_ms}") == b"early\n"
    assert kcat("-Q", "-t", f"{topic}:0:{middle_ms}").split()[-1] == b"1"


def test_metadata(unique):
    topic = unique()
    kcat("-P", "-t", topic, text=b"x\n")
    listed = json.loads(kcat("-L", "-J"))
    assert [b["name"] for b in listed["brokers"]] == [BOOTSTRAP]
    [found] = [t for t in listed["topics"] if t["topic"] == topic]
    leader = listed["brokers"][0]["id"]
    [partition] = found["partitions"]
    assert (partition["partition"], partition["leader"]) == (0, leader)
    assert [r["id"] for r in partition["replicas"]] == [leader]


def test_balanced_consumer(unique):
    topic, group = unique(), unique("g")
    kcat("-P", "-t", topic, text=b"1\n2\n3\n")
    args = ("-q", "-e", "-X", "auto.offset.reset=earliest", "-G", group, topic)
    assert kcat(*args) == b"1\n2\n3\n"
    kcat("-P", "-t", topic, text=b"4\n")
    assert kcat(*args) == b"4\n", "the group goes on where it was"


def test_acks_and_idempotence(unique):
    for settings in (["acks=0"], ["acks=1"], ["acks=all"], ["enable.idempotence=true"]):
        topic = unique()
        options = [word for setting in settings for word in ("-X", setting)]
        kcat("-P", "-t", topic, *options, text=b"x\ny\n")
        assert consume(topic) == b"x\ny\n", settings


def test_unknown_topic_fails(unique):
    done = consume(unique(), check=False)
    assert done.returncode != 0 or b"nknown topic" in done.stderr
    assert done.stdout == b""


def test_too_large_fails(unique, tmp_path):
    topic, path = unique(), tmp_path / "body"
    path.write_bytes(b"x" * 2_000_000)
    done = kcat("-P", "-t", topic, "-X", "message.max.bytes=9000000", path, check=False)
    assert b"essage size too large" in done.stderr + done.stdout, done.stderr
    assert consume(topic, check=False).stdout == b""


@pytest.mark.owned
def test_round_trip_over_a_kill(unique, broker):
    topic = unique()
    kcat("-P", "-t", topic, text=b"before\n")
    broker.kill()
    broker.start()
    kcat("-P", "-t", topic, text=b"after\n")
    assert consume(topic) == b"before\nafter\n"
