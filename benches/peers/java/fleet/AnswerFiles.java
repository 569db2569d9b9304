package fleet;

import java.io.BufferedWriter;
import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Writes rows into one file a query and part ({@code q1-PART.csv}), buffered, for one thread. */
public final class AnswerFiles implements Answers.Output, Closeable {
    private final Path folder;
    private final String part;
    private final BufferedWriter[] files = new BufferedWriter[4];

    /** A file is made when its first row is written. */
    public AnswerFiles(String folder, String part) {
        this.folder = Path.of(folder);
        this.part = part;
    }

    @Override
    public void write(int query, StringBuilder row) {
        text(query, row);
    }

    /** Writes text as it is. */
    public void text(int query, CharSequence text) {
        try {
            BufferedWriter file = files[query - 1];
            if (file == null) {
                Path path = folder.resolve("q" + query + "-" + part + ".csv");
                file = files[query - 1] = new BufferedWriter(Files.newBufferedWriter(path), 1 << 16);
            }
            file.append(text);
        } catch (IOException e) {
            throw new UncheckedIOException("could not write an answer", e);
        }
    }

    @Override
    public void close() {
        try {
            for (BufferedWriter file : files) if (file != null) file.close();
        } catch (IOException e) {
            throw new UncheckedIOException("could not write the last answers", e);
        }
    }
}
