package fleet;

import java.util.ArrayList;
import java.util.List;

/** The two topics, and how each becomes rows. */
public enum Feed {
    /** Q1, Q2 and Q3, by host. */
    METRICS(HostWindows.class) {
        @Override
        public String topic(Settings settings) {
            return settings.metricsTopic();
        }

        @Override
        public int kinds() {
            return MetricMessage.KINDS.length;
        }

        @Override
        public Message message() {
            return new MetricMessage();
        }

        @Override
        public KeyWindows windows(byte[] bytes) {
            return HostWindows.of(bytes);
        }
    },
    /** Q4, by service. */
    LOGS(ServiceWindows.class) {
        @Override
        public String topic(Settings settings) {
            return settings.logsTopic();
        }

        @Override
        public int kinds() {
            return 1;
        }

        @Override
        public Message message() {
            return new LogMessage();
        }

        @Override
        public KeyWindows windows(byte[] bytes) {
            return ServiceWindows.of(bytes);
        }
    };

    private final Class<? extends KeyWindows> type;

    Feed(Class<? extends KeyWindows> type) {
        this.type = type;
    }

    /** The feeds that the chosen queries read. */
    public static List<Feed> of(Settings settings) {
        List<Feed> feeds = new ArrayList<>();
        if (settings.queries().metrics()) feeds.add(METRICS);
        if (settings.queries().q4()) feeds.add(LOGS);
        return feeds;
    }

    /** Its topic. */
    public abstract String topic(Settings settings);

    /** How many numbers a key has. */
    public abstract int kinds();

    /** A reader of its messages, for one thread. */
    public abstract Message message();

    /** A key's state out of bytes; a new one of null. */
    public abstract KeyWindows windows(byte[] bytes);

    /** The class of {@link #windows}. */
    @SuppressWarnings("unchecked")
    public Class<KeyWindows> type() {
        return (Class<KeyWindows>) type;
    }

    /** Its name in lower case. */
    public String label() {
        return name().toLowerCase(java.util.Locale.ROOT);
    }
}
