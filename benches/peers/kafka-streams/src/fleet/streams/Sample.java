package fleet.streams;

import fleet.Feed;
import fleet.Message;
import org.apache.kafka.common.serialization.Deserializer;

/** A message that lasts: the engine reads one ahead, so the scanner's object cannot be handed out. */
record Sample(String key, int kind, double value, long timeMs) {
    /** Reads messages of a feed. It serves all threads, hence a scanner a thread. */
    static Deserializer<Sample> deserializer(Feed feed) {
        ThreadLocal<Message> scanner = ThreadLocal.withInitial(feed::message);
        return (topic, bytes) -> {
            Message message = scanner.get();
            message.read(bytes);
            return new Sample(message.key, message.kind, message.value, message.timeMs);
        };
    }
}
