import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.storage.Formatter;

/**
 * Runs one Kafka broker, which is its own controller, until its standard input ends or it gets SIGTERM. Formats its
 * data when there are none. Says {@code ready NAME://HOST:PORT,...} on the standard output when clients are served: where each
 * listener is bound, whatever it advertises.
 *
 * <p>Arguments: {@code key=value}. {@code data} (a folder), {@code users} (a file), {@code certificates} (a folder),
 * {@code remove} (a folder that goes with the broker), {@code allow} (rights); every other one is a setting of the broker, named as Kafka names it.
 */
public final class Main {
    private static final String CONTROLLER = "CONTROLLER";
    private static final int START_SECONDS = 120;

    public static void main(String[] arguments) throws Exception {
        Map<String, String> settings = new LinkedHashMap<>();
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            if (at < 0) {
                throw new IllegalArgumentException("not key=value: " + argument);
            }
            settings.put(argument.substring(0, at), argument.substring(at + 1));
        }
        String data = settings.remove("data");
        Path home = data == null ? Files.createTempDirectory("broker-") : Path.of(data).toAbsolutePath();
        List<User> users = users(settings.remove("users"));
        String certificates = settings.remove("certificates");
        String remove = settings.remove("remove");
        List<String> allowed = list(settings.remove("allow"));

        List<Listener> listeners = listeners(settings);
        Map<String, String> all = defaults();
        all.putAll(network(settings, listeners));
        all.putAll(security(listeners, users, certificates));
        if (!allowed.isEmpty()) {
            all.put("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
            // Those without a login: the broker itself, and clients of plaintext listeners.
            all.put("super.users", "User:ANONYMOUS");
        }
        all.put("log.dirs", home.toString());
        all.putAll(settings);

        format(home, users);
        Properties properties = new Properties();
        properties.putAll(all);
        KafkaRaftServer server = new KafkaRaftServer(KafkaConfig.fromProps(properties, false), Time.SYSTEM);
        Path temporary = remove != null ? Path.of(remove) : data == null ? home : null;
        Runtime.getRuntime().addShutdownHook(new Thread(() -> end(server, temporary)));
        CountDownLatch started = new CountDownLatch(1);
        endUnlessStarted(started);
        server.startup();
        started.countDown();
        allow(allowed, all);
        String bound = listeners.stream().map(Listener::address).collect(Collectors.joining(","));
        System.out.println("ready " + bound);
        System.in.transferTo(OutputStream.nullOutputStream());
        System.exit(0);
    }

    /** A broker for minutes on a machine that does other things. */
    private static Map<String, String> defaults() {
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("process.roles", "broker,controller");
        settings.put("node.id", "1");
        settings.put("controller.listener.names", CONTROLLER);
        // One broker is all there is to copy to.
        settings.put("offsets.topic.replication.factor", "1");
        settings.put("transaction.state.log.replication.factor", "1");
        settings.put("transaction.state.log.min.isr", "1");
        settings.put("share.coordinator.state.topic.replication.factor", "1");
        settings.put("share.coordinator.state.topic.min.isr", "1");
        settings.put("offsets.topic.num.partitions", "4");
        settings.put("transaction.state.log.num.partitions", "4");
        settings.put("group.initial.rebalance.delay.ms", "0");
        settings.put("auto.create.topics.enable", "false");
        // After a kill the controller waits that long for the broker that was.
        settings.put("broker.session.timeout.ms", "2000");
        settings.put("broker.heartbeat.interval.ms", "400");
        settings.put("num.network.threads", "2");
        settings.put("num.io.threads", "4");
        // Its index buffers would otherwise take 10 MB of disk for each partition.
        settings.put("log.index.size.max.bytes", "1048576");
        settings.put("log.cleaner.dedupe.buffer.size", "4194304");
        return settings;
    }

    private record Listener(String name, String protocol, String host, int port) {
        String address() {
            return name + "://" + host + ":" + port;
        }

        boolean has(String word) {
            return protocol.contains(word);
        }
    }

    /** What is listened on for clients; port 0 becomes a free one. */
    private static List<Listener> listeners(Map<String, String> settings) throws IOException {
        Map<String, String> protocols = new LinkedHashMap<>();
        for (String entry : list(settings.remove("listener.security.protocol.map"))) {
            String[] parts = entry.split(":", 2);
            protocols.put(parts[0].trim(), parts[1].trim());
        }
        String written = settings.remove("listeners");
        List<Listener> found = new ArrayList<>();
        for (String entry : list(written == null ? "PLAINTEXT://127.0.0.1:0" : written)) {
            String name = entry.substring(0, entry.indexOf("://"));
            String address = entry.substring(entry.indexOf("://") + 3);
            int colon = address.lastIndexOf(':');
            String host = address.substring(0, colon);
            int port = Integer.parseInt(address.substring(colon + 1));
            String protocol = protocols.getOrDefault(name, name);
            found.add(new Listener(name, protocol, host, port == 0 ? freePort(host) : port));
        }
        return found;
    }

    /** The listeners of the clients, and one more for the controller and the broker itself. */
    private static Map<String, String> network(Map<String, String> settings, List<Listener> listeners) throws IOException {
        String host = listeners.get(0).host();
        int port = freePort(host);
        List<Listener> all = new ArrayList<>(listeners);
        all.add(new Listener(CONTROLLER, "PLAINTEXT", host, port));
        if (!settings.containsKey("inter.broker.listener.name")) {
            all.add(new Listener("BETWEEN", "PLAINTEXT", host, freePort(host)));
            settings.put("inter.broker.listener.name", "BETWEEN");
        }
        String advertised = settings.remove("advertised.listeners");
        Map<String, String> byName = new LinkedHashMap<>();
        all.stream().filter(one -> !one.name().equals(CONTROLLER)).forEach(one -> byName.put(one.name(), one.address()));
        for (String entry : list(advertised)) {
            byName.put(entry.substring(0, entry.indexOf("://")), entry);
        }
        Map<String, String> found = new LinkedHashMap<>();
        found.put("controller.quorum.voters", "1@" + host + ":" + port);
        found.put("listeners", all.stream().map(Listener::address).collect(Collectors.joining(",")));
        found.put("advertised.listeners", String.join(",", byName.values()));
        found.put("listener.security.protocol.map",
                all.stream().map(one -> one.name() + ":" + one.protocol()).collect(Collectors.joining(",")));
        return found;
    }

    private record User(String name, String password) {}

    /** Lines {@code NAME:PASSWORD}. */
    private static List<User> users(String file) throws IOException {
        List<User> found = new ArrayList<>();
        if (file != null) {
            for (String line : Files.readAllLines(Path.of(file))) {
                String[] parts = line.split(":", 2);
                found.add(new User(parts[0], parts[1]));
            }
        }
        return found;
    }

    private static Map<String, String> security(List<Listener> listeners, List<User> users, String certificates) {
        Map<String, String> found = new LinkedHashMap<>();
        String plain = users.stream().map(user -> " user_" + user.name() + "=\"" + user.password() + "\"")
                .collect(Collectors.joining());
        for (Listener listener : listeners) {
            String prefix = "listener.name." + listener.name().toLowerCase(Locale.ROOT) + ".";
            if (listener.has("SASL")) {
                found.put(prefix + "sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER");
                found.put(prefix + "oauthbearer.sasl.server.callback.handler.class", Tokens.class.getName());
                found.put(prefix + "oauthbearer.sasl.jaas.config",
                        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;");
                found.put(prefix + "plain.sasl.jaas.config",
                        "org.apache.kafka.common.security.plain.PlainLoginModule required" + plain + ";");
                for (String scram : List.of("scram-sha-256", "scram-sha-512")) {
                    found.put(prefix + scram + ".sasl.jaas.config",
                            "org.apache.kafka.common.security.scram.ScramLoginModule required;");
                }
            }
            if (listener.has("SSL") && certificates != null) {
                Path folder = Path.of(certificates).toAbsolutePath();
                found.put(prefix + "ssl.keystore.type", "PEM");
                found.put(prefix + "ssl.keystore.location", folder.resolve("broker.pem").toString());
                found.put(prefix + "ssl.truststore.type", "PEM");
                found.put(prefix + "ssl.truststore.location", folder.resolve("ca.pem").toString());
            }
        }
        return found;
    }

    /**
     * Lets in who has a token: an unsigned JWT, or a URL in the shape that Amazon MSK takes. It verifies no signature.
     */
    public static final class Tokens implements AuthenticateCallbackHandler {
        private final AuthenticateCallbackHandler unsigned = new OAuthBearerUnsecuredValidatorCallbackHandler();

        @Override
        public void configure(Map<String, ?> settings, String mechanism, List<AppConfigurationEntry> entries) {
            unsigned.configure(settings, mechanism, entries);
        }

        @Override
        public void handle(Callback[] callbacks) throws IOException, UnsupportedCallbackException {
            for (Callback callback : callbacks) {
                OAuthBearerToken token = callback instanceof OAuthBearerValidatorCallback asked
                        ? SignedUrl.read(asked.tokenValue()) : null;
                if (token != null) {
                    ((OAuthBearerValidatorCallback) callback).token(token);
                } else {
                    unsigned.handle(new Callback[] {callback});
                }
            }
        }

        @Override
        public void close() {
            unsigned.close();
        }
    }

    /** What Amazon MSK takes: a signed URL, of which the access key is the name. */
    private record SignedUrl(String value, String principalName, Long startTimeMs, long lifetimeMs)
            implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }

        /** Nothing when it is none, or not good any more. */
        static SignedUrl read(String value) {
            Map<String, String> fields = new LinkedHashMap<>();
            try {
                URI url = URI.create(new String(Base64.getUrlDecoder().decode(value), StandardCharsets.UTF_8));
                for (String field : url.getQuery().split("&")) {
                    String[] parts = field.split("=", 2);
                    fields.put(parts[0], parts[1]);
                }
                DateTimeFormatter times = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
                long start = Instant.from(times.parse(fields.get("X-Amz-Date"))).toEpochMilli();
                long end = start + 1000 * Long.parseLong(fields.get("X-Amz-Expires"));
                boolean isOne = url.getHost().startsWith("kafka.") && fields.containsKey("X-Amz-Signature")
                        && "kafka-cluster:Connect".equals(fields.get("Action")) && System.currentTimeMillis() < end;
                return isOne ? new SignedUrl(value, fields.get("X-Amz-Credential").split("/")[0], start, end) : null;
            } catch (RuntimeException another) {
                return null;
            }
        }
    }

    private static void format(Path home, List<User> users) throws Exception {
        Files.createDirectories(home);
        List<String> scram = new ArrayList<>();
        for (User user : users) {
            for (String mechanism : List.of("SCRAM-SHA-256", "SCRAM-SHA-512")) {
                scram.add(mechanism + "=[name=" + user.name() + ",password=" + user.password() + "]");
            }
        }
        new Formatter()
                .setPrintStream(new PrintStream(OutputStream.nullOutputStream()))
                .setNodeId(1)
                .setClusterId("spoa-agent-demo-broker")
                .setControllerListenerName(CONTROLLER)
                .setMetadataLogDirectory(home.toString())
                .addDirectory(home.toString())
                .setIgnoreFormatted(true)
                .setScramArguments(scram)
                .run();
    }

    /** {@code USER:OPERATION:TOPIC}, each; after the first start they are there already. */
    private static void allow(List<String> allowed, Map<String, String> settings) throws Exception {
        if (allowed.isEmpty()) {
            return;
        }
        List<AclBinding> rights = new ArrayList<>();
        for (String entry : allowed) {
            String[] parts = entry.split(":", 3);
            AclOperation operation = AclOperation.fromString(parts[1]);
            rights.add(new AclBinding(
                    new ResourcePattern(ResourceType.TOPIC, parts[2], PatternType.LITERAL),
                    new AccessControlEntry("User:" + parts[0], "*", operation, AclPermissionType.ALLOW)));
        }
        String between = Stream.of(settings.get("listeners").split(","))
                .filter(one -> one.startsWith(settings.get("inter.broker.listener.name") + "://"))
                .findFirst().orElseThrow();
        Map<String, Object> client = Map.of("bootstrap.servers", between.substring(between.indexOf("://") + 3));
        try (Admin admin = Admin.create(client)) {
            admin.createAcls(rights).all().get();
        }
    }

    private static List<String> list(String written) {
        return written == null || written.isBlank() ? List.of() : Stream.of(written.split(",")).map(String::trim).toList();
    }

    /** Below the range from which the system takes ports for outgoing connections: those may take it before we do. */
    private static int freePort(String host) throws IOException {
        for (int attempt = 0; attempt < 1000; attempt++) {
            int port = ThreadLocalRandom.current().nextInt(20_000, 32_000);
            try (ServerSocket socket = new ServerSocket()) {
                socket.bind(new InetSocketAddress(InetAddress.getByName(host), port));
                return port;
            } catch (BindException taken) {
                continue;
            }
        }
        throw new IOException("no free port on " + host);
    }

    /** A broker that cannot bind to a port says so and waits for ever. */
    private static void endUnlessStarted(CountDownLatch started) {
        Thread watch = new Thread(() -> {
            try {
                if (!started.await(START_SECONDS, TimeUnit.SECONDS)) {
                    System.err.println("the broker did not start within " + START_SECONDS + " s");
                    Runtime.getRuntime().halt(1);
                }
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            }
        });
        watch.setDaemon(true);
        watch.start();
    }

    private static void end(KafkaRaftServer server, Path temporary) {
        server.shutdown();
        server.awaitShutdown();
        if (temporary != null) {
            delete(temporary);
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
