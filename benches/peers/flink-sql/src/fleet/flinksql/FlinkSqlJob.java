package fleet.flinksql;

import fleet.Settings;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * Q1 to Q4 as Flink SQL in one JVM, written as the manual teaches it.
 *
 * <p>The tables are bounded by the end offsets at the start, so the job ends by itself.
 */
public final class FlinkSqlJob {
    private static final String WINDOW_END_MS = "CAST(UNIX_TIMESTAMP(CAST(window_end AS STRING)) AS BIGINT) * 1000";

    private final Settings settings;
    private final StreamTableEnvironment tables;

    private FlinkSqlJob(Settings settings, StreamTableEnvironment tables) {
        this.settings = settings;
        this.tables = tables;
    }

    /** Runs the job that the environment describes. */
    public static void main(String[] args) throws Exception {
        Settings settings = Settings.read();
        Configuration configuration = new Configuration();
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        configuration.setString("table.local-time-zone", "UTC");
        StreamExecutionEnvironment env =
            StreamExecutionEnvironment.createLocalEnvironment(settings.parallelism(), configuration);
        FlinkSqlJob job = new FlinkSqlJob(settings, StreamTableEnvironment.create(env));
        job.sources();
        job.queries().execute().await();
    }

    private void sources() {
        tables.executeSql(
            """
            CREATE TABLE metrics (
              name STRING, fields ROW<usage_active DOUBLE, used_percent DOUBLE>, tags ROW<host STRING>, `timestamp` BIGINT,
              ts AS TO_TIMESTAMP_LTZ(`timestamp`, 3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
            ) WITH (%s, 'topic' = '%s')""".formatted(kafka(), settings.metricsTopic()));
        tables.executeSql(
            """
            CREATE TABLE logs (
              `@timestamp` TIMESTAMP_LTZ(3), service STRING, level STRING,
              WATERMARK FOR `@timestamp` AS `@timestamp` - INTERVAL '5' SECOND
            ) WITH (%s, 'topic' = '%s', 'json.timestamp-format.standard' = 'ISO-8601')"""
                .formatted(kafka(), settings.logsTopic()));
        tables.executeSql(
            """
            CREATE VIEW samples AS
            SELECT name, tags.host AS host, COALESCE(fields.usage_active, fields.used_percent) AS v, ts, `timestamp` AS t
            FROM metrics""");
        tables.executeSql("CREATE VIEW cpu AS SELECT host, v, ts, t FROM samples WHERE name = 'cpu'");
        tables.executeSql(
            "CREATE VIEW errors AS SELECT service, `@timestamp` AS ts FROM logs WHERE level = 'ERROR'");
        tables.createTemporarySystemFunction("Sustained", Sustained.class);
    }

    /** What both topics' tables have in common. */
    private String kafka() {
        return "'connector' = 'kafka', 'properties.bootstrap.servers' = '" + settings.bootstrap()
            + "', 'properties.group.id' = 'flink-sql', 'scan.startup.mode' = 'earliest-offset',"
            + " 'scan.bounded.mode' = 'latest-offset', 'format' = 'json'";
    }

    private StatementSet queries() {
        StatementSet all = tables.createStatementSet();
        if (settings.queries().q1()) {
            answer(all, "q1", "end_ms BIGINT, kind STRING, host STRING, n BIGINT, mean DOUBLE, lo DOUBLE, hi DOUBLE",
                "SELECT " + WINDOW_END_MS + ", name, host, COUNT(*), AVG(v), MIN(v), MAX(v)"
                    + " FROM TABLE(TUMBLE(TABLE samples, DESCRIPTOR(ts), INTERVAL '10' SECOND))"
                    + " GROUP BY host, name, window_start, window_end");
        }
        if (settings.queries().q2()) {
            answer(all, "q2", "end_ms BIGINT, host STRING, mean DOUBLE, hi DOUBLE",
                "SELECT " + WINDOW_END_MS + ", host, AVG(v), MAX(v)"
                    + " FROM TABLE(HOP(TABLE cpu, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '5' MINUTE))"
                    + " GROUP BY host, window_start, window_end");
        }
        if (settings.queries().q3()) {
            answer(all, "q3", "host STRING, first_ms BIGINT",
                "SELECT host, first_ms FROM Sustained((SELECT host, v, t FROM cpu) PARTITION BY host)");
        }
        if (settings.queries().q4()) {
            answer(all, "q4", "end_ms BIGINT, service STRING, n BIGINT",
                "SELECT " + WINDOW_END_MS + ", service, COUNT(*)"
                    + " FROM TABLE(HOP(TABLE errors, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '60' SECOND))"
                    + " GROUP BY service, window_start, window_end"
                    + " HAVING COUNT(*) > " + settings.errorThreshold());
        }
        return all;
    }

    /** Adds a query and the table of files that its rows go to. */
    private void answer(StatementSet all, String name, String columns, String query) {
        tables.executeSql("CREATE TABLE " + name + " (" + columns + ") WITH ('connector' = 'filesystem', 'path' = '"
            + settings.out() + "/" + name + "', 'format' = 'csv', 'csv.disable-quote-character' = 'true')");
        all.addInsertSql("INSERT INTO " + name + " " + query);
    }
}
