package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static sabir.clients.Kit.bytes;
import static sabir.clients.Kit.text;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What is produced comes back: values, keys, headers, timestamps, under every compression. */
class RoundTripTest {
    static final List<String> CODECS = Kit.CODECS;

    /** Keys and values: absent and empty are different things on the wire. */
    private static final byte[][][] EDGES = {
        {null, null},
        {null, {}},
        {{}, null},
        {{}, {}},
        {bytes("key"), null},
        {bytes("key"), bytes("value")},
        {{-1, -2, 0, -128}, {0, -1}},
        {bytes("ключ"), bytes("значение")},
    };

    private static List<Header> headers() {
        return List.of(
                new RecordHeader("a", bytes("1")),
                new RecordHeader("a", bytes("2")),
                new RecordHeader("null", (byte[]) null),
                new RecordHeader("empty", new byte[0]),
                new RecordHeader("bytes", new byte[] {-1, -2, 0, -128}),
                new RecordHeader("", bytes("no name")),
                new RecordHeader("größe", bytes("x")),
                new RecordHeader("a", bytes("1")));
    }

    @ParameterizedTest
    @FieldSource("CODECS")
    void keysValuesHeadersTimestamps(String codec) {
        String topic = Kit.topic("edges-" + codec, 1);
        List<byte[][]> records = new ArrayList<>(Arrays.asList(EDGES));
        for (int n = 0; n < 50; n++) {
            records.add(new byte[][] {bytes("k" + n), bytes("abc".repeat(200))});
        }
        long firstMs = 1_600_000_000_123L;
        try (var producer = Kit.producer("compression.type", codec, "linger.ms", 50)) {
            for (int n = 0; n < records.size(); n++) {
                byte[][] record = records.get(n);
                long stamp = firstMs + n * 1000L;
                producer.send(new ProducerRecord<>(
                        topic, 0, stamp, record[0], record[1], headers()));
            }
        }
        var got = Kit.read(topic, 1, records.size());
        for (int n = 0; n < records.size(); n++) {
            ConsumerRecord<byte[], byte[]> record = got.get(n);
            assertArrayEquals(records.get(n)[0], record.key());
            assertArrayEquals(records.get(n)[1], record.value());
            assertEquals(n, record.offset());
            assertEquals(firstMs + n * 1000L, record.timestamp());
            assertEquals(TimestampType.CREATE_TIME, record.timestampType());
            assertArrayEquals(headers().toArray(), record.headers().toArray());
        }
    }

    private static List<byte[]> mixedSizes(int totalBytes, int seed) {
        int[] sizes = {0, 1, 17, 100, 1000, 1024, 10_000, 65_536, 300_000, 900_000};
        var random = new Random(seed);
        List<byte[]> bodies = new ArrayList<>();
        for (int size = 0; size < totalBytes; size += bodies.get(bodies.size() - 1).length) {
            byte[] body = new byte[sizes[random.nextInt(sizes.length)]];
            if (random.nextBoolean()) {
                random.nextBytes(body);
            }
            bodies.add(body);
        }
        return bodies;
    }

    private static byte[] hash(List<byte[]> bodies) throws Exception {
        var digest = MessageDigest.getInstance("SHA-256");
        for (byte[] body : bodies) {
            digest.update(ByteBuffer.allocate(4).putInt(body.length).flip());
            digest.update(body);
        }
        return digest.digest();
    }

    @ParameterizedTest
    @FieldSource("CODECS")
    void tenMegabytesByHash(String codec) throws Exception {
        String topic = Kit.topic("ten-" + codec, 1);
        List<byte[]> bodies = mixedSizes(10_000_000, codec.hashCode());
        try (var producer = Kit.producer("compression.type", codec)) {
            var sent = bodies.stream()
                    .map(body -> producer.send(new ProducerRecord<>(topic, 0, null, body)))
                    .toList();
            sent.forEach(Kit::get);
        }
        var got = Kit.read(topic, 1, bodies.size(), "check.crcs", true);
        assertArrayEquals(hash(bodies), hash(got.stream().map(ConsumerRecord::value).toList()));
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "1", "all"})
    void acks(String acks) {
        String topic = Kit.topic("acks", 1);
        try (var producer = Kit.producer("acks", acks, "enable.idempotence", false)) {
            var sent = Kit.numbers(500).stream()
                    .map(value -> producer.send(new ProducerRecord<>(topic, value)))
                    .toList();
            for (int n = 0; n < sent.size(); n++) {
                assertEquals(acks.equals("0") ? -1 : n, Kit.get(sent.get(n)).offset());
            }
        }
        assertEquals(Kit.range(0, 500), Kit.values(Kit.read(topic, 1, 500)));
    }

    @Test
    void idempotentProducerKeepsOrder() {
        String topic = Kit.topic("idempotent", 3);
        try (var producer =
                Kit.producer("enable.idempotence", true, "batch.size", 500, "linger.ms", 1)) {
            for (int n = 0; n < 3000; n++) {
                producer.send(new ProducerRecord<>(topic, bytes("k" + n % 7), bytes("" + n)));
            }
        }
        Map<String, List<Integer>> perKey = new HashMap<>();
        for (var record : Kit.read(topic, 3, 3000)) {
            perKey.computeIfAbsent(text(record.key()), key -> new ArrayList<>())
                    .add(Integer.parseInt(text(record.value())));
        }
        assertEquals(7, perKey.size());
        for (List<Integer> numbers : perKey.values()) {
            assertEquals(numbers.stream().sorted().distinct().toList(), numbers);
        }
    }

    @Test
    void severalProducersShareAPartition() {
        String topic = Kit.topic("shared", 1);
        Map<Long, String> sent = new HashMap<>();
        try (var one = Kit.producer(); var two = Kit.producer(); var three = Kit.producer()) {
            var producers = List.of(one, two, three);
            var futures = Kit.numbers(900).stream()
                    .map(v -> Map.entry(text(v), producers.get(text(v).hashCode() % 3)
                            .send(new ProducerRecord<>(topic, v))))
                    .toList();
            futures.forEach(e -> sent.put(Kit.get(e.getValue()).offset(), e.getKey()));
        }
        assertEquals(900, sent.size(), "offsets are given once");
        for (var record : Kit.read(topic, 1, 900)) {
            assertEquals(sent.get(record.offset()), text(record.value()));
        }
    }

    @Test
    void aHundredPartitions() {
        String topic = Kit.topic("hundred", 100);
        try (var producer = Kit.producer()) {
            for (int n = 0; n < 1000; n++) {
                producer.send(new ProducerRecord<>(topic, n % 100, null, bytes("" + n)));
            }
        }
        for (var record : Kit.read(topic, 100, 1000)) {
            long wanted = record.offset() * 100 + record.partition();
            assertEquals(wanted, Long.parseLong(text(record.value())));
        }
    }

    @Test
    void logAppendTime() {
        String topic = Kit.topic("append", 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        long answered;
        try (var producer = Kit.producer()) {
            long old = 1_500_000_000_000L;
            answered = Kit.get(producer.send(
                            new ProducerRecord<>(topic, 0, old, null, bytes("x"))))
                    .timestamp();
        }
        var record = Kit.read(topic, 1, 1).get(0);
        assertEquals(TimestampType.LOG_APPEND_TIME, record.timestampType());
        assertEquals(answered, record.timestamp());
        assertTrue(record.timestamp() >= before - 1000 && record.timestamp() < before + 60_000);
    }
}
