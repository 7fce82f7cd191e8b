package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static sabir.clients.Kit.bytes;
import static sabir.clients.Kit.text;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.junit.jupiter.api.Test;

/** The broker is killed or stopped in the middle: producers lose nothing, consumers go on. */
@Timeout(110)
class RestartTest {
    @BeforeEach
    void owned() {
        Broker.requireOwned();
    }

    private static void restart(String how) throws Exception {
        if (how.equals("kill")) {
            Broker.kill();
        } else {
            Broker.stop();
        }
        Broker.start();
    }

    @ParameterizedTest
    @ValueSource(strings = {"kill", "stop"})
    void idempotentProducersLoseAndRepeatNothing(String how) throws Exception {
        String topic = Kit.topic("restart", 3);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = Kit.producer("request.timeout.ms", 5000)) {
            for (int n = 0; n < 6000; n++) {
                byte[] key = bytes("" + n % 9);
                sent.add(producer.send(new ProducerRecord<>(topic, key, bytes("" + n))));
                if (n == 2000 || n == 4000) {
                    Kit.get(sent.get(n - 500));
                    restart(how);
                }
            }
            producer.flush();
        }
        Map<String, String> stored = new HashMap<>();
        for (var record : Kit.read(topic, 3, 6000)) {
            stored.put(record.partition() + ":" + record.offset(), text(record.value()));
        }
        for (int n = 0; n < sent.size(); n++) {
            RecordMetadata at = Kit.get(sent.get(n));
            assertEquals("" + n, stored.get(at.partition() + ":" + at.offset()));
        }
        try (var consumer = Kit.consumer()) {
            var ends = consumer.endOffsets(Kit.partitions(topic, 3));
            assertEquals(6000, ends.values().stream().mapToLong(Long::longValue).sum());
        }
    }

    @Test
    void consumersGoOn() throws Exception {
        String topic = Kit.topic("goon", 2);
        var member = new Member(topic, Kit.unique("g"));
        try (var producer = Kit.producer("request.timeout.ms", 5000)) {
            for (int round = 1; round <= 3; round++) {
                for (int n = 0; n < 500; n++) {
                    producer.send(new ProducerRecord<>(topic, bytes("" + n)));
                }
                producer.flush();
                int wanted = round * 500;
                Kit.await("it reads on", () -> member.read.stream()
                        .map(r -> r.partition() + ":" + r.offset())
                        .collect(Collectors.toSet())
                        .size() == wanted);
                if (round < 3) {
                    restart("kill");
                }
            }
        }
        member.leave();
        assertEquals(null, member.failure);
    }
}
