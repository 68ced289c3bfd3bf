// Matches texts with Java's regular expressions, as a validator of JSON Schemas does: anywhere in the text.
//
// Reads lines of a pattern and a text, each in Base64, separated by a space; prints true or false for each.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.regex.Pattern;

public final class Patterns {
    public static void main(String[] arguments) throws IOException {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] fields = line.split(" ", -1);
            System.out.println(Pattern.compile(decode(fields[0])).matcher(decode(fields[1])).find());
        }
    }

    private static String decode(String field) {
        return new String(Base64.getDecoder().decode(field), StandardCharsets.UTF_8);
    }
}
