package fleet.flink;

import fleet.Feed;
import fleet.Message;
import fleet.Pane;
import fleet.Settings;
import java.util.Arrays;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/**
 * Reads messages with the hand-written scanner instead of Jackson.
 *
 * <p>One object is handed out again and again: the next operator is chained to the source and keeps nothing of it. Log
 * lines of any level pass, since the watermark needs them all.
 *
 * <p>What is late by its own partition's newest record is refused here: Flink's watermark is the minimum over
 * partitions, so on a backlog a record minutes late could still find its window open.
 */
final class Messages implements KafkaRecordDeserializationSchema<Message> {
    private final Feed feed;
    private transient Message message;
    private transient long[] newestMs;

    Messages(Feed feed) {
        this.feed = feed;
    }

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Message> out) {
        if (message == null) {
            message = feed.message();
            newestMs = new long[0];
        }
        message.read(record.value());
        if (message.timeMs < 0 || isLate(record.partition())) return;
        out.collect(message);
    }

    private boolean isLate(int partition) {
        if (partition >= newestMs.length) newestMs = Arrays.copyOf(newestMs, partition + 1);
        newestMs[partition] = Math.max(newestMs[partition], message.timeMs);
        long watermarkMs = newestMs[partition] - Settings.BOUND_MS;
        return message.timeMs < watermarkMs && Pane.endOf(message.timeMs) <= watermarkMs;
    }

    @Override
    public TypeInformation<Message> getProducedType() {
        return Types.GENERIC(Message.class);
    }
}
