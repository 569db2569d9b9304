package fleet;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Second half of the aggregation for one host: its closed panes become rows of Q1, Q2 and Q3.
 *
 * <p>Q2 keeps 30 panes in a ring and adds them up for each slide. Q3 keeps when the CPU went above the limit; inside a
 * pane the samples are sorted, and panes come in order, so the answer does not depend on the order of arrival.
 */
public final class HostWindows implements KeyWindows {
    private static final int RING = 30;
    private static final long SUSTAINED_MS = 300_000;
    /** Bytes of {@link #toBytes}. */
    private static final int BYTES = 24 * RING + 13;

    /** Per pane of the ring: CPU samples, their sum, their maximum. */
    public double[] ring = new double[3 * RING];
    /** Slots of the ring that hold samples. */
    public int live;
    /** Time of the first sample above the limit of the current run; negative if there is none. */
    public long aboveSinceMs = -1;
    /** Whether the current run has been told. */
    public boolean told;

    @Override
    public void close(String host, long endMs, Pane pane, Settings settings, Answers out) {
        Queries queries = settings.queries();
        boolean sentCpu = pane != null && pane.stats[0] > 0;
        if (pane != null && queries.q1()) {
            for (int kind = 0; kind < MetricMessage.KINDS.length; kind++) {
                double[] s = pane.stats;
                int i = 4 * kind;
                if (s[i] > 0) {
                    String name = MetricMessage.KINDS[kind];
                    out.q1(endMs, name, host, (long) s[i], s[i + 1] / s[i], s[i + 2], s[i + 3]);
                }
            }
        }
        if (queries.q2()) slide(host, endMs, sentCpu ? pane.stats : null, out);
        if (queries.q3() && sentCpu) sustain(host, pane, out);
    }

    @Override
    public boolean isLive() {
        return live > 0;
    }

    private void slide(String host, long endMs, double[] stats, Answers out) {
        int slot = 3 * (int) (endMs / Pane.MS % RING);
        if (ring[slot] > 0) live--;
        ring[slot] = stats == null ? 0 : stats[0];
        if (stats != null) {
            live++;
            ring[slot + 1] = stats[1];
            ring[slot + 2] = stats[3];
        }
        double count = 0;
        double sum = 0;
        double max = Double.NEGATIVE_INFINITY;
        for (int i = 0; i < ring.length; i += 3) {
            if (ring[i] == 0) continue;
            count += ring[i];
            sum += ring[i + 1];
            max = Math.max(max, ring[i + 2]);
        }
        if (count > 0) out.q2(endMs, host, sum / count, max);
    }

    private void sustain(String host, Pane pane, Answers out) {
        if (pane.stats[3] <= Pane.LIMIT) { // by far the most frequent case
            aboveSinceMs = -1;
            told = false;
            return;
        }
        Arrays.sort(pane.cpuTimes, 0, pane.cpuCount);
        for (int i = 0; i < pane.cpuCount; i++) {
            long timeMs = pane.cpuTimes[i] >> 1;
            if ((pane.cpuTimes[i] & 1) == 0) {
                aboveSinceMs = -1;
                told = false;
                continue;
            }
            if (aboveSinceMs < 0) aboveSinceMs = timeMs;
            if (!told && timeMs - aboveSinceMs > SUSTAINED_MS) {
                told = true;
                out.q3(host, aboveSinceMs);
            }
        }
    }

    @Override
    public byte[] toBytes() {
        ByteBuffer out = ByteBuffer.allocate(BYTES);
        out.putInt(live).putLong(aboveSinceMs).put((byte) (told ? 1 : 0));
        for (double x : ring) out.putDouble(x);
        return out.array();
    }

    /** The opposite of {@link #toBytes}; a new state of null. */
    static HostWindows of(byte[] bytes) {
        HostWindows state = new HostWindows();
        if (bytes == null) return state;
        ByteBuffer in = ByteBuffer.wrap(bytes);
        state.live = in.getInt();
        state.aboveSinceMs = in.getLong();
        state.told = in.get() == 1;
        for (int i = 0; i < state.ring.length; i++) state.ring[i] = in.getDouble();
        return state;
    }
}
