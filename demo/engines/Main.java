import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Stream;

/**
 * Runs one node until its standard input ends or it gets SIGTERM. Says {@code ready HOST:PORT} on the
 * standard output when it answers, and leaves nothing behind unless it was told where to keep its data.
 *
 * <p>Arguments: {@code key=value}. {@code port} (0: any), {@code host}, {@code cluster} (its name),
 * {@code data} (a folder); every other one is a setting of the engine.
 */
public final class Main {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> settings = defaults();
        String data = null;
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            if (at < 0) {
                throw new IllegalArgumentException("not key=value: " + argument);
            }
            String value = argument.substring(at + 1);
            switch (argument.substring(0, at)) {
                case "port" -> settings.put("http.port", value);
                case "host" -> settings.put("network.host", value);
                case "cluster" -> settings.put("cluster.name", value);
                case "data" -> data = value;
                default -> settings.put(argument.substring(0, at), value);
            }
        }
        Path home = data == null ? Files.createTempDirectory("engine-") : Path.of(data).toAbsolutePath();
        settings.put("path.home", home.toString());
        Files.createDirectories(home.resolve("config"));
        EngineNode node = EngineNode.of(settings, home);
        boolean temporary = data == null;
        Runtime.getRuntime().addShutdownHook(new Thread(() -> end(node, temporary ? home : null)));
        node.start();
        System.out.println("ready " + node.httpAddress());
        System.in.transferTo(java.io.OutputStream.nullOutputStream());
        System.exit(0);
    }

    private static Map<String, String> defaults() {
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("cluster.name", "demo");
        settings.put("node.name", "node");
        settings.put("network.host", "127.0.0.1");
        settings.put("http.port", "0");
        settings.put("transport.port", "0");
        settings.put("http.type", "netty4");
        settings.put("transport.type", "netty4");
        settings.put("discovery.type", "single-node");
        // A full disk of the developer is not what is tested.
        settings.put("cluster.routing.allocation.disk.threshold_enabled", "false");
        return settings;
    }

    private static void end(EngineNode node, Path home) {
        try {
            node.close();
        } catch (IOException error) {
            System.err.println(error);
        }
        if (home != null) {
            delete(home);
        }
    }

    private static void delete(Path folder) {
        try (Stream<Path> found = Files.walk(folder)) {
            for (Path path : (Iterable<Path>) found.sorted(Comparator.reverseOrder())::iterator) {
                Files.deleteIfExists(path);
            }
        } catch (IOException error) {
            System.err.println(error);
        }
    }
}
