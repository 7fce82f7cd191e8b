package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Assumptions;

/** The process under test, as far as the runner lets a test handle it. */
final class Broker {
    private Broker() {}

    static void requireOwned() {
        Assumptions.assumeTrue(
                System.getenv("SABIR_CONTROL") != null, "the runner does not own the broker");
    }

    /** kill -9; returns when the process is gone. */
    static void kill() throws IOException {
        ask("kill");
    }

    /** Starts it again on the same port and data; returns when it is ready. */
    static void start() throws IOException {
        ask("start");
    }

    /** SIGTERM; returns when the process has ended with exit code 0. */
    static void stop() throws IOException {
        ask("stop");
    }

    private static void ask(String command) throws IOException {
        var address = UnixDomainSocketAddress.of(System.getenv("SABIR_CONTROL"));
        var answer = new StringBuilder();
        try (var channel = SocketChannel.open(address)) {
            channel.write(ByteBuffer.wrap((command + "\n").getBytes(StandardCharsets.UTF_8)));
            var buffer = ByteBuffer.allocate(1000);
            while (channel.read(buffer) >= 0) {
                buffer.flip();
                answer.append(StandardCharsets.UTF_8.decode(buffer));
                buffer.clear();
            }
        }
        assertEquals("ok", answer.toString().trim(), command);
    }
}
