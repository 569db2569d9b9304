package fleet;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Ten seconds of one key: of a host (count, sum, min, max of each measurement, and when its CPU was above the limit) or
 * of a service (a count of errors). All windows of the four queries are whole numbers of panes.
 */
public final class Pane {
    /** Length in milliseconds. */
    public static final long MS = 10_000;
    /** Q3's limit on CPU usage. */
    public static final double LIMIT = 90;

    private static final long[] NONE = {};

    /** Host or service. */
    public String key;
    /** Exclusive end, milliseconds since 1970. */
    public long endMs;
    /** Four numbers a measurement: count, sum, min, max. */
    public double[] stats;
    /** Times of CPU samples, doubled, plus one if above the limit; in order of arrival. */
    public long[] cpuTimes = NONE;
    /** How many of {@link #cpuTimes} are used. */
    public int cpuCount;

    /** For frameworks that create it before they fill it. */
    public Pane() {}

    /** An empty pane. */
    public Pane(String key, long endMs, int kinds) {
        this.key = key;
        this.endMs = endMs;
        stats = new double[4 * kinds];
        for (int i = 0; i < stats.length; i += 4) {
            stats[i + 2] = Double.POSITIVE_INFINITY;
            stats[i + 3] = Double.NEGATIVE_INFINITY;
        }
    }

    /** End of the pane that a time belongs to. */
    public static long endOf(long timeMs) {
        return timeMs - timeMs % MS + MS;
    }

    /** Adds a number; 0 of three kinds is CPU. */
    public void add(int kind, double value, long timeMs) {
        int i = 4 * kind;
        stats[i]++;
        stats[i + 1] += value;
        if (value < stats[i + 2]) stats[i + 2] = value;
        if (value > stats[i + 3]) stats[i + 3] = value;
        if (kind == 0 && stats.length > 4) {
            if (cpuCount == cpuTimes.length) cpuTimes = Arrays.copyOf(cpuTimes, Math.max(10, 2 * cpuCount));
            cpuTimes[cpuCount++] = 2 * timeMs + (value > LIMIT ? 1 : 0);
        }
    }

    /** Adds another part of the same pane. */
    public void merge(Pane other) {
        for (int i = 0; i < stats.length; i += 4) {
            stats[i] += other.stats[i];
            stats[i + 1] += other.stats[i + 1];
            stats[i + 2] = Math.min(stats[i + 2], other.stats[i + 2]);
            stats[i + 3] = Math.max(stats[i + 3], other.stats[i + 3]);
        }
        cpuTimes = Arrays.copyOf(cpuTimes, cpuCount + other.cpuCount);
        System.arraycopy(other.cpuTimes, 0, cpuTimes, cpuCount, other.cpuCount);
        cpuCount += other.cpuCount;
    }

    /** Drops unused room before the pane travels or is kept. */
    public Pane trim() {
        if (cpuTimes.length != cpuCount) cpuTimes = Arrays.copyOf(cpuTimes, cpuCount);
        return this;
    }

    /** How many bytes {@link #write} needs. */
    int size() {
        return 20 + 3 * key.length() + 8 * (stats.length + cpuCount);
    }

    void write(ByteBuffer out) {
        byte[] name = key.getBytes(StandardCharsets.UTF_8);
        out.putLong(endMs).putInt(name.length).put(name).putInt(stats.length).putInt(cpuCount);
        for (double x : stats) out.putDouble(x);
        for (int i = 0; i < cpuCount; i++) out.putLong(cpuTimes[i]);
    }

    static Pane read(ByteBuffer in) {
        Pane pane = new Pane();
        pane.endMs = in.getLong();
        byte[] name = new byte[in.getInt()];
        in.get(name);
        pane.key = new String(name, StandardCharsets.UTF_8);
        pane.stats = new double[in.getInt()];
        pane.cpuCount = in.getInt();
        pane.cpuTimes = new long[pane.cpuCount];
        for (int i = 0; i < pane.stats.length; i++) pane.stats[i] = in.getDouble();
        for (int i = 0; i < pane.cpuCount; i++) pane.cpuTimes[i] = in.getLong();
        return pane;
    }

    /** The pane as bytes. */
    public byte[] toBytes() {
        ByteBuffer out = ByteBuffer.allocate(size());
        write(out);
        return Arrays.copyOf(out.array(), out.position());
    }

    /** The opposite of {@link #toBytes}. */
    public static Pane of(byte[] bytes) {
        return read(ByteBuffer.wrap(bytes));
    }
}
