// Runs Kafka's own command-line producers, and transactions of its Java client, in one process: a job a line.
//
//   console     CODEC FILE               lines of headers, key and value, each separated by a tab; NULL is null
//   performance CODEC FILE COUNT ID      COUNT values drawn from the lines, without keys, in transactions of this id
//   transaction CODEC FILE ID OUTCOME    lines of key and value; OUTCOME is commit or abort
//
// Usage: java -cp JARS ForeignProducers.java BROKERS TOPIC JOBS

import java.io.FileInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.tools.ConsoleProducer;
import org.apache.kafka.tools.ProducerPerformance;

public class ForeignProducers {
    private static final String LARGEST_REQUEST = "max.request.size=16777216";
    private static final List<Runnable> hooks = new ArrayList<>();

    private static final class Exited extends RuntimeException {
        final int code;

        Exited(int code) {
            super("exit code " + code);
            this.code = code;
        }
    }

    public static void main(String[] arguments) throws Exception {
        Exit.setExitProcedure((code, message) -> {
            throw new Exited(code);
        });
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook)); // the console producer closes its producer there
        for (String line : Files.readAllLines(Path.of(arguments[2]))) {
            String[] job = line.split("\t");
            switch (job[0]) {
                case "console" -> console(arguments[0], arguments[1], job);
                case "performance" -> performance(arguments[0], arguments[1], job);
                case "transaction" -> transaction(arguments[0], arguments[1], job);
                default -> throw new IllegalArgumentException(line);
            }
        }
    }

    private static void console(String brokers, String topic, String[] job) throws Exception {
        System.setIn(new FileInputStream(job[2]));
        run(() -> ConsoleProducer.main(new String[] {
            "--bootstrap-server", brokers, "--topic", topic, "--compression-codec", job[1],
            "--command-property", LARGEST_REQUEST,
            "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
            "--reader-property", "null.marker=NULL",
        }));
    }

    private static void performance(String brokers, String topic, String[] job) throws Exception {
        run(() -> ProducerPerformance.main(new String[] {
            "--bootstrap-server", brokers, "--topic", topic, "--payload-file", job[2], "--num-records", job[3],
            "--throughput", "-1", "--transactional-id", job[4], "--transaction-duration-ms", "5",
            "--command-property", "compression.type=" + job[1],
        }));
    }

    private static void transaction(String brokers, String topic, String[] job) throws Exception {
        Map<String, Object> options = Map.of(
            "bootstrap.servers", brokers, "compression.type", job[1], "transactional.id", job[3]);
        var strings = new StringSerializer();
        try (var producer = new KafkaProducer<String, String>(options, strings, strings)) {
            producer.initTransactions();
            producer.beginTransaction();
            for (String line : Files.readAllLines(Path.of(job[2]))) {
                String[] pair = line.split("\t", 2);
                producer.send(new ProducerRecord<>(topic, pair[0], pair[1])).get();
            }
            if (job[4].equals("commit")) {
                producer.commitTransaction();
            } else {
                producer.abortTransaction();
            }
        }
    }

    private interface Tool {
        void run() throws Exception;
    }

    private static void run(Tool tool) throws Exception {
        try {
            tool.run();
        } catch (Exited exited) {
            if (exited.code != 0) {
                throw exited;
            }
        } finally {
            hooks.forEach(Runnable::run);
            hooks.clear();
        }
    }
}
