"""Second half: the closed panes of one key become rows of the four queries.

A state is not told its key, so a row is (query, before, after): the text around
the key, which the sink puts in between.
"""

from collections import deque

from bytewax.operators import StatefulBatchLogic

from panes import LIMIT


class Hosts(StatefulBatchLogic):
    """Q1, Q2 and Q3 of one host."""

    PANES = 30
    SUSTAINED_MS = 300_000

    def __init__(self, queries, state):
        self.queries = queries
        self.ring, self.since, self.told = state or (deque(maxlen=self.PANES), None, False)

    def on_batch(self, panes):
        """Rows of some panes, in order; the state goes when no window is left."""
        rows = []
        for end, stats, samples in panes:
            if stats and "q1" in self.queries:
                for kind, (count, total, low, high) in stats.items():
                    rows.append(("q1", f"{end},{kind},", f",{count},{total / count},{low},{high}\n"))
            cpu = stats.get("cpu") if stats else None
            self.ring.append(cpu)
            if "q2" in self.queries:
                self.slide(end, rows)
            if cpu and "q3" in self.queries:
                self.sustain(cpu, samples, rows)
        return rows, not any(self.ring)

    def slide(self, end, rows):
        """One window of Q2."""
        live = [cpu for cpu in self.ring if cpu]
        if live:
            mean = sum(cpu[1] for cpu in live) / sum(cpu[0] for cpu in live)
            rows.append(("q2", f"{end},", f",{mean},{max(cpu[3] for cpu in live)}\n"))

    def sustain(self, cpu, samples, rows):
        """Q3: the samples of a pane in their order of time."""
        if cpu[3] <= LIMIT:
            self.since, self.told = None, False
            return
        for time, above in sorted(samples):
            if not above:
                self.since, self.told = None, False
                continue
            if self.since is None:
                self.since = time
            if not self.told and time - self.since > self.SUSTAINED_MS:
                self.told = True
                rows.append(("q3", "", f",{self.since}\n"))

    def snapshot(self):
        """What a restart needs."""
        return self.ring.copy(), self.since, self.told


class Services(StatefulBatchLogic):
    """Q4 of one service."""

    PANES = 6

    def __init__(self, threshold, state):
        self.threshold = threshold
        self.ring = state or deque(maxlen=self.PANES)

    def on_batch(self, panes):
        """Rows of some panes, in order; the state goes when no window is left."""
        rows = []
        for end, stats, _ in panes:
            self.ring.append(stats["ERROR"][0] if stats else 0)
            count = sum(self.ring)
            if count > self.threshold:
                rows.append(("q4", f"{end},", f",{count}\n"))
        return rows, not any(self.ring)

    def snapshot(self):
        """What a restart needs."""
        return self.ring.copy()
