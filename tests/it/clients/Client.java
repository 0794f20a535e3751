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
            parameters(connection);
        }
    }

    private interface Values {
        void set(PreparedStatement statement) throws SQLException;
    }

    /** Twenty ways to bind a value; each finds the rows that it should. */
    private static void parameters(Connection connection) throws SQLException {
        bind(connection, "id FROM kept WHERE id = ?", s -> s.setLong(1, 2));
        bind(connection, "id FROM kept WHERE id = ?", s -> s.setInt(1, 2));
        bind(connection, "id FROM kept WHERE id = ?", s -> s.setObject(1, 2L));
        bind(connection, "id FROM kept WHERE note = ?", s -> s.setString(1, "Müller's"));
        bind(connection, "id FROM kept WHERE ok = ?", s -> s.setBoolean(1, true));
        bind(connection, "id FROM kept WHERE price = ?", s -> s.setBigDecimal(1, new java.math.BigDecimal("12.50")));
        bind(connection, "id FROM kept WHERE born = ?", s -> s.setDate(1, java.sql.Date.valueOf("2000-02-29")));
        bind(connection, "id FROM kept WHERE at = ?", s -> s.setTimestamp(1, Timestamp.valueOf("2026-01-01 12:00:00.25")));
        bind(connection, "id FROM kept WHERE CAST(at AS TIMESTAMP(6)) = ?",
                s -> s.setTimestamp(1, Timestamp.valueOf("2026-01-01 12:00:00.25")));
        bind(connection, "id FROM kept WHERE CAST(at AS TIME) = ?", s -> s.setTime(1, Time.valueOf("00:00:01")));
        bind(connection, "id FROM kept WHERE score = ?", s -> s.setDouble(1, 0.1));
        bind(connection, "id FROM kept WHERE CAST(id AS REAL) = ?", s -> s.setFloat(1, 2f));
        bind(connection, "id FROM kept WHERE CAST(id AS SMALLINT) = ?", s -> s.setShort(1, (short) 2));
        bind(connection, "id FROM kept WHERE CAST(note AS BYTEA) = ?", s -> s.setBytes(1, "Müller's".getBytes(java.nio.charset.StandardCharsets.UTF_8)));
        bind(connection, "id FROM kept ORDER BY id LIMIT ? OFFSET ?", s -> { s.setInt(1, 1); s.setLong(2, 2); });
        bind(connection, "CAST(? AS BIGINT) AS n", s -> s.setLong(1, 7));
        bind(connection, "id FROM kept WHERE id BETWEEN ? AND ? ORDER BY id", s -> { s.setInt(1, 2); s.setLong(2, 3); });
        bind(connection, "id FROM kept WHERE id IN (?, ?) ORDER BY id", s -> { s.setLong(1, 1); s.setLong(2, 3); });
        bind(connection, "id FROM kept WHERE note LIKE ?", s -> s.setString(1, "M%"));
        bind(connection, "id FROM kept WHERE id = ? OR id = 3", s -> s.setNull(1, Types.BIGINT));
        // And an interval, as a text.
        bind(connection, "id FROM kept WHERE at + ? > TIMESTAMP '2026-07-02 00:00:00'", s -> s.setString(1, "1 day"));
    }

    private static void bind(Connection connection, String query, Values values) throws SQLException {
        List<Object> found = new ArrayList<>();
        try (PreparedStatement statement = connection.prepareStatement("SELECT " + query)) {
            values.set(statement);
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    found.add(rows.getLong(1));
                }
            }
        } catch (SQLException | RuntimeException error) {
            found.add(error);
        }
        print("bound", query, found);
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
