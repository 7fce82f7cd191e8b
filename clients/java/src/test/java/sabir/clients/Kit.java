package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Helpers of the suite: clients with short settings, and loops with a deadline. What the broker
 * must do is said in the tests, not here. The runner sets the environment: SABIR_BOOTSTRAP
 * (HOST:PORT), SABIR_PEER=1 where the broker is not Sabir, and SABIR_CONTROL (a Unix socket)
 * where the runner owns the process.
 */
final class Kit {
    static final String BOOTSTRAP =
            Objects.requireNonNull(System.getenv("SABIR_BOOTSTRAP"), "SABIR_BOOTSTRAP is not set");
    static final boolean IS_PEER = "1".equals(System.getenv("SABIR_PEER"));
    static final Duration DEADLINE = Duration.ofSeconds(30);
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    private Kit() {}

    static String unique(String stem) {
        return "j-" + stem + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    /** Settings from a list of names and values. */
    private static Map<String, Object> settings(Map<String, Object> base, Object... more) {
        Map<String, Object> all = new HashMap<>(base);
        all.put("bootstrap.servers", BOOTSTRAP);
        for (int i = 0; i < more.length; i += 2) {
            all.put((String) more[i], more[i + 1]);
        }
        return all;
    }

    static KafkaProducer<byte[], byte[]> producer(Object... more) {
        Map<String, Object> base = Map.of("linger.ms", 5, "reconnect.backoff.max.ms", 200);
        var serializer = new ByteArraySerializer();
        return new KafkaProducer<>(settings(base, more), serializer, serializer);
    }

    static KafkaConsumer<byte[], byte[]> consumer(Object... more) {
        Map<String, Object> base = Map.of(
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false,
                "session.timeout.ms", 6000,
                "heartbeat.interval.ms", 300,
                "reconnect.backoff.max.ms", 200,
                "metadata.max.age.ms", 1000);
        var deserializer = new ByteArrayDeserializer();
        return new KafkaConsumer<>(settings(base, more), deserializer, deserializer);
    }

    static KafkaConsumer<byte[], byte[]> member(String group, Object... more) {
        Object[] all = new Object[more.length + 2];
        System.arraycopy(more, 0, all, 2, more.length);
        all[0] = "group.id";
        all[1] = group;
        return consumer(all);
    }

    static Admin admin() {
        return Admin.create(settings(Map.of(
                "default.api.timeout.ms", 20_000, "request.timeout.ms", 10_000)));
    }

    static <T> T get(Future<T> future) {
        try {
            return future.get(DEADLINE.toSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException failed) {
            throw new AssertionError(failed.getCause());
        } catch (Exception failed) {
            throw new AssertionError(failed);
        }
    }

    /** The cause of a future that must fail, of the class that is wanted. */
    static <T extends Throwable> T failure(Class<T> wanted, Future<?> future) {
        var failed = assertThrows(
                ExecutionException.class,
                () -> future.get(DEADLINE.toSeconds(), TimeUnit.SECONDS));
        assertEquals(wanted, failed.getCause().getClass(), failed.getCause().toString());
        return wanted.cast(failed.getCause());
    }

    static String topic(String stem, int partitions, String... config) {
        Map<String, String> configs = new HashMap<>();
        for (int i = 0; i < config.length; i += 2) {
            configs.put(config[i], config[i + 1]);
        }
        String name = unique(stem);
        try (Admin admin = admin()) {
            var topic = new NewTopic(name, partitions, (short) 1).configs(configs);
            get(admin.createTopics(List.of(topic)).all());
            if (IS_PEER) {
                awaitLeaders(admin, partitions(name, partitions));
            }
        }
        return name;
    }

    /**
     * Kafka has no leader for a new partition for a moment, and a batch refused meanwhile may come
     * after its successor, out of order for good. Sabir must not need this.
     */
    private static void awaitLeaders(Admin admin, List<TopicPartition> partitions) {
        Map<TopicPartition, OffsetSpec> query = new HashMap<>();
        partitions.forEach(partition -> query.put(partition, OffsetSpec.latest()));
        for (int tries = 0; tries < 100; tries++) {
            try {
                admin.listOffsets(query).all().get(DEADLINE.toSeconds(), TimeUnit.SECONDS);
                return;
            } catch (Exception notYet) {
                LockSupport.parkNanos(50_000_000);
            }
        }
        throw new AssertionError("no leaders for " + partitions);
    }

    static List<TopicPartition> partitions(String topic, int count) {
        return IntStream.range(0, count).mapToObj(n -> new TopicPartition(topic, n)).toList();
    }

    /** Sends to one partition and waits; where the records went, in order. */
    static List<RecordMetadata> produce(String topic, int partition, List<byte[]> values) {
        try (var producer = producer()) {
            var sent = values.stream()
                    .map(v -> producer.send(new ProducerRecord<>(topic, partition, null, v)))
                    .toList();
            return sent.stream().map(Kit::get).toList();
        }
    }

    /** "0", "1", … */
    static List<byte[]> numbers(int count) {
        return IntStream.range(0, count).mapToObj(n -> bytes("" + n)).toList();
    }

    static List<Integer> values(List<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(r -> Integer.parseInt(text(r.value()))).toList();
    }

    static List<Integer> range(int from, int to) {
        return IntStream.range(from, to).boxed().toList();
    }

    static List<ConsumerRecord<byte[], byte[]>> poll(
            KafkaConsumer<byte[], byte[]> consumer, int count) {
        return poll(consumer, count, DEADLINE);
    }

    /** Polls until exactly `count` records have come. */
    static List<ConsumerRecord<byte[], byte[]>> poll(
            KafkaConsumer<byte[], byte[]> consumer, int count, Duration limit) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + limit.toNanos();
        while (records.size() < count && System.nanoTime() < deadline) {
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        assertEquals(count, records.size(), "records that came");
        return records;
    }

    /** Reads whole partitions without a group. */
    static List<ConsumerRecord<byte[], byte[]>> read(
            String topic, int partitions, int count, Object... more) {
        try (var consumer = consumer(more)) {
            consumer.assign(partitions(topic, partitions));
            return poll(consumer, count);
        }
    }

    static void nothingComes(KafkaConsumer<byte[], byte[]> consumer, long millis) {
        long deadline = System.nanoTime() + millis * 1_000_000;
        while (System.nanoTime() < deadline) {
            assertTrue(consumer.poll(Duration.ofMillis(100)).isEmpty(), "a record came");
        }
    }

    /** A condition that may throw while it does not hold yet. */
    interface Condition {
        boolean holds() throws Exception;
    }

    static void await(String what, Condition condition) throws Exception {
        long deadline = System.nanoTime() + DEADLINE.toNanos();
        while (!condition.holds()) {
            assertTrue(System.nanoTime() < deadline, "waited in vain for: " + what);
            Thread.sleep(30);
        }
    }
}
