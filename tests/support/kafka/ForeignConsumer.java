// Reads all partitions of a topic from their beginnings with Kafka's Java consumer, and writes a line for each record:
// partition, offset, key and value, separated by tabs.
//
// Usage: java -cp JARS ForeignConsumer.java BROKERS TOPIC JOBS, where JOBS has one line: COUNT and FILE, by a tab

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class ForeignConsumer {
    private static final int SECONDS = 60;

    public static void main(String[] arguments) throws Exception {
        String[] job = Files.readAllLines(Path.of(arguments[2])).get(0).split("\t");
        int count = Integer.parseInt(job[0]);
        List<String> lines = new ArrayList<>();
        Map<String, Object> options = Map.of("bootstrap.servers", arguments[0], "enable.auto.commit", false);
        var strings = new StringDeserializer();
        try (var consumer = new KafkaConsumer<String, String>(options, strings, strings)) {
            List<TopicPartition> partitions = consumer.partitionsFor(arguments[1]).stream()
                .map(one -> new TopicPartition(one.topic(), one.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long deadline = System.nanoTime() + SECONDS * 1_000_000_000L;
            while (lines.size() < count && System.nanoTime() < deadline) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    lines.add(record.partition() + "\t" + record.offset() + "\t" + record.key() + "\t" + record.value());
                }
            }
        }
        Files.write(Path.of(job[1]), lines);
    }
}
