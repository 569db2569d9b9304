package fleet.spark;

import fleet.AnswerFiles;
import fleet.Feed;
import fleet.Pane;
import fleet.Settings;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.List;
import org.apache.spark.api.java.function.MapFunction;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoder;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.ForeachWriter;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.GroupStateTimeout;
import org.apache.spark.sql.streaming.OutputMode;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.Trigger;
import scala.Tuple3;

/**
 * Q1 to Q4 in Structured Streaming: source, local panes inside its tasks, shuffle of panes, one stateful operator.
 *
 * <p>The available-now trigger reads up to the end offsets at the start, then advances the watermark once more and ends.
 */
public final class SparkJob {
    private static final Encoder<Tuple3<String, Timestamp, byte[]>> PANES =
        Encoders.tuple(Encoders.STRING(), Encoders.TIMESTAMP(), Encoders.BINARY());

    private SparkJob() {}

    /** Runs the job that the environment describes. */
    public static void main(String[] args) throws Exception {
        Settings settings = Settings.read();
        try (SparkSession spark = SparkSession.builder()
            .master("local[" + settings.parallelism() + "]")
            .appName("fleet")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.ui.enabled", "false")
            .config("spark.sql.shuffle.partitions", settings.parallelism())
            .config("spark.sql.session.timeZone", "UTC")
            .getOrCreate()) {
            List<StreamingQuery> running = new ArrayList<>();
            for (Feed feed : Feed.of(settings)) running.add(start(spark, settings, feed));
            for (StreamingQuery query : running) query.awaitTermination();
        }
    }

    /**
     * The watermark follows the ends of panes, up to one pane ahead of the records: so much is added to the bound.
     */
    private static StreamingQuery start(SparkSession spark, Settings settings, Feed feed) throws Exception {
        MapPartitionsFunction<byte[], Tuple3<String, Timestamp, byte[]>> panes = messages -> LocalPanes.of(feed, messages);
        MapFunction<Tuple3<String, Timestamp, byte[]>, String> key = Tuple3::_1;
        Dataset<String> rows = spark.readStream()
            .format("kafka")
            .option("kafka.bootstrap.servers", settings.bootstrap())
            .option("kafka.max.poll.records", "20000")
            .option("kafka.receive.buffer.bytes", "1048576")
            .option("subscribe", feed.topic(settings))
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", "1000000")
            .load()
            .select("value")
            .as(Encoders.BINARY())
            .mapPartitions(panes, PANES)
            .toDF("key", "end", "pane")
            .withWatermark("end", Settings.BOUND_MS + Pane.MS + " milliseconds")
            .as(PANES)
            .groupByKey(key, Encoders.STRING())
            .flatMapGroupsWithState(
                new Windows(feed, settings), OutputMode.Append(), Encoders.BINARY(), Encoders.STRING(),
                GroupStateTimeout.EventTimeTimeout());
        return rows.writeStream()
            .queryName(feed.label())
            .option("checkpointLocation", Settings.text("CHECKPOINTS") + "/" + feed.label())
            .trigger(Trigger.AvailableNow())
            .foreach(new Writer(settings.out(), feed.label()))
            .start();
    }

    /** Writes the rows of one task and batch: the first character is the query, the rest the row. */
    private static final class Writer extends ForeachWriter<String> {
        private final String folder;
        private final String name;
        private transient AnswerFiles files;

        Writer(String folder, String name) {
            this.folder = folder;
            this.name = name;
        }

        @Override
        public boolean open(long partition, long epoch) {
            files = new AnswerFiles(folder, name + "-" + epoch + "-" + partition);
            return true;
        }

        @Override
        public void process(String row) {
            files.text(row.charAt(0) - '0', row.substring(1));
        }

        @Override
        public void close(Throwable error) {
            files.close();
        }
    }
}
