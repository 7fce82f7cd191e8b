package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static sabir.clients.Kit.bytes;
import static sabir.clients.Kit.text;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Kafka's own dump tool reads the segments that the broker writes, batch by batch. */
@Timeout(150)
class DumpTest {
    private static final Pattern BATCH = Pattern.compile(
            "baseOffset: (\\d+) lastOffset: (\\d+) count: (\\d+) .*magic: 2 compresscodec: (\\S+) "
                    + "crc: \\d+ isvalid: (\\S+)");
    private static final Pattern RECORD = Pattern.compile(
            "\\| offset: (\\d+) .*headerKeys: \\[h\\] key: (\\S+) payload: (\\S+)");
    private static final int ROUNDS = 8;

    /** What the tool has said of all files of one log. */
    private static final class Dump {
        final Map<Long, String> records = new TreeMap<>();
        final Set<String> codecs = new HashSet<>();
        long counted;
    }

    @Test
    void segmentsAreReadByTheToolForThem() throws Exception {
        String data = System.getenv("SABIR_DATA");
        Assumptions.assumeTrue(data != null, "the broker's files are not those of Sabir");
        Set<Path> before = logs(Path.of(data));
        String topic = Kit.topic("dump", 1, "segment.bytes", "1048576");
        Random random = new Random(1);
        int sent = 0;
        Dump dump = new Dump();
        // A checkpoint may come at any moment and find too little for a segment: then once more.
        for (int round = 0; round < ROUNDS && dump.codecs.size() < 5; round++) {
            for (String codec : Kit.CODECS) {
                sent += produce(topic, codec, sent, random);
            }
            Thread.sleep(2500); // the interval of checkpoints, and a little more
            Set<Path> made = logs(Path.of(data));
            made.removeAll(before);
            dump = dump(made);
        }
        assertEquals(Set.of("none", "gzip", "snappy", "lz4", "zstd"), dump.codecs);
        assertEquals(dump.counted, dump.records.size(), "records as the batches count them");
        Map<Long, String> fetched = Kit.read(topic, 1, sent).stream()
                .collect(Collectors.toMap(r -> r.offset(), r -> text(r.key()) + " " + text(r.value())));
        dump.records.forEach((offset, record) -> assertEquals(fetched.get(offset), record));
    }

    private static int produce(String topic, String codec, int from, Random random) {
        int count = 1000;
        byte[] noise = new byte[1000];
        try (var producer = Kit.producer("compression.type", codec, "batch.size", 100_000)) {
            for (int n = from; n < from + count; n++) {
                random.nextBytes(noise);
                byte[] value = bytes(HexFormat.of().formatHex(noise));
                var record = new ProducerRecord<>(topic, 0, bytes(topic + "/" + n), value);
                record.headers().add("h", bytes(codec));
                producer.send(record);
            }
            producer.flush();
        }
        return count;
    }

    /** The directories of logs that have segments. */
    private static Set<Path> logs(Path data) throws IOException {
        Path blobs = data.resolve("blob");
        if (!Files.exists(blobs)) {
            return new HashSet<>();
        }
        try (var found = Files.find(blobs, 3, (path, is) -> is.isDirectory())) {
            return found.filter(path -> path.getParent().endsWith("s"))
                    .collect(Collectors.toCollection(HashSet::new));
        }
    }

    private static Dump dump(Set<Path> logs) throws Exception {
        List<String> files = new ArrayList<>();
        for (Path log : logs) {
            try (var found = Files.walk(log)) {
                found.map(Path::toString).filter(p -> p.endsWith(".log")).forEach(files::add);
            }
        }
        Dump dump = new Dump();
        if (files.isEmpty()) {
            return dump;
        }
        Path output = Files.createTempFile("sabir-dump", ".txt");
        try {
            String own = System.getProperty("java.class.path");
            String classes = System.getProperty("surefire.test.class.path", own);
            var process = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                            "-cp", classes, "kafka.tools.DumpLogSegments", "--deep-iteration",
                            "--print-data-log", "--files", String.join(",", files))
                    .redirectErrorStream(true)
                    .redirectOutput(output.toFile())
                    .start();
            assertEquals(0, process.waitFor(), () -> head(output));
            try (var lines = Files.lines(output, StandardCharsets.UTF_8)) {
                lines.forEach(line -> take(line, dump));
            }
            assertTrue(dump.counted > 0, () -> head(output));
        } finally {
            Files.delete(output);
        }
        return dump;
    }

    private static void take(String line, Dump dump) {
        var batch = BATCH.matcher(line);
        if (batch.find()) {
            assertEquals("true", batch.group(5), line);
            long first = Long.parseLong(batch.group(1));
            long last = Long.parseLong(batch.group(2));
            long count = Long.parseLong(batch.group(3));
            assertEquals(last - first + 1, count, line);
            dump.counted += count;
            dump.codecs.add(batch.group(4));
            return;
        }
        var record = RECORD.matcher(line);
        if (record.find()) {
            String found = record.group(2) + " " + record.group(3);
            String twice = dump.records.put(Long.parseLong(record.group(1)), found);
            assertEquals(null, twice, "an offset comes once");
            return;
        }
        boolean known = line.startsWith("Dumping ") || line.startsWith("Log starting offset: ");
        assertTrue(known || line.isBlank(), line);
    }

    private static String head(Path output) {
        try {
            String said = Files.readString(output);
            return said.substring(0, Math.min(said.length(), 2000));
        } catch (IOException failed) {
            throw new UncheckedIOException(failed);
        }
    }
}
