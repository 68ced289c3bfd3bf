package fraudstream.client;

/**
 * What the validity of a partition's next score depends on.
 *
 * @param highestEpoch the highest epoch of all scores so far, void ones included; -1 before the first
 * @param lastLog the log of the last valid score's transaction
 * @param lastOffset its offset; -1 before the first
 */
public record Standing(long highestEpoch, long lastLog, long lastOffset) {
    /** Before the first score of a partition. */
    public static final Standing FIRST = new Standing(-1, 0, -1);

    /** Tells whether a score is valid if it comes next. */
    public boolean isValid(Score score) {
        boolean above = score.log() > lastLog || score.log() == lastLog && score.sourceOffset() > lastOffset;
        return score.epoch() >= highestEpoch && above;
    }

    /** Returns the standing after such a score, valid or void. */
    public Standing after(Score score) {
        if (isValid(score)) {
            return new Standing(score.epoch(), score.log(), score.sourceOffset());
        }
        return new Standing(Math.max(highestEpoch, score.epoch()), lastLog, lastOffset);
    }
}
