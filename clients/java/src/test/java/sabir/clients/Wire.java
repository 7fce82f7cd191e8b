package sabir.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.ApiVersionsRequestData;
import org.apache.kafka.common.message.ApiVersionsResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;

/**
 * One connection on which any version of any request can be sent, encoded and decoded by Kafka's
 * own generated classes: its clients choose the version themselves, so they never send most.
 */
final class Wire implements AutoCloseable {
    private final Socket socket;
    private final DataOutputStream out;
    private final DataInputStream in;
    private int correlation;

    Wire() throws IOException {
        int colon = Kit.BOOTSTRAP.lastIndexOf(':');
        int port = Integer.parseInt(Kit.BOOTSTRAP.substring(colon + 1));
        socket = new Socket(Kit.BOOTSTRAP.substring(0, colon), port);
        socket.setSoTimeout(20_000);
        out = new DataOutputStream(socket.getOutputStream());
        in = new DataInputStream(socket.getInputStream());
    }

    /** Sends a request and returns the answer, which must decode without a byte left over. */
    <T extends ApiMessage> T call(Class<T> wanted, ApiMessage request, int version)
            throws IOException {
        short v = (short) version;
        ApiKeys key = ApiKeys.forId(request.apiKey());
        var header = new RequestHeaderData()
                .setRequestApiKey(key.id)
                .setRequestApiVersion(v)
                .setCorrelationId(++correlation)
                .setClientId("wire");
        short headerVersion = key.requestHeaderVersion(v);
        ByteBuffer head = MessageUtil.toByteBufferAccessor(header, headerVersion).buffer();
        ByteBuffer body = MessageUtil.toByteBufferAccessor(request, v).buffer();
        byte[] frame = new byte[head.remaining() + body.remaining()];
        int headBytes = head.remaining();
        head.get(frame, 0, headBytes);
        body.get(frame, headBytes, body.remaining());
        out.writeInt(frame.length);
        out.write(frame);
        out.flush();
        byte[] answer = new byte[in.readInt()];
        in.readFully(answer);
        var reader = new ByteBufferAccessor(ByteBuffer.wrap(answer));
        var answerHeader = new ResponseHeaderData(reader, key.responseHeaderVersion(v));
        assertEquals(correlation, answerHeader.correlationId());
        ApiMessage response = ApiMessageType.fromApiKey(key.id).newResponse();
        response.read(reader, v);
        assertEquals(0, reader.remaining(), key + " " + version + ": bytes left over");
        return wanted.cast(response);
    }

    /** What the broker advertises. */
    ApiVersionsResponseData.ApiVersionCollection advertised() throws IOException {
        var request = new ApiVersionsRequestData()
                .setClientSoftwareName("wire")
                .setClientSoftwareVersion("1");
        return call(ApiVersionsResponseData.class, request, 3).apiKeys();
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }
}
