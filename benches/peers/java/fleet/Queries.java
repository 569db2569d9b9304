package fleet;

import java.io.Serializable;
import java.util.List;

/** Which of the four queries to answer. */
public record Queries(boolean q1, boolean q2, boolean q3, boolean q4) implements Serializable {
    /** Reads a list such as {@code q1,q3}. */
    public static Queries of(String list) {
        List<String> names = List.of(list.split(","));
        for (String name : names) {
            if (!name.matches("q[1-4]")) throw new IllegalArgumentException("QUERIES: `" + name + "` is no query");
        }
        return new Queries(names.contains("q1"), names.contains("q2"), names.contains("q3"), names.contains("q4"));
    }

    /** Whether the topic of metrics is read at all. */
    public boolean metrics() {
        return q1 || q2 || q3;
    }
}
