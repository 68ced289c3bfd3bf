package fraudstream.client;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;

/** Which arm of a canary or a split decides a card's payments. */
public final class Arms {
    /** The number of buckets, one for each 0.01 % of the cards. */
    public static final int BUCKETS = 10_000;

    private Arms() {}

    /**
     * Returns a card's bucket, 0 to 9,999: BLAKE2b of its id, keyed by the salt.
     *
     * @throws IllegalArgumentException the salt is empty, or longer than 64 bytes
     */
    public static int bucket(String salt, String cardId) {
        byte[] key = salt.getBytes(StandardCharsets.UTF_8);
        long first = Blake2b.firstBytes(key, cardId.getBytes(StandardCharsets.UTF_8));
        return (int) Long.remainderUnsigned(first, BUCKETS);
    }

    /**
     * Returns the name of a card's arm, {@code live} if it is left to the live model. Cards that a split excludes are
     * live's whatever their bucket.
     *
     * @param shares the basis points of each arm beside live, as an {@code event/1} has them; of a canary {@code canary}
     * @param salt that of the canary or the split; where a command had none, its {@code command_id}
     */
    public static String armOf(String cardId, Map<String, Integer> shares, String salt) {
        int bucket = bucket(salt, cardId);
        int end = 0;
        for (Map.Entry<String, Integer> arm : new TreeMap<>(shares).entrySet()) {
            end += arm.getValue();
            if (bucket < end) {
                return arm.getKey();
            }
        }
        return "live";
    }
}
