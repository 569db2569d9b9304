package fleet;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Makes one {@link String} of each name, so that hosts are neither decoded nor hashed again for every message.
 *
 * <p>An open hash table over the bytes, for one thread. It grows with the number of distinct names and never shrinks:
 * about 100 bytes a name.
 */
final class Names {
    private byte[][] keys = new byte[1024][];
    private String[] values = new String[1024];
    private int count;

    String of(byte[] text, int from, int to) {
        int hash = 0x811C9DC5;
        for (int i = from; i < to; i++) hash = (hash ^ text[i]) * 0x01000193;
        int mask = keys.length - 1;
        int slot = (hash ^ hash >>> 15) & mask;
        for (byte[] key; (key = keys[slot]) != null; slot = slot + 1 & mask) {
            if (Arrays.equals(text, from, to, key, 0, key.length)) return values[slot];
        }
        keys[slot] = Arrays.copyOfRange(text, from, to);
        String value = values[slot] = new String(keys[slot], StandardCharsets.UTF_8);
        if (++count * 2 > keys.length) grow();
        return value;
    }

    private void grow() {
        byte[][] old = keys;
        keys = new byte[2 * old.length][];
        values = new String[2 * old.length];
        count = 0;
        for (byte[] key : old) {
            if (key != null) of(key, 0, key.length);
        }
    }
}
