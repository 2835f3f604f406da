import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Prints the headers of every message that a topic holds now: {@code java -cp LIB ReadTopic.java BOOTSTRAP TOPIC}.
 * One line for each, {@code NAME:VALUE,NAME:VALUE}. Kafka's own client, so that nothing of ours tells of itself.
 */
public final class ReadTopic {
    public static void main(String[] arguments) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("fetch.max.bytes", "8388608");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(arguments[1]).forEach(info -> partitions.add(new TopicPartition(info.topic(), info.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                consumer.poll(Duration.ofSeconds(1)).forEach(message -> System.out.println(line(message.headers())));
            }
        }
    }

    private static String line(Iterable<Header> headers) {
        List<String> words = new ArrayList<>();
        headers.forEach(header -> words.add(header.key() + ":" + new String(header.value(), StandardCharsets.UTF_8)));
        return String.join(",", words);
    }
}
