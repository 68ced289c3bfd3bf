package fraudstream.client;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * A decision, {@code score/1}. It counts only if it is valid: see {@link ValidScores}.
 *
 * @param epoch which owner of the partition wrote it
 * @param log the log of its transaction; 0 where the record has none
 * @param sourceOffset the offset of its transaction
 * @param fields the whole record
 */
public record Score(
    long epoch, long log, long sourceOffset, String transactionId, String decision, String decidedBy, JsonNode fields) {

    private static final long MAX_LOG = 511;
    private static final long MAX_OFFSET = (1L << 44) - 1;
    private static final ObjectMapper JSON =
        new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    /** Returns the score of a record's value; nothing if it has none of the version that is known here. */
    public static Optional<Score> read(byte[] value) {
        if (value == null) {
            return Optional.empty();
        }
        JsonNode score;
        try {
            score = JSON.readTree(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value)).toString());
        } catch (IOException notJson) {
            return Optional.empty();
        }
        JsonNode source = score.path("source");
        long epoch = whole(score.path("epoch"), Long.MAX_VALUE);
        long log = source.has("log") ? whole(source.path("log"), MAX_LOG) : 0;
        long offset = whole(source.path("offset"), MAX_OFFSET);
        boolean named = Stream.of("transaction_id", "decision", "decided_by")
            .allMatch(field -> score.path(field).isTextual());
        if (!score.path("schema").asText().equals("score/1") || epoch < 0 || log < 0 || offset < 0 || !named) {
            return Optional.empty();
        }
        return Optional.of(new Score(
            epoch, log, offset, score.path("transaction_id").asText(), score.path("decision").asText(),
            score.path("decided_by").asText(), score));
    }

    /** Returns the texts of the payment's declared categories by name; empty where there are none. */
    public Map<String, String> attributes() {
        Map<String, String> texts = new LinkedHashMap<>();
        for (var one : fields.path("attributes").properties()) {
            if (one.getValue().isTextual()) {
                texts.put(one.getKey(), one.getValue().asText());
            }
        }
        return texts;
    }

    /** Returns an integer from 0 to a limit; -1 if the field is none. */
    private static long whole(JsonNode number, long limit) {
        boolean fits = number.isIntegralNumber() && number.canConvertToLong() && number.asLong() <= limit;
        return fits ? number.asLong() : -1;
    }
}
