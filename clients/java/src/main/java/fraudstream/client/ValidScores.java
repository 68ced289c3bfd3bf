package fraudstream.client;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Applies the rule of valid scores to the records of the scores topic, each partition in order.
 *
 * <p>A score is valid if its epoch is not below the highest so far, and its source's log and offset are above those of
 * the last valid one. Store {@link #standings()} with your own offsets, and begin with them: after a valid score, they
 * are that score's own epoch, log and offset. For one thread.
 */
public final class ValidScores {
    private final Map<Integer, Standing> standings;
    private long voidScores;
    private long unreadable;

    /** Begins each partition at its first record. */
    public ValidScores() {
        this(Map.of());
    }

    /** Goes on behind the standings of some partitions. */
    public ValidScores(Map<Integer, Standing> standings) {
        this.standings = new HashMap<>(standings);
    }

    /** Returns the score of the next record of a partition, if it is valid; the value is null in a tombstone. */
    public Optional<Score> take(int partition, byte[] value) {
        Optional<Score> read = Score.read(value);
        if (read.isEmpty()) {
            unreadable++;
            return read;
        }
        Standing standing = standings.getOrDefault(partition, Standing.FIRST);
        standings.put(partition, standing.after(read.get()));
        if (!standing.isValid(read.get())) {
            voidScores++;
            return Optional.empty();
        }
        return read;
    }

    /** Returns the state of each partition. */
    public Map<Integer, Standing> standings() {
        return Map.copyOf(standings);
    }

    /** Returns how many scores do not count. */
    public long voidScores() {
        return voidScores;
    }

    /** Returns how many records are no score of the version that is known here. */
    public long unreadable() {
        return unreadable;
    }
}
