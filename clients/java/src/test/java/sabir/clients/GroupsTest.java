package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static sabir.clients.Kit.bytes;
import static sabir.clients.Kit.text;
import static sabir.clients.Member.settled;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.InconsistentGroupProtocolException;
import org.apache.kafka.common.errors.InvalidSessionTimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Groups: members join and leave under load, static members, what admins see of it. */
class GroupsTest {
    private static final int PARTITIONS = 6;
    private static final String STRATEGY = "partition.assignment.strategy";

    /** Produces numbered records at a steady pace until it is stopped. */
    private static final class Load {
        private final List<Future<RecordMetadata>> sent = new ArrayList<>();
        private final KafkaProducer<byte[], byte[]> producer = Kit.producer();
        private final Thread thread;
        private volatile boolean stopped;

        Load(String topic) {
            thread = new Thread(() -> {
                while (!stopped) {
                    for (int n = 0; n < 20; n++) {
                        byte[] value = bytes("" + sent.size());
                        sent.add(producer.send(new ProducerRecord<>(topic, value)));
                    }
                    try {
                        Thread.sleep(20);
                    } catch (InterruptedException gone) {
                        return;
                    }
                }
            });
            thread.start();
        }

        /** partition:offset:value of everything that was sent. */
        Set<String> stop() throws InterruptedException {
            stopped = true;
            thread.join();
            producer.close();
            Set<String> all = new java.util.HashSet<>();
            for (int n = 0; n < sent.size(); n++) {
                var at = Kit.get(sent.get(n));
                all.add(at.partition() + ":" + at.offset() + ":" + n);
            }
            return all;
        }
    }

    private static Set<String> read(Member... members) {
        return Stream.of(members)
                .flatMap(member -> member.read.stream())
                .map(r -> r.partition() + ":" + r.offset() + ":" + text(r.value()))
                .collect(Collectors.toSet());
    }

    @ParameterizedTest
    @ValueSource(classes = {
        RangeAssignor.class,
        RoundRobinAssignor.class,
        StickyAssignor.class,
        CooperativeStickyAssignor.class,
    })
    void membersJoinAndLeaveUnderLoad(Class<?> strategy) throws Exception {
        String topic = Kit.topic("load", PARTITIONS);
        String group = Kit.unique("g");
        Object[] settings = {STRATEGY, strategy.getName()};
        var load = new Load(topic);
        var first = new Member(topic, group, settings);
        Kit.await("one owns all", () -> settled(PARTITIONS, first));
        var second = new Member(topic, group, settings);
        var third = new Member(topic, group, settings);
        Kit.await("three share", () -> settled(PARTITIONS, first, second, third));
        Kit.await("all read", () -> !second.read.isEmpty() && !third.read.isEmpty());
        second.leave();
        Kit.await("two share", () -> settled(PARTITIONS, first, third));
        var fourth = new Member(topic, group, settings);
        Kit.await("three share again", () -> settled(PARTITIONS, first, third, fourth));
        Set<String> sent = load.stop();
        Member[] all = {first, second, third, fourth};
        Kit.await("everything is read", () -> read(all).size() >= sent.size());
        boolean cooperative = strategy == CooperativeStickyAssignor.class;
        assertTrue(!cooperative || first.revokes.stream().allMatch(r -> r.size() < PARTITIONS));
        for (Member member : List.of(first, third, fourth)) {
            member.leave();
        }
        assertEquals(sent, read(all));
        for (Member member : all) {
            assertNull(member.failure);
            assertEquals(0, member.losses);
        }
    }

    @Test
    void aMemberThatStopsPollingIsReplaced() throws Exception {
        String topic = Kit.topic("dead", 2);
        String group = Kit.unique("g");
        try (var dead = Kit.member(group, "max.poll.interval.ms", 6000)) {
            dead.subscribe(List.of(topic));
            Kit.await("it owns all", () -> {
                dead.poll(Duration.ofMillis(50));
                return dead.assignment().size() == 2;
            });
            var heir = new Member(topic, group);
            Kit.await("the other takes over", () -> settled(2, heir));
            heir.leave();
        }
    }

    @Test
    void aStaticMemberComesBackWithoutRebalance() throws Exception {
        String topic = Kit.topic("static", 4);
        String group = Kit.unique("g");
        Object[] one = {"group.instance.id", "one", "session.timeout.ms", 30_000};
        Object[] two = {"group.instance.id", "two", "session.timeout.ms", 30_000};
        var first = new Member(topic, group, one);
        var second = new Member(topic, group, two);
        Kit.await("both own a share", () -> settled(4, first, second));
        Set<Integer> share = second.owned;
        int assigns = first.assigns.size();
        int revokes = first.revokes.size();
        second.leave();
        var again = new Member(topic, group, two);
        Kit.await("the same share after the return", () -> again.owned.equals(share));
        Thread.sleep(1000);
        assertEquals(assigns, first.assigns.size(), "the other saw a rebalance");
        assertEquals(revokes, first.revokes.size(), "the other saw a rebalance");
        Kit.produce(topic, share.iterator().next(), Kit.numbers(4));
        Kit.await("the returned member reads", () -> again.read.size() == 4);
        first.leave();
        again.leave();
    }

    @Test
    void aSecondOwnerOfAnInstanceIdFencesTheFirst() throws Exception {
        String topic = Kit.topic("fence", 2);
        String group = Kit.unique("g");
        var first = new Member(topic, group, "group.instance.id", "same");
        Kit.await("the first owns all", () -> settled(2, first));
        var second = new Member(topic, group, "group.instance.id", "same");
        Kit.await("the first is fenced", () -> first.failure != null);
        assertEquals(FencedInstanceIdException.class, first.failure.getClass());
        Kit.await("the second owns all", () -> settled(2, second));
        second.leave();
        assertNull(second.failure);
    }

    @Test
    void anAdminRemovesAStaticMember() throws Exception {
        String topic = Kit.topic("remove", 2);
        String group = Kit.unique("g");
        Object[] settings = {"session.timeout.ms", 30_000};
        var stays = new Member(topic, group, settings);
        var gone = new Member(
                topic, group, "session.timeout.ms", 30_000, "group.instance.id", "gone");
        Kit.await("both own a share", () -> settled(2, stays, gone));
        gone.leave();
        try (var admin = Kit.admin()) {
            var member = new org.apache.kafka.clients.admin.MemberToRemove("gone");
            var options = new org.apache.kafka.clients.admin
                    .RemoveMembersFromConsumerGroupOptions(List.of(member));
            Kit.get(admin.removeMembersFromConsumerGroup(group, options).all());
        }
        Kit.await("the other owns all", () -> settled(2, stays));
        stays.leave();
    }

    @Test
    void membersWithNothingInCommonAreRefused() throws Exception {
        String topic = Kit.topic("common", 1);
        String group = Kit.unique("g");
        var first = new Member(topic, group, STRATEGY, RangeAssignor.class.getName());
        Kit.await("the first owns all", () -> settled(1, first));
        var other = new Member(topic, group, STRATEGY, RoundRobinAssignor.class.getName());
        Kit.await("the other is refused", () -> other.failure != null);
        assertEquals(InconsistentGroupProtocolException.class, other.failure.getClass());
        first.leave();
    }

    @Test
    void aSessionTimeoutBelowTheMinimumIsRefused() throws Exception {
        String topic = Kit.topic("session", 1);
        var member = new Member(
                topic, Kit.unique("g"), "session.timeout.ms", 100, "heartbeat.interval.ms", 30);
        Kit.await("it is refused", () -> member.failure != null);
        assertEquals(InvalidSessionTimeoutException.class, member.failure.getClass());
    }

    @Test
    void adminsSeeTheGroup() throws Exception {
        String topic = Kit.topic("seen", 2);
        String group = Kit.unique("g");
        var member = new Member(
                topic, group, "client.id", "seen", STRATEGY, RangeAssignor.class.getName());
        Kit.await("it owns all", () -> settled(2, member));
        Kit.produce(topic, 0, Kit.numbers(5));
        Kit.await("it reads", () -> member.read.size() == 5);
        try (var admin = Kit.admin()) {
            var listed = Kit.get(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all());
            var states = listed.stream()
                    .filter(g -> g.groupId().equals(group))
                    .map(g -> g.groupState().orElseThrow())
                    .toList();
            assertEquals(List.of(GroupState.STABLE), states);
            var seen = Kit.get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            assertEquals(GroupState.STABLE, seen.groupState());
            assertEquals("range", seen.partitionAssignor());
            assertEquals(1, seen.members().size());
            var only = seen.members().iterator().next();
            assertEquals("seen", only.clientId());
            assertEquals(
                    Set.copyOf(Kit.partitions(topic, 2)), only.assignment().topicPartitions());
            member.leave();
            Kit.await("the group is empty", () -> Kit.get(
                            admin.describeConsumerGroups(List.of(group)).all())
                    .get(group)
                    .groupState() == GroupState.EMPTY);
            var offsets = Kit.get(
                    admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
            assertEquals(5, offsets.get(new TopicPartition(topic, 0)).offset());
        }
    }

    @Test
    void adminsMoveTheOffsetsOfAnEmptyGroup() throws Exception {
        String topic = Kit.topic("move", 2);
        String group = Kit.unique("g");
        Kit.produce(topic, 1, Kit.numbers(10));
        var moved = Map.of(new TopicPartition(topic, 1), new OffsetAndMetadata(7, "why"));
        try (var admin = Kit.admin()) {
            Kit.get(admin.alterConsumerGroupOffsets(group, moved).all());
            var found = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata();
            assertEquals(moved, Kit.get(found));
        }
        var member = new Member(topic, group);
        Kit.await("it reads from there", () -> member.read.size() >= 3);
        member.leave();
        assertEquals(List.of(7, 8, 9), Kit.values(List.copyOf(member.read)));
    }

    @Test
    void patternsFindNewTopics() throws Exception {
        String stem = Kit.unique("pattern");
        try (var consumer = Kit.member(Kit.unique("g")); var admin = Kit.admin()) {
            consumer.subscribe(java.util.regex.Pattern.compile(stem + "-.*"));
            consumer.poll(Duration.ofMillis(500));
            for (String name : List.of(stem + "-a", stem + "-b")) {
                var topic = new org.apache.kafka.clients.admin.NewTopic(name, 1, (short) 1);
                Kit.get(admin.createTopics(List.of(topic)).all());
                Kit.await("found " + name, () -> {
                    consumer.poll(Duration.ofMillis(50));
                    return consumer.assignment().contains(new TopicPartition(name, 0));
                });
            }
        }
    }
}
