"""Versions that Apache Kafka 4 no longer serves and Sabir does, for clients from before 2.1.

Newer versions are tried one by one in the Java suite, with that client's own encoders.
"""

import calls
import pytest
import wire
from wire import Connection, array, batch, i8, i16, i32, i64, string

OFFSET_COMMIT, OFFSET_FETCH, DELETE_TOPICS = 8, 9, 20
OFFSET_FOR_LEADER_EPOCH, DESCRIBE_CONFIGS = 23, 32

pytestmark = pytest.mark.sabir_only


@pytest.fixture
def connection():
    with Connection() as opened:
        yield opened


@pytest.fixture
def topic(connection, unique):
    name = calls.auto_topic(connection, unique())
    assert calls.produce(connection, name, batch([b"a", b"b", b"c"], timestamp_ms=1000))[0] == 0
    return name


def test_the_old_versions_are_advertised(connection):
    lowest = {key: low for key, (low, _) in calls.api_versions(connection).items()}
    keys = [3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 23, 32]
    assert {key: lowest[key] for key in keys} == dict.fromkeys(keys, 0)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_produce_before_format_2_is_refused(connection, topic, version):
    """Advertised because librdkafka looks there for compression; answered with 35."""
    body = calls.produce_body(topic, batch())[2:]  # without the transactional id
    reader = connection.call(wire.PRODUCE, version, body)

    def answer():
        found = (reader.i32(), reader.i16(), reader.i64())
        if version >= 2:
            reader.i64()
        return found

    [(name, [(partition, error, _)])] = reader.array(
        lambda: (reader.string(), reader.array(answer))
    )
    if version >= 1:
        reader.i32()
    reader.done()
    assert (name, partition, error) == (topic, 0, 35)
    assert calls.end_offset(connection, topic) == 3


@pytest.mark.parametrize("stamp, wanted", [(-1, [3, 0]), (-2, [0])])
def test_list_offsets_0(connection, topic, stamp, wanted):
    query = i32(0) + i64(stamp) + i32(10)
    reader = connection.call(
        wire.LIST_OFFSETS, 0, i32(-1) + array([string(topic) + array([query])])
    )

    def answer():
        return reader.i32(), reader.i16(), reader.array(reader.i64)

    [(_, [(_, error, offsets)])] = reader.array(lambda: (reader.string(), reader.array(answer)))
    reader.done()
    assert error == 0 and offsets[0] == wanted[0] and set(offsets) <= set(wanted)


def commit(connection, version, group, topic):
    head = string(group)
    if version >= 1:
        head += i32(-1) + string("")
    stamp = i64(-1) if version == 1 else b""
    query = i32(0) + i64(2) + stamp + string("note")
    reader = connection.call(
        OFFSET_COMMIT, version, head + array([string(topic) + array([query])])
    )
    [(_, [found])] = reader.array(
        lambda: (reader.string(), reader.array(lambda: (reader.i32(), reader.i16())))
    )
    reader.done()
    return found


def committed(connection, version, group, topic):
    body = string(group) + array([string(topic) + array([i32(0), i32(7)])])
    reader = connection.call(OFFSET_FETCH, version, body)

    def answer():
        return reader.i32(), reader.i64(), reader.string(), reader.i16()

    [(_, found)] = reader.array(lambda: (reader.string(), reader.array(answer)))
    reader.done()
    return found


@pytest.mark.parametrize("commit_version", [0, 1])
@pytest.mark.parametrize("fetch_version", [0, 1])
def test_offsets_of_old_clients(connection, topic, unique, commit_version, fetch_version):
    group = unique("g")
    assert commit(connection, commit_version, group, topic) == (0, 0)
    found = committed(connection, fetch_version, group, topic)
    assert found[0] == (0, 2, "note", 0)
    assert found[1][:2] == (7, -1)


@pytest.mark.parametrize("version", [0, 1])
def test_create_topics(connection, unique, version):
    name = unique()
    new = string(name) + i32(2) + i16(1) + array([]) + array([])
    body = array([new]) + i32(5000) + (i8(0) if version >= 1 else b"")
    for wanted in (0, 36):
        reader = connection.call(wire.CREATE_TOPICS, version, body)
        [(found, error)] = reader.array(
            lambda: (reader.string(), reader.i16(), version and reader.string())[:2]
        )
        reader.done()
        assert (found, error) == (name, wanted)
    assert len(calls.metadata(connection, [name])[name][1]) == 2
    reader = connection.call(DELETE_TOPICS, 0, array([string(name)]) + i32(5000))
    assert reader.array(lambda: (reader.string(), reader.i16())) == [(name, 0)]
    reader.done()


def test_describe_configs_0(connection, topic):
    resource = i8(2) + string(topic) + array([string("retention.ms")])
    reader = connection.call(DESCRIBE_CONFIGS, 0, array([resource]))
    reader.i32()

    def config():
        name, value = reader.string(), reader.string()
        return name, value, reader.i8(), reader.i8(), reader.i8()

    def result():
        error, _, kind, name = reader.i16(), reader.string(), reader.i8(), reader.string()
        return error, kind, name, reader.array(config)

    [(error, kind, name, configs)] = reader.array(result)
    reader.done()
    assert (error, kind, name) == (0, 2, topic)
    # The fourth field, "is default", Kafka fills in wrongly.
    [(key, value, read_only, _, sensitive)] = configs
    assert (key, value, read_only, sensitive) == ("retention.ms", "604800000", 0, 0)


@pytest.mark.parametrize("version", [0, 1])
def test_offset_for_leader_epoch(connection, topic, version):
    epoch = int.from_bytes(calls.fetch(connection, topic, 0)[2][12:16], "big")
    body = array([string(topic) + array([i32(0) + i32(epoch)])])
    reader = connection.call(OFFSET_FOR_LEADER_EPOCH, version, body)

    def answer():
        error, partition = reader.i16(), reader.i32()
        return error, partition, reader.i32() if version >= 1 else epoch, reader.i64()

    [(name, [found])] = reader.array(lambda: (reader.string(), reader.array(answer)))
    reader.done()
    assert (name, found) == (topic, (0, 0, epoch, 3))
