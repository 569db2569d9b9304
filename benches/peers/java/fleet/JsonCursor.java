package fleet;

import ch.randelshofer.fastdoubleparser.JavaDoubleParser;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Walks over one JSON object in a byte array without building a tree.
 *
 * <p>The caller asks for the members of an object one by one, reads the values it wants and skips the others. Members
 * may come in any order and with any white space. Text that is not JSON ends in {@link IllegalArgumentException} or
 * {@link ArrayIndexOutOfBoundsException}, never in a wrong value.
 */
final class JsonCursor {
    private byte[] text;
    private int at;
    private int nameFrom;
    private int nameTo;

    /** Goes to the start of another text, which has to be an object. */
    void open(byte[] json) {
        text = json;
        at = 0;
        enter();
    }

    /** Steps into the object that begins here. */
    void enter() {
        expect('{');
    }

    /** Goes to the next member's value; false at the end of the object, which is then left. */
    boolean next() {
        int c = peek();
        if (c == ',') {
            at++;
            c = peek();
        } else if (c == '}') {
            at++;
            return false;
        }
        if (c != '"') throw new IllegalArgumentException("no member at byte " + at);
        skipString();
        nameTo = at - 1;
        expect(':');
        return true;
    }

    /** Whether the member just reached has this name. */
    boolean is(byte[] name) {
        return nameTo - nameFrom == name.length
            && Arrays.equals(text, nameFrom, nameTo, name, 0, name.length);
    }

    /** Reads a number. */
    double number() {
        peek();
        int from = at;
        skipScalar();
        return JavaDoubleParser.parseDouble(text, from, at - from);
    }

    /** Reads a whole number of at most 18 digits. */
    long integer() {
        peek();
        long value = 0;
        int from = at;
        while (text[at] >= '0' && text[at] <= '9') value = 10 * value + text[at++] - '0';
        if (at == from || at - from > 18) throw new IllegalArgumentException("no whole number at byte " + from);
        return value;
    }

    /** Reads a string through a cache of those seen before. */
    String string(Names names) {
        if (peek() != '"') throw new IllegalArgumentException("no string at byte " + at);
        boolean plain = skipString();
        if (plain) return names.of(text, nameFrom, at - 1);
        return unescape(new String(text, nameFrom, at - 1 - nameFrom, StandardCharsets.UTF_8));
    }

    /** Reads a string's bytes as they stand, escapes included. */
    Slice rawString() {
        if (peek() != '"') throw new IllegalArgumentException("no string at byte " + at);
        skipString();
        return new Slice(text, nameFrom, at - 1 - nameFrom);
    }

    /** A part of a text. */
    record Slice(byte[] text, int from, int length) {}

    /** Skips a string and tells whether it is {@code expected}. */
    boolean stringIs(byte[] expected) {
        if (peek() != '"') throw new IllegalArgumentException("no string at byte " + at);
        skipString();
        return at - 1 - nameFrom == expected.length
            && Arrays.equals(text, nameFrom, at - 1, expected, 0, expected.length);
    }

    /** Skips a value of any kind. */
    void skip() {
        int c = peek();
        if (c == '"') {
            skipString();
        } else if (c == '{' || c == '[') {
            int depth = 0;
            do {
                c = peek();
                if (c == '"') {
                    skipString();
                    continue;
                }
                if (c == '{' || c == '[') depth++;
                if (c == '}' || c == ']') depth--;
                at++;
            } while (depth > 0);
        } else {
            skipScalar();
        }
    }

    /** The next byte that is not white space. */
    private int peek() {
        while (text[at] <= ' ') at++;
        return text[at];
    }

    private void expect(char c) {
        if (peek() != c) throw new IllegalArgumentException("no `" + c + "` at byte " + at);
        at++;
    }

    /** Leaves the content in {@code nameFrom} to {@code at - 1}; false if it holds escapes. */
    private boolean skipString() {
        nameFrom = ++at;
        boolean plain = true;
        byte c;
        while ((c = text[at++]) != '"') {
            if (c == '\\') {
                plain = false;
                at++;
            }
        }
        return plain;
    }

    private void skipScalar() {
        byte c;
        while ((c = text[at]) != ',' && c != '}' && c != ']' && c > ' ') at++;
    }

    private static String unescape(String raw) {
        StringBuilder out = new StringBuilder(raw.length());
        for (int i = 0; i < raw.length(); i++) {
            char c = raw.charAt(i);
            if (c != '\\') {
                out.append(c);
                continue;
            }
            c = raw.charAt(++i);
            switch (c) {
                case 'n' -> out.append('\n');
                case 't' -> out.append('\t');
                case 'r' -> out.append('\r');
                case 'b' -> out.append('\b');
                case 'f' -> out.append('\f');
                case 'u' -> {
                    out.append((char) Integer.parseInt(raw.substring(i + 1, i + 5), 16));
                    i += 4;
                }
                default -> out.append(c);
            }
        }
        return out.toString();
    }
}
