// Reads the valid decisions, each exactly once, whatever happens to this process.
//
//     java -cp 'examples/java/build/libs/*' examples/java/ConsumeDecisions.java BROKERS TOPIC FILE
//
// Appends them to the file and prints them, until Ctrl-C or SIGTERM. One process for a file; start it again after
// partitions were added to the topic.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import fraudstream.client.Score;
import fraudstream.client.Standing;
import fraudstream.client.ValidScores;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class ConsumeDecisions {
    private static final ObjectMapper JSON = new ObjectMapper()
        .setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE);

    public static void main(String[] arguments) {
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        if (arguments.length != 3) {
            System.err.println("usage: ConsumeDecisions BROKERS TOPIC FILE");
            System.exit(2);
        }
        try {
            consume(arguments[0], arguments[1], Path.of(arguments[2]));
        } catch (IOException | KafkaException error) {
            System.err.println(arguments[1] + " at " + arguments[0] + " to " + arguments[2] + ": " + error);
            System.exit(1);
        }
    }

    private static void consume(String brokers, String topic, Path path) throws IOException {
        Map<String, Object> options = Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers,
            ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false, // the file has the offsets
            ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none", // if the next score was deleted, say so
            ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, false);
        var bytes = new ByteArrayDeserializer();
        var closed = new CountDownLatch(1);
        try (var file = new DecisionsFile(path); var consumer = new KafkaConsumer<>(options, bytes, bytes)) {
            wakeUpAtTheEnd(consumer, closed);
            assign(consumer, topic, file.last);
            var scores = new ValidScores(standingsAfter(file.last));
            try {
                while (true) {
                    List<Decision> valid = new ArrayList<>();
                    long unreadable = scores.unreadable();
                    for (var record : consumer.poll(Duration.ofSeconds(1))) {
                        scores.take(record.partition(), record.value())
                            .ifPresent(score -> valid.add(Decision.of(record, score)));
                    }
                    file.append(valid);
                    if (scores.unreadable() > unreadable) {
                        System.err.println(
                            topic + ": " + scores.unreadable()
                                + " unreadable so far, no score/1: are the workers newer?");
                    }
                }
            } catch (WakeupException end) {
                System.err.println(scores.voidScores() + " void, " + scores.unreadable() + " unreadable");
            }
        } finally {
            closed.countDown();
        }
    }

    /** Reads all partitions of a topic, each from behind its last decision. */
    private static void assign(KafkaConsumer<?, ?> consumer, String topic, Map<Integer, Decision> last) {
        List<PartitionInfo> found = consumer.partitionsFor(topic);
        if (found == null || found.isEmpty()) {
            throw new KafkaException("the topic does not exist, or may not be read");
        }
        List<TopicPartition> partitions =
            found.stream().map(one -> new TopicPartition(topic, one.partition())).toList();
        consumer.assign(partitions);
        for (TopicPartition partition : partitions) {
            Decision decided = last.get(partition.partition());
            if (decided == null) {
                consumer.seekToBeginning(List.of(partition));
            } else {
                consumer.seek(partition, decided.offset() + 1);
            }
        }
    }

    /** Ends `poll` when the process is told to end, and waits until consumer and file are closed. */
    private static void wakeUpAtTheEnd(KafkaConsumer<?, ?> consumer, CountDownLatch closed) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                closed.await();
            } catch (InterruptedException end) {
                Thread.currentThread().interrupt();
            }
        }));
    }

    /** A line of the file: a valid score with its place; partition and offset are those of the scores topic. */
    record Decision(
        int partition, long offset, long epoch, long log, long sourceOffset,
        String transactionId, String decision, String decidedBy,
        Map<String, String> attributes) { // declared categories, such as ip_country

        /** Returns the line of a record with a valid score. */
        static Decision of(ConsumerRecord<?, ?> record, Score score) {
            return new Decision(
                record.partition(), record.offset(), score.epoch(), score.log(), score.sourceOffset(),
                score.transactionId(), score.decision(), score.decidedBy(), score.attributes());
        }
    }

    /** Returns the standings behind the last decisions: after a valid score, they are its own epoch and source. */
    private static Map<Integer, Standing> standingsAfter(Map<Integer, Decision> last) {
        Map<Integer, Standing> standings = new HashMap<>();
        last.forEach((partition, decided) -> standings.put(
            partition, new Standing(decided.epoch(), decided.log(), decided.sourceOffset())));
        return standings;
    }

    /**
     * The consumer's result, and at the same time its state: the last line of a partition says all that is needed to go
     * on behind it. Result and state cannot disagree, since they are one; a crash neither loses nor doubles a decision.
     * With a database, write such a row in the transaction that uses the decision.
     *
     * It is locked while it is open: a second process would write the same decisions between the first one's. It
     * belongs to one topic, since its lines do not name it.
     */
    private static final class DecisionsFile implements AutoCloseable {
        /** By partition, when the file was opened. */
        final Map<Integer, Decision> last = new HashMap<>();
        private final FileChannel channel;

        DecisionsFile(Path path) throws IOException {
            channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
            if (channel.tryLock() == null) { // until the process ends, in whatever way
                throw new IOException("another process writes this file; end that one, or name another file");
            }
            // through the channel: to close another one of the same file would release the lock
            byte[] content = Channels.newInputStream(channel).readAllBytes();
            int end = content.length;
            while (end > 0 && content[end - 1] != '\n') {
                end--; // a crash cut the last line off; its score is read again
            }
            String whole = new String(content, 0, end, StandardCharsets.UTF_8);
            for (String line : whole.lines().toList()) {
                Decision decided = JSON.readValue(line, Decision.class);
                last.put(decided.partition(), decided);
            }
            channel.truncate(end).position(end);
        }

        /** Stores decisions, then prints them. */
        void append(List<Decision> decisions) throws IOException {
            if (decisions.isEmpty()) {
                return;
            }
            var lines = new ByteArrayOutputStream();
            for (Decision one : decisions) {
                lines.write(JSON.writeValueAsBytes(one));
                lines.write('\n');
            }
            var bytes = ByteBuffer.wrap(lines.toByteArray());
            while (bytes.hasRemaining()) {
                channel.write(bytes);
            }
            channel.force(false);
            for (Decision one : decisions) {
                System.out.println(one.transactionId() + " " + one.decision() + " by " + one.decidedBy());
            }
        }

        @Override
        public void close() throws IOException {
            channel.close();
        }
    }
}
