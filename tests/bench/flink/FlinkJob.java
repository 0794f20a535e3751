import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Runs the statements of a file in one JVM, the last of them (an INSERT) as often as asked, each time to its end.
 *
 * <p>Arguments: FILE PASSES [KEY=VALUE of Flink's configuration]…. Prints one line a pass: wall milliseconds, and the milliseconds
 * of CPU that the whole JVM has used since it began, before and after the pass. So a first pass can be told with start-up and
 * compilation, and a later one without.
 */
public final class FlinkJob {
    public static void main(String[] arguments) throws Exception {
        Configuration settings = new Configuration();
        for (String setting : Arrays.asList(arguments).subList(2, arguments.length)) {
            int equals = setting.indexOf('=');
            settings.setString(setting.substring(0, equals), setting.substring(equals + 1));
        }
        TableEnvironment tables =
                TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        String[] statements = Files.readString(Path.of(arguments[0])).split(";\\s*\n");
        for (int i = 0; i < statements.length - 1; i++) {
            tables.executeSql(statements[i]);
        }
        for (int pass = 0; pass < Integer.parseInt(arguments[1]); pass++) {
            long cpu = cpuMillis();
            long start = System.nanoTime();
            tables.executeSql(statements[statements.length - 1]).await();
            System.out.println("pass " + (System.nanoTime() - start) / 1_000_000 + " " + cpu + " " + cpuMillis());
        }
        // What keeps a mini cluster alive is of no interest any more.
        System.exit(0);
    }

    private static long cpuMillis() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1_000_000;
    }
}
