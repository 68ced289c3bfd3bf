// Runs Kafka's own AclCommand once for each line of a file, in one process: sixteen starts of a JVM took a minute.
// It ends with 1 at the first command that fails, as the tool itself does.
//
// Usage: java -cp JARS AclCommands.java BROKERS PROPERTIES JOBS, where a line of JOBS has one command's arguments by tabs

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

import org.apache.kafka.tools.AclCommand;

public class AclCommands {
    public static void main(String[] arguments) throws Exception {
        List<String> first = List.of("--bootstrap-server", arguments[0], "--command-config", arguments[1]);
        for (String job : Files.readAllLines(Path.of(arguments[2]))) {
            System.out.println("kafka-acls " + job.replace('\t', ' '));
            AclCommand.main(Stream.concat(first.stream(), Stream.of(job.split("\t"))).toArray(String[]::new));
        }
    }
}
