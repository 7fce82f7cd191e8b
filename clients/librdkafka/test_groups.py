"""Consumer groups: members join and leave under load, static members, what admins see of it."""

import threading
import time

import kit
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from member import Member, settled

PARTITIONS = 6


class Load:
    """Produces numbered records at a steady pace until it is stopped."""

    def __init__(self, topic):
        self.sent = {}
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        client, number = kit.producer(), 0
        while not self._stop.is_set():
            for _ in range(20):
                kit.enqueue(client, self.sent, number, self._topic, b"%d" % number)
                number += 1
            client.poll(0.02)
        assert client.flush(20) == 0

    def stop(self):
        self._stop.set()
        self._thread.join(30)
        assert all(isinstance(sent, kit.Sent) for sent in self.sent.values())
        return {(s.partition, s.offset, b"%d" % n) for n, s in self.sent.items()}


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_join_and_leave_under_load(unique, strategy):
    topic, group = kit.create_topic(unique(), partitions=PARTITIONS), unique("g")
    load = Load(topic)
    settings = {"partition.assignment.strategy": strategy}
    first = Member(topic, group, **settings)
    kit.wait_for(lambda: settled([first], PARTITIONS), "one member owns all")
    second = Member(topic, group, **settings)
    third = Member(topic, group, **settings)
    everybody = [first, second, third]
    kit.wait_for(lambda: settled(everybody, PARTITIONS), "three members share")
    kit.wait_for(lambda: all(member.read for member in everybody), "all three read")
    second.leave()
    kit.wait_for(lambda: settled([first, third], PARTITIONS), "two members share")
    fourth = Member(topic, group, **settings)
    kit.wait_for(lambda: settled([first, third, fourth], PARTITIONS), "three share again")
    sent = load.stop()
    everybody.append(fourth)

    def read():
        return {message for member in everybody for message in member.read}

    kit.wait_for(lambda: read() >= sent, "everything sent was read")
    for member in (first, third, fourth):
        member.leave()
    assert read() == sent, "something was read that was not sent"
    assert not any(member.losses for member in everybody)
    for member in everybody:
        check_order(member)
    if strategy == "cooperative-sticky":
        assert all(len(revoked) < PARTITIONS for revoked in first.revokes[:-1])


def check_order(member):
    """Within a partition offsets rise; going back is allowed only to the last commit."""
    high = {}
    repeats = 0
    for partition, offset, _ in member.read:
        repeats += offset <= high.get(partition, -1)
        high[partition] = max(offset, high.get(partition, -1))
    assert repeats < len(member.read) / 2, f"{repeats} of {len(member.read)} came again"


def test_a_member_that_dies_is_replaced(unique):
    topic, group = kit.create_topic(unique(), partitions=2), unique("g")
    dead = kit.consumer(group, max_poll_interval_ms=6000)
    dead.subscribe([topic])
    kit.wait_for(lambda: dead.poll(0.1) or len(dead.assignment()) == 2, "it owns all")
    heir = Member(topic, group)
    # From here on `dead` never polls again, so it cannot take part in the rebalance.
    kit.wait_for(lambda: heir.owned == {0, 1}, "the other member takes over", 25)
    heir.leave()
    dead.close()


def test_static_member_comes_back_without_rebalance(unique):
    topic, group = kit.create_topic(unique(), partitions=4), unique("g")
    settings = {"session.timeout.ms": 30_000, "partition.assignment.strategy": "range"}
    first = Member(topic, group, group_instance_id="one", **settings)
    second = Member(topic, group, group_instance_id="two", **settings)
    kit.wait_for(lambda: settled([first, second], 4), "both own a share")
    shares = (first.owned, second.owned)
    rebalances = (len(first.assigns), len(first.revokes))
    second.leave()
    again = Member(topic, group, group_instance_id="two", **settings)
    kit.wait_for(lambda: again.owned == shares[1], "the same share after the return")
    time.sleep(1.0)
    assert first.owned == shares[0]
    assert (len(first.assigns), len(first.revokes)) == rebalances, "the other saw a rebalance"
    kit.produce(topic, [b"x"] * 4, partition=min(shares[1]))
    kit.wait_for(lambda: len(again.read) == 4, "the returned member reads")
    first.leave()
    again.leave()


def test_a_second_owner_of_an_instance_id_fences_the_first(unique):
    topic, group = kit.create_topic(unique(), partitions=2), unique("g")
    first = Member(topic, group, group_instance_id="same")
    kit.wait_for(lambda: first.owned == {0, 1}, "the first owns all")
    second = Member(topic, group, group_instance_id="same")
    kit.wait_for(lambda: second.owned == {0, 1}, "the second owns all")
    fenced = {KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID}
    kit.wait_for(lambda: any(e.code() in fenced for e in first.errors), "the first is fenced")
    assert any("instance" in e.str().lower() for e in first.errors), first.errors
    assert not [e for e in second.errors if e.fatal()]
    second.leave()
    first.leave()


def test_members_with_nothing_in_common_are_refused(unique):
    topic, group = kit.create_topic(unique()), unique("g")
    first = Member(topic, group, partition_assignment_strategy="range")
    kit.wait_for(lambda: first.owned == {0}, "the first owns all")
    other = Member(topic, group, partition_assignment_strategy="roundrobin")
    wanted = KafkaError.INCONSISTENT_GROUP_PROTOCOL
    kit.wait_for(lambda: any(e.code() == wanted for e in other.errors), "the other is refused")
    assert first.owned == {0}
    other.leave()
    first.leave()


def test_admins_see_the_group(unique):
    topic, group = kit.create_topic(unique(), partitions=2), unique("g")
    member = Member(topic, group, client_id="seen", partition_assignment_strategy="range")
    kit.wait_for(lambda: member.owned == {0, 1}, "it owns all")
    listed = kit.admin().list_consumer_groups(request_timeout=10).result(15)
    assert not listed.errors
    assert [g.state.name for g in listed.valid if g.group_id == group] == ["STABLE"]
    seen = kit.admin().describe_consumer_groups([group], request_timeout=10)[group].result(15)
    assert (seen.state.name, seen.partition_assignor) == ("STABLE", "range")
    assert seen.coordinator.port == int(kit.BOOTSTRAP.rsplit(":", 1)[1])
    [only] = seen.members
    assert only.client_id == "seen" and only.member_id and "127.0.0.1" in only.host
    owned = {(p.topic, p.partition) for p in only.assignment.topic_partitions}
    assert owned == {(topic, 0), (topic, 1)}
    member.leave()
    seen = kit.admin().describe_consumer_groups([group], request_timeout=10)[group].result(15)
    assert seen.members == []


def test_admins_move_the_offsets_of_an_empty_group(unique):
    topic, group = kit.create_topic(unique(), partitions=2), unique("g")
    kit.produce(topic, [b"%d" % n for n in range(10)], partition=1)
    wanted = [TopicPartition(topic, 1, 7)]
    request = [ConsumerGroupTopicPartitions(group, wanted)]
    kit.admin().alter_consumer_group_offsets(request, request_timeout=10)[group].result(15)
    request = [ConsumerGroupTopicPartitions(group, None)]
    futures = kit.admin().list_consumer_group_offsets(request, request_timeout=10)
    found = futures[group].result(15).topic_partitions
    assert [(p.topic, p.partition, p.offset) for p in found] == [(topic, 1, 7)]
    member = Member(topic, group)
    kit.wait_for(lambda: len(member.read) >= 3, "it reads from the moved offset")
    member.leave()
    assert [value for _, _, value in member.read] == [b"7", b"8", b"9"]
