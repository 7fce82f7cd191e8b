"""Kafka frames by hand: writing and reading the primitive types, record batches, connections.

The bytes come from the protocol's public description, not from a client, so that requests can be
wrong on purpose. Only what the tests need is here.
"""

import socket
import struct
import time

from conftest import BOOTSTRAP

API_VERSIONS, METADATA, PRODUCE, FETCH = 18, 3, 0, 1
CREATE_TOPICS, INIT_PRODUCER_ID, FIND_COORDINATOR = 19, 22, 10
LIST_OFFSETS = 2


def i8(n):
    return struct.pack(">b", n)


def i16(n):
    return struct.pack(">h", n)


def i32(n):
    return struct.pack(">i", n)


def i64(n):
    return struct.pack(">q", n)


def string(text):
    raw = text.encode() if isinstance(text, str) else text
    return i16(-1) if raw is None else i16(len(raw)) + raw


def blob(raw):
    return i32(-1) if raw is None else i32(len(raw)) + raw


def array(items):
    return i32(-1) if items is None else i32(len(items)) + b"".join(items)


def uvarint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def varint(n):
    """Zigzag, as records use it."""
    return uvarint(n << 1 if n >= 0 else (-n << 1) - 1)


def compact_string(text):
    raw = text.encode()
    return uvarint(len(raw) + 1) + raw


class Reader:
    """Takes an answer apart, front to back."""

    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, count):
        assert self.at + count <= len(self.raw), "the answer ends early"
        self.at += count
        return self.raw[self.at - count : self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def i8(self):
        return self.number("b")

    def i16(self):
        return self.number("h")

    def i32(self):
        return self.number("i")

    def i64(self):
        return self.number("q")

    def string(self):
        length = self.i16()
        return None if length < 0 else self.take(length).decode()

    def blob(self):
        length = self.i32()
        return None if length < 0 else self.take(length)

    def uvarint(self):
        shift = value = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def array(self, item):
        return [item() for _ in range(max(0, self.i32()))]

    def done(self):
        assert self.at == len(self.raw), f"{len(self.raw) - self.at} bytes too many"


def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


CRC_TABLE = crc32c_table()


def crc32c(raw):
    crc = 0xFFFFFFFF
    for byte in raw:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def record(offset_delta, value, key=None, headers=(), timestamp_delta=0):
    def field(raw):
        return varint(-1) if raw is None else varint(len(raw)) + raw

    body = i8(0) + varint(timestamp_delta) + varint(offset_delta) + field(key) + field(value)
    body += varint(len(headers)) + b"".join(field(k) + field(v) for k, v in headers)
    return varint(len(body)) + body


def batch(
    values=(b"x",),
    *,
    headers=(),
    producer=(-1, -1, -1),
    magic=2,
    attributes=0,
    base_offset=0,
    count=None,
    last_delta=None,
    timestamp_ms=None,
    records=None,
):
    """A record batch, format 2; every field that a test bends can be given."""
    producer_id, epoch, sequence = producer
    stamp = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
    count = len(values) if count is None else count
    last_delta = count - 1 if last_delta is None else last_delta
    if records is None:
        records = b"".join(record(n, v, headers=headers) for n, v in enumerate(values))
    tail = i16(attributes) + i32(last_delta) + i64(stamp) + i64(stamp)
    tail += i64(producer_id) + i16(epoch) + i32(sequence) + i32(count) + records
    head = i32(-1) + i8(magic) + struct.pack(">I", crc32c(tail))
    return i64(base_offset) + i32(len(head + tail)) + head + tail


class Closed(Exception):
    """The broker closed the connection instead of answering."""


class Connection:
    """One TCP connection. Frames go out as they are given."""

    def __init__(self):
        host, port = BOOTSTRAP.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=10)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send_raw(self, raw):
        try:
            self.socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise Closed from gone

    def send(self, key, version, body, flexible=False, client_id="raw"):
        self.correlation += 1
        header = i16(key) + i16(version) + i32(self.correlation) + string(client_id)
        frame = header + (b"\0" if flexible else b"") + body
        self.send_raw(i32(len(frame)) + frame)

    def receive_frame(self, timeout_s=10.0):
        self.socket.settimeout(timeout_s)
        length = struct.unpack(">i", self._exactly(4))[0]
        return self._exactly(length)

    def _exactly(self, count):
        raw = b""
        while len(raw) < count:
            try:
                piece = self.socket.recv(count - len(raw))
            except ConnectionResetError as gone:
                raise Closed from gone
            if not piece:
                raise Closed
            raw += piece
        return raw

    def receive(self, flexible=False, timeout_s=10.0):
        """The body of the next answer, which must carry the last request's correlation id."""
        reader = Reader(self.receive_frame(timeout_s))
        assert reader.i32() == self.correlation
        if flexible:
            assert reader.take(1) == b"\0"
        return reader

    def call(self, key, version, body, flexible=False):
        self.send(key, version, body, flexible)
        return self.receive(flexible)

    def is_closed_within(self, seconds):
        """True when the broker ends the connection and sends nothing before."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
