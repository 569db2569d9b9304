package fleet.flink;

import fleet.Message;
import fleet.Settings;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;

/**
 * The usual bound on disorder, but told by event time: a watermark for each second of it.
 *
 * <p>Flink's own generator speaks every 200 ms of wall time. On a backlog minutes of event time pass in between, and a
 * record that is ten minutes late finds its window still open.
 */
final class BoundedOutOfOrderness implements WatermarkGenerator<Message> {
    private static final long STEP_MS = 1_000;

    private long newestMs = Long.MIN_VALUE;
    private long nextMs = Long.MIN_VALUE;

    @Override
    public void onEvent(Message message, long timeMs, WatermarkOutput output) {
        if (timeMs <= newestMs) return;
        newestMs = timeMs;
        if (timeMs >= nextMs) {
            output.emitWatermark(new Watermark(timeMs - Settings.BOUND_MS - 1));
            nextMs = timeMs + STEP_MS;
        }
    }

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
        if (newestMs != Long.MIN_VALUE) output.emitWatermark(new Watermark(newestMs - Settings.BOUND_MS - 1));
    }
}
