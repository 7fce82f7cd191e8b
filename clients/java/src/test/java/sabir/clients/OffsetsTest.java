package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static sabir.clients.Kit.bytes;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.NoOffsetForPartitionException;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.OffsetMetadataTooLarge;
import org.apache.kafka.common.errors.TimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Offsets: commits, what a consumer starts from, seeking, looking up by time, lag. */
class OffsetsTest {
    private static TopicPartition filled(int count) {
        String topic = Kit.topic("offsets", 1);
        Kit.produce(topic, 0, Kit.numbers(count));
        return new TopicPartition(topic, 0);
    }

    private static Map<TopicPartition, OffsetAndMetadata> at(
            TopicPartition partition, long offset) {
        return Map.of(partition, new OffsetAndMetadata(offset));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void committedOffsetsSurviveTheConsumer(boolean async) throws Exception {
        TopicPartition partition = filled(10);
        String group = Kit.unique("g");
        try (var first = Kit.member(group)) {
            first.subscribe(List.of(partition.topic()));
            assertEquals(Kit.range(0, 10), Kit.values(Kit.poll(first, 10)));
            if (async) {
                var done = new CompletableFuture<Exception>();
                first.commitAsync(at(partition, 4), (offsets, error) -> done.complete(error));
                Kit.await("the commit is answered", () -> {
                    first.poll(Duration.ofMillis(50));
                    return done.isDone();
                });
                assertNull(done.get());
            } else {
                first.commitSync(at(partition, 4));
            }
        }
        try (var second = Kit.member(group)) {
            assertEquals(at(partition, 4), second.committed(Set.of(partition)));
            second.subscribe(List.of(partition.topic()));
            assertEquals(Kit.range(4, 10), Kit.values(Kit.poll(second, 6)));
            second.commitSync();
            assertEquals(10, second.committed(Set.of(partition)).get(partition).offset());
        }
    }

    @Test
    void automaticCommits() {
        TopicPartition partition = filled(10);
        String group = Kit.unique("g");
        try (var first = Kit.member(group, "enable.auto.commit", true)) {
            first.subscribe(List.of(partition.topic()));
            Kit.poll(first, 10);
        }
        try (var second = Kit.member(group)) {
            assertEquals(10, second.committed(Set.of(partition)).get(partition).offset());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "plain", "größe ✓ 漢字"})
    void offsetMetadataRoundTrip(String metadata) {
        TopicPartition partition = filled(1);
        try (var consumer = Kit.member(Kit.unique("g"))) {
            var wanted = Map.of(partition, new OffsetAndMetadata(3, metadata));
            consumer.commitSync(wanted);
            assertEquals(wanted, consumer.committed(Set.of(partition)));
        }
    }

    @Test
    void offsetMetadataTooLarge() {
        TopicPartition partition = filled(1);
        try (var consumer = Kit.member(Kit.unique("g"))) {
            var large = Map.of(partition, new OffsetAndMetadata(3, "m".repeat(5000)));
            assertThrows(OffsetMetadataTooLarge.class, () -> consumer.commitSync(large));
            assertNull(consumer.committed(Set.of(partition)).get(partition));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"earliest", "latest", "none", "by_duration:PT1H"})
    void autoOffsetReset(String reset) {
        TopicPartition partition = filled(10);
        try (var consumer = Kit.member(Kit.unique("g"), "auto.offset.reset", reset)) {
            consumer.assign(List.of(partition));
            switch (reset) {
                case "none" -> assertThrows(
                        NoOffsetForPartitionException.class,
                        () -> Kit.nothingComes(consumer, 10_000));
                case "latest" -> {
                    Kit.nothingComes(consumer, 1000);
                    Kit.produce(partition.topic(), 0, List.of(bytes("10")));
                    assertEquals(List.of(10), Kit.values(Kit.poll(consumer, 1)));
                }
                default -> assertEquals(Kit.range(0, 10), Kit.values(Kit.poll(consumer, 10)));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"earliest", "latest", "none"})
    void offsetOutOfRange(String reset) {
        TopicPartition partition = filled(10);
        try (var consumer = Kit.consumer("auto.offset.reset", reset)) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 1_000_000);
            switch (reset) {
                case "none" -> {
                    var error = assertThrows(
                            OffsetOutOfRangeException.class,
                            () -> Kit.nothingComes(consumer, 10_000));
                    assertEquals(Map.of(partition, 1_000_000L), error.offsetOutOfRangePartitions());
                }
                case "latest" -> {
                    Kit.nothingComes(consumer, 1500);
                    assertEquals(10, consumer.position(partition));
                }
                default -> assertEquals(Kit.range(0, 10), Kit.values(Kit.poll(consumer, 10)));
            }
        }
    }

    @Test
    void seek() {
        TopicPartition partition = filled(10);
        try (var consumer = Kit.consumer()) {
            consumer.assign(List.of(partition));
            Kit.poll(consumer, 10);
            consumer.seekToBeginning(List.of(partition));
            assertEquals(Kit.range(0, 10), Kit.values(Kit.poll(consumer, 10)));
            consumer.seek(partition, 7);
            assertEquals(Kit.range(7, 10), Kit.values(Kit.poll(consumer, 3)));
            consumer.seekToEnd(List.of(partition));
            assertEquals(10, consumer.position(partition));
            Kit.nothingComes(consumer, 500);
            var byTime = consumer.offsetsForTimes(Map.of(partition, 0L)).get(partition);
            consumer.seek(partition, byTime.offset());
            assertEquals(Kit.range(0, 10), Kit.values(Kit.poll(consumer, 10)));
        }
    }

    @Test
    void offsetsForTimes() {
        String topic = Kit.topic("times", 2);
        List<TopicPartition> both = Kit.partitions(topic, 2);
        long baseMs = 1_600_000_000_000L;
        try (var producer = Kit.producer("linger.ms", 0)) {
            for (int n = 0; n < 10; n++) {
                long stamp = baseMs + n * 1000L;
                producer.send(new ProducerRecord<>(topic, 0, stamp, null, bytes("" + n)));
                if (n % 3 == 2) {
                    producer.flush();
                }
            }
        }
        long[][] cases = {{0, 0}, {1, 1}, {4000, 4}, {4999, 5}, {9000, 9}, {9001, -1}};
        try (var consumer = Kit.consumer()) {
            for (long[] one : cases) {
                long stamp = baseMs + one[0];
                var query = Map.of(both.get(0), stamp, both.get(1), stamp);
                var found = consumer.offsetsForTimes(query);
                OffsetAndTimestamp first = found.get(both.get(0));
                assertEquals(one[1], first == null ? -1 : first.offset(), "base + " + one[0]);
                assertTrue(first == null || first.timestamp() == baseMs + first.offset() * 1000);
                assertNull(found.get(both.get(1)));
            }
        }
    }

    @Test
    void watermarksAndLag() {
        String topic = Kit.topic("marks", 2);
        List<TopicPartition> both = Kit.partitions(topic, 2);
        try (var consumer = Kit.member(Kit.unique("g"))) {
            assertEquals(Map.of(both.get(0), 0L, both.get(1), 0L), consumer.endOffsets(both));
            Kit.produce(topic, 0, Kit.numbers(25));
            assertEquals(Map.of(both.get(0), 25L, both.get(1), 0L), consumer.endOffsets(both));
            assertEquals(Map.of(both.get(0), 0L, both.get(1), 0L), consumer.beginningOffsets(both));
            consumer.assign(both.subList(0, 1));
            consumer.seek(both.get(0), 20);
            Kit.poll(consumer, 5);
            assertEquals(OptionalLong.of(0), consumer.currentLag(both.get(0)));
            consumer.seek(both.get(0), 5);
            assertEquals(OptionalLong.of(20), consumer.currentLag(both.get(0)));
        }
    }

    @Test
    void pauseAndResume() {
        String topic = Kit.topic("pause", 2);
        List<TopicPartition> both = Kit.partitions(topic, 2);
        try (var consumer = Kit.consumer()) {
            consumer.assign(both);
            Kit.produce(topic, 0, List.of(bytes("0")));
            Kit.produce(topic, 1, List.of(bytes("1")));
            Kit.poll(consumer, 2);
            consumer.pause(both.subList(0, 1));
            Kit.produce(topic, 0, List.of(bytes("2")));
            Kit.produce(topic, 1, List.of(bytes("3")));
            assertEquals(List.of(3), Kit.values(Kit.poll(consumer, 1)));
            Kit.nothingComes(consumer, 700);
            consumer.resume(both.subList(0, 1));
            assertEquals(List.of(2), Kit.values(Kit.poll(consumer, 1)));
        }
    }

    @Test
    void commitsFromOutsideALiveGroupAreRefused() {
        TopicPartition partition = filled(10);
        String group = Kit.unique("g");
        try (var inside = Kit.member(group); var outside = Kit.member(group)) {
            inside.subscribe(List.of(partition.topic()));
            Kit.poll(inside, 10);
            assertThrows(
                    CommitFailedException.class, () -> outside.commitSync(at(partition, 1)));
            inside.commitSync();
            assertEquals(10, outside.committed(Set.of(partition)).get(partition).offset());
        }
    }

    @Test
    void offsetsOfAnUnknownTopic() {
        var unknown = new TopicPartition(Kit.unique("unknown"), 0);
        try (var consumer = Kit.consumer("allow.auto.create.topics", false)) {
            assertThrows(
                    TimeoutException.class,
                    () -> consumer.endOffsets(List.of(unknown), Duration.ofSeconds(2)));
        }
    }
}
