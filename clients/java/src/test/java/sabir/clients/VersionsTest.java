package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static sabir.clients.Kit.bytes;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.SimpleRecord;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/**
 * Every version of every request that is both advertised and known to this client's own generated
 * classes: it is answered, the answer decodes to its last byte, and says what it must.
 */
class VersionsTest {
    /** One request in one version, with what its answer must say. */
    interface Case {
        void run(Wire wire, int version) throws Exception;
    }

    static final Map<ApiKeys, Case> CASES = new TreeMap<>(Map.ofEntries(
            Map.entry(ApiKeys.API_VERSIONS, VersionsTest::apiVersions),
            Map.entry(ApiKeys.METADATA, VersionsTest::metadata),
            Map.entry(ApiKeys.PRODUCE, VersionsTest::produce),
            Map.entry(ApiKeys.FETCH, VersionsTest::fetch),
            Map.entry(ApiKeys.LIST_OFFSETS, VersionsTest::listOffsets),
            Map.entry(ApiKeys.OFFSET_FOR_LEADER_EPOCH, VersionsTest::leaderEpoch),
            Map.entry(ApiKeys.FIND_COORDINATOR, VersionsTest::findCoordinator),
            Map.entry(ApiKeys.OFFSET_COMMIT, VersionsTest::offsetCommit),
            Map.entry(ApiKeys.OFFSET_FETCH, VersionsTest::offsetFetch),
            Map.entry(ApiKeys.JOIN_GROUP, VersionsTest::groupLife),
            Map.entry(ApiKeys.SYNC_GROUP, VersionsTest::groupLife),
            Map.entry(ApiKeys.HEARTBEAT, VersionsTest::groupLife),
            Map.entry(ApiKeys.LEAVE_GROUP, VersionsTest::groupLife),
            Map.entry(ApiKeys.DESCRIBE_GROUPS, VersionsTest::describeGroups),
            Map.entry(ApiKeys.LIST_GROUPS, VersionsTest::listGroups),
            Map.entry(ApiKeys.INIT_PRODUCER_ID, VersionsTest::initProducerId),
            Map.entry(ApiKeys.CREATE_TOPICS, VersionsTest::createTopics),
            Map.entry(ApiKeys.DELETE_TOPICS, VersionsTest::deleteTopics),
            Map.entry(ApiKeys.CREATE_PARTITIONS, VersionsTest::createPartitions),
            Map.entry(ApiKeys.DESCRIBE_CONFIGS, VersionsTest::describeConfigs),
            Map.entry(ApiKeys.INCREMENTAL_ALTER_CONFIGS, VersionsTest::alterConfigs),
            Map.entry(ApiKeys.DESCRIBE_CLUSTER, VersionsTest::describeCluster)));

    static final Set<ApiKeys> KEYS = CASES.keySet();

    private static Admin admin;
    private static Map<Short, ApiVersionsResponseData.ApiVersion> advertised;
    private static String topic;
    private static Uuid id;

    @BeforeAll
    static void open() throws Exception {
        admin = Kit.admin();
        topic = Kit.topic("versions", 1);
        id = Kit.get(admin.listTopics().namesToListings()).get(topic).topicId();
        Kit.produce(topic, 0, Kit.numbers(10));
        advertised = new HashMap<>();
        try (var wire = new Wire()) {
            wire.advertised().forEach(range -> advertised.put(range.apiKey(), range));
        }
    }

    @AfterAll
    static void close() {
        admin.close();
    }

    @ParameterizedTest
    @FieldSource("KEYS")
    void everyVersion(ApiKeys key) throws Exception {
        var range = advertised.get(key.id);
        assertTrue(range != null, key + " is not advertised");
        int lowest = Math.max(range.minVersion(), key.messageType.lowestSupportedVersion());
        int highest = Math.min(range.maxVersion(), key.messageType.highestSupportedVersion(false));
        assertTrue(lowest <= highest, "no version in common");
        for (int version = lowest; version <= highest; version++) {
            try (var wire = new Wire()) {
                CASES.get(key).run(wire, version);
            } catch (Exception | AssertionError failed) {
                throw new AssertionError(key + " version " + version + ": " + failed, failed);
            }
        }
    }

    /** Nothing may be advertised that this suite does not try. */
    @Test
    void everyAdvertisedKeyIsTried() {
        if (!Kit.IS_PEER) {
            Set<String> left = new TreeSet<>();
            for (short key : advertised.keySet()) {
                if (!KEYS.contains(ApiKeys.forId(key))) {
                    left.add(ApiKeys.forId(key).name);
                }
            }
            assertEquals(Set.of(), left);
        }
    }

    private static void apiVersions(Wire wire, int version) throws Exception {
        var request = new ApiVersionsRequestData();
        if (version >= 3) {
            request.setClientSoftwareName("wire").setClientSoftwareVersion("1.0");
        }
        var answer = wire.call(ApiVersionsResponseData.class, request, version);
        assertEquals(0, answer.errorCode());
        assertEquals(advertised.size(), answer.apiKeys().size());
    }

    private static void metadata(Wire wire, int version) throws Exception {
        var asked = new MetadataRequestData.MetadataRequestTopic().setName(topic);
        var request = new MetadataRequestData().setTopics(List.of(asked));
        check(wire.call(MetadataResponseData.class, request, version), version);
        if (version >= 10) {
            var byId = new MetadataRequestData.MetadataRequestTopic().setName(null).setTopicId(id);
            request.setTopics(List.of(byId));
            if (version >= 12) {
                check(wire.call(MetadataResponseData.class, request, version), version);
            }
        }
        var none = new MetadataRequestData().setTopics(List.of());
        int topics = wire.call(MetadataResponseData.class, none, version).topics().size();
        assertTrue(version == 0 ? topics > 0 : topics == 0, "an empty list: " + topics);
        if (version >= 1) {
            var all = new MetadataRequestData().setTopics(null);
            assertTrue(wire.call(MetadataResponseData.class, all, version).topics().size() > 0);
        }
    }

    private static void check(MetadataResponseData answer, int version) {
        var broker = answer.brokers().iterator().next();
        assertEquals(Kit.BOOTSTRAP, broker.host() + ":" + broker.port());
        assertTrue(version < 1 || answer.controllerId() == broker.nodeId());
        assertTrue(version < 2 || !answer.clusterId().isEmpty());
        var found = answer.topics().iterator().next();
        assertEquals(0, found.errorCode());
        assertEquals(topic, found.name());
        assertEquals(version < 10 ? Uuid.ZERO_UUID : id, found.topicId());
        var partition = found.partitions().get(0);
        assertEquals(broker.nodeId(), partition.leaderId());
        assertEquals(List.of(broker.nodeId()), partition.replicaNodes());
        assertEquals(List.of(broker.nodeId()), partition.isrNodes());
    }

    private static void produce(Wire wire, int version) throws Exception {
        String name = Kit.topic("produce", 1);
        var data = new ProduceRequestData.TopicProduceData();
        if (version >= 13) {
            data.setTopicId(Kit.get(admin.listTopics().namesToListings()).get(name).topicId());
        } else {
            data.setName(name);
        }
        for (int round = 0; round < 2; round++) {
            var records = MemoryRecords.withRecords(
                    Compression.NONE, new SimpleRecord(bytes("a")), new SimpleRecord(bytes("b")));
            var partition = new ProduceRequestData.PartitionProduceData();
            data.setPartitionData(List.of(partition.setIndex(0).setRecords(records)));
            var request = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(5000);
            request.setTopicData(new ProduceRequestData.TopicProduceDataCollection(
                    List.of(data.duplicate()).iterator()));
            var answer = wire.call(ProduceResponseData.class, request, version);
            var found = answer.responses().iterator().next();
            var result = found.partitionResponses().get(0);
            assertEquals(0, result.errorCode());
            assertEquals(2L * round, result.baseOffset());
            assertEquals(version < 13 ? name : "", found.name());
        }
    }

    private static void fetch(Wire wire, int version) throws Exception {
        var partition = new FetchRequestData.FetchPartition()
                .setPartition(0)
                .setFetchOffset(4)
                .setPartitionMaxBytes(1 << 20);
        var asked = new FetchRequestData.FetchTopic().setPartitions(List.of(partition));
        if (version >= 13) {
            asked.setTopicId(id);
        } else {
            asked.setTopic(topic);
        }
        var request = new FetchRequestData()
                .setMaxWaitMs(500)
                .setMinBytes(1)
                .setMaxBytes(1 << 20)
                .setTopics(List.of(asked));
        var answer = wire.call(FetchResponseData.class, request, version);
        assertEquals(0, answer.errorCode());
        var found = answer.responses().get(0).partitions().get(0);
        assertEquals(0, found.errorCode());
        assertEquals(10, found.highWatermark());
        assertEquals(10, found.lastStableOffset());
        assertTrue(version < 5 || found.logStartOffset() == 0);
        long last = -1;
        for (var record : ((MemoryRecords) found.records()).records()) {
            last = record.offset();
        }
        assertEquals(9, last);
    }

    private static void listOffsets(Wire wire, int version) throws Exception {
        Map<Long, Long> wanted = new HashMap<>(Map.of(-1L, 10L, -2L, 0L, 0L, 0L));
        if (version >= 7) {
            // The ten records may share a millisecond, and then it is the first of them.
            wanted.put(-3L, null);
        }
        if (version >= 8) {
            wanted.put(-4L, 0L);
        }
        if (version >= 9) {
            wanted.put(-5L, -1L);
        }
        for (var one : wanted.entrySet()) {
            var partition = new ListOffsetsRequestData.ListOffsetsPartition()
                    .setPartitionIndex(0)
                    .setTimestamp(one.getKey());
            var asked = new ListOffsetsRequestData.ListOffsetsTopic()
                    .setName(topic)
                    .setPartitions(List.of(partition));
            var request = new ListOffsetsRequestData().setReplicaId(-1).setTopics(List.of(asked));
            if (version >= 10) {
                request.setTimeoutMs(5000);
            }
            var answer = wire.call(ListOffsetsResponseData.class, request, version);
            var found = answer.topics().get(0).partitions().get(0);
            assertEquals(0, found.errorCode());
            if (one.getValue() == null) {
                assertTrue(found.offset() >= 0 && found.offset() < 10);
            } else {
                assertEquals(one.getValue(), found.offset(), "time " + one.getKey());
            }
        }
    }

    private static void leaderEpoch(Wire wire, int version) throws Exception {
        var metadata = new MetadataRequestData().setTopics(
                List.of(new MetadataRequestData.MetadataRequestTopic().setName(topic)));
        int epoch = wire.call(MetadataResponseData.class, metadata, 7)
                .topics()
                .iterator()
                .next()
                .partitions()
                .get(0)
                .leaderEpoch();
        var partition = new OffsetForLeaderEpochRequestData.OffsetForLeaderPartition()
                .setPartition(0)
                .setCurrentLeaderEpoch(epoch)
                .setLeaderEpoch(epoch);
        var asked = new OffsetForLeaderEpochRequestData.OffsetForLeaderTopic()
                .setTopic(topic)
                .setPartitions(List.of(partition));
        var request = new OffsetForLeaderEpochRequestData();
        request.topics().add(asked);
        if (version >= 3) {
            request.setReplicaId(-1);
        }
        var answer = wire.call(OffsetForLeaderEpochResponseData.class, request, version);
        var found = answer.topics().iterator().next().partitions().get(0);
        assertEquals(0, found.errorCode());
        assertEquals(epoch, found.leaderEpoch());
        assertEquals(10, found.endOffset());
    }

    private static void findCoordinator(Wire wire, int version) throws Exception {
        String group = Kit.unique("g");
        var request = new FindCoordinatorRequestData();
        if (version >= 4) {
            request.setCoordinatorKeys(List.of(group, group + "2"));
        } else {
            request.setKey(group);
        }
        Kit.await("a coordinator", () -> {
            var answer = wire.call(FindCoordinatorResponseData.class, request, version);
            if (version < 4) {
                return answer.errorCode() == 0
                        && Kit.BOOTSTRAP.equals(answer.host() + ":" + answer.port());
            }
            assertEquals(2, answer.coordinators().size());
            var found = answer.coordinators().get(1);
            assertEquals(group + "2", found.key());
            return found.errorCode() == 0
                    && Kit.BOOTSTRAP.equals(found.host() + ":" + found.port());
        });
    }

    private static void commit(Wire wire, int version, String group) throws Exception {
        var partition = new OffsetCommitRequestData.OffsetCommitRequestPartition()
                .setPartitionIndex(0)
                .setCommittedOffset(3 + version)
                .setCommittedMetadata("note " + version);
        var asked = new OffsetCommitRequestData.OffsetCommitRequestTopic()
                .setPartitions(List.of(partition));
        if (version >= 10) {
            asked.setTopicId(id);
        } else {
            asked.setName(topic);
        }
        var request = new OffsetCommitRequestData().setGroupId(group).setTopics(List.of(asked));
        Kit.await("the commit", () -> {
            var answer = wire.call(OffsetCommitResponseData.class, request, version);
            int error = answer.topics().get(0).partitions().get(0).errorCode();
            // 14 and 16: a peer's coordinator loads when it is first asked for.
            assertTrue(error == 0 || Kit.IS_PEER && (error == 14 || error == 16), "error " + error);
            return error == 0;
        });
        if (Kit.IS_PEER) {
            // Kafka shows a change of a group a little later than it has answered it.
            Kit.await("the group is seen", () -> Kit.get(admin.listGroups().all()).stream()
                    .anyMatch(g -> g.groupId().equals(group)));
        }
    }

    private static void offsetCommit(Wire wire, int version) throws Exception {
        String group = Kit.unique("g");
        commit(wire, version, group);
        var committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata();
        var found = Kit.get(committed).values().iterator().next();
        assertEquals(3 + version, found.offset());
        assertEquals("note " + version, found.metadata());
    }

    private static void offsetFetch(Wire wire, int version) throws Exception {
        String group = Kit.unique("g");
        commit(wire, 8, group);
        var request = new OffsetFetchRequestData();
        if (version >= 8) {
            var asked = new OffsetFetchRequestData.OffsetFetchRequestTopics()
                    .setPartitionIndexes(List.of(0, 9));
            if (version >= 10) {
                asked.setTopicId(id);
            } else {
                asked.setName(topic);
            }
            request.setGroups(List.of(new OffsetFetchRequestData.OffsetFetchRequestGroup()
                    .setGroupId(group)
                    .setTopics(List.of(asked))));
            var answer = wire.call(OffsetFetchResponseData.class, request, version);
            var partitions = answer.groups().get(0).topics().get(0).partitions();
            assertEquals(11, partitions.get(0).committedOffset());
            assertEquals("note 8", partitions.get(0).metadata());
            assertEquals(-1, partitions.get(1).committedOffset());
        } else {
            request.setGroupId(group);
            request.setTopics(List.of(new OffsetFetchRequestData.OffsetFetchRequestTopic()
                    .setName(topic)
                    .setPartitionIndexes(List.of(0, 9))));
            var answer = wire.call(OffsetFetchResponseData.class, request, version);
            var partitions = answer.topics().get(0).partitions();
            assertEquals(11, partitions.get(0).committedOffset());
            assertEquals("note 8", partitions.get(0).metadata());
            assertEquals(-1, partitions.get(1).committedOffset());
        }
    }

    private static int capped(ApiKeys key, int version) {
        var range = advertised.get(key.id);
        int highest = Math.min(range.maxVersion(), key.messageType.highestSupportedVersion(false));
        return Math.max(range.minVersion(), Math.min(version, highest));
    }

    /** A member joins, gets its assignment, beats and leaves, all in (about) one version. */
    private static void groupLife(Wire wire, int version) throws Exception {
        String group = Kit.unique("g");
        int joinVersion = capped(ApiKeys.JOIN_GROUP, version);
        var protocol = new JoinGroupRequestData.JoinGroupRequestProtocol()
                .setName("p")
                .setMetadata(bytes("m"));
        var join = new JoinGroupRequestData()
                .setGroupId(group)
                .setSessionTimeoutMs(10_000)
                .setProtocolType("consumer")
                .setMemberId("");
        if (joinVersion >= 1) {
            join.setRebalanceTimeoutMs(10_000);
        }
        join.protocols().add(protocol);
        findCoordinator(wire, 0);
        var joined = wire.call(JoinGroupResponseData.class, join, joinVersion);
        while (Kit.IS_PEER && (joined.errorCode() == 14 || joined.errorCode() == 16)) {
            Thread.sleep(50);
            joined = wire.call(JoinGroupResponseData.class, join, joinVersion);
        }
        if (joinVersion >= 4) {
            assertEquals(79, joined.errorCode(), "a member id is required");
            join.setMemberId(joined.memberId());
            joined = wire.call(JoinGroupResponseData.class, join, joinVersion);
        }
        assertEquals(0, joined.errorCode());
        assertEquals(joined.leader(), joined.memberId());
        assertEquals("p", joined.protocolName());
        assertEquals("m", Kit.text(joined.members().get(0).metadata()));
        sync(wire, capped(ApiKeys.SYNC_GROUP, version), group, joined);
        beatAndLeave(wire, version, group, joined);
    }

    private static void sync(Wire wire, int version, String group, JoinGroupResponseData joined)
            throws Exception {
        var assignment = new SyncGroupRequestData.SyncGroupRequestAssignment()
                .setMemberId(joined.memberId())
                .setAssignment(bytes("yours"));
        var request = new SyncGroupRequestData()
                .setGroupId(group)
                .setMemberId(joined.memberId())
                .setGenerationId(joined.generationId())
                .setAssignments(List.of(assignment));
        if (version >= 5) {
            request.setProtocolType("consumer").setProtocolName("p");
        }
        var synced = wire.call(SyncGroupResponseData.class, request, version);
        assertEquals(0, synced.errorCode());
        assertEquals("yours", Kit.text(synced.assignment()));
    }

    private static void beatAndLeave(
            Wire wire, int version, String group, JoinGroupResponseData joined) throws Exception {
        var beat = new HeartbeatRequestData()
                .setGroupId(group)
                .setMemberId(joined.memberId())
                .setGenerationId(joined.generationId());
        int beatVersion = capped(ApiKeys.HEARTBEAT, version);
        assertEquals(
                0, wire.call(HeartbeatResponseData.class, beat, beatVersion).errorCode());
        var leave = new LeaveGroupRequestData().setGroupId(group);
        int leaveVersion = capped(ApiKeys.LEAVE_GROUP, version);
        if (leaveVersion >= 3) {
            leave.members()
                    .add(new LeaveGroupRequestData.MemberIdentity().setMemberId(joined.memberId()));
        } else {
            leave.setMemberId(joined.memberId());
        }
        var left = wire.call(LeaveGroupResponseData.class, leave, leaveVersion);
        assertEquals(0, left.errorCode());
        assertEquals(
                25, wire.call(HeartbeatResponseData.class, beat, beatVersion).errorCode());
    }

    private static void describeGroups(Wire wire, int version) throws Exception {
        String group = Kit.unique("g");
        commit(wire, 8, group);
        String unknown = Kit.unique("unknown");
        var request = new DescribeGroupsRequestData().setGroups(List.of(group, unknown));
        var answer = wire.call(DescribeGroupsResponseData.class, request, version);
        Map<String, DescribeGroupsResponseData.DescribedGroup> found = new HashMap<>();
        answer.groups().forEach(one -> found.put(one.groupId(), one));
        assertEquals(Set.of(group, unknown), found.keySet());
        assertEquals("Empty", found.get(group).groupState());
        assertEquals(0, found.get(group).errorCode());
        assertEquals("Dead", found.get(unknown).groupState());
        assertEquals(version >= 6 ? 69 : 0, found.get(unknown).errorCode());
    }

    private static void listGroups(Wire wire, int version) throws Exception {
        String group = Kit.unique("g");
        commit(wire, 8, group);
        var request = new ListGroupsRequestData();
        assertTrue(lists(wire, request, version, group));
        if (version >= 4) {
            assertTrue(lists(wire, request.setStatesFilter(List.of("Empty")), version, group));
            assertFalse(lists(wire, request.setStatesFilter(List.of("Stable")), version, group));
        }
        if (version >= 5) {
            request.setStatesFilter(List.of());
            assertTrue(lists(wire, request.setTypesFilter(List.of("classic")), version, group));
            assertFalse(lists(wire, request.setTypesFilter(List.of("consumer")), version, group));
        }
    }

    private static boolean lists(Wire wire, ApiMessage request, int version, String group)
            throws Exception {
        var answer = wire.call(ListGroupsResponseData.class, request, version);
        assertEquals(0, answer.errorCode());
        return answer.groups().stream().anyMatch(g -> g.groupId().equals(group));
    }

    private static void initProducerId(Wire wire, int version) throws Exception {
        var request = new InitProducerIdRequestData()
                .setTransactionalId(null)
                .setTransactionTimeoutMs(60_000);
        var answer = wire.call(InitProducerIdResponseData.class, request, version);
        while (Kit.IS_PEER && answer.errorCode() == 14) {
            Thread.sleep(50);
            answer = wire.call(InitProducerIdResponseData.class, request, version);
        }
        assertEquals(0, answer.errorCode());
        assertTrue(answer.producerId() >= 0);
        assertEquals(0, answer.producerEpoch());
    }

    private static String create(Wire wire, int version) throws Exception {
        String name = Kit.unique("create");
        var wanted = new CreateTopicsRequestData.CreatableTopic()
                .setName(name)
                .setNumPartitions(2)
                .setReplicationFactor((short) 1);
        wanted.configs().add(new CreateTopicsRequestData.CreatableTopicConfig()
                .setName("retention.ms")
                .setValue("123000"));
        var request = new CreateTopicsRequestData().setTimeoutMs(10_000);
        request.topics().add(wanted);
        var answer = wire.call(CreateTopicsResponseData.class, request, version);
        var found = answer.topics().iterator().next();
        assertEquals(name, found.name());
        assertEquals(0, found.errorCode());
        assertTrue(version < 5 || found.numPartitions() == 2);
        assertTrue(version < 7 || !found.topicId().equals(Uuid.ZERO_UUID));
        var again = wire.call(CreateTopicsResponseData.class, request, version);
        assertEquals(36, again.topics().iterator().next().errorCode());
        return name;
    }

    private static void createTopics(Wire wire, int version) throws Exception {
        String name = create(wire, version);
        Kit.await("listed", () -> Kit.get(admin.listTopics().names()).contains(name));
    }

    private static void deleteTopics(Wire wire, int version) throws Exception {
        String name = create(wire, 4);
        var request = new DeleteTopicsRequestData().setTimeoutMs(10_000);
        if (version >= 6) {
            var asked = new DeleteTopicsRequestData.DeleteTopicState().setName(name);
            request.setTopics(List.of(asked));
        } else {
            request.setTopicNames(List.of(name));
        }
        var answer = wire.call(DeleteTopicsResponseData.class, request, version);
        assertEquals(0, answer.responses().iterator().next().errorCode());
        answer = wire.call(DeleteTopicsResponseData.class, request, version);
        assertEquals(3, answer.responses().iterator().next().errorCode());
    }

    private static void createPartitions(Wire wire, int version) throws Exception {
        String name = create(wire, 4);
        var request = new CreatePartitionsRequestData().setTimeoutMs(10_000);
        request.topics().add(new CreatePartitionsRequestData.CreatePartitionsTopic()
                .setName(name)
                .setCount(4)
                .setAssignments(null));
        var answer = wire.call(CreatePartitionsResponseData.class, request, version);
        assertEquals(0, answer.results().get(0).errorCode());
        answer = wire.call(CreatePartitionsResponseData.class, request, version);
        assertEquals(37, answer.results().get(0).errorCode(), "it has as many already");
    }

    private static void describeConfigs(Wire wire, int version) throws Exception {
        String name = Kit.topic("configs", 1, "retention.ms", "123000");
        var asked = new DescribeConfigsRequestData.DescribeConfigsResource()
                .setResourceType(ConfigResource.Type.TOPIC.id())
                .setResourceName(name)
                .setConfigurationKeys(List.of("retention.ms", "max.message.bytes"));
        var request = new DescribeConfigsRequestData().setResources(List.of(asked));
        request.setIncludeSynonyms(true);
        if (version >= 3) {
            request.setIncludeDocumentation(true);
        }
        var answer = wire.call(DescribeConfigsResponseData.class, request, version);
        var found = answer.results().get(0);
        assertEquals(0, found.errorCode());
        Map<String, DescribeConfigsResponseData.DescribeConfigsResourceResult> byName =
                new HashMap<>();
        found.configs().forEach(config -> byName.put(config.name(), config));
        assertEquals(Set.of("retention.ms", "max.message.bytes"), byName.keySet());
        var retention = byName.get("retention.ms");
        assertEquals("123000", retention.value());
        assertEquals(1, retention.configSource());
        assertEquals("123000", retention.synonyms().get(0).value());
        assertEquals(5, byName.get("max.message.bytes").configSource());
        assertTrue(version < 3 || retention.configType() != 0);
        assertTrue(version < 3 || !retention.documentation().isEmpty());
    }

    private static void alterConfigs(Wire wire, int version) throws Exception {
        String name = Kit.topic("configs", 1);
        var change = new IncrementalAlterConfigsRequestData.AlterableConfig()
                .setName("retention.ms")
                .setConfigOperation((byte) 0)
                .setValue("77000");
        var resource = new IncrementalAlterConfigsRequestData.AlterConfigsResource()
                .setResourceType(ConfigResource.Type.TOPIC.id())
                .setResourceName(name);
        resource.configs().add(change);
        var request = new IncrementalAlterConfigsRequestData();
        request.resources().add(resource);
        var answer = wire.call(IncrementalAlterConfigsResponseData.class, request, version);
        assertEquals(0, answer.responses().get(0).errorCode());
        change.setName("no.such.thing");
        answer = wire.call(IncrementalAlterConfigsResponseData.class, request, version);
        assertEquals(40, answer.responses().get(0).errorCode());
        assertTrue(answer.responses().get(0).errorMessage().contains("no.such.thing"));
    }

    private static void describeCluster(Wire wire, int version) throws Exception {
        var request = new DescribeClusterRequestData();
        var answer = wire.call(DescribeClusterResponseData.class, request, version);
        assertEquals(0, answer.errorCode());
        assertNotEquals("", answer.clusterId());
        var broker = answer.brokers().iterator().next();
        assertEquals(Kit.BOOTSTRAP, broker.host() + ":" + broker.port());
        assertEquals(broker.brokerId(), answer.controllerId());
    }
}
