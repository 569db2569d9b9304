package fleet.flink;

import fleet.Feed;
import fleet.Message;
import fleet.Pane;
import fleet.PaneTable;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Folds what one source task reads into panes of ten seconds and sends each on when the watermark passes it: about one
 * record in thirty is shuffled.
 *
 * <p>Keeps nothing over a checkpoint: whatever is open is sent before the barrier, as Flink SQL's own local aggregation
 * does, and parts of one pane meet again downstream.
 */
final class LocalPanes extends AbstractStreamOperator<Pane> implements OneInputStreamOperator<Message, Pane> {
    private final Feed feed;
    private transient PaneTable table;

    LocalPanes(Feed feed) {
        this.feed = feed;
    }

    @Override
    public void open() {
        table = new PaneTable(feed.kinds());
    }

    @Override
    public void processElement(StreamRecord<Message> record) {
        table.add(record.getValue());
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        long ms = mark.getTimestamp();
        table.close(ms == Long.MAX_VALUE ? ms : ms + 1, this::send);
        super.processWatermark(mark);
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) {
        table.drain(this::send);
    }

    @Override
    public void close() throws Exception {
        LOG.info("{} refused {} late records", getOperatorName(), table == null ? 0 : table.late());
        super.close();
    }

    private void send(Pane pane) {
        output.collect(new StreamRecord<>(pane, pane.endMs - 1));
    }
}
