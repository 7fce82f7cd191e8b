package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** AdminClient: topics, partitions, configs, the cluster, offsets. */
class AdminTest {
    private Admin admin;

    @BeforeEach
    void open() {
        admin = Kit.admin();
    }

    @AfterEach
    void close() {
        admin.close();
    }

    private static NewTopic newTopic(String name, int partitions) {
        return new NewTopic(name, partitions, (short) 1);
    }

    private boolean exists(String topic) {
        return Kit.get(admin.listTopics().names()).contains(topic);
    }

    private int partitionsOf(String topic) {
        var described = Kit.get(admin.describeTopics(List.of(topic)).allTopicNames());
        return described.get(topic).partitions().size();
    }

    @Test
    void createDescribeDelete() throws Exception {
        String topic = Kit.unique("create");
        var created = admin.createTopics(List.of(
                newTopic(topic, 3).configs(Map.of("retention.ms", "1234567"))));
        Kit.get(created.all());
        assertEquals(3, Kit.get(created.numPartitions(topic)));
        assertEquals(1, Kit.get(created.replicationFactor(topic)));
        assertEquals("1234567", Kit.get(created.config(topic)).get("retention.ms").value());
        Uuid id = Kit.get(created.topicId(topic));
        Kit.await("it is listed", () -> exists(topic));
        var byName = Kit.get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        assertEquals(id, byName.topicId());
        assertFalse(byName.isInternal());
        for (var partition : byName.partitions()) {
            assertEquals(List.of(partition.leader()), partition.replicas());
            assertEquals(List.of(partition.leader()), partition.isr());
        }
        var ids = TopicCollection.ofTopicIds(List.of(id));
        var byId = Kit.get(admin.describeTopics(ids).allTopicIds()).get(id);
        assertEquals(topic, byId.name());
        assertEquals(3, byId.partitions().size());
        Kit.failure(
                TopicExistsException.class, admin.createTopics(List.of(newTopic(topic, 1))).all());
        Kit.get(admin.deleteTopics(List.of(topic)).all());
        Kit.await("it is gone", () -> !exists(topic));
        Kit.failure(
                UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());
    }

    @Test
    void topicIds() throws Exception {
        String topic = Kit.topic("ids", 1);
        Uuid first = idOf(topic);
        assertNotEquals(Uuid.ZERO_UUID, first);
        Kit.get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(first))).all());
        Kit.await("it is gone", () -> !exists(topic));
        var unknown = TopicCollection.ofTopicIds(List.of(first));
        Kit.failure(
                UnknownTopicIdException.class, admin.deleteTopics(unknown).all());
        Kit.get(admin.createTopics(List.of(newTopic(topic, 1))).all());
        Kit.await("it is back", () -> exists(topic));
        assertNotEquals(first, idOf(topic), "a topic made again is another one");
    }

    private Uuid idOf(String topic) {
        return Kit.get(admin.listTopics().namesToListings()).get(topic).topicId();
    }

    @Test
    void defaultsAndAssignments() {
        String byDefault = Kit.unique("default");
        var none = new NewTopic(byDefault, java.util.Optional.empty(), java.util.Optional.empty());
        Kit.get(admin.createTopics(List.of(none)).all());
        int node = Kit.get(admin.describeCluster().controller()).id();
        String assigned = Kit.unique("assigned");
        var places = Map.of(0, List.of(node), 1, List.of(node));
        Kit.get(admin.createTopics(List.of(new NewTopic(assigned, places))).all());
        assertEquals(2, partitionsOf(assigned));
        assertTrue(partitionsOf(byDefault) >= 1);
    }

    @Test
    void topicsThatCannotBeCreated() {
        String name = Kit.unique("refused");
        record Case(NewTopic topic, Class<? extends Throwable> wanted) {}
        var cases = List.of(
                new Case(newTopic("no/slash", 1), InvalidTopicException.class),
                new Case(newTopic("n".repeat(250), 1), InvalidTopicException.class),
                new Case(newTopic("..", 1), InvalidTopicException.class),
                new Case(newTopic(name, 0), InvalidPartitionsException.class),
                new Case(
                        new NewTopic(name, 1, (short) 2), InvalidReplicationFactorException.class),
                new Case(
                        newTopic(name, 1).configs(Map.of("no.such", "1")),
                        InvalidConfigurationException.class),
                new Case(
                        newTopic(name, 1).configs(Map.of("retention.ms", "soon")),
                        InvalidConfigurationException.class));
        for (Case one : cases) {
            Kit.failure(one.wanted, admin.createTopics(List.of(one.topic)).all());
        }
        assertFalse(exists(name));
    }

    @Test
    void oneBadTopicSparesTheOthers() throws Exception {
        String good = Kit.unique("good");
        var created = admin.createTopics(List.of(newTopic(good, 1), newTopic("no/slash", 1)));
        Kit.get(created.values().get(good));
        Kit.failure(InvalidTopicException.class, created.values().get("no/slash"));
        Kit.await("the good one is there", () -> exists(good));
    }

    @Test
    void validateOnlyChangesNothing() {
        String topic = Kit.unique("validate");
        var options = new CreateTopicsOptions().validateOnly(true);
        Kit.get(admin.createTopics(List.of(newTopic(topic, 3)), options).all());
        assertFalse(exists(topic));
        String there = Kit.topic("validate", 2);
        var more = Map.of(there, NewPartitions.increaseTo(5));
        var only = new CreatePartitionsOptions().validateOnly(true);
        Kit.get(admin.createPartitions(more, only).all());
        assertEquals(2, partitionsOf(there));
        var alter = new AlterConfigsOptions().validateOnly(true);
        Kit.get(alter(there, "retention.ms", "777", OpType.SET, alter));
        assertEquals("604800000", configs(there).get("retention.ms").value());
    }

    @Test
    void createPartitions() throws Exception {
        String topic = Kit.topic("grow", 2);
        Kit.get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all());
        Kit.await("five partitions", () -> partitionsOf(topic) == 5);
        Kit.produce(topic, 4, Kit.numbers(3));
        assertEquals(Kit.range(0, 3), Kit.values(Kit.read(topic, 5, 3)));
        Kit.failure(
                InvalidPartitionsException.class,
                admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
        String unknown = Kit.unique("unknown");
        Kit.failure(
                UnknownTopicOrPartitionException.class,
                admin.createPartitions(Map.of(unknown, NewPartitions.increaseTo(3))).all());
    }

    private static ConfigResource resource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private Config configs(String topic) {
        return Kit.get(admin.describeConfigs(List.of(resource(topic))).all()).get(resource(topic));
    }

    private KafkaFuture<Void> alter(
            String topic, String name, String value, OpType type, AlterConfigsOptions options) {
        var operation = new AlterConfigOp(new ConfigEntry(name, value), type);
        Map<ConfigResource, Collection<AlterConfigOp>> change =
                Map.of(resource(topic), List.of(operation));
        return admin.incrementalAlterConfigs(change, options).all();
    }

    private KafkaFuture<Void> set(String topic, String name, String value) {
        return alter(topic, name, value, OpType.SET, new AlterConfigsOptions());
    }

    @Test
    void describeConfigs() {
        String topic = Kit.topic("describe", 1, "retention.ms", "123456");
        var retention = configs(topic).get("retention.ms");
        assertEquals("123456", retention.value());
        assertEquals(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, retention.source());
        var largest = configs(topic).get("max.message.bytes");
        assertEquals("1048588", largest.value());
        assertTrue(largest.isDefault());
        Kit.failure(
                UnknownTopicOrPartitionException.class,
                admin.describeConfigs(List.of(resource(Kit.unique("unknown")))).all());
    }

    @Test
    void alterConfigsOneByOne() throws Exception {
        String topic = Kit.topic("alter", 1, "max.message.bytes", "5000");
        Kit.get(set(topic, "retention.ms", "60000"));
        Kit.await("set", () -> configs(topic).get("retention.ms").value().equals("60000"));
        assertEquals("5000", configs(topic).get("max.message.bytes").value());
        Kit.get(alter(topic, "retention.ms", null, OpType.DELETE, new AlterConfigsOptions()));
        Kit.await("default", () -> configs(topic).get("retention.ms").value().equals("604800000"));
        assertEquals("5000", configs(topic).get("max.message.bytes").value());
    }

    @Test
    void configsThatAreRefused() {
        String topic = Kit.topic("refused", 1);
        var before = Set.copyOf(configs(topic).entries());
        String[][] cases = {
            {"no.such.thing", "1"},
            {"retention.ms", "soon"},
            {"max.message.bytes", "-5"},
            {"cleanup.policy", "shred"},
        };
        for (String[] one : cases) {
            Kit.failure(InvalidConfigurationException.class, set(topic, one[0], one[1]));
        }
        assertEquals(before, Set.copyOf(configs(topic).entries()));
        Kit.failure(
                UnknownTopicOrPartitionException.class,
                set(Kit.unique("unknown"), "retention.ms", "1"));
    }

    @Test
    void maxMessageBytesIsEnforced() throws Exception {
        String topic = Kit.topic("enforced", 1, "max.message.bytes", "3000");
        Kit.produce(topic, 0, List.of(new byte[2000]));
        try (var producer = Kit.producer()) {
            var large = new ProducerRecord<byte[], byte[]>(topic, new byte[4000]);
            Kit.failure(RecordTooLargeException.class, producer.send(large));
            Kit.get(set(topic, "max.message.bytes", "6000"));
            Kit.await("set", () -> configs(topic).get("max.message.bytes").value().equals("6000"));
            assertEquals(1, Kit.get(producer.send(large)).offset());
        }
    }

    @Test
    void describeCluster() {
        var cluster = admin.describeCluster();
        var nodes = Kit.get(cluster.nodes());
        assertEquals(
                List.of(Kit.BOOTSTRAP),
                nodes.stream().map(n -> n.host() + ":" + n.port()).toList());
        assertEquals(nodes.iterator().next().id(), Kit.get(cluster.controller()).id());
        assertFalse(Kit.get(cluster.clusterId()).isEmpty());
        assertEquals(Kit.get(cluster.clusterId()), Kit.get(admin.describeCluster().clusterId()));
    }

    @Test
    void listOffsets() {
        String topic = Kit.topic("list", 2);
        var partition = new TopicPartition(topic, 0);
        long baseMs = 1_600_000_000_000L;
        try (var producer = Kit.producer()) {
            for (long stamp : new long[] {0, 5000, 2000}) {
                producer.send(new ProducerRecord<>(topic, 0, baseMs + stamp, null, new byte[1]));
            }
        }
        record Case(OffsetSpec spec, long offset, long stamp) {}
        var cases = List.of(
                new Case(OffsetSpec.earliest(), 0, -1),
                new Case(OffsetSpec.latest(), 3, -1),
                new Case(OffsetSpec.maxTimestamp(), 1, baseMs + 5000),
                new Case(OffsetSpec.forTimestamp(baseMs + 1), 1, baseMs + 5000),
                new Case(OffsetSpec.forTimestamp(baseMs + 5001), -1, -1));
        for (Case one : cases) {
            var listed = Kit.get(admin.listOffsets(Map.of(partition, one.spec)).all());
            var found = listed.get(partition);
            assertEquals(one.offset, found.offset(), one.toString());
            assertEquals(one.stamp, found.timestamp(), one.toString());
        }
    }

    @Test
    void manyTopicsAtOnce() throws Exception {
        String stem = Kit.unique("many");
        var names = IntStream.range(0, 30).mapToObj(n -> stem + n).toList();
        Kit.get(admin.createTopics(names.stream().map(n -> newTopic(n, 2)).toList()).all());
        Kit.await("all there", () -> Kit.get(admin.listTopics().names()).containsAll(names));
        assertEquals(30, Kit.get(admin.describeTopics(names).allTopicNames()).size());
        Kit.get(admin.deleteTopics(names).all());
        Kit.await("all gone", () -> Kit.get(admin.listTopics().names()).stream()
                .noneMatch(names::contains));
    }

    @Test
    void anUnknownTopicIsNotCreatedByLooking() {
        String unknown = Kit.unique("unknown");
        Kit.failure(
                UnknownTopicOrPartitionException.class,
                admin.describeTopics(List.of(unknown)).allTopicNames());
        assertFalse(exists(unknown));
        assertThrows(AssertionError.class, () -> partitionsOf(unknown));
    }
}
