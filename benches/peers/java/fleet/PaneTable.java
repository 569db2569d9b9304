package fleet;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;

/**
 * First half of a two-phase aggregation: folds samples into panes before they are shuffled, for one thread.
 *
 * <p>Holds as many panes a key as the out-of-orderness bound and the skew between the thread's partitions span. A
 * sample whose pane has left is late: it is refused and counted.
 */
public final class PaneTable {
    private static final class Slot {
        Pane newest;
        final Map<Long, Pane> older = new HashMap<>();
    }

    private final int kinds;
    private final Map<String, Slot> slots = new HashMap<>();
    private final TreeMap<Long, List<Slot>> byEnd = new TreeMap<>();
    private long closedMs = Long.MIN_VALUE;
    private long late;
    private boolean whole = true;

    /** A table of panes with this many numbers. */
    public PaneTable(int kinds) {
        this.kinds = kinds;
    }

    /** Adds what a message says, if it says anything; false if it came too late. */
    public boolean add(Message message) {
        if (message.kind < 0 || message.timeMs < 0) return true;
        String key = message.key;
        long timeMs = message.timeMs;
        Slot slot = slots.get(key);
        if (slot == null) slots.put(key, slot = new Slot());
        Pane pane = slot.newest;
        if (pane == null || timeMs >= pane.endMs || timeMs < pane.endMs - Pane.MS) {
            long endMs = Pane.endOf(timeMs);
            if (endMs <= closedMs) {
                late++;
                return false;
            }
            pane = open(slot, key, endMs);
        }
        pane.add(message.kind, message.value, timeMs);
        return true;
    }

    private Pane open(Slot slot, String key, long endMs) {
        Pane pane = slot.older.get(endMs);
        if (pane != null) return pane;
        pane = new Pane(key, endMs, kinds);
        byEnd.computeIfAbsent(endMs, end -> new ArrayList<>()).add(slot);
        if (slot.newest != null && endMs < slot.newest.endMs) {
            slot.older.put(endMs, pane);
        } else {
            if (slot.newest != null) slot.older.put(slot.newest.endMs, slot.newest);
            slot.newest = pane;
        }
        return pane;
    }

    /** Hands out the panes that end by {@code untilMs}, oldest first, and refuses samples for them from now on. */
    public void close(long untilMs, Consumer<Pane> out) {
        while (!byEnd.isEmpty() && byEnd.firstKey() <= untilMs) {
            Map.Entry<Long, List<Slot>> entry = byEnd.pollFirstEntry();
            long endMs = entry.getKey();
            for (Slot slot : entry.getValue()) {
                Pane pane;
                if (slot.newest != null && slot.newest.endMs == endMs) {
                    pane = slot.newest;
                    slot.newest = null;
                } else {
                    pane = slot.older.remove(endMs);
                }
                if (whole && pane.stats[3] <= Pane.LIMIT) pane.cpuCount = 0; // Q3 needs no times of a low pane
                out.accept(pane.trim());
            }
        }
        closedMs = Math.max(closedMs, untilMs);
    }

    /** Hands out all panes as they are; more samples may follow for them. */
    public void drain(Consumer<Pane> out) {
        long closed = closedMs;
        whole = false; // from now on a pane may leave in parts, and a low part tells nothing of the whole
        close(Long.MAX_VALUE, out);
        closedMs = closed;
    }

    /** Samples refused so far. */
    public long late() {
        return late;
    }
}
