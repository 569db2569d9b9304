"""Q1 to Q4 in Bytewax: one source partition a Kafka partition, which hands out panes; one stateful step by key.

What to read comes from the environment (see ../README.md).
"""

import os
from datetime import datetime, timedelta, timezone

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

import panes
from windows import Hosts, Services

BATCH = 10_000
QUERIES = set(os.environ["QUERIES"].split(","))
CLIENT = {
    "bootstrap.servers": os.environ["BOOTSTRAP"],
    "group.id": "fleet",
    "enable.auto.commit": False,
    # One client a partition: 24 times the default of 64 MiB would be too much.
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 100_000,
    # With the default of a second a full queue stalls its partition that long.
    "fetch.queue.backoff.ms": 5,
}


class Partition(StatefulSourcePartition):
    """Reads one partition up to the end it had at the start."""

    def __init__(self, topic, number, state):
        self.state, self.waiting, self.awake = state, [], None
        self.consumer = Consumer(CLIENT)
        place = TopicPartition(topic, number)
        _, self.end = self.consumer.get_watermark_offsets(place, timeout=30)
        self.consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING)])
        self.next = 0

    def next_batch(self):
        """Panes that the next messages close; few messages are left to wait for more."""
        self.awake = None
        if self.next >= self.end:
            raise StopIteration
        for message in self.consumer.consume(BATCH, timeout=0.01):
            if message.error():
                raise RuntimeError(f"could not read: {message.error()}")
            self.next = message.offset() + 1
            if message.offset() < self.end:
                self.waiting.append(message.value())
        if len(self.waiting) < BATCH and self.next < self.end:
            self.awake = datetime.now(timezone.utc) + timedelta(milliseconds=1)
            return []
        messages, self.waiting = self.waiting, []
        return self.state.add(messages)

    def next_awake(self):
        """When to ask again."""
        return self.awake

    def snapshot(self):
        """Nothing: the job is run without recovery."""

    def close(self):
        """Leaves the broker."""
        self.consumer.close()


class Topic(FixedPartitionedSource):
    """All partitions of a topic; `new_state` makes the panes of one."""

    def __init__(self, topic, new_state):
        self.topic, self.new_state = topic, new_state

    def list_parts(self):
        """Their numbers."""
        client = Consumer(CLIENT)
        found = client.list_topics(self.topic, timeout=30).topics[self.topic].partitions
        client.close()
        return [f"{number:03}" for number in found]

    def build_part(self, step_id, for_part, resume_state):
        """One of them."""
        return Partition(self.topic, int(for_part), self.new_state())


class Files(StatelessSinkPartition):
    """Files of one worker, one a query."""

    def __init__(self, label):
        self.label, self.files = label, {}

    def write_batch(self, items):
        """Writes rows."""
        for key, (query, before, after) in items:
            file = self.files.get(query)
            if file is None:
                path = f"{os.environ['OUT']}/{query}-{self.label}.csv"
                file = self.files[query] = open(path, "w", buffering=1 << 16, encoding="utf-8")
            file.write(f"{before}{key}{after}")

    def close(self):
        """Writes what is buffered."""
        for file in self.files.values():
            file.close()


class Answers(DynamicSink):
    """Files of all workers."""

    def build(self, step_id, worker_index, worker_count):
        """Those of one."""
        return Files(f"{step_id.rsplit('.', 1)[-1]}-{worker_index}")


flow = Dataflow("fleet")
if QUERIES & {"q1", "q2", "q3"}:
    kinds = ("cpu", "mem", "disk") if "q1" in QUERIES else ("cpu",)
    timed = "cpu" if "q3" in QUERIES else None
    source = Topic(os.environ["METRICS_TOPIC"], lambda: panes.Panes(panes.metrics, kinds, timed))
    closed = op.input("metrics", flow, source)
    rows = op.stateful_batch("hosts", closed, lambda state: Hosts(QUERIES, state))
    op.output("host_rows", rows, Answers())
if "q4" in QUERIES:
    threshold = int(os.environ["ERROR_THRESHOLD"])
    source = Topic(os.environ["LOGS_TOPIC"], lambda: panes.Panes(panes.logs, ("ERROR",), None))
    closed = op.input("logs", flow, source)
    rows = op.stateful_batch("services", closed, lambda state: Services(threshold, state))
    op.output("service_rows", rows, Answers())
