package fraudstream.client;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.GZIPInputStream;

/** The cases of clients/conformance: records in, valid scores and standings out; cards in, buckets and arms out. */
public final class ConformanceTest {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** Buckets of "c" repeated so often, with the salt "salt", by Python's hashlib. */
    private static final Map<Integer, Integer> LONG = Map.of(0, 5359, 128, 3549, 129, 5325, 256, 8009, 300, 6790);

    /** Runs every case of the file. */
    public void testEveryCase() throws IOException {
        Path file = Path.of("../conformance/cases.jsonl.gz"); // Maven runs tests in the module's folder
        int scores = 0;
        int arms = 0;
        try (var lines = new BufferedReader(new InputStreamReader(
                new GZIPInputStream(Files.newInputStream(file)), StandardCharsets.UTF_8))) {
            JsonNode header = JSON.readTree(lines.readLine());
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                JsonNode found = JSON.readTree(line);
                if (found.has("records")) {
                    checkScores(header, found);
                    scores++;
                } else {
                    checkArm(found);
                    arms++;
                }
            }
        }
        require(scores == 10_000 && arms == 1_000, scores + " cases of scores and " + arms + " of arms");
    }

    private static void checkScores(JsonNode header, JsonNode expected) {
        Map<Integer, Standing> before = new HashMap<>();
        expected.get("standings").properties().forEach(stored -> before.put(
            Integer.valueOf(stored.getKey()),
            new Standing(at(stored.getValue(), 0), at(stored.getValue(), 1), at(stored.getValue(), 2))));
        var scores = new ValidScores(before);
        var valid = JSON.createArrayNode();
        for (int index = 0; index < expected.get("records").size(); index++) {
            JsonNode record = expected.get("records").get(index);
            if (scores.take(record.get(0).asInt(), valueOf(header, record)).isPresent()) {
                valid.add(index);
            }
        }
        var after = JSON.createObjectNode();
        new TreeMap<>(scores.standings()).forEach((partition, standing) -> after.putArray(partition.toString())
            .add(standing.highestEpoch()).add(standing.lastLog()).add(standing.lastOffset()));
        require(valid.toString().equals(expected.get("valid").toString()), "valid " + valid + " of " + expected);
        require(after.toString().equals(expected.get("after").toString()), "after " + after + " of " + expected);
        require(scores.voidScores() == expected.get("void").asLong(), "void of " + expected);
        require(scores.unreadable() == expected.get("unreadable").asLong(), "unreadable of " + expected);
    }

    /** Returns the value of a record, as clients/conformance/README.md has it. */
    private static byte[] valueOf(JsonNode header, JsonNode record) {
        if (record.size() == 2) {
            JsonNode name = record.get(1);
            return name.isNull() ? null : Base64.getDecoder().decode(header.get("values").get(name.asText()).asText());
        }
        String template = header.get(record.size() == 4 ? "score" : "score_without_log").asText();
        String text = template.replace("@partition", record.get(0).asText())
            .replace("@epoch", record.get(1).asText()).replace("@offset", record.get(2).asText());
        return text.replace("@log", record.path(3).asText()).getBytes(StandardCharsets.UTF_8);
    }

    private static void checkArm(JsonNode expected) {
        Map<String, Integer> shares = new HashMap<>();
        expected.get("shares").properties().forEach(arm -> shares.put(arm.getKey(), arm.getValue().asInt()));
        String salt = expected.get("salt").asText();
        String cardId = expected.get("card_id").asText();
        require(Arms.bucket(salt, cardId) == expected.get("bucket").asInt(), "bucket of " + expected);
        require(Arms.armOf(cardId, shares, salt).equals(expected.get("arm").asText()), "arm of " + expected);
    }

    /** The texts of declared categories, and nothing else, whatever stands there. */
    public void testAttributes() {
        String score = "{\"schema\":\"score/1\",\"transaction_id\":\"t\",\"decision\":\"approve\","
            + "\"decided_by\":\"model\",\"epoch\":0,\"source\":{\"offset\":0},\"attributes\":";
        Map<String, Map<String, String>> expected =
            Map.of("{\"ip_country\":\"NG\"}", Map.of("ip_country", "NG"), "{\"x\":7}", Map.of(), "[]", Map.of());
        expected.forEach((attributes, texts) -> {
            byte[] value = (score + attributes + "}").getBytes(StandardCharsets.UTF_8);
            require(Score.read(value).orElseThrow().attributes().equals(texts), attributes);
        });
    }

    /** A message of several blocks, and one that fills its last block: no case has so long a card id. */
    public void testLongMessages() {
        for (int length : List.of(0, 128, 129, 256, 300)) {
            require(Arms.bucket("salt", "c".repeat(length)) == LONG.get(length), "bucket of " + length + " bytes");
        }
    }

    private static long at(JsonNode numbers, int index) {
        return numbers.get(index).asLong();
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }
}
