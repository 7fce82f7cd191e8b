"""The record that the workload writes and the verifier reads: an id and padding.

An id is RUN/PRODUCER/SEQUENCE; the sequence numbers of a producer rise by one. A producer whose
name begins with `i` is idempotent. The value is the id, a zero byte, and padding; its hash is
printed with every attempt and every reading, so that one changed byte shows.
"""
import hashlib
import os
import threading

PREFIX = "torture-"
GROUP = "torture-tail"


def digest(value):
    return hashlib.blake2b(value, digest_size=12).hexdigest()


def identity(value):
    """The id within a value, or `?` if there is none."""
    head = value[:64].partition(b"\0")[0]
    text = head.decode("ascii", "replace")
    return text if text.count("/") == 2 and text.isprintable() and " " not in text else "?"


class Lines:
    """Whole lines to standard output, each batch in one write: a reader sees a line or nothing."""

    def __init__(self):
        self.lines = []
        self.lock = threading.Lock()

    def put(self, *words):
        with self.lock:
            self.lines.append(" ".join(map(str, words)))

    def flush(self):
        with self.lock:
            lines, self.lines = self.lines, []
            data = "".join(line + "\n" for line in lines).encode()
            while data:
                data = data[os.write(1, data):]
