"""AdminClient: topics, partitions, configs, the cluster, offsets."""

import kit
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)


def code_of(future):
    """The error code of a future that must fail."""
    with pytest.raises(KafkaException) as failed:
        future.result(20)
    return failed.value.args[0].code()


def metadata(topic):
    return kit.admin().list_topics(topic, timeout=10).topics[topic]


def topic_exists(topic):
    return topic in kit.admin().list_topics(timeout=10).topics


def test_create_and_delete(unique):
    topic = kit.create_topic(unique(), partitions=3)
    found = metadata(topic)
    assert found.error is None and sorted(found.partitions) == [0, 1, 2]
    for partition in found.partitions.values():
        assert partition.error is None
        assert partition.replicas == partition.isrs == [partition.leader]
    again = kit.admin().create_topics([NewTopic(topic, 1, 1)])[topic]
    assert code_of(again) == KafkaError.TOPIC_ALREADY_EXISTS
    kit.admin().delete_topics([topic], request_timeout=10)[topic].result(20)
    kit.wait_for(lambda: not topic_exists(topic), "the topic is gone")
    assert code_of(kit.admin().delete_topics([topic])[topic]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_topic_made_again_is_empty(unique):
    topic = kit.create_topic(unique())
    kit.produce(topic, [b"old"] * 5)
    kit.admin().delete_topics([topic], request_timeout=10)[topic].result(20)
    kit.wait_for(lambda: not topic_exists(topic), "the topic is gone")
    kit.create_topic(topic)
    sent = kit.produce(topic, [b"new"])
    assert sent[0].offset == 0
    assert [m.value() for m in kit.read(topic, 1)] == [b"new"]


@pytest.mark.parametrize(
    "new, wanted",
    [
        (lambda name: NewTopic("no/slash", 1, 1), KafkaError.TOPIC_EXCEPTION),
        (lambda name: NewTopic("n" * 250, 1, 1), KafkaError.TOPIC_EXCEPTION),
        (lambda name: NewTopic("..", 1, 1), KafkaError.TOPIC_EXCEPTION),
        (lambda name: NewTopic(name, 0, 1), KafkaError.INVALID_PARTITIONS),
        (lambda name: NewTopic(name, 1, 2), KafkaError.INVALID_REPLICATION_FACTOR),
        (lambda name: NewTopic(name, 1, 1, config={"no.such": "1"}), KafkaError.INVALID_CONFIG),
        (
            lambda name: NewTopic(name, 1, 1, config={"retention.ms": "soon"}),
            KafkaError.INVALID_CONFIG,
        ),
    ],
    ids=["slash", "long", "dots", "partitions", "replicas", "unknown-config", "bad-config"],
)
def test_topics_that_cannot_be_created(unique, new, wanted):
    topic = new(unique())
    future = kit.admin().create_topics([topic], request_timeout=10)[topic.topic]
    assert code_of(future) == wanted
    assert not topic_exists(topic.topic)


def test_validate_only_changes_nothing(unique):
    topic = unique()
    call = {"validate_only": True, "request_timeout": 10}
    kit.admin().create_topics([NewTopic(topic, 3, 1)], **call)[topic].result(20)
    assert not topic_exists(topic)
    kit.create_topic(topic, partitions=2)
    kit.admin().create_partitions([NewPartitions(topic, 5)], **call)[topic].result(20)
    assert len(metadata(topic).partitions) == 2
    taken = kit.admin().create_topics([NewTopic(topic, 1, 1)], **call)[topic]
    assert code_of(taken) == KafkaError.TOPIC_ALREADY_EXISTS


def test_create_partitions(unique):
    topic = kit.create_topic(unique(), partitions=2)
    kit.produce(topic, [b"before"], partition=1)
    kit.admin().create_partitions([NewPartitions(topic, 5)])[topic].result(20)
    kit.wait_for(lambda: len(metadata(topic).partitions) == 5, "five partitions")
    kit.produce(topic, [b"after"], partition=4)
    assert [m.value() for m in kit.read(topic, 2, partitions=(1, 4))]
    fewer = kit.admin().create_partitions([NewPartitions(topic, 3)])[topic]
    assert code_of(fewer) == KafkaError.INVALID_PARTITIONS
    unknown = unique()
    missing = kit.admin().create_partitions([NewPartitions(unknown, 3)])[unknown]
    assert code_of(missing) == KafkaError.UNKNOWN_TOPIC_OR_PART


def configs(topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return kit.admin().describe_configs([resource], request_timeout=10)[resource].result(20)


def alter(topic, name, value, operation=AlterConfigOpType.SET):
    entry = ConfigEntry(name, value, incremental_operation=operation)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    return kit.admin().incremental_alter_configs([resource], request_timeout=10)[resource]


def test_describe_configs(unique):
    topic = kit.create_topic(unique(), retention_ms="123456")
    found = configs(topic)
    set_here = found["retention.ms"]
    assert (set_here.value, set_here.is_default) == ("123456", False)
    assert set_here.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    largest = found["max.message.bytes"]
    assert (largest.value, largest.is_default) == ("1048588", True)
    assert found["cleanup.policy"].value == "delete"
    assert not any(e.is_read_only or e.is_sensitive for e in found.values())
    unknown = ConfigResource(ResourceType.TOPIC, unique())
    missing = kit.admin().describe_configs([unknown], request_timeout=10)[unknown]
    assert code_of(missing) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_alter_configs_one_by_one(unique):
    topic = kit.create_topic(unique(), max_message_bytes="5000")
    alter(topic, "retention.ms", "60000").result(20)
    kit.wait_for(lambda: configs(topic)["retention.ms"].value == "60000", "the value is set")
    assert configs(topic)["max.message.bytes"].value == "5000", "another value was touched"
    alter(topic, "retention.ms", None, AlterConfigOpType.DELETE).result(20)
    kit.wait_for(lambda: configs(topic)["retention.ms"].value == "604800000", "back to default")
    assert configs(topic)["retention.ms"].is_default


@pytest.mark.parametrize(
    "name, value",
    [("no.such.thing", "1"), ("retention.ms", "soon"), ("max.message.bytes", "-5"),
     ("cleanup.policy", "shred")],
)
def test_configs_that_are_refused(unique, name, value):
    topic = kit.create_topic(unique())
    before = {key: entry.value for key, entry in configs(topic).items()}
    assert code_of(alter(topic, name, value)) == KafkaError.INVALID_CONFIG
    assert {key: entry.value for key, entry in configs(topic).items()} == before


def test_alter_configs_of_an_unknown_topic(unique):
    assert code_of(alter(unique(), "retention.ms", "1")) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_max_message_bytes_is_enforced(unique):
    topic = kit.create_topic(unique(), max_message_bytes="3000")
    kit.produce(topic, [b"x" * 2000])
    assert kit.delivery_error(topic, b"x" * 4000) == KafkaError.MSG_SIZE_TOO_LARGE
    alter(topic, "max.message.bytes", "6000").result(20)
    kit.wait_for(lambda: configs(topic)["max.message.bytes"].value == "6000", "it is set")
    assert kit.produce(topic, [b"x" * 4000])[0].offset == 1
    assert kit.delivery_error(topic, b"x" * 7000) == KafkaError.MSG_SIZE_TOO_LARGE


def test_describe_cluster():
    found = kit.admin().describe_cluster(request_timeout=10).result(15)
    assert found.cluster_id
    addresses = {f"{node.host}:{node.port}" for node in found.nodes}
    assert addresses == {kit.BOOTSTRAP}, "the advertised address is the one that was reached"
    assert found.controller.id in {node.id for node in found.nodes}
    listed = kit.admin().list_topics(timeout=10)
    assert listed.cluster_id == found.cluster_id
    assert listed.controller_id == found.controller.id


def test_describe_brokers_configs():
    node = kit.admin().list_topics(timeout=10).controller_id
    resource = ConfigResource(ResourceType.BROKER, str(node))
    found = kit.admin().describe_configs([resource], request_timeout=10)[resource].result(20)
    assert found["auto.create.topics.enable"].value == "true"
    assert int(found["num.partitions"].value) >= 1
    assert int(found["log.retention.ms"].value or -1) >= -1


def test_topic_ids(unique):
    topics = [kit.create_topic(unique("a")), kit.create_topic(unique("b"), partitions=2)]
    futures = kit.admin().describe_topics(TopicCollection(topics), request_timeout=10)
    found = {name: future.result(20) for name, future in futures.items()}
    ids = {str(found[name].topic_id) for name in topics}
    assert len(ids) == 2 and not any(set(i) == {"A"} for i in ids)
    assert [len(found[name].partitions) for name in topics] == [1, 2]
    unknown = unique("c")
    futures = kit.admin().describe_topics(TopicCollection([unknown]), request_timeout=10)
    assert code_of(futures[unknown]) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_list_offsets(unique):
    topic = kit.create_topic(unique(), partitions=2)
    client, sent, base_ms = kit.producer(), {}, 1_600_000_000_000
    for n, stamp in enumerate([0, 5000, 2000]):
        kit.enqueue(client, sent, n, topic, b"x", partition=0, timestamp=base_ms + stamp)
    assert client.flush(10) == 0
    cases = [
        (OffsetSpec.earliest(), 0, -1),
        (OffsetSpec.latest(), 3, -1),
        (OffsetSpec.max_timestamp(), 1, base_ms + 5000),
        (OffsetSpec.for_timestamp(base_ms + 1), 1, base_ms + 5000),
    ]
    partition = TopicPartition(topic, 0)
    for spec, offset, stamp in cases:
        future = kit.admin().list_offsets({partition: spec}, request_timeout=10)[partition]
        found = future.result(20)
        assert (found.offset, found.timestamp) == (offset, stamp), spec


def test_many_topics_at_once(unique):
    names = [unique(f"m{n}") for n in range(30)]
    futures = kit.admin().create_topics([NewTopic(name, 2, 1) for name in names])
    for future in futures.values():
        future.result(30)
    listed = kit.admin().list_topics(timeout=10).topics
    assert set(names) <= set(listed)
    for future in kit.admin().delete_topics(names, request_timeout=20).values():
        future.result(30)
    kit.wait_for(lambda: not set(names) & set(kit.admin().list_topics(timeout=10).topics), "gone")
