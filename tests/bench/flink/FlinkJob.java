import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Runs an INSERT to its end each time a line comes in, in one JVM.
 *
 * <p>Arguments: FILE [KEY=VALUE of Flink's configuration]…. FILE holds statements, the last two of them INSERTs: the first is run
 * once, to have the rows, the second each further time. Prints a line a pass: wall milliseconds, and milliseconds of CPU of the
 * whole JVM, in the first pass since the JVM's start, later since the pass began.
 */
public final class FlinkJob {
    public static void main(String[] arguments) throws Exception {
        Configuration settings = new Configuration();
        for (String setting : Arrays.asList(arguments).subList(1, arguments.length)) {
            int equals = setting.indexOf('=');
            settings.setString(setting.substring(0, equals), setting.substring(equals + 1));
        }
        TableEnvironment tables =
                TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        String[] statements = Files.readString(Path.of(arguments[0])).split(";\\s*\n");
        int inserts = statements.length - 2;
        for (int i = 0; i < inserts; i++) {
            tables.executeSql(statements[i]);
        }
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
        for (int pass = 0; asked.readLine() != null; pass++) {
            long cpu = pass == 0 ? 0 : cpuMillis();
            long start = System.nanoTime();
            tables.executeSql(statements[pass == 0 ? inserts : inserts + 1]).await();
            System.out.println("pass " + (System.nanoTime() - start) / 1_000_000 + " " + (cpuMillis() - cpu));
        }
        // What keeps a mini cluster alive is of no interest any more.
        System.exit(0);
    }

    private static long cpuMillis() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1_000_000;
    }
}
