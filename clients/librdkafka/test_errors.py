"""Error paths: each mistake has its own code, and the broker serves on."""

import kit
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition


def test_auto_creation_by_a_producer(unique):
    topic = unique()
    assert kit.produce(topic, [b"x"])[0].offset == 0
    assert [m.value() for m in kit.read(topic, 1)] == [b"x"]


def test_consumers_do_not_create_topics_unasked(unique):
    topic = unique()
    client = kit.consumer(unique("g"))
    client.subscribe([topic])
    assert kit.poll_error(client).code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert topic not in kit.admin().list_topics(timeout=10).topics
    kit.create_topic(topic)
    kit.produce(topic, [b"x"])
    kit.wait_for(lambda: polled(client) == [b"x"], "it finds the topic once it is there")
    client.close()


def polled(client):
    message = client.poll(0.2)
    return [message.value()] if message and not message.error() else []


def test_unknown_topic(unique):
    topic = unique()
    client = kit.consumer(unique("g"))
    with pytest.raises(KafkaException) as refused:
        client.get_watermark_offsets(TopicPartition(topic, 0), timeout=5)
    codes = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}
    assert refused.value.args[0].code() in codes
    seen = client.list_topics(topic, timeout=5).topics[topic]
    assert seen.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and not seen.partitions
    assert topic not in client.list_topics(timeout=5).topics
    client.close()


def test_unknown_partition(unique):
    topic = kit.create_topic(unique())
    client = kit.consumer(unique("g"))
    with pytest.raises(KafkaException) as refused:
        client.get_watermark_offsets(TopicPartition(topic, 7), timeout=5)
    codes = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}
    assert refused.value.args[0].code() in codes
    client.close()
    assert kit.delivery_error(topic, partition=7) == KafkaError._UNKNOWN_PARTITION


@pytest.mark.parametrize("name", ["no/slash", "no space", "..", "n" * 250, "größe"])
def test_invalid_topic_names(name):
    assert kit.delivery_error(name) == KafkaError.TOPIC_EXCEPTION


def test_message_too_large_for_the_broker(unique):
    topic = kit.create_topic(unique())
    settings = {"message.max.bytes": 10_000_000}
    code = kit.delivery_error(topic, b"x" * 2_000_000, **settings)
    assert code == KafkaError.MSG_SIZE_TOO_LARGE
    sent = kit.produce(topic, [b"x" * 1_000_000], **settings)
    assert sent[0].offset == 0, "the refused message took no offset"
    assert len(kit.read(topic, 1)[0].value()) == 1_000_000


def test_one_refused_message_spares_the_others(unique):
    topic = kit.create_topic(unique(), max_message_bytes="10000")
    client, sent = kit.producer(batch_num_messages=1, linger_ms=0), {}
    for n in range(20):
        kit.enqueue(client, sent, n, topic, b"%d" % n + b"x" * (20_000 if n == 10 else 10))
    assert client.flush(20) == 0
    assert sent.pop(10).code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert sorted(s.offset for s in sent.values()) == list(range(19))


def test_invalid_session_timeout(unique):
    topic = kit.create_topic(unique())
    client = kit.consumer(unique("g"), session_timeout_ms=100, heartbeat_interval_ms=50)
    client.subscribe([topic])
    assert kit.poll_error(client).code() == KafkaError.INVALID_SESSION_TIMEOUT
    client.close()


def test_an_unknown_group_has_no_offsets(unique):
    topic, group = kit.create_topic(unique()), unique("g")
    client = kit.consumer(group)
    assert client.committed([TopicPartition(topic, 0)], timeout=10)[0].offset == -1001
    seen = kit.admin().describe_consumer_groups([group], request_timeout=10)[group]
    try:
        assert seen.result(15).state.name == "DEAD"
    except KafkaException as unknown:
        assert unknown.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND
    client.close()


@pytest.mark.sabir_only
def test_transactional_producers_are_refused_as_fatal(unique):
    """Until there are transactions, nobody may wait for them or retry for ever."""
    client = kit.producer(**{"transactional.id": unique()})
    with pytest.raises(KafkaException) as refused:
        client.init_transactions(20)
    error = refused.value.args[0]
    assert error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert error.fatal() and not error.retriable()
