package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static sabir.clients.Kit.bytes;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Fetch: long polls answer when data comes, minimum and maximum sizes, sessions. */
class FetchTest {
    @Test
    void aWaitingFetchAnswersWhenAMessageComes() throws Exception {
        String topic = Kit.topic("wait", 1);
        List<Long> delays = new ArrayList<>();
        try (var consumer = Kit.consumer("fetch.max.wait.ms", 8000);
                var producer = Kit.producer("linger.ms", 0)) {
            consumer.assign(Kit.partitions(topic, 1));
            Kit.produce(topic, 0, List.of(bytes("first")));
            Kit.poll(consumer, 1);
            Kit.nothingComes(consumer, 500);
            for (int n = 0; n < 10; n++) {
                long begin = System.nanoTime();
                Kit.get(producer.send(new ProducerRecord<>(topic, bytes("" + n))));
                Kit.poll(consumer, 1);
                delays.add((System.nanoTime() - begin) / 1_000_000);
                Thread.sleep(50);
            }
        }
        delays.sort(null);
        assertTrue(delays.get(5) < 300 && delays.get(9) < 2000, delays + " ms");
    }

    @Test
    void minimumBytes() {
        String topic = Kit.topic("minimum", 1);
        try (var consumer = Kit.consumer("fetch.max.wait.ms", 3000, "fetch.min.bytes", 50_000)) {
            consumer.assign(Kit.partitions(topic, 1));
            Kit.nothingComes(consumer, 500);
            long begin = System.nanoTime();
            Kit.produce(topic, 0, List.of(bytes("small")));
            Kit.poll(consumer, 1);
            long alone = (System.nanoTime() - begin) / 1_000_000;
            assertTrue(alone > 800 && alone < 6000, "one small message after " + alone + " ms");
            Kit.nothingComes(consumer, 300);
            begin = System.nanoTime();
            Kit.produce(topic, 0, List.of(new byte[60_000]));
            Kit.poll(consumer, 1);
            long enough = (System.nanoTime() - begin) / 1_000_000;
            assertTrue(enough < 1800, "enough bytes after " + enough + " ms");
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 1000, 100_000, 20_000_000})
    void sizes(int limit) {
        String topic = Kit.topic("sizes", 2);
        int[] sizes = {10, 200_000, 1, 900_000, 3000, 0, 65_536, 500};
        List<byte[]> bodies = IntStream.range(0, 24).mapToObj(n -> new byte[sizes[n % 8]]).toList();
        Kit.produce(topic, 0, bodies);
        Kit.produce(topic, 1, bodies);
        var got = Kit.read(
                topic, 2, 48, "max.partition.fetch.bytes", limit, "fetch.max.bytes", limit);
        for (int partition = 0; partition < 2; partition++) {
            int wanted = partition;
            var lengths = got.stream()
                    .filter(r -> r.partition() == wanted)
                    .map(r -> r.value().length)
                    .toList();
            assertEquals(bodies.stream().map(b -> b.length).toList(), lengths);
        }
    }

    @Test
    void largeFetch() {
        String topic = Kit.topic("large", 1, "max.message.bytes", "9000000");
        try (var producer = Kit.producer("max.request.size", 9_000_000)) {
            for (int n = 0; n < 3; n++) {
                Kit.get(producer.send(new ProducerRecord<>(topic, new byte[8_000_000 + n])));
            }
        }
        var got = Kit.read(topic, 1, 3, "max.partition.fetch.bytes", 30_000_000);
        assertEquals(
                List.of(8_000_000, 8_000_001, 8_000_002),
                got.stream().map(r -> r.value().length).toList());
    }

    @Test
    void startInsideABatch() {
        String topic = Kit.topic("inside", 1);
        try (var producer = Kit.producer("linger.ms", 200)) {
            Kit.numbers(100).forEach(v -> producer.send(new ProducerRecord<>(topic, v)));
        }
        var partition = Kit.partitions(topic, 1);
        try (var consumer = Kit.consumer()) {
            consumer.assign(partition);
            for (int start : new int[] {0, 1, 50, 99}) {
                consumer.seek(partition.get(0), start);
                var got = Kit.values(Kit.poll(consumer, 100 - start));
                assertEquals(Kit.range(start, 100), got);
            }
        }
    }

    @Test
    void partitionsComeAndGoInOneSession() {
        String topic = Kit.topic("session", 4);
        List<org.apache.kafka.common.TopicPartition> all = Kit.partitions(topic, 4);
        try (var consumer = Kit.consumer()) {
            for (int n = 0; n < 4; n++) {
                Kit.produce(topic, n, Kit.numbers(1));
            }
            consumer.assign(all.subList(0, 1));
            Kit.poll(consumer, 1);
            consumer.assign(all);
            Kit.poll(consumer, 3);
            consumer.assign(all.subList(2, 4));
            Kit.produce(topic, 0, Kit.numbers(1));
            Kit.nothingComes(consumer, 500);
            Kit.produce(topic, 3, Kit.numbers(1));
            assertEquals(3, Kit.poll(consumer, 1).get(0).partition());
        }
    }
}
