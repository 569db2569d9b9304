package fleet;

import java.io.Serializable;

/** What {@code run.sh} was told, from the environment. */
public record Settings(
    String bootstrap, String metricsTopic, String logsTopic, Queries queries, String out, long metricsRecords,
    long logsRecords, int parallelism, long errorThreshold) implements Serializable {

    /** How far event time may run backwards inside a partition, in milliseconds. */
    public static final long BOUND_MS = 5_000;

    /** Reads the environment; fails on a variable that is missing. */
    public static Settings read() {
        return new Settings(text("BOOTSTRAP"), text("METRICS_TOPIC"), text("LOGS_TOPIC"), Queries.of(text("QUERIES")),
            text("OUT"), number("METRICS_RECORDS"), number("LOGS_RECORDS"), (int) number("PARALLELISM"),
            number("ERROR_THRESHOLD"));
    }

    /** Messages that the chosen queries read. */
    public long records() {
        return (queries.metrics() ? metricsRecords : 0) + (queries.q4() ? logsRecords : 0);
    }

    /** A variable; fails if it is missing. */
    public static String text(String name) {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) throw new IllegalArgumentException("environment: `" + name + "` is missing");
        return value;
    }

    private static long number(String name) {
        return Long.parseLong(text(name));
    }
}
