package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertFalse;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;

/**
 * A group member that polls in its own thread and records what it was given and what it read. It
 * commits what it has read before it gives partitions up. It asserts nothing about the broker.
 */
final class Member implements ConsumerRebalanceListener {
    volatile Set<Integer> owned = Set.of();
    volatile Throwable failure;
    volatile int losses;
    final Queue<List<Integer>> assigns = new ConcurrentLinkedQueue<>();
    final Queue<List<Integer>> revokes = new ConcurrentLinkedQueue<>();
    final Queue<ConsumerRecord<byte[], byte[]>> read = new ConcurrentLinkedQueue<>();
    private final Map<TopicPartition, OffsetAndMetadata> done = new HashMap<>();
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Thread thread;
    private volatile boolean stopped;

    Member(String topic, String group, Object... settings) {
        consumer = Kit.member(group, settings);
        consumer.subscribe(List.of(topic), this);
        thread = new Thread(this::run);
        thread.setDaemon(true);
        thread.start();
    }

    private void run() {
        try (consumer) {
            long lastCommit = System.nanoTime();
            while (!stopped) {
                for (var record : consumer.poll(Duration.ofMillis(50))) {
                    read.add(record);
                    var partition = new TopicPartition(record.topic(), record.partition());
                    done.put(partition, new OffsetAndMetadata(record.offset() + 1));
                }
                owned = numbers(consumer.assignment()).stream().collect(Collectors.toSet());
                if (System.nanoTime() - lastCommit > 300_000_000L) {
                    commit();
                    lastCommit = System.nanoTime();
                }
            }
        } catch (Throwable thrown) {
            failure = thrown;
        }
        owned = Set.of();
    }

    private void commit() {
        if (!done.isEmpty()) {
            try {
                consumer.commitSync(done);
                done.clear();
            } catch (RebalanceInProgressException again) {
                // It is done at the next turn.
            }
        }
    }

    private static List<Integer> numbers(Collection<TopicPartition> partitions) {
        return partitions.stream().map(TopicPartition::partition).sorted().toList();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        assigns.add(numbers(partitions));
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        revokes.add(numbers(partitions));
        commit();
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        losses++;
        done.clear();
    }

    /** Closes the client: a dynamic member leaves its group, a static one does not. */
    void leave() throws InterruptedException {
        stopped = true;
        thread.join(20_000);
        assertFalse(thread.isAlive(), "a member could not leave");
    }

    /** True when the members own all partitions, each once, and nobody is idle. */
    static boolean settled(int partitions, Member... members) {
        int sum = 0;
        Set<Integer> all = new java.util.HashSet<>();
        for (Member member : members) {
            Set<Integer> owned = member.owned;
            if (owned.isEmpty()) {
                return false;
            }
            sum += owned.size();
            all.addAll(owned);
        }
        return sum == partitions && all.size() == partitions;
    }
}
