"""First half of a two-phase aggregation: messages of one partition become panes.

A pane is ten seconds of one key; all windows of the four queries are whole
numbers of panes. Messages are parsed and folded in columns (polars), so Python
sees about one row in ten. A partition's watermark is its newest event time less
the bound, followed message by message; what comes after its pane was handed out
is late and refused.
"""

import polars as pl

PANE_MS = 10_000
BOUND_MS = 5_000
LIMIT = 90
# How long after its last pane a key's longest window still says something.
LIVE_MS = 300_000

METRICS_SCHEMA = {
    "fields": pl.Struct({"usage_active": pl.Float64, "used_percent": pl.Float64}),
    "name": pl.String,
    "tags": pl.Struct({"host": pl.String}),
    "timestamp": pl.Int64,
}
LOGS_SCHEMA = {"@timestamp": pl.String, "service": pl.String, "level": pl.String}


def metrics(text):
    """Columns key, kind, t and value of Telegraf JSON lines."""
    table = pl.read_ndjson(text, schema=METRICS_SCHEMA)
    fields = pl.col("fields").struct
    value = pl.coalesce(fields.field("usage_active"), fields.field("used_percent"))
    key = pl.col("tags").struct.field("host")
    return table.select(key.alias("key"), pl.col("name").alias("kind"), t=pl.col("timestamp"), value=value)


def logs(text):
    """Columns key, kind, t and value of JSON log lines: kind is the level."""
    table = pl.read_ndjson(text, schema=LOGS_SCHEMA)
    time = pl.col("@timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ms")
    return table.select(pl.col("service").alias("key"), pl.col("level").alias("kind"), t=time.cast(pl.Int64), value=1.0)


class Panes:
    """Open panes of one partition.

    `read` is `metrics` or `logs`, `kinds` are those that count, `timed` is the
    kind whose samples Q3 looks at one by one, or None.
    """

    def __init__(self, read, kinds, timed):
        self.read, self.kinds, self.timed = read, list(kinds), timed
        self.watermark = self.closed = None
        self.open = {}  # end -> key -> [kind -> (count, sum, min, max), samples]
        self.live = {}  # key -> end of its last pane

    def add(self, messages):
        """Adds messages in their order and returns the panes that closed, as (key, (end, stats, samples))."""
        table = self.read(b"\n".join(messages))
        end = (pl.col("t") // PANE_MS + 1) * PANE_MS
        table = table.with_columns(end=end, mark=pl.col("t").cum_max() - BOUND_MS)
        if self.watermark is None:
            self.closed = table["end"].min() - PANE_MS
        else:
            table = table.with_columns(mark=pl.max_horizontal("mark", pl.lit(self.watermark)))
        self.watermark = table["mark"][-1]
        table = table.filter(pl.col("end") > pl.col("mark"), pl.col("kind").is_in(self.kinds))
        value = pl.col("value")
        stats = table.group_by("end", "key", "kind").agg(
            pl.len(), value.sum().alias("sum"), value.min().alias("min"), value.max().alias("max"))
        for end, key, kind, *part in stats.iter_rows():
            pane = self.open.setdefault(end, {}).setdefault(key, [{}, []])
            old = pane[0].get(kind)
            if old is not None:
                part = old[0] + part[0], old[1] + part[1], min(old[2], part[2]), max(old[3], part[3])
            pane[0][kind] = part
        if self.timed:
            timed = table.filter(pl.col("kind") == self.timed)
            timed = timed.group_by("end", "key").agg(pl.col("t"), (value > LIMIT).alias("above"))
            for end, key, times, above in timed.iter_rows():
                self.open[end][key][1].extend(zip(times, above))
        return self.close()

    def close(self):
        """Hands out what the watermark has passed; keys that were silent but still live get (end, None, None)."""
        out = []
        while self.closed + PANE_MS <= self.watermark:
            end = self.closed = self.closed + PANE_MS
            panes = self.open.pop(end, {})
            for key, (stats, samples) in panes.items():
                # Q3 needs no times of a pane that was never above the limit.
                hot = self.timed in stats and stats[self.timed][3] > LIMIT
                out.append((key, (end, stats, samples if hot else None)))
                self.live[key] = end
            if len(panes) < len(self.live):
                for key, last in list(self.live.items()):
                    if last < end:
                        out.append((key, (end, None, None)))
                        if last + LIVE_MS <= end:
                            del self.live[key]
        return out
