"""A group member that polls in its own thread and records what it was given and what it read.

The tests ask it for its assignment, its callbacks and its messages; it asserts nothing itself.
"""

import threading
import time

import kit
from confluent_kafka import KafkaException


class Member:
    """Polls until `leave`; commits what it has read before it gives partitions up."""

    def __init__(self, topic, group, **settings):
        self.owned = set()
        self.assigns = []
        self.revokes = []
        self.losses = 0
        self.read = []
        self.errors = []
        self._stop = threading.Event()
        self._client = kit.consumer(group, error_cb=self._error, **{
            "topic.metadata.refresh.interval.ms": 500, **kit.dotted(settings)})
        self._client.subscribe(
            [topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lost)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _assign(self, _client, partitions):
        self.assigns.append(sorted(p.partition for p in partitions))

    def _revoke(self, client, partitions):
        self.revokes.append(sorted(p.partition for p in partitions))
        self._commit(client)

    def _lost(self, _client, _partitions):
        self.losses += 1

    def _error(self, error):
        self.errors.append(error)

    def _commit(self, client):
        try:
            client.commit(asynchronous=False)
        except KafkaException:
            pass  # nothing read since the last commit, or the generation has moved on

    def _run(self):
        last_commit = time.monotonic()
        while not self._stop.is_set():
            for message in self._client.consume(100, timeout=0.05):
                if message.error():
                    self.errors.append(message.error())
                else:
                    self.read.append((message.partition(), message.offset(), message.value()))
            self.owned = {p.partition for p in self._client.assignment()}
            if time.monotonic() - last_commit > 0.3:
                self._commit(self._client)
                last_commit = time.monotonic()
        self._client.close()
        self.owned = set()

    def leave(self):
        """Close the client (a dynamic member leaves its group, a static one does not)."""
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "a member could not leave"


def settled(members, partitions):
    """True when the members own all partitions, each once, and nobody is idle needlessly."""
    owned = [member.owned for member in members]
    fair = all(owned) or len(members) > partitions
    complete = set().union(*owned) == set(range(partitions))
    return fair and complete and sum(map(len, owned)) == partitions
