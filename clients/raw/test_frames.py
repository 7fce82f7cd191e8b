"""Frames that no client would send: each ends in a clear error or a closed connection, and the
other connections never notice.
"""

import os
import random
import struct
import time

import calls
import pytest
import wire
from wire import Closed, Connection, array, i8, i16, i32, string


@pytest.fixture(autouse=True)
def others_are_unharmed():
    """A connection opened before the test is still served after it."""
    with Connection() as bystander:
        before = calls.api_versions(bystander)
        yield
        assert calls.api_versions(bystander) == before


def test_api_versions_too_new_is_answered_in_version_0():
    for version in (5, 100, 32767):
        with Connection() as connection:
            # The header and body of a version nobody knows: the broker may read the key only.
            connection.send(wire.API_VERSIONS, version, b"\x04new\x021\0", flexible=True)
            reader = connection.receive()
            assert reader.i16() == 35
            ranges = reader.array(lambda: (reader.i16(), reader.i16(), reader.i16()))
            reader.done()
            assert any(key == wire.API_VERSIONS and high >= 3 for key, _, high in ranges)
            assert calls.api_versions(connection), "the connection can go on"


def test_api_versions_3_has_an_old_header():
    with Connection() as connection:
        body = wire.compact_string("raw-test") + wire.compact_string("1.0") + b"\0"
        connection.send(wire.API_VERSIONS, 3, body, flexible=True)
        reader = connection.receive()
        assert reader.i16() == 0
        ranges = {}
        for _ in range(reader.uvarint() - 1):
            key, low, high = reader.i16(), reader.i16(), reader.i16()
            ranges[key] = (low, high)
            assert reader.uvarint() == 0
        assert reader.i32() == 0
        assert ranges == calls.api_versions(connection)


@pytest.mark.parametrize("name", ["", "-raw", "raw-", "sp ace", "größe"])
def test_client_software_names_are_checked(name):
    with Connection() as connection:
        body = wire.compact_string(name) + wire.compact_string("1.0") + b"\0"
        connection.send(wire.API_VERSIONS, 3, body, flexible=True)
        assert connection.receive().i16() == 42


def test_what_is_advertised():
    with Connection() as connection:
        ranges = calls.api_versions(connection)
    wanted = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 23, 32, 37, 44, 60]
    assert not set(wanted) - set(ranges)
    assert all(low <= high for low, high in ranges.values())
    internals = {4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73}
    assert not internals & set(ranges)


@pytest.mark.parametrize(
    "key, version",
    [(1000, 0), (-1, 0), (4, 0), (7, 0), (wire.PRODUCE, 99), (wire.METADATA, -1)],
)
def test_unadvertised_keys_and_versions_close(key, version):
    with Connection() as connection:
        connection.send(key, version, b"\0" * 20)
        assert connection.is_closed_within(5)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0x40000000, -1, -(2**31)])
def test_impossible_frame_lengths_close(length):
    with Connection() as connection:
        connection.send_raw(i32(length) + b"\0" * 50)
        assert connection.is_closed_within(5)


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 200,
        b"AMQP\x00\x00\x09\x01",
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
        i32(0),
        i32(1) + b"\0",
        i32(7) + b"\0" * 7,
        i32(40) + b"\xff" * 40,
    ],
    ids=["http", "tls", "amqp", "mqtt", "empty", "one", "seven", "ones"],
)
def test_garbage_closes(bytes_sent):
    with Connection() as connection:
        connection.send_raw(bytes_sent)
        assert connection.is_closed_within(8)


def damaged_bodies():
    huge, name = i32(0x7FFFFFFF), string("topic")
    return {
        "array-huge": (wire.METADATA, 4, huge + i8(0)),
        "array-negative": (wire.PRODUCE, 7, string(None) + i16(-1) + i32(0) + i32(-9)),
        "string-beyond-end": (wire.METADATA, 4, i32(1) + i16(500) + b"abc"),
        "string-negative": (wire.METADATA, 4, i32(1) + i16(-5) + b"abc"),
        "cut-off": (wire.FETCH, 4, calls.fetch_body("topic", 0, 0)[:-3]),
        "blob-huge": (
            wire.PRODUCE, 7,
            string(None) + i16(1) + i32(0) + i32(1) + name + i32(1) + i32(0) + huge + b"abc",
        ),
        "nested-huge": (wire.LIST_OFFSETS, 1, i32(-1) + i32(1) + name + huge),
        "not-utf8": (wire.METADATA, 4, array([string(b"\xff\xfe")]) + i8(0)),
    }


@pytest.mark.parametrize("case", damaged_bodies())
def test_damaged_bodies(case):
    """Never a hang, never more than a closed connection or an error; nothing is created."""
    with Connection() as connection:
        connection.send(*damaged_bodies()[case])
        try:
            assert len(connection.receive_frame(5)) < 10_000
        except Closed:
            pass


def test_a_frame_in_single_bytes():
    with Connection() as connection:
        connection.correlation = 7
        header = i16(wire.API_VERSIONS) + i16(0) + i32(7) + string("slow")
        for byte in i32(len(header)) + header:
            connection.send_raw(bytes([byte]))
            time.sleep(0.01)
        assert connection.receive().i16() == 0


def test_pipelined_requests_are_answered_in_order():
    with Connection() as connection:
        frames = b""
        for n in range(200):
            key, body = [(18, b""), (3, array([]) + i8(0))][n % 2]
            frame = i16(key) + i16(4 * (n % 2)) + i32(n) + string("many") + body
            frames += i32(len(frame)) + frame
        connection.send_raw(frames)
        answers = [connection.receive_frame() for _ in range(200)]
        assert [struct.unpack(">i", a[:4])[0] for a in answers] == list(range(200))


def test_a_client_that_goes_away_in_the_middle():
    for cut in range(1, 40, 3):
        with Connection() as connection:
            frame = i16(wire.METADATA) + i16(4) + i32(1) + string("gone") + array([]) + i8(0)
            connection.send_raw((i32(len(frame)) + frame)[:cut])


def test_random_frames():
    """Plausible headers with random bodies: each is answered or ends the connection."""
    rng = random.Random(2026)
    count = 5000 if os.environ.get("SABIR_ALL") else 300
    with Connection() as connection:
        ranges = calls.api_versions(connection)
    # Keys that change nothing for other tests, whatever the body says.
    keys = [key for key in (1, 2, 3, 10, 15, 16, 18, 23, 32, 60) if key in ranges]
    for _ in range(count):
        key = rng.choice(keys)
        version = rng.randint(*ranges[key])
        body = rng.randbytes(rng.randint(0, 60))
        with Connection() as connection:
            try:
                connection.send(key, version, body, flexible=rng.random() < 0.5)
                connection.socket.shutdown(1)
                while connection.receive_frame(10):
                    pass
            except Closed:
                pass


@pytest.mark.sabir_only
def test_a_silent_connection_is_closed():
    with Connection() as connection:
        begin = time.monotonic()
        assert connection.is_closed_within(12)
        assert time.monotonic() - begin > 2, "a slow client had no chance"


@pytest.mark.sabir_only
@pytest.mark.timeout(90)
def test_a_half_sent_frame_is_closed():
    with Connection() as connection:
        assert calls.api_versions(connection)
        connection.send_raw(i32(100) + b"\0" * 10)
        assert connection.is_closed_within(60)


def test_many_connections():
    connections = [Connection() for _ in range(200)]
    try:
        for connection in connections:
            assert calls.api_versions(connection)
    finally:
        for connection in connections:
            connection.socket.close()


def test_metadata_of_bad_names():
    with Connection() as connection:
        names = ["no/slash", "", "..", "n" * 250]
        found = calls.metadata(connection, names, create=True)
        assert {name: error for name, (error, _) in found.items()} == dict.fromkeys(names, 17)


def test_metadata_does_not_create_unasked(unique):
    topic = unique()
    with Connection() as connection:
        assert calls.metadata(connection, [topic], create=False)[topic][0] == 3
        assert calls.metadata(connection, [topic], create=False)[topic][0] == 3
        # 5 and 6: Kafka's answers while the leader is not known yet.
        assert calls.metadata(connection, [topic], create=True)[topic][0] in (0, 3, 5)
        deadline = time.monotonic() + 10
        while calls.metadata(connection, [topic], create=False)[topic][0] != 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_trailing_bytes_are_dropped():
    """librdkafka (2.16) writes three bytes too many when it asks for all topics, so a request
    that is longer than its fields must be answered, and the next answer must be right.
    """
    all_topics_of_librdkafka = bytes.fromhex("00000000010000")
    with Connection() as connection:
        connection.send(wire.METADATA, 9, all_topics_of_librdkafka, flexible=True)
        assert len(connection.receive(flexible=True).raw) > 20
        connection.send(wire.API_VERSIONS, 0, bytes(3))
        assert connection.receive().i16() == 0
        assert calls.api_versions(connection)
