package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static sabir.clients.Kit.bytes;

import java.time.Duration;
import java.util.List;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TransactionalIdAuthorizationException;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Error paths: each mistake has its own error, and the broker serves on. */
class ErrorsTest {
    private static boolean exists(String topic) {
        try (var admin = Kit.admin()) {
            return Kit.get(admin.listTopics().names()).contains(topic);
        }
    }

    @Test
    void autoCreationByAProducer() {
        String topic = Kit.unique("auto");
        try (var producer = Kit.producer()) {
            var sent = producer.send(new ProducerRecord<>(topic, bytes("0")));
            assertEquals(0, Kit.get(sent).offset());
        }
        assertEquals(List.of(0), Kit.values(Kit.read(topic, 1, 1)));
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void autoCreationByAConsumer(boolean allowed) throws Exception {
        String topic = Kit.unique("auto");
        try (var consumer = Kit.member(Kit.unique("g"), "allow.auto.create.topics", allowed)) {
            consumer.subscribe(List.of(topic));
            if (allowed) {
                Kit.await("the topic is created", () -> {
                    consumer.poll(Duration.ofMillis(100));
                    return exists(topic);
                });
            } else {
                Kit.nothingComes(consumer, 1500);
                assertFalse(exists(topic));
            }
        }
    }

    @Test
    void unknownPartition() {
        String topic = Kit.topic("partition", 1);
        try (var producer = Kit.producer("max.block.ms", 1500)) {
            var record = new ProducerRecord<byte[], byte[]>(topic, 7, null, bytes("x"));
            Kit.failure(TimeoutException.class, producer.send(record));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"no/slash", "no space", "..", "größe"})
    void invalidTopicNames(String name) {
        try (var producer = Kit.producer("max.block.ms", 10_000);
                var consumer = Kit.member(Kit.unique("g"))) {
            Kit.failure(
                    InvalidTopicException.class,
                    producer.send(new ProducerRecord<>(name, bytes("x"))));
            consumer.subscribe(List.of(name));
            assertThrows(
                    InvalidTopicException.class, () -> Kit.nothingComes(consumer, 10_000));
        }
    }

    @Test
    void messageTooLarge() {
        String topic = Kit.topic("large", 1);
        try (var producer = Kit.producer("max.request.size", 10_000_000)) {
            var large = new ProducerRecord<byte[], byte[]>(topic, new byte[2_000_000]);
            Kit.failure(RecordTooLargeException.class, producer.send(large));
            var fits = new ProducerRecord<byte[], byte[]>(topic, new byte[1_000_000]);
            assertEquals(0, Kit.get(producer.send(fits)).offset(), "nothing was stored before");
        }
    }

    @Test
    void oneRefusedMessageSparesTheOthers() {
        String topic = Kit.topic("spare", 1, "max.message.bytes", "10000");
        try (var producer = Kit.producer("batch.size", 0, "linger.ms", 0)) {
            var sent = java.util.stream.IntStream.range(0, 20)
                    .mapToObj(n -> producer.send(
                            new ProducerRecord<>(topic, new byte[n == 10 ? 20_000 : 10])))
                    .toList();
            for (int n = 0; n < 20; n++) {
                if (n == 10) {
                    Kit.failure(RecordTooLargeException.class, sent.get(n));
                } else {
                    assertTrue(Kit.get(sent.get(n)).offset() < 19);
                }
            }
        }
        assertEquals(19, Kit.read(topic, 1, 19).size());
    }

    @Test
    void transactionalProducersAreRefusedAsFatal() {
        Assumptions.assumeFalse(Kit.IS_PEER, "only Sabir behaves so, the broker is a peer");
        try (var producer = Kit.producer("transactional.id", Kit.unique("txn"))) {
            assertThrows(
                    TransactionalIdAuthorizationException.class, producer::initTransactions);
        }
    }
}
