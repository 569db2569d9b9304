package fleet;

/** What one key remembers of its closed panes, and the rows that follow from the next one. */
public interface KeyWindows {
    /** Closes the pane that ends at {@code endMs}; {@code pane} is null if nothing came. Ends are in order. */
    void close(String key, long endMs, Pane pane, Settings settings, Answers out);

    /** Whether later windows still have something to say without new panes. */
    boolean isLive();

    /** The state as bytes. */
    byte[] toBytes();
}
