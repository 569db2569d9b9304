package fleet.flinksql;

import org.apache.flink.table.annotation.ArgumentHint;
import org.apache.flink.table.annotation.ArgumentTrait;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.StateHint;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.types.Row;

/**
 * Q3: a row for each run of samples above the limit that lasts longer than {@link #FOR_MS}.
 *
 * <p>Samples come in the order of arrival. A run is known by its first sample above the limit after the newest one that is
 * not; a sample that comes later but is older can only move these two.
 */
@DataTypeHint("ROW<first_ms BIGINT>")
public final class Sustained extends ProcessTableFunction<Row> {
    private static final double LIMIT = 90;
    private static final long FOR_MS = 300_000;

    /** What is kept of a host. */
    public static final class State {
        /** First sample of the run; none yet: the greatest number. */
        public long firstMs = Long.MAX_VALUE;
        /** Newest sample that was not above the limit. */
        public long endedMs = Long.MIN_VALUE;
        /** Whether this run was told. */
        public boolean told;
    }

    /** Takes a sample. */
    public void eval(@StateHint State state, @ArgumentHint(ArgumentTrait.SET_SEMANTIC_TABLE) Row sample) {
        double value = sample.getFieldAs("v");
        long timeMs = sample.getFieldAs("t");
        if (value <= LIMIT) {
            state.endedMs = Math.max(state.endedMs, timeMs);
            if (state.firstMs < timeMs) {
                state.firstMs = Long.MAX_VALUE;
                state.told = false;
            }
        } else if (timeMs > state.endedMs) {
            state.firstMs = Math.min(state.firstMs, timeMs);
            if (timeMs - state.firstMs > FOR_MS && !state.told) {
                state.told = true;
                collect(Row.of(state.firstMs));
            }
        }
    }
}
