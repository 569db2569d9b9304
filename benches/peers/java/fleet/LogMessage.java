package fleet;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDate;

/** A JSON log line: one for each ERROR, by service. */
final class LogMessage extends Message {
    private static final byte[] TIMESTAMP = bytes("@timestamp");
    private static final byte[] SERVICE = bytes("service");
    private static final byte[] LEVEL = bytes("level");
    private static final byte[] ERROR = bytes("ERROR");

    private final JsonCursor json = new JsonCursor();
    private final Names services = new Names();
    private final Names days = new Names();
    private String day;
    private long dayMs;

    @Override
    public void read(byte[] message) {
        key = null;
        timeMs = -1;
        value = 1;
        boolean error = false;
        json.open(message);
        while (json.next()) {
            if (json.is(TIMESTAMP)) timeMs = time(json.rawString());
            else if (json.is(SERVICE)) key = json.string(services);
            else if (json.is(LEVEL)) error = json.stringIs(ERROR);
            else json.skip();
        }
        kind = error && key != null ? 0 : -1;
    }

    /** Milliseconds of {@code 2023-11-14T22:13:20.175Z}; other forms of RFC 3339 take a slower way. */
    private long time(JsonCursor.Slice slice) {
        byte[] text = slice.text();
        int at = slice.from();
        if (slice.length() != 24 || text[at + 10] != 'T' || text[at + 23] != 'Z') {
            return Instant.parse(new String(text, at, slice.length(), StandardCharsets.UTF_8)).toEpochMilli();
        }
        String date = days.of(text, at, at + 10);
        if (date != day) {
            dayMs = LocalDate.parse(date).toEpochDay() * 86_400_000L;
            day = date;
        }
        int seconds = (pair(text, at + 11) * 60 + pair(text, at + 14)) * 60 + pair(text, at + 17);
        return dayMs + seconds * 1000L + (text[at + 20] - '0') * 100 + pair(text, at + 21);
    }

    private static int pair(byte[] text, int at) {
        return (text[at] - '0') * 10 + text[at + 1] - '0';
    }
}
