//! What the metadata commands answer: catalogs, tables, types, keys, and what this server can do.
//!
//! Each answer is one batch, and its schema is the one that GetFlightInfo announces: both come from here.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Command, CommandGetPrimaryKeys, CommandGetTables, Nullable, Searchable, SqlInfo, SqlNullOrdering as NullOrdering,
    SqlOuterJoinsSupportLevel as OuterJoins, SqlSupportedCaseSensitivity, SqlSupportedSubqueries as Subqueries,
    SqlSupportedTransaction, SqlSupportedUnions as Unions, SupportedSqlGrammar, XdbcDataType, XdbcDatetimeSubcode,
};

use super::guard::SQL_BYTES_MAX;
use super::wire::wire_type;
use crate::error::{Error, Result};
use crate::tables::catalog::{CATALOG, Catalog, ListedTable, PUBLIC_SCHEMA, SYSTEM_SCHEMA, TableKind};

const BASE_TABLE: &str = "BASE TABLE";
const MATERIALIZED_VIEW: &str = "MATERIALIZED VIEW";
const SYSTEM_TABLE: &str = "SYSTEM TABLE";
const TOPIC: &str = "TOPIC";
const VIEW: &str = "VIEW";
const TABLE_TYPES: [&str; 5] = [BASE_TABLE, MATERIALIZED_VIEW, SYSTEM_TABLE, TOPIC, VIEW];

/// The answer to a metadata command; `None` for a command that is something else.
///
/// # Errors
/// `Invalid` for a pattern that cannot be matched.
pub fn answer(catalog: &Catalog, command: &Command) -> Option<Result<RecordBatch>> {
    let answer = match command {
        Command::CommandGetCatalogs(command) => {
            let mut builder = command.into_builder();
            builder.append(CATALOG);
            builder.build()
        }
        Command::CommandGetDbSchemas(command) => {
            let mut builder = command.clone().into_builder();
            builder.append(CATALOG, PUBLIC_SCHEMA);
            builder.append(CATALOG, SYSTEM_SCHEMA);
            builder.build()
        }
        Command::CommandGetTables(command) => tables(catalog, command.clone()),
        Command::CommandGetTableTypes(command) => {
            let mut builder = command.into_builder();
            TABLE_TYPES.into_iter().for_each(|kind| builder.append(kind));
            builder.build()
        }
        Command::CommandGetSqlInfo(command) => SQL_INFO.record_batch(command.info.iter().copied()),
        Command::CommandGetXdbcTypeInfo(command) => XDBC_TYPES.record_batch(command.data_type),
        Command::CommandGetPrimaryKeys(command) => primary_keys(catalog, command).map_err(Into::into),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Ok(RecordBatch::new_empty(foreign_key_schema())),
        _ => return None,
    };
    Some(answer.map_err(|error| Error::invalid("the metadata request cannot be answered").caused_by(error)))
}

fn tables(catalog: &Catalog, mut command: CommandGetTables) -> arrow_flight::error::Result<RecordBatch> {
    // Older tools ask for kinds by other names. Lower-case `table` is Grafana's, and means all that can be selected from.
    let asked = std::mem::take(&mut command.table_types);
    for kind in asked {
        match kind.as_str() {
            "table" => command.table_types.extend(TABLE_TYPES.map(str::to_owned)),
            // Who knows tables and views alone is to see all that there is.
            "TABLE" | "BASE TABLE" => command.table_types.extend([BASE_TABLE, TOPIC].map(str::to_owned)),
            "VIEW" => command.table_types.extend([VIEW, MATERIALIZED_VIEW, SYSTEM_TABLE].map(str::to_owned)),
            "STREAM" => command.table_types.push(TOPIC.to_owned()),
            _ => command.table_types.push(kind),
        }
    }
    let mut builder = command.into_builder();
    for table in catalog.list() {
        let kind = match table.kind {
            TableKind::Topic => TOPIC,
            TableKind::Table => BASE_TABLE,
            TableKind::MaterializedView => MATERIALIZED_VIEW,
            TableKind::View => VIEW,
            TableKind::System => SYSTEM_TABLE,
        };
        builder.append(CATALOG, table.schema, &table.name, kind, &described(&table))?;
    }
    builder.build()
}

/// A table's columns as they will arrive, with what BI tools want to know about each.
fn described(table: &ListedTable) -> Schema {
    let fields = table.columns.fields().iter().zip(&table.comments).map(|(field, comment)| {
        let data_type = wire_type(field.data_type());
        let mut metadata = HashMap::new();
        let mut put = |key: &str, value: String| metadata.insert(format!("ARROW:FLIGHT:SQL:{key}"), value);
        put("CATALOG_NAME", CATALOG.to_owned());
        put("SCHEMA_NAME", table.schema.to_owned());
        put("TABLE_NAME", table.name.clone());
        put("TYPE_NAME", type_name(&data_type).to_owned());
        if let Some((precision, scale)) = precision_and_scale(&data_type) {
            put("PRECISION", precision.to_string());
            put("SCALE", scale.to_string());
        }
        put("IS_AUTO_INCREMENT", "0".to_owned());
        put("IS_CASE_SENSITIVE", u8::from(data_type == DataType::Utf8).to_string());
        put("IS_READ_ONLY", "1".to_owned());
        put("IS_SEARCHABLE", "1".to_owned());
        if let Some(comment) = comment {
            put("REMARKS", comment.clone());
        }
        // As a SELECT says it, whatever the table promises: clients compare the two.
        Field::new(field.name(), data_type, true).with_metadata(metadata)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// A type as one writes it in a CAST.
pub(super) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        other => type_name(other).to_owned(),
    }
}

/// The name under which [`XDBC_TYPES`] describes a type.
fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Null => "NULL",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INTEGER UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float16 | DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "DECIMAL"
        }
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "VARBINARY",
        DataType::Struct(_) => "STRUCT",
        DataType::Map(..) => "MAP",
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..) => "ARRAY",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Dictionary(_, values) => type_name(values),
        DataType::RunEndEncoded(_, values) => type_name(values.data_type()),
        DataType::Union(..) => "UNION",
    }
}

/// Decimal digits, and those behind the point.
fn precision_and_scale(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => (*precision, *scale),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Float32 => (7, 0),
        DataType::Float64 => (15, 0),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => (19, 0),
            TimeUnit::Millisecond => (23, 3),
            TimeUnit::Microsecond => (26, 6),
            TimeUnit::Nanosecond => (29, 9),
        },
        _ => return None,
    })
}

/// The columns of one table's key, in their order in it.
fn primary_keys(catalog: &Catalog, asked: &CommandGetPrimaryKeys) -> std::result::Result<RecordBatch, ArrowError> {
    let mut tables = catalog.list();
    tables.retain(|table| {
        table.name == asked.table
            && asked.catalog.as_deref().is_none_or(|catalog| catalog == CATALOG)
            && asked.db_schema.as_deref().is_none_or(|schema| schema == table.schema)
    });
    let keys: Vec<(&ListedTable, &String, i32)> = tables
        .iter()
        .flat_map(|table| table.primary_key.iter().zip(1..).map(move |(key, at)| (table, key, at)))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(keys.iter().map(|_| CATALOG))),
        Arc::new(StringArray::from_iter_values(keys.iter().map(|(table, ..)| table.schema))),
        Arc::new(StringArray::from_iter_values(keys.iter().map(|(table, ..)| &table.name))),
        Arc::new(StringArray::from_iter_values(keys.iter().map(|(_, key, _)| key))),
        // None is declared.
        Arc::new(StringArray::from_iter(keys.iter().map(|_| None::<&str>))),
        Arc::new(Int32Array::from_iter_values(keys.iter().map(|(.., at)| *at))),
    ];
    RecordBatch::try_new(primary_key_schema(), columns)
}

fn primary_key_schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn foreign_key_schema() -> SchemaRef {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

static SQL_INFO: LazyLock<SqlInfoData> = LazyLock::new(|| sql_info().expect("constants of the right types"));

/// A set of enumeration values as the bit mask that the protocol wants.
fn bits(values: &[i32]) -> i32 {
    values.iter().fold(0, |mask, value| mask | 1 << value)
}

fn sql_info() -> arrow_flight::error::Result<SqlInfoData> {
    use SqlInfo::*;
    let mut info = SqlInfoDataBuilder::new();
    info.append(FlightSqlServerName, "Touchline");
    info.append(FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    // The version of the Arrow columnar format's libraries that the server is built on.
    info.append(FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(FlightSqlServerReadOnly, true);
    info.append(FlightSqlServerSql, true);
    info.append(FlightSqlServerSubstrait, false);
    info.append(FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    info.append(FlightSqlServerCancel, true);
    info.append(FlightSqlServerBulkIngestion, false);
    info.append(FlightSqlServerIngestTransactionsSupported, false);
    info.append(FlightSqlServerStatementTimeout, 0_i32);
    info.append(FlightSqlServerTransactionTimeout, 0_i32);

    info.append(SqlDdlCatalog, false);
    info.append(SqlDdlSchema, false);
    info.append(SqlDdlTable, false);
    info.append(SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    info.append(SqlIdentifierQuoteChar, "\"");
    info.append(SqlQuotedIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32);
    info.append(SqlAllTablesAreSelectable, true);
    info.append(SqlNullOrdering, NullOrdering::SqlNullsSortedHigh as i32);
    info.append(SqlKeywords, KEYWORDS);
    info.append(SqlNumericFunctions, NUMERIC_FUNCTIONS);
    info.append(SqlStringFunctions, STRING_FUNCTIONS);
    info.append(
        SqlSystemFunctions,
        ["arrow_cast", "arrow_typeof", "current_database", "current_schema", "current_user", "version"].as_slice(),
    );
    info.append(SqlDatetimeFunctions, DATETIME_FUNCTIONS);
    info.append(SqlSearchStringEscape, "\\");
    info.append(SqlExtraNameCharacters, "");
    info.append(SqlSupportsColumnAliasing, true);
    info.append(SqlNullPlusNullIsNull, true);
    info.append(SqlSupportsConvert, HashMap::<i32, Vec<i32>>::new());
    info.append(SqlSupportsTableCorrelationNames, true);
    info.append(SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlSupportsOrderByUnrelated, true);
    info.append(SqlSupportedGroupBy, bits(&[0, 1]));
    info.append(SqlSupportsLikeEscapeClause, true);
    info.append(SqlSupportsNonNullableColumns, true);
    let grammar = [SupportedSqlGrammar::SqlMinimumGrammar as i32, SupportedSqlGrammar::SqlCoreGrammar as i32];
    info.append(SqlSupportedGrammar, bits(&grammar));
    info.append(SqlAnsi92SupportedLevel, bits(&[0]));
    info.append(SqlSupportsIntegrityEnhancementFacility, false);
    let outer_joins = [OuterJoins::SqlLimitedOuterJoins as i32, OuterJoins::SqlFullOuterJoins as i32];
    info.append(SqlOuterJoinsSupportLevel, bits(&outer_joins));
    info.append(SqlSchemaTerm, "schema");
    info.append(SqlProcedureTerm, "");
    info.append(SqlCatalogTerm, "catalog");
    info.append(SqlCatalogAtStart, true);
    info.append(SqlSchemasSupportedActions, 0_i32);
    info.append(SqlCatalogsSupportedActions, 0_i32);
    info.append(SqlSupportedPositionedCommands, 0_i32);
    info.append(SqlSelectForUpdateSupported, false);
    info.append(SqlStoredProceduresSupported, false);
    let subqueries = [
        Subqueries::SqlSubqueriesInComparisons as i32,
        Subqueries::SqlSubqueriesInExists as i32,
        Subqueries::SqlSubqueriesInIns as i32,
    ];
    info.append(SqlSupportedSubqueries, bits(&subqueries));
    info.append(SqlCorrelatedSubqueriesSupported, true);
    let unions = [Unions::SqlUnion as i32, Unions::SqlUnionAll as i32];
    info.append(SqlSupportedUnions, bits(&unions));
    // 0 is "no limit, or none that is known".
    for unlimited in [
        SqlMaxBinaryLiteralLength,
        SqlMaxCharLiteralLength,
        SqlMaxColumnNameLength,
        SqlMaxColumnsInGroupBy,
        SqlMaxColumnsInIndex,
        SqlMaxColumnsInOrderBy,
        SqlMaxColumnsInSelect,
        SqlMaxColumnsInTable,
        SqlMaxConnections,
        SqlMaxCursorNameLength,
        SqlMaxIndexLength,
        SqlDbSchemaNameLength,
        SqlMaxProcedureNameLength,
        SqlMaxCatalogNameLength,
        SqlMaxStatements,
        SqlMaxTableNameLength,
        SqlMaxTablesInSelect,
        SqlMaxUsernameLength,
    ] {
        info.append(unlimited, 0_i64);
    }
    info.append(SqlMaxRowSize, super::wire::MESSAGE_BYTES_MAX as i64);
    info.append(SqlMaxRowSizeIncludesBlobs, true);
    info.append(SqlMaxStatementLength, SQL_BYTES_MAX as i64);
    info.append(SqlDefaultTransactionIsolation, 0_i64);
    info.append(SqlTransactionsSupported, false);
    info.append(SqlSupportedTransactionsIsolationLevels, bits(&[0]));
    info.append(SqlDataDefinitionCausesTransactionCommit, false);
    info.append(SqlDataDefinitionsInTransactionsIgnored, false);
    // Forward only, read only.
    info.append(SqlSupportedResultSetTypes, bits(&[1]));
    info.append(SqlSupportedConcurrenciesForResultSetUnspecified, 0_i32);
    info.append(SqlSupportedConcurrenciesForResultSetForwardOnly, bits(&[1]));
    info.append(SqlSupportedConcurrenciesForResultSetScrollSensitive, 0_i32);
    info.append(SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0_i32);
    info.append(SqlBatchUpdatesSupported, false);
    info.append(SqlSavepointsSupported, false);
    info.append(SqlNamedParametersSupported, true);
    info.append(SqlLocatorsUpdateCopy, false);
    info.append(SqlStoredFunctionsUsingCallSyntaxSupported, false);
    info.build()
}

const KEYWORDS: &[&str] = &["EMIT", "FILTER", "HOP", "QUALIFY", "SESSION", "TUMBLE", "UNNEST", "WATERMARK"];
const NUMERIC_FUNCTIONS: &[&str] = &[
    "abs",
    "acos",
    "asin",
    "atan",
    "atan2",
    "cbrt",
    "ceil",
    "cos",
    "cot",
    "degrees",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "lcm",
    "ln",
    "log",
    "log10",
    "log2",
    "nullif",
    "pi",
    "power",
    "radians",
    "random",
    "round",
    "signum",
    "sin",
    "sqrt",
    "tan",
    "trunc",
];
const STRING_FUNCTIONS: &[&str] = &[
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "chr",
    "concat",
    "concat_ws",
    "contains",
    "ends_with",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "to_hex",
    "translate",
    "trim",
    "upper",
];
const DATETIME_FUNCTIONS: &[&str] = &[
    "current_date",
    "current_time",
    "current_timestamp",
    "date_bin",
    "date_part",
    "date_trunc",
    "extract",
    "from_unixtime",
    "make_date",
    "now",
    "to_char",
    "to_date",
    "to_timestamp",
    "to_unixtime",
];

static XDBC_TYPES: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| xdbc_types().expect("constants of the right types"));

fn xdbc_types() -> arrow_flight::error::Result<XdbcTypeInfoData> {
    use XdbcDataType::*;
    let mut types = XdbcTypeInfoDataBuilder::new();
    // Name, number, its number without subtypes, size in digits or characters, quote.
    let numbers: [(&str, XdbcDataType, i32, bool); 11] = [
        ("TINYINT", XdbcSmallint, 3, false),
        ("SMALLINT", XdbcSmallint, 5, false),
        ("INTEGER", XdbcInteger, 10, false),
        ("BIGINT", XdbcNumeric, 19, false),
        ("TINYINT UNSIGNED", XdbcSmallint, 3, true),
        ("SMALLINT UNSIGNED", XdbcInteger, 5, true),
        ("INTEGER UNSIGNED", XdbcNumeric, 10, true),
        ("BIGINT UNSIGNED", XdbcNumeric, 20, true),
        ("REAL", XdbcReal, 7, false),
        ("DOUBLE", XdbcDouble, 15, false),
        ("DECIMAL", XdbcDecimal, 38, false),
    ];
    for (name, data_type, digits, unsigned) in numbers {
        let decimal = name == "DECIMAL";
        types.append(XdbcTypeInfo {
            create_params: decimal.then(|| vec!["precision".to_owned(), "scale".to_owned()]),
            unsigned_attribute: Some(unsigned),
            minimum_scale: Some(0),
            maximum_scale: Some(if decimal { 38 } else { 0 }),
            num_prec_radix: Some(10),
            auto_increment: Some(false),
            ..described_type(name, data_type, Some(digits))
        });
    }
    types.append(described_type("BOOLEAN", XdbcUnknownType, Some(1)));
    let quoted = |info: XdbcTypeInfo, prefix: &str| XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        ..info
    };
    let varchar = quoted(described_type("VARCHAR", XdbcVarchar, None), "'");
    types.append(XdbcTypeInfo { case_sensitive: true, create_params: Some(vec!["length".to_owned()]), ..varchar });
    types.append(quoted(described_type("VARBINARY", XdbcUnknownType, None), "X'"));
    types.append(quoted(described_type("DATE", XdbcDate, Some(10)), "DATE '"));
    types.append(quoted(described_type("TIME", XdbcTime, Some(18)), "TIME '"));
    let timestamp = |name, subcode| XdbcTypeInfo {
        sql_data_type: XdbcDatetime,
        datetime_subcode: Some(subcode),
        ..quoted(described_type(name, XdbcTimestamp, Some(29)), "TIMESTAMP '")
    };
    types.append(timestamp("TIMESTAMP", XdbcDatetimeSubcode::XdbcSubcodeTimestamp));
    types.append(timestamp("TIMESTAMP WITH TIME ZONE", XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone));
    types.append(quoted(described_type("INTERVAL", XdbcInterval, None), "INTERVAL '"));
    for nested in ["ARRAY", "STRUCT", "MAP", "UNION", "NULL"] {
        types.append(XdbcTypeInfo { searchable: Searchable::None, ..described_type(nested, XdbcUnknownType, None) });
    }
    types.build()
}

fn described_type(name: &str, data_type: XdbcDataType, column_size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        column_size,
        literal_prefix: None,
        literal_suffix: None,
        create_params: None,
        nullable: Nullable::NullabilityNullable,
        case_sensitive: false,
        searchable: Searchable::Full,
        unsigned_attribute: None,
        fixed_prec_scale: false,
        auto_increment: None,
        local_type_name: Some(name.to_owned()),
        minimum_scale: None,
        maximum_scale: None,
        sql_data_type: data_type,
        datetime_subcode: None,
        num_prec_radix: None,
        interval_precision: None,
    }
}
