package fleet;

import java.nio.ByteBuffer;

/** Q4 for one service: errors of the last six panes. */
public final class ServiceWindows implements KeyWindows {
    private static final int RING = 6;

    /** Errors of each pane. */
    public long[] ring = new long[RING];

    @Override
    public void close(String service, long endMs, Pane pane, Settings settings, Answers out) {
        ring[(int) (endMs / Pane.MS % RING)] = pane == null ? 0 : (long) pane.stats[0];
        long sum = 0;
        for (long x : ring) sum += x;
        if (sum > settings.errorThreshold()) out.q4(endMs, service, sum);
    }

    @Override
    public boolean isLive() {
        for (long x : ring) if (x > 0) return true;
        return false;
    }

    @Override
    public byte[] toBytes() {
        ByteBuffer out = ByteBuffer.allocate(8 * RING);
        for (long x : ring) out.putLong(x);
        return out.array();
    }

    /** The opposite of {@link #toBytes}; a new state of null. */
    static ServiceWindows of(byte[] bytes) {
        ServiceWindows state = new ServiceWindows();
        if (bytes == null) return state;
        ByteBuffer in = ByteBuffer.wrap(bytes);
        for (int i = 0; i < RING; i++) state.ring[i] = in.getLong();
        return state;
    }
}
