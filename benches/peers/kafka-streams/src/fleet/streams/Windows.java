package fleet.streams;

import fleet.AnswerFiles;
import fleet.Answers;
import fleet.Feed;
import fleet.KeyWindows;
import fleet.Pane;
import fleet.Settings;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Folds samples into panes and closes them by the stream time of their partition, less the bound.
 *
 * <p>Two stores: open panes by end and key, so that those of one end are neighbours, and what each key remembers of
 * closed ones. Records for a pane that is closed are late and refused.
 */
final class Windows implements Processor<byte[], Sample, Void, Void> {
    /** Suffix of the store of open panes. */
    static final String OPEN = "-open";
    /** Suffix of the store of keys' states. */
    static final String CLOSED = "-closed";

    private final Feed feed;
    private final Settings settings;
    private final LongAdder seen;
    private Answers answers;
    private AnswerFiles files;
    private KeyValueStore<Bytes, byte[]> open;
    private KeyValueStore<Bytes, byte[]> closed;
    private long closedMs = Long.MIN_VALUE;

    Windows(Feed feed, Settings settings, LongAdder seen) {
        this.feed = feed;
        this.settings = settings;
        this.seen = seen;
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        open = context.getStateStore(feed.label() + OPEN);
        closed = context.getStateStore(feed.label() + CLOSED);
        files = new AnswerFiles(settings.out(), feed.label() + "-" + context.taskId());
        answers = new Answers(files);
        context.schedule(
            Duration.ofSeconds(1), PunctuationType.STREAM_TIME, timeMs -> advance(timeMs - Settings.BOUND_MS));
    }

    @Override
    public void process(Record<byte[], Sample> record) {
        seen.increment();
        Sample sample = record.value();
        if (sample.timeMs() < 0) return;
        if (closedMs == Long.MIN_VALUE) closedMs = Pane.endOf(sample.timeMs() - Settings.BOUND_MS) - Pane.MS;
        long endMs = Pane.endOf(sample.timeMs());
        if (sample.kind() < 0 || endMs <= closedMs) return;
        Bytes key = openKey(endMs, sample.key());
        byte[] bytes = open.get(key);
        Pane pane = bytes == null ? new Pane(sample.key(), endMs, feed.kinds()) : Pane.of(bytes);
        pane.add(sample.kind(), sample.value(), sample.timeMs());
        open.put(key, pane.toBytes());
    }

    /** Closes all panes that end at or before {@code untilMs}, in order. */
    private void advance(long untilMs) {
        if (closedMs == Long.MIN_VALUE) return;
        while (closedMs + Pane.MS <= untilMs) {
            closedMs += Pane.MS;
            closeAll(closedMs);
        }
    }

    private void closeAll(long endMs) {
        Set<Bytes> done = new HashSet<>();
        try (KeyValueIterator<Bytes, byte[]> panes = open.range(openKey(endMs, ""), openKey(endMs + 1, ""))) {
            while (panes.hasNext()) {
                KeyValue<Bytes, byte[]> entry = panes.next();
                Pane pane = Pane.of(entry.value);
                Bytes key = Bytes.wrap(pane.key.getBytes(StandardCharsets.UTF_8));
                closed.put(key, close(closed.get(key), pane.key, endMs, pane));
                done.add(key);
                open.delete(entry.key);
            }
        }
        if (done.size() == closed.approximateNumEntries()) return;
        try (KeyValueIterator<Bytes, byte[]> keys = closed.all()) {
            while (keys.hasNext()) {
                KeyValue<Bytes, byte[]> entry = keys.next();
                if (done.contains(entry.key)) continue;
                String key = new String(entry.key.get(), StandardCharsets.UTF_8);
                closed.put(entry.key, close(entry.value, key, endMs, null));
            }
        }
    }

    @Override
    public void close() {
        if (files != null) files.close();
    }

    /** Closes a pane (null: nothing came) and returns the key's new state, null if there is nothing to remember. */
    private byte[] close(byte[] bytes, String key, long endMs, Pane pane) {
        KeyWindows state = feed.windows(bytes);
        state.close(key, endMs, pane, settings, answers);
        return state.isLive() ? state.toBytes() : null;
    }

    private static Bytes openKey(long endMs, String key) {
        byte[] name = key.getBytes(StandardCharsets.UTF_8);
        return Bytes.wrap(ByteBuffer.allocate(8 + name.length).putLong(endMs).put(name).array());
    }
}
