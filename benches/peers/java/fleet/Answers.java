package fleet;

/** Makes CSV rows of answers; where they go is the engine's business. */
public final class Answers {
    /** Takes a row, ended by a line feed; it may not keep {@code row}. */
    @FunctionalInterface
    public interface Output {
        /** Row of a query, 1 to 4. */
        void write(int query, StringBuilder row);
    }

    private final Output output;
    private final StringBuilder row = new StringBuilder(128);

    /** For one thread. */
    public Answers(Output output) {
        this.output = output;
    }

    /** A window of Q1. */
    public void q1(long endMs, String kind, String host, long count, double mean, double min, double max) {
        row.append(endMs).append(',').append(kind).append(',').append(host).append(',').append(count).append(',')
            .append(mean).append(',').append(min).append(',').append(max);
        end(1);
    }

    /** A window of Q2. */
    public void q2(long endMs, String host, double mean, double max) {
        row.append(endMs).append(',').append(host).append(',').append(mean).append(',').append(max);
        end(2);
    }

    /** A host of Q3. */
    public void q3(String host, long firstMs) {
        row.append(host).append(',').append(firstMs);
        end(3);
    }

    /** A window of Q4 above the threshold. */
    public void q4(long endMs, String service, long count) {
        row.append(endMs).append(',').append(service).append(',').append(count);
        end(4);
    }

    private void end(int query) {
        output.write(query, row.append('\n'));
        row.setLength(0);
    }
}
