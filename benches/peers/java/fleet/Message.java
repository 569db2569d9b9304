package fleet;

import java.nio.charset.StandardCharsets;

/**
 * What a message of a feed says: one number of one key at one time.
 *
 * <p>The object is filled by each {@link #read}, without making garbage: copy what has to last.
 */
public abstract class Message {
    /** Host or service. */
    public String key;
    /** Which of the key's numbers; negative if the message only moves time forward. */
    public int kind;
    /** The number. */
    public double value;
    /** Event time in milliseconds since 1970; negative if the message is of no use. */
    public long timeMs;

    /** Reads a message. */
    public abstract void read(byte[] message);

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
