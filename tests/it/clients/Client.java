import java.sql.*;
import java.time.LocalDateTime;
import java.util.*;

/**
 * What a BI tool does over JDBC: lists tables and columns, reads a view and a source table, runs a prepared statement with parameters.
 * Prints one line for each thing found, fields separated by " | "; the test beside it knows what they must be.
 */
public final class Client {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            DatabaseMetaData database = connection.getMetaData();
            print("product", database.getDatabaseProductName(), database.isReadOnly());
            try (ResultSet tables = database.getTables(null, "public", "%", null)) {
                while (tables.next()) {
                    print("table", tables.getString("TABLE_SCHEM"), tables.getString("TABLE_NAME"), tables.getString("TABLE_TYPE"));
                }
            }
            try (ResultSet columns = database.getColumns(null, "public", "kept", "%")) {
                while (columns.next()) {
                    print("column", columns.getString("COLUMN_NAME"), JDBCType.valueOf(columns.getInt("DATA_TYPE")),
                            columns.getInt("NULLABLE") == DatabaseMetaData.columnNullable, columns.getInt("ORDINAL_POSITION"));
                }
            }
            try (Statement statement = connection.createStatement()) {
                rows("view", statement.executeQuery("SELECT * FROM kept ORDER BY id"));
                rows("source", statement.executeQuery("SELECT count(*) AS n, sum(price) AS total FROM e"));
                rows("none", statement.executeQuery("SELECT id FROM kept WHERE false"));
                try {
                    statement.executeQuery("SELECT nope FROM kept");
                    print("mistake", "none");
                } catch (SQLException error) {
                    print("mistake", error.getMessage().contains("column \"nope\" does not exist"));
                }
            }
            try (PreparedStatement statement = connection.prepareStatement(
                    "SELECT id, note FROM kept WHERE id >= ? AND note = ? ORDER BY id")) {
                print("parameters", statement.getParameterMetaData().getParameterCount());
                for (String note : List.of("Müller's", "", "nobody")) {
                    statement.setLong(1, 1);
                    statement.setString(2, note);
                    rows("prepared", statement.executeQuery());
                }
            }
        }
    }

    private static void rows(String what, ResultSet rows) throws SQLException {
        try (rows) {
            ResultSetMetaData columns = rows.getMetaData();
            while (rows.next()) {
                List<Object> values = new ArrayList<>();
                for (int column = 1; column <= columns.getColumnCount(); column++) {
                    // As a LocalDateTime, for that is what a TIMESTAMP without a zone is: getObject and getTimestamp of this driver
                    // shift it by the zone of the machine.
                    Object value = columns.getColumnType(column) == Types.TIMESTAMP
                            ? rows.getObject(column, LocalDateTime.class)
                            : rows.getObject(column);
                    if (rows.wasNull() != (value == null)) {
                        throw new IllegalStateException("wasNull is wrong for " + columns.getColumnName(column));
                    }
                    values.add(columns.getColumnName(column) + "=" + value);
                }
                print(what, values.toArray());
            }
        }
    }

    private static void print(String what, Object... values) {
        StringJoiner line = new StringJoiner(" | ", what + ": ", "");
        for (Object value : values) {
            line.add(String.valueOf(value));
        }
        System.out.println(line);
    }
}
