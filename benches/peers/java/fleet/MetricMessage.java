package fleet;

/** Telegraf JSON: {@code usage_active} of cpu, {@code used_percent} of mem and disk, by host. */
final class MetricMessage extends Message {
    /** Measurements in the order of {@link #kind}. */
    static final String[] KINDS = {"cpu", "mem", "disk"};

    private static final byte[] FIELDS = bytes("fields");
    private static final byte[] NAME = bytes("name");
    private static final byte[] TAGS = bytes("tags");
    private static final byte[] TIMESTAMP = bytes("timestamp");
    private static final byte[] HOST = bytes("host");
    private static final byte[] USAGE_ACTIVE = bytes("usage_active");
    private static final byte[] USED_PERCENT = bytes("used_percent");

    private final JsonCursor json = new JsonCursor();
    private final Names hosts = new Names();
    private final Names names = new Names();

    @Override
    public void read(byte[] message) {
        key = null;
        kind = -1;
        timeMs = -1;
        double active = Double.NaN;
        double used = Double.NaN;
        json.open(message);
        while (json.next()) {
            if (json.is(FIELDS)) {
                json.enter();
                while (json.next()) {
                    if (json.is(USAGE_ACTIVE)) active = json.number();
                    else if (json.is(USED_PERCENT)) used = json.number();
                    else json.skip();
                }
            } else if (json.is(TAGS)) {
                json.enter();
                while (json.next()) {
                    if (json.is(HOST)) key = json.string(hosts);
                    else json.skip();
                }
            } else if (json.is(NAME)) {
                String name = json.string(names);
                for (int i = 0; i < KINDS.length; i++) if (KINDS[i].equals(name)) kind = i;
            } else if (json.is(TIMESTAMP)) {
                timeMs = json.integer();
            } else {
                json.skip();
            }
        }
        value = kind == 0 ? active : used;
        if (key == null || Double.isNaN(value)) kind = -1;
    }
}
