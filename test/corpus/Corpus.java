// Makes the corpus's requests with one of the JDK's clients: HttpClient, which
// offers HTTP/2 with each request, or HttpURLConnection. The last argument is the
// folder with targets.txt and files.txt; BASE and FILES are in the environment.
import java.io.ByteArrayInputStream;
import java.net.*;
import java.net.http.*;
import java.nio.file.*;
import java.util.*;

public class Corpus {
    static final String BASE = System.getenv("BASE"), FILES = System.getenv("FILES");
    static final List<byte[]> BODIES = new ArrayList<>();

    static byte[] binary(int length) {
        byte[] data = new byte[length];
        for (int i = 0; i < length; i++) data[i] = (byte) i;
        return data;
    }

    public static void main(String[] args) throws Exception {
        List<String> targets = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(args[1], "targets.txt"))) targets.add(BASE + line);
        for (String line : Files.readAllLines(Path.of(args[1], "files.txt"))) targets.add(FILES + line);
        for (int length : new int[] {0, 1, 256, 65536, 65537, 1 << 20}) BODIES.add(binary(length));
        if (args[0].equals("HttpClient")) withClient(targets);
        else withConnection(targets);
    }

    static void withClient(List<String> targets) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String target : targets) {
            URI uri;
            try {
                uri = URI.create(target);
            } catch (IllegalArgumentException e) {
                continue; // it sends no such thing
            }
            send(client, HttpRequest.newBuilder(uri).GET());
        }
        URI body = URI.create(BASE + "/body");
        for (byte[] data : BODIES) send(client, HttpRequest.newBuilder(body).POST(HttpRequest.BodyPublishers.ofByteArray(data)));
        send(client, HttpRequest.newBuilder(body).PUT(HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(binary(100000)))));
        send(client, HttpRequest.newBuilder(body).POST(HttpRequest.BodyPublishers.ofString("größe")).header("Content-Type", "text/plain"));
        for (String method : List.of("DELETE", "OPTIONS", "HEAD"))
            send(client, HttpRequest.newBuilder(URI.create(BASE + "/method?x")).method(method, HttpRequest.BodyPublishers.noBody()));
    }

    static void send(HttpClient client, HttpRequest.Builder request) throws Exception {
        client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
    }

    static void withConnection(List<String> targets) throws Exception {
        for (String target : targets) read((HttpURLConnection) new URL(target).openConnection());
        for (byte[] data : BODIES) {
            HttpURLConnection connection = (HttpURLConnection) new URL(BASE + "/body").openConnection();
            connection.setDoOutput(true);
            if (data.length == 65536) connection.setChunkedStreamingMode(1000);
            connection.getOutputStream().write(data);
            read(connection);
        }
        for (String method : List.of("PUT", "DELETE", "OPTIONS", "HEAD")) {
            HttpURLConnection connection = (HttpURLConnection) new URL(BASE + "/method?x").openConnection();
            connection.setRequestMethod(method);
            if (method.equals("PUT")) {
                connection.setDoOutput(true);
                connection.setFixedLengthStreamingMode(3);
                connection.getOutputStream().write("abc".getBytes());
            }
            read(connection);
        }
    }

    static void read(HttpURLConnection connection) throws Exception {
        if (connection.getResponseCode() < 400) connection.getInputStream().readAllBytes();
    }
}
