package fleet.spark;

import fleet.Answers;
import fleet.Feed;
import fleet.KeyWindows;
import fleet.Pane;
import fleet.Settings;
import java.nio.ByteBuffer;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.TreeMap;
import org.apache.spark.api.java.function.FlatMapGroupsWithStateFunction;
import org.apache.spark.sql.streaming.GroupState;
import scala.Tuple3;

/**
 * Turns the panes of a key into rows once the watermark has passed them.
 *
 * <p>State: the end of the last pane closed, what the key remembers of closed panes, the open panes.
 */
final class Windows
    implements FlatMapGroupsWithStateFunction<String, Tuple3<String, Timestamp, byte[]>, byte[], String> {
    private final Feed feed;
    private final Settings settings;

    Windows(Feed feed, Settings settings) {
        this.feed = feed;
        this.settings = settings;
    }

    @Override
    public Iterator<String> call(
        String key, Iterator<Tuple3<String, Timestamp, byte[]>> panes, GroupState<byte[]> kept) {
        List<String> rows = new ArrayList<>();
        Answers answers = new Answers((query, row) -> rows.add(query + row.toString()));
        TreeMap<Long, Pane> open = new TreeMap<>();
        long lastEndMs = 0;
        byte[] bytes = null;
        if (kept.exists()) {
            ByteBuffer in = ByteBuffer.wrap(kept.get());
            lastEndMs = in.getLong();
            bytes = new byte[in.getInt()];
            in.get(bytes);
            while (in.hasRemaining()) {
                byte[] pane = new byte[in.getInt()];
                in.get(pane);
                add(open, Pane.of(pane));
            }
        }
        KeyWindows closed = feed.windows(bytes);
        long watermarkMs = kept.getCurrentWatermarkMs(); // Spark's own check of lateness is one batch behind
        while (panes.hasNext()) {
            Pane pane = Pane.of(panes.next()._3());
            if (!key.isEmpty() && pane.endMs > watermarkMs) add(open, pane);
        }
        long nextMs = next(closed, lastEndMs, open);
        while (nextMs <= watermarkMs) {
            closed.close(key, nextMs, open.remove(nextMs), settings, answers);
            lastEndMs = nextMs;
            nextMs = next(closed, lastEndMs, open);
        }
        if (nextMs == Long.MAX_VALUE) {
            if (kept.exists()) kept.remove();
        } else {
            kept.update(bytes(lastEndMs, closed.toBytes(), open));
            kept.setTimeoutTimestamp(nextMs);
        }
        return rows.iterator();
    }

    private static void add(TreeMap<Long, Pane> open, Pane pane) {
        Pane part = open.putIfAbsent(pane.endMs, pane);
        if (part != null) part.merge(pane);
    }

    /** End of the pane to close next: every one while windows are live, otherwise the first that is open. */
    private static long next(KeyWindows closed, long lastEndMs, TreeMap<Long, Pane> open) {
        if (closed.isLive()) return lastEndMs + Pane.MS;
        return open.isEmpty() ? Long.MAX_VALUE : open.firstKey();
    }

    private static byte[] bytes(long lastEndMs, byte[] closed, TreeMap<Long, Pane> open) {
        List<byte[]> panes = open.values().stream().map(Pane::toBytes).toList();
        int size = 12 + closed.length + panes.stream().mapToInt(pane -> 4 + pane.length).sum();
        ByteBuffer out = ByteBuffer.allocate(size).putLong(lastEndMs).putInt(closed.length).put(closed);
        for (byte[] pane : panes) out.putInt(pane.length).put(pane);
        return out.array();
    }
}
