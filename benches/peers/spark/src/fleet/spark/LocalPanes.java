package fleet.spark;

import fleet.Feed;
import fleet.Message;
import fleet.Pane;
import fleet.PaneTable;
import fleet.Settings;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import scala.Tuple3;

/** Folds what one task reads of a micro-batch into panes, so that about one row in thirty is shuffled. */
final class LocalPanes {
    private LocalPanes() {}

    /**
     * Panes as (key, end, bytes). Messages that count nothing move the watermark all the same: the newest of a task
     * becomes an empty pane without a key.
     *
     * <p>A task reads one partition in order, so it can refuse what is late by that partition's own watermark; Spark's
     * moves between batches only.
     */
    static Iterator<Tuple3<String, Timestamp, byte[]>> of(Feed feed, Iterator<byte[]> messages) {
        PaneTable table = new PaneTable(feed.kinds());
        Message message = feed.message();
        long newestMs = -1;
        while (messages.hasNext()) {
            message.read(messages.next());
            newestMs = Math.max(newestMs, message.timeMs);
            long watermarkMs = newestMs - Settings.BOUND_MS;
            if (message.timeMs >= watermarkMs || Pane.endOf(message.timeMs) > watermarkMs) table.add(message);
        }
        List<Tuple3<String, Timestamp, byte[]>> rows = new ArrayList<>();
        table.drain(pane -> rows.add(row(pane)));
        if (newestMs >= 0) rows.add(row(new Pane("", Pane.endOf(newestMs), feed.kinds())));
        return rows.iterator();
    }

    private static Tuple3<String, Timestamp, byte[]> row(Pane pane) {
        return new Tuple3<>(pane.key, new Timestamp(pane.endMs), pane.toBytes());
    }
}
