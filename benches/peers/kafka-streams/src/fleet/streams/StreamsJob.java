package fleet.streams;

import fleet.Feed;
import fleet.Settings;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.AutoOffsetReset;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.state.Stores;

/**
 * Q1 to Q4 on the Processor API: one task a partition, no repartition topic, since hosts and services are the keys.
 *
 * <p>Kafka Streams has no bounded read: the job counts records and closes once it has seen as many as there are.
 */
public final class StreamsJob {
    private StreamsJob() {}

    /** Runs the job that the environment describes. */
    public static void main(String[] args) throws Exception {
        Settings settings = Settings.read();
        LongAdder seen = new LongAdder();
        KafkaStreams streams = new KafkaStreams(topology(settings, seen), properties(settings));
        streams.start();
        while (seen.sum() < settings.records() && streams.state() != KafkaStreams.State.ERROR) Thread.sleep(20);
        boolean complete = seen.sum() >= settings.records();
        streams.close(Duration.ofSeconds(60));
        if (!complete) throw new IllegalStateException("ended after " + seen.sum() + " of " + settings.records());
    }

    private static Properties properties(Settings settings) {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, "fleet-" + System.currentTimeMillis());
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrap());
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, settings.parallelism());
        p.put(StreamsConfig.STATE_DIR_CONFIG, Settings.text("STATE_DIR"));
        p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        p.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 20_000);
        p.put(ConsumerConfig.RECEIVE_BUFFER_CONFIG, 1 << 20);
        return p;
    }

    private static Topology topology(Settings settings, LongAdder seen) {
        Topology topology = new Topology();
        for (Feed feed : Feed.of(settings)) add(topology, feed, settings, seen);
        return topology;
    }

    /** Stores in memory, without a changelog: as little as the other engines' jobs without checkpoints keep. */
    private static void add(Topology topology, Feed feed, Settings settings, LongAdder seen) {
        String name = feed.label();
        String windows = name + "-windows";
        TimestampExtractor eventTime = (record, partitionTime) -> {
            long timeMs = ((Sample) record.value()).timeMs();
            return timeMs >= 0 ? timeMs : Math.max(partitionTime, 0);
        };
        topology.addSource(AutoOffsetReset.earliest(), name, eventTime, new ByteArrayDeserializer(),
            Sample.deserializer(feed), feed.topic(settings));
        ProcessorSupplier<byte[], Sample, Void, Void> supplier = () -> new Windows(feed, settings, seen);
        topology.addProcessor(windows, supplier, name);
        for (String store : new String[] {Windows.OPEN, Windows.CLOSED}) {
            topology.addStateStore(
                Stores.keyValueStoreBuilder(
                        Stores.inMemoryKeyValueStore(name + store), Serdes.Bytes(), Serdes.ByteArray())
                    .withLoggingDisabled(),
                windows);
        }
    }
}
