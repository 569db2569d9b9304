package fleet.flink;

import fleet.Feed;
import fleet.Message;
import fleet.Pane;
import fleet.Settings;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Q1 to Q4 as a DataStream job in one JVM: source, local panes (chained to it), shuffle of panes, windows.
 *
 * <p>The source is bounded by the end offsets at its start, so the job ends by itself.
 */
public final class FlinkJob {
    private FlinkJob() {}

    /** Runs the job that the environment describes. */
    public static void main(String[] args) throws Exception {
        Settings settings = Settings.read();
        Configuration configuration = new Configuration();
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        StreamExecutionEnvironment env =
            StreamExecutionEnvironment.createLocalEnvironment(settings.parallelism(), configuration);
        for (Feed feed : Feed.of(settings)) {
            env.fromSource(source(settings, feed), watermarks(), feed.label())
                .transform(feed.label() + " panes", TypeInformation.of(Pane.class), new LocalPanes(feed))
                .keyBy(pane -> pane.key)
                .process(new Windows(feed, settings))
                .name(feed.label() + " windows");
        }
        env.execute("fleet");
    }

    /** Watermarks are kept per partition by the source; one that stays silent for a minute is excused. */
    private static WatermarkStrategy<Message> watermarks() {
        return WatermarkStrategy.<Message>forGenerator(context -> new BoundedOutOfOrderness())
            .withTimestampAssigner((message, kept) -> message.timeMs)
            .withIdleness(Duration.ofMinutes(1));
    }

    private static KafkaSource<Message> source(Settings settings, Feed feed) {
        return KafkaSource.<Message>builder()
            .setBootstrapServers(settings.bootstrap())
            .setTopics(feed.topic(settings))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setDeserializer(new Messages(feed))
            .setProperty("max.poll.records", "20000")
            .setProperty("receive.buffer.bytes", "1048576")
            .setProperty("commit.offsets.on.checkpoint", "false")
            .build();
    }
}
