// Sends payments: a line of the file, a transaction/1 in JSON, is a record.
//
//     java -cp 'examples/java/build/libs/*' examples/java/ProducePayments.java BROKERS TOPIC FILE
//
// Prints where each payment was stored. It ends with 1 if one was not: mend what it reports, and send the file again;
// the payments that were stored are recognised by their transaction_id and content, and get no second decision.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.InterruptException;
import org.apache.kafka.common.serialization.StringSerializer;

public final class ProducePayments {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final SecureRandom RANDOM = new SecureRandom();

    public static void main(String[] arguments) {
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        if (arguments.length != 3) {
            System.err.println("usage: ProducePayments BROKERS TOPIC FILE");
            System.exit(2);
        }
        try {
            int failed = produce(arguments[0], arguments[1], Path.of(arguments[2]));
            if (failed > 0) {
                System.err.println(
                    failed + " payments were not stored: mend the causes above, then send the file again");
                System.exit(1);
            }
        } catch (IllegalArgumentException error) {
            System.err.println(arguments[2] + ", " + error.getMessage());
            System.exit(1);
        } catch (IOException | KafkaException error) {
            System.err.println(arguments[2] + " to " + arguments[1] + " at " + arguments[0] + ": " + error);
            System.exit(1);
        }
    }

    /** Sends the payments of a file, and returns how many were not stored. */
    private static int produce(String brokers, String topic, Path file) throws IOException {
        // The defaults are right: an idempotent producer, which waits for all replicas in sync, so that its own retries
        // change neither number nor order; and the partitioner, murmur2 of the key, so that a card's payments share a
        // partition.
        Map<String, Object> options = Map.of(
            ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers,
            ProducerConfig.ACKS_CONFIG, "all",
            ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        List<Payment> payments = read(file); // all, before the first is sent
        refuseMissing(brokers, topic);
        var failed = new AtomicInteger();
        var strings = new StringSerializer();
        try (var producer = new KafkaProducer<>(options, strings, strings)) {
            for (Payment payment : payments) {
                var record = new ProducerRecord<>(topic, payment.cardId(), payment.line());
                record.headers().add("traceparent", traceparent());
                producer.send(record, (stored, error) -> {
                    if (error == null) {
                        System.out.println(payment.id() + " " + stored.partition() + " " + stored.offset());
                    } else {
                        failed.incrementAndGet();
                        System.err.println(payment.id() + " was not stored: " + error);
                    }
                });
            }
        } // closing waits until every payment is stored, or given up after delivery.timeout.ms, by default 2 minutes
        return failed.get();
    }

    /**
     * Refuses a topic that does not exist; the producer would have the brokers create it, where they allow that. The
     * admin client needs the same settings of TLS and SASL as the producer.
     */
    private static void refuseMissing(String brokers, String topic) {
        try (var admin = Admin.create(Map.of(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers))) {
            admin.describeTopics(List.of(topic)).allTopicNames().get();
        } catch (ExecutionException error) {
            throw new KafkaException("no payment was sent: " + error.getCause().getMessage(), error.getCause());
        } catch (InterruptedException error) {
            throw new InterruptException(error);
        }
    }

    /**
     * A payment; a retry sends its line as it is. It gets its transaction_id where it is made, once: a producer that
     * drew one at each attempt would have the same payment decided twice.
     */
    private record Payment(String id, String cardId, String line) {}

    private static List<Payment> read(Path file) throws IOException {
        List<Payment> payments = new ArrayList<>();
        for (String line : Files.readAllLines(file)) {
            payments.add(parse(line, payments.size() + 1));
        }
        return payments;
    }

    private static Payment parse(String line, int number) {
        try {
            JsonNode payment = JSON.readTree(line);
            JsonNode id = payment.path("transaction_id");
            JsonNode cardId = payment.path("card_id");
            if (id.isTextual() && cardId.isTextual()) {
                return new Payment(id.asText(), cardId.asText(), line);
            }
        } catch (IOException notJson) {
            // as below
        }
        throw new IllegalArgumentException(
            "line " + number + ": no payment in JSON with transaction_id and card_id; none was sent");
    }

    /**
     * Begins a trace (W3C Trace Context), which the worker continues and the score carries on. Where OpenTelemetry
     * instruments the producer, it writes this header itself.
     */
    private static byte[] traceparent() {
        byte[] trace = new byte[16];
        byte[] span = new byte[8];
        RANDOM.nextBytes(trace);
        RANDOM.nextBytes(span);
        HexFormat hex = HexFormat.of();
        return "00-%s-%s-01".formatted(hex.formatHex(trace), hex.formatHex(span)).getBytes(StandardCharsets.US_ASCII);
    }
}
