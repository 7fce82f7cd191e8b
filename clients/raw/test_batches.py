"""Record batches by hand: what is refused, and that what is accepted is kept byte for byte."""

import gzip
import threading
import time

import calls
import pytest
import wire
from conftest import IS_PEER
from wire import Connection, batch, i64, record

CORRUPT, UNKNOWN_TOPIC, TOO_LARGE, BAD_ACKS, BAD_TIMESTAMP = 2, 3, 10, 21, 32
OUT_OF_ORDER, BAD_EPOCH, TRANSACTION_DENIED, INVALID_RECORD = 45, 47, 53, 87
OUT_OF_RANGE = 1


@pytest.fixture
def connection():
    with Connection() as opened:
        yield opened


@pytest.fixture
def topic(connection, unique):
    return calls.auto_topic(connection, unique())


def flip(raw, place):
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


CRC_AT, ATTRIBUTES_AT, RECORDS_AT = 17, 21, 61


@pytest.mark.parametrize("place", [CRC_AT, ATTRIBUTES_AT + 30, RECORDS_AT, -1])
def test_corrupt_crc(connection, topic, place):
    good = batch([b"some value", b"another"])
    assert calls.produce(connection, topic, flip(good, place % len(good)))[0] == CORRUPT
    assert calls.end_offset(connection, topic) == 0, "nothing was stored"
    assert calls.produce(connection, topic, good)[:2] == (0, 0)


def test_every_bit_of_a_small_batch(connection, topic):
    """Whatever bit is flipped, the batch is refused, unless the bit says nothing: the base
    offset and the leader epoch, which the broker sets itself.
    """
    good = batch([b"v"])
    free = {*range(0, 8), *range(12, 16)}
    stored = 0
    for place in set(range(len(good))) - free:
        if place in range(8, 12):
            continue  # the length: the next test
        error, _, _ = calls.produce(connection, topic, flip(good, place))
        assert error != 0, f"byte {place}"
    for place in sorted(free):
        stored += calls.produce(connection, topic, flip(good, place))[0] == 0
    assert calls.end_offset(connection, topic) == stored


def bent_batches():
    good = batch([b"a", b"b"])
    longer = good[:8] + wire.i32(len(good) - 12 + 5) + good[12:]
    shorter = good[:8] + wire.i32(len(good) - 12 - 5) + good[12:]
    return {
        "length-beyond-end": longer,
        "length-too-short": shorter,
        "length-negative": good[:8] + wire.i32(-1) + good[12:],
        "cut-off": good[:-4],
        "only-a-header": good[:61],
        "a-few-bytes": good[:10],
        "nothing": b"",
        "null": None,
        "magic-3": batch(magic=3),
        "magic-0": batch(magic=0),
        "count-too-high": batch([b"a", b"b"], count=3),
        "count-too-low": batch([b"a", b"b"], count=1),
        "count-zero": batch([], count=0, last_delta=0),
        "count-negative": batch([b"a"], count=-1),
        "delta-too-high": batch([b"a", b"b"], last_delta=5),
        "delta-negative": batch([b"a"], last_delta=-1),
        "record-too-long": batch(records=wire.varint(500) + b"abc", count=1),
        "record-deltas": batch(records=record(0, b"a") + record(5, b"b"), count=2),
        "codec-7": batch(attributes=7),
        "control": batch(attributes=0x20),
        "transactional": batch(attributes=0x10),
        "two-batches": good + batch([b"c"]),
        "trailing-bytes": good + b"\0\0\0",
        "gzip-of-nothing": batch(records=b"not gzip at all", attributes=1, count=1),
    }


# Found only by walking the records, which a broker that passes them on untouched need not do; or
# harmless: bytes behind the batch are dropped.
MAY_BE_KEPT = {"gzip-of-nothing", "record-deltas", "record-too-long", "count-too-low"}
MAY_BE_CUT = {"trailing-bytes"}


@pytest.mark.parametrize("case", sorted(bent_batches()))
def test_bent_batches(connection, topic, case):
    """Refused with an error of its partition or a closed connection; nothing is stored."""
    try:
        error, _, _ = calls.produce(connection, topic, bent_batches()[case], timeout_s=3)
    except wire.Closed:
        error = "closed"
    except TimeoutError:
        assert IS_PEER, "no answer"  # Kafka 4.2 has none for a null batch
        error = "silence"
    with Connection() as other:
        stored = calls.end_offset(other, topic)
        if case not in MAY_BE_KEPT:
            assert error != 0 or case in MAY_BE_CUT
            assert stored == 0 or error == 0
        assert calls.produce(other, topic, batch([b"next"]))[:2] == (0, stored)
        _, high, got = calls.fetch(other, topic, stored)
        assert high == stored + 1 and got.endswith(record(0, b"next"))


def test_kept_byte_for_byte(connection, topic):
    """Header keys that are no UTF-8, duplicates, unusual attributes: nothing is rewritten."""
    headers = [(b"\xff\xfe", b"1"), (b"a", b"2"), (b"a", None), (b"", b""), (b"a", b"2")]
    packed = gzip.compress(record(0, b"zipped") + record(1, None, key=b"k"))
    batches = [
        batch([b"v", None, b""], headers=headers),
        batch(records=packed, attributes=1, count=2),
        batch([b"old"], timestamp_ms=1_000),
        batch([bytes(range(256)) * 100]),
    ]
    sent_bytes, next_offset = [], 0
    for sent in batches:
        error, base, append_time = calls.produce(connection, topic, sent)
        assert (error, base, append_time) == (0, next_offset, -1)
        sent_bytes.append(i64(base) + sent[8:])
        next_offset += int.from_bytes(sent[57:61], "big")
    error, high, got = calls.fetch(connection, topic, 0)
    assert (error, high) == (0, next_offset)
    for one in sent_bytes:
        # Base offset and leader epoch are the broker's and stand outside the checksum.
        assert (got[:12], got[16 : len(one)]) == (one[:12], one[16:])
        got = got[len(one) :]
    assert got == b""


def test_a_fetch_inside_a_batch_returns_all_of_it(connection, topic):
    calls.produce(connection, topic, batch([b"0"]))
    calls.produce(connection, topic, batch([b"1", b"2", b"3"]))
    _, _, got = calls.fetch(connection, topic, 2)
    assert got[:8] == i64(1) and int.from_bytes(got[57:61], "big") == 3


def test_a_fetch_smaller_than_a_batch_returns_one(connection, topic):
    for _ in range(3):
        calls.produce(connection, topic, batch([b"x" * 5000]))
    _, _, got = calls.fetch(connection, topic, 0, max_bytes=10)
    assert len(got) > 5000 and got[:8] == i64(0)
    assert len(got) < 10_000, "one batch, although it is too large, and no more"


@pytest.mark.parametrize("offset", [-1, 1, 1 << 40, -(1 << 63)])
def test_fetch_out_of_range(connection, topic, offset):
    assert calls.fetch(connection, topic, offset)[0] == OUT_OF_RANGE


def test_unknown_topic_and_partition(connection, topic, unique):
    assert calls.produce(connection, unique(), batch())[0] == UNKNOWN_TOPIC
    assert calls.produce(connection, topic, batch(), partition=9)[0] == UNKNOWN_TOPIC
    assert calls.produce(connection, topic, batch(), partition=-1)[0] == UNKNOWN_TOPIC
    assert calls.fetch(connection, topic, 0, partition=9)[0] == UNKNOWN_TOPIC
    assert calls.fetch(connection, unique(), 0)[0] == UNKNOWN_TOPIC


def test_too_large_for_the_topic(connection, unique):
    topic = calls.create_topic(connection, unique(), max_message_bytes="1000")
    assert calls.produce(connection, topic, batch([b"x" * 2000]))[0] == TOO_LARGE
    assert calls.produce(connection, topic, batch([b"x" * 900]))[0] == 0


def test_a_timestamp_in_the_far_future(connection, topic):
    future_ms = int(time.time() * 1000) + 10 * 3_600_000
    assert calls.produce(connection, topic, batch(timestamp_ms=future_ms))[0] == BAD_TIMESTAMP


@pytest.mark.parametrize("acks", [2, -2, 100])
def test_acks_that_do_not_exist(connection, topic, acks):
    assert calls.produce(connection, topic, batch(), acks=acks)[0] == BAD_ACKS


def test_acks_0_is_not_answered(connection, topic):
    connection.send(wire.PRODUCE, 7, calls.produce_body(topic, batch(), acks=0))
    assert calls.api_versions(connection), "the next answer belongs to the next request"
    assert calls.end_offset(connection, topic) == 1


def test_acks_0_with_an_error_closes(connection, topic):
    bad = flip(batch([b"some value"]), RECORDS_AT)
    connection.send(wire.PRODUCE, 7, calls.produce_body(topic, bad, acks=0))
    assert connection.is_closed_within(5)


@pytest.mark.parametrize("version", range(3, 8))
def test_produce_versions(connection, topic, version):
    assert calls.produce(connection, topic, batch(), version=version)[:2] == (0, 0)


def test_idempotence(connection, topic):
    error, producer_id, epoch = calls.init_producer_id(connection)
    assert (error, epoch) == (0, 0) and producer_id >= 0

    def send(sequence, values=(b"a", b"b"), epoch=0):
        numbered = batch(values, producer=(producer_id, epoch, sequence))
        return calls.produce(connection, topic, numbered)[:2]

    assert send(0) == (0, 0)
    assert send(2) == (0, 2)
    assert send(0) == (0, 0), "a repeated batch gets its first offset again"
    assert send(2) == (0, 2)
    assert calls.end_offset(connection, topic) == 4
    assert send(9)[0] == OUT_OF_ORDER
    assert send(4) == (0, 4)
    assert send(0, epoch=1) == (0, 6), "a newer epoch starts again"
    assert send(6)[0] == BAD_EPOCH
    assert send(3, epoch=1)[0] == OUT_OF_ORDER
    for sequence in range(2, 12, 2):
        assert send(sequence, epoch=1)[0] == 0
    for sequence in range(2, 12, 2):
        assert send(sequence, epoch=1)[0] == 0, "five batches are remembered"
    assert calls.end_offset(connection, topic) == 18


def test_producer_ids_are_not_given_twice(connection):
    given = [calls.init_producer_id(connection)[1] for _ in range(20)]
    with Connection() as other:
        given += [calls.init_producer_id(other)[1] for _ in range(20)]
    assert len(set(given)) == 40


@pytest.mark.sabir_only
def test_transactional_ids_are_refused(connection, unique):
    assert calls.init_producer_id(connection, unique())[0] == TRANSACTION_DENIED


def test_a_fetch_waits_for_its_minimum(connection, topic):
    begin = time.monotonic()
    error, _, got = calls.fetch(connection, topic, 0, max_wait_ms=700)
    assert (error, got) == (0, b"") and 0.6 < time.monotonic() - begin < 3

    def later():
        time.sleep(0.4)
        with Connection() as other:
            calls.produce(other, topic, batch([b"x"]))

    thread = threading.Thread(target=later)
    thread.start()
    begin = time.monotonic()
    error, _, got = calls.fetch(connection, topic, 0, max_wait_ms=9000)
    assert error == 0 and got and 0.3 < time.monotonic() - begin < 3
    thread.join()


def test_a_waiting_fetch_blocks_only_its_connection(connection, topic):
    """What is asked behind a waiting fetch is answered after it; others are served at once."""
    connection.send(wire.FETCH, 4, calls.fetch_body(topic, 0, 0, max_wait_ms=1000))
    begin = time.monotonic()
    with Connection() as other:
        assert calls.end_offset(other, topic) == 0
    assert time.monotonic() - begin < 0.9
    connection.send(wire.API_VERSIONS, 0, b"")
    order = [int.from_bytes(connection.receive_frame()[:4], "big") for _ in range(2)]
    assert order == [connection.correlation - 1, connection.correlation]
