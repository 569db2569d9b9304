package fleet.flink;

import fleet.AnswerFiles;
import fleet.Answers;
import fleet.Feed;
import fleet.KeyWindows;
import fleet.Pane;
import fleet.Settings;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * Turns the panes of a key into rows, with a timer at each pane's end.
 *
 * <p>After a key's last pane the timers go on until its longest window is empty.
 */
final class Windows extends KeyedProcessFunction<String, Pane, Void> {
    private final Feed feed;
    private final Settings settings;
    private transient Answers answers;
    private transient AnswerFiles files;
    private transient MapState<Long, Pane> open;
    private transient ValueState<KeyWindows> closed;

    Windows(Feed feed, Settings settings) {
        this.feed = feed;
        this.settings = settings;
    }

    @Override
    public void open(OpenContext context) {
        open = getRuntimeContext().getMapState(new MapStateDescriptor<>("open", Long.class, Pane.class));
        closed = getRuntimeContext().getState(new ValueStateDescriptor<>("closed", feed.type()));
        int task = getRuntimeContext().getTaskInfo().getIndexOfThisSubtask();
        files = new AnswerFiles(settings.out(), feed.label() + "-" + task);
        answers = new Answers(files);
    }

    @Override
    public void processElement(Pane pane, Context context, Collector<Void> out) throws Exception {
        Pane part = open.get(pane.endMs);
        if (part == null) {
            open.put(pane.endMs, pane);
            context.timerService().registerEventTimeTimer(pane.endMs - 1);
        } else {
            part.merge(pane);
            open.put(pane.endMs, part);
        }
    }

    @Override
    public void onTimer(long timeMs, OnTimerContext context, Collector<Void> out) throws Exception {
        long endMs = timeMs + 1;
        Pane pane = open.get(endMs);
        if (pane != null) open.remove(endMs);
        KeyWindows state = closed.value();
        if (state == null) state = feed.windows(null);
        state.close(context.getCurrentKey(), endMs, pane, settings, answers);
        if (state.isLive()) {
            closed.update(state);
            context.timerService().registerEventTimeTimer(timeMs + Pane.MS);
        } else {
            closed.clear();
        }
    }

    @Override
    public void close() {
        if (files != null) files.close();
    }
}
