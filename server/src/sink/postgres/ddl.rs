//! The hot table as SQL: names, types, partitions. Pure text, no database.

use arrow::datatypes::{DataType, Field, TimeUnit};
use sha2::{Digest, Sha256};

use super::HotTable;
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, Result};

/// Postgres silently cuts longer names, and two of ours could then become one.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// Days since 1970-01-01, UTC.
pub(crate) type Day = i64;

/// 4713-01-01 BC, the first day a Postgres timestamp can hold, and a last one that every reader can print.
const DAY_MIN: Day = -2_440_588;
const DAY_MAX: Day = 95_000_000;

/// A quoted identifier.
///
/// # Errors
/// `Invalid` for a name that Postgres would cut or cannot hold.
pub(crate) fn quote(name: &str) -> Result<String> {
    if name.is_empty() || name.len() > IDENTIFIER_BYTES_MAX || name.contains('\0') {
        return Err(Error::invalid(format!("\"{}\" cannot be a name in Postgres", name.escape_debug()))
            .detail(format!("it has {} bytes; names have 1 to {IDENTIFIER_BYTES_MAX} and no NUL", name.len()))
            .hint("give the view or the column a shorter name with AS, or set 'postgres' = 'false' for the view"));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// A quoted string. `standard_conforming_strings` is on in every supported version, so only quotes need care.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// One column of the hot table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnSql {
    pub(crate) name: String,
    pub(crate) quoted: String,
    /// As `format_type` prints it, so that it can be compared with the catalog.
    pub(crate) data_type: String,
    pub(crate) not_null: bool,
}

impl ColumnSql {
    pub(crate) fn definition(&self) -> String {
        format!("{} {}{}", self.quoted, self.data_type, if self.not_null { " NOT NULL" } else { "" })
    }
}

/// The Postgres type that holds every value of an Arrow type; times are cut to microseconds.
pub(crate) fn postgres_type(data_type: &DataType) -> Option<String> {
    let fixed = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20,0)",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            return Some(match u8::try_from(*scale) {
                Ok(scale) => format!("numeric({precision},{scale})"),
                // A negative scale counts zeros before the point: as many more digits without one.
                Err(_) => format!("numeric({},0)", u32::from(*precision) + u32::from(scale.unsigned_abs())),
            });
        }
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Duration(_) | DataType::Interval(_) => "interval",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea",
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return Some(if is_scalar(item.data_type()) {
                format!("{}[]", postgres_type(item.data_type())?)
            } else {
                "jsonb".to_owned()
            });
        }
        DataType::Struct(_) | DataType::Map(..) => "jsonb",
        DataType::Dictionary(_, values) => return postgres_type(values),
        _ => return None,
    };
    Some(fixed.to_owned())
}

/// Whether a value is one item of a Postgres array, and not a document.
pub(crate) fn is_scalar(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::Struct(_)
            | DataType::Map(..)
            | DataType::Union(..)
            | DataType::Dictionary(..)
            | DataType::RunEndEncoded(..)
    )
}

/// How the rows of a hot table are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One partition a day by this column; old days are dropped whole.
    Daily { column: usize },
    /// One table. Old rows are deleted where there is a time to judge by.
    Plain { time: Option<usize> },
}

/// A hot table, checked and spelled out.
#[derive(Debug, Clone)]
pub(crate) struct TableSql {
    /// `"schema"."table"`.
    pub(crate) qualified: String,
    pub(crate) columns: Vec<ColumnSql>,
    /// Indexes of the key's columns, in key order.
    pub(crate) key: Vec<usize>,
    pub(crate) layout: Layout,
    /// A key with a column that can be null: unique, with nulls as equals.
    nullable_key: bool,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) query: String,
}

impl TableSql {
    /// # Errors
    /// `Invalid` where a name or a type cannot be kept in Postgres, a key or time column does not exist, or rows do not only come.
    pub(crate) fn new(schema: &str, hot: &HotTable) -> Result<Self> {
        hot.check_changes()?;
        let index = |name: &str| {
            hot.schema.index_of(name).map_err(|_| {
                Error::invalid(format!("view {} has no column {name}", hot.query))
                    .hint("name columns of the SELECT list in 'primary-key'")
            })
        };
        let key = hot.primary_key.iter().map(|name| index(name)).collect::<Result<Vec<_>>>()?;
        let time = hot.time_column.as_deref().map(index).transpose()?;
        let time = time.filter(|&at| micros_per_unit(hot.schema.field(at).data_type()).is_some());
        let layout = match time {
            // A partitioned table's key must contain the partition column; and a null has no day.
            Some(column) if key.contains(&column) || (key.is_empty() && !hot.schema.field(column).is_nullable()) => {
                Layout::Daily { column }
            }
            time => Layout::Plain { time },
        };
        let columns = hot
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| column(hot, field, matches!(layout, Layout::Daily { column } if column == at)))
            .collect::<Result<Vec<_>>>()?;
        let nullable_key = key.iter().any(|&at| !columns[at].not_null);
        let sql = TableSql {
            qualified: format!("{}.{}", quote(schema)?, quote(&hot.table)?),
            columns,
            key,
            layout,
            nullable_key,
            schema: schema.to_owned(),
            table: hot.table.clone(),
            query: hot.query.clone(),
        };
        if [MARKER_TABLE, SET_ASIDE_TABLE, REFUSED_TABLE].contains(&hot.table.as_str()) {
            return Err(Error::invalid(format!("the name {} is taken by a table of the server's own", hot.table)));
        }
        Ok(sql)
    }

    /// The table with its key and its ownership comment.
    pub(crate) fn create(&self, version: u32) -> String {
        let mut parts: Vec<String> = self.columns.iter().map(ColumnSql::definition).collect();
        // `NULLS NOT DISTINCT` came with version 15. Before it a key column cannot be null, and a row with a null stops the sink.
        let unique_index = self.nullable_key && version >= 150_000;
        if !self.key.is_empty() && !unique_index {
            parts.push(format!("PRIMARY KEY ({})", self.key_list()));
        }
        let partition = match self.layout {
            Layout::Daily { column } => format!(" PARTITION BY RANGE ({})", self.columns[column].quoted),
            Layout::Plain { .. } => String::new(),
        };
        let mut sql = format!("CREATE TABLE {} ({}){partition};\n", self.qualified, parts.join(", "));
        if !self.key.is_empty() && unique_index {
            sql += &format!("CREATE UNIQUE INDEX ON {} ({}) NULLS NOT DISTINCT;\n", self.qualified, self.key_list());
        }
        sql + &self.comment_on()
    }

    fn key_list(&self) -> String {
        self.key.iter().map(|&at| self.columns[at].quoted.as_str()).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn column_list(&self) -> String {
        self.columns.iter().map(|column| column.quoted.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The temporary table that takes a delta, with the row's number within it. Also where another part of the rows had one before, in the
    /// same transaction.
    pub(crate) fn create_delta(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{} {}", column.quoted, column.data_type)).collect();
        format!(
            "DROP TABLE IF EXISTS pg_temp.{DELTA_TABLE}; \
             CREATE TEMPORARY TABLE {DELTA_TABLE} ({}, {DELTA_ROW} bigint) ON COMMIT DROP",
            columns.join(", ")
        )
    }

    pub(crate) fn copy_delta(&self) -> String {
        format!("COPY pg_temp.{DELTA_TABLE} ({}, {DELTA_ROW}) FROM STDIN", self.column_list())
    }

    /// Without a key rows go straight into the table.
    pub(crate) fn copy_rows(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.qualified, self.column_list())
    }

    /// Moves the delta from its temporary table into the hot table.
    pub(crate) fn merge_delta(&self) -> String {
        self.merge(&format!("pg_temp.{DELTA_TABLE}"))
    }

    /// Moves a delta into the hot table that comes as one `text[]` parameter a column.
    pub(crate) fn merge_arrays(&self) -> String {
        let parameters: Vec<String> = (1..=self.columns.len()).map(|number| format!("${number}")).collect();
        let typed: Vec<String> =
            self.columns.iter().map(|column| format!("{0}::{1} AS {0}", column.quoted, column.data_type)).collect();
        self.merge(&format!(
            "(SELECT {}, {DELTA_ROW} FROM unnest({}) WITH ORDINALITY AS texts ({}, {DELTA_ROW})) AS delta",
            typed.join(", "),
            parameters.join(", "),
            self.column_list()
        ))
    }

    /// Deletes the rows of keys that come as one `text[]` parameter a column of the key. `nulls`: which of the columns are NULL in all of
    /// them. `IS NOT DISTINCT FROM` would compare each row of the table with each key.
    pub(crate) fn delete_arrays(&self, nulls: &[bool]) -> String {
        let key = || self.key.iter().map(|&at| &self.columns[at]);
        let list = |texts: Vec<String>| texts.join(", ");
        let typed = list(key().map(|column| format!("{0}::{1} AS {0}", column.quoted, column.data_type)).collect());
        let parameters = list((1..=self.key.len()).map(|number| format!("${number}")).collect());
        let same = |(column, null): (&ColumnSql, &bool)| match null {
            true => format!("hot.{} IS NULL", column.quoted),
            false => format!("hot.{0} = gone.{0}", column.quoted),
        };
        let same: Vec<String> = key().zip(nulls).map(same).collect();
        format!(
            "DELETE FROM {} AS hot USING (SELECT {typed} FROM unnest({parameters}) AS texts ({})) AS gone WHERE {}",
            self.qualified,
            self.key_list(),
            same.join(" AND ")
        )
    }

    /// With a key, the last row of each, in key order, so that two writers lock in one order.
    fn merge(&self, delta: &str) -> String {
        let columns = self.column_list();
        if self.key.is_empty() {
            return format!(
                "INSERT INTO {} ({columns}) SELECT {columns} FROM {delta} ORDER BY {DELTA_ROW}",
                self.qualified
            );
        }
        let key = self.key_list();
        let updates: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(at, _)| !self.key.contains(at))
            .map(|(_, column)| format!("{0} = excluded.{0}", column.quoted))
            .collect();
        let action =
            if updates.is_empty() { "DO NOTHING".to_owned() } else { format!("DO UPDATE SET {}", updates.join(", ")) };
        format!(
            "INSERT INTO {} ({columns}) SELECT DISTINCT ON ({key}) {columns} FROM {delta} \
             ORDER BY {key}, {DELTA_ROW} DESC ON CONFLICT ({key}) {action}",
            self.qualified
        )
    }

    /// The name of a day's partition, `<table>_p20260131`.
    pub(crate) fn partition_name(&self, day: Day) -> String {
        partition_name(&self.table, day)
    }

    /// Creates a day's partition beside the table and attaches it, which does not block readers as `PARTITION OF` would.
    pub(crate) fn create_partition(&self, day: Day) -> Result<String> {
        let Layout::Daily { column } = self.layout else {
            return Err(Error::bug("a plain table has no partitions"));
        };
        let name = self.in_schema(&self.partition_name(day))?;
        let data_type = &self.columns[column].data_type;
        Ok(format!(
            "CREATE TABLE {name} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);\n\
             ALTER TABLE {} ATTACH PARTITION {name} FOR VALUES FROM ({}) TO ({});",
            self.qualified,
            self.qualified,
            day_literal(day, data_type),
            day_literal(day + 1, data_type)
        ))
    }

    /// A table of ours in the same schema, quoted.
    pub(crate) fn in_schema(&self, name: &str) -> Result<String> {
        Ok(format!("{}.{}", quote(&self.schema)?, quote(name)?))
    }

    pub(crate) fn day_literal(&self, column: usize, day: Day) -> String {
        day_literal(day, &self.columns[column].data_type)
    }
}

/// The table that holds a row per query, in the schema of the hot tables.
pub(crate) const MARKER_TABLE: &str = "touchline_commits";
/// The table that holds a row for each table that has been set aside, in the same schema.
pub(crate) const SET_ASIDE_TABLE: &str = "touchline_set_aside";
/// The table that holds the rows that were refused, in the same schema.
pub(crate) const REFUSED_TABLE: &str = "touchline_refused";
const DELTA_TABLE: &str = "touchline_delta";
/// Not a name a view's column is likely to have; a clash is an error of `CREATE TABLE`, not a wrong row.
const DELTA_ROW: &str = "\"touchline delta row\"";

fn column(hot: &HotTable, field: &Field, partitioned_by: bool) -> Result<ColumnSql> {
    let data_type = postgres_type(field.data_type()).ok_or_else(|| {
        Error::invalid(format!("column {} of view {} cannot be kept in Postgres", field.name(), hot.query))
            .detail(format!("there is no type for {}", field.data_type()))
            .hint("cast it in the query, or set 'postgres' = 'false' for the view")
    })?;
    Ok(ColumnSql {
        name: field.name().clone(),
        quoted: quote(field.name())?,
        data_type,
        not_null: !field.is_nullable() || partitioned_by,
    })
}

/// `name` + `suffix`, where the name is cut and told apart by a hash if it would be too long.
pub(super) fn cut(name: &str, suffix: &str) -> String {
    if name.len() + suffix.len() <= IDENTIFIER_BYTES_MAX {
        return format!("{name}{suffix}");
    }
    let mut end = IDENTIFIER_BYTES_MAX - suffix.len() - 9;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{}{suffix}", &name[..end], hex(&Sha256::digest(name.as_bytes())[..4]))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Microseconds in one unit of a time column, as `(multiply, divide)`; `None` where the type is not a point in time.
pub(crate) fn micros_per_unit(data_type: &DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::Timestamp(TimeUnit::Second, _) => (1_000_000, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => (1_000, 1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => (1, 1),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (1, 1_000),
        DataType::Date32 => (DAY_MICROS, 1),
        _ => return None,
    })
}

/// The day a moment falls on; `None` where no partition could hold it.
pub(crate) fn day_of(micros: Micros) -> Option<Day> {
    Some(micros.div_euclid(DAY_MICROS)).filter(|day| (DAY_MIN..=DAY_MAX).contains(day))
}

/// Year, month and day of month of the proleptic Gregorian calendar. Year 0 is 1 BC.
/// Hinnant's `civil_from_days`, which counts years from March so that the leap day comes last.
pub(crate) fn civil(day: Day) -> (i64, u32, u32) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(date).unwrap_or(1))
}

/// See [`TableSql::partition_name`].
pub(super) fn partition_name(table: &str, day: Day) -> String {
    let (year, month, date) = civil(day);
    let era = if year > 0 { "p" } else { "pbc" };
    let year = if year > 0 { year } else { 1 - year };
    cut(table, &format!("_{era}{year:04}{month:02}{date:02}"))
}

/// The day in a partition's name, as [`TableSql::partition_name`] wrote it; `None` for a partition that someone else made.
pub(crate) fn partition_day(name: &str) -> Option<Day> {
    let (_, suffix) = name.rsplit_once('_')?;
    let (digits, before_christ) = match suffix.strip_prefix("pbc") {
        Some(digits) => (digits, true),
        None => (suffix.strip_prefix('p')?, false),
    };
    if !(8..=10).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = digits.split_at(digits.len() - 4);
    let year: i64 = year.parse().ok()?;
    let day =
        days_from_civil(if before_christ { 1 - year } else { year }, rest[..2].parse().ok()?, rest[2..].parse().ok()?);
    Some(day)
}

/// The inverse of [`civil`].
fn days_from_civil(year: i64, month: i64, date: i64) -> Day {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let of_year = (153 * month_from_march + 2) / 5 + date - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// The first moment of a day as a literal of a date or timestamp type.
fn day_literal(day: Day, data_type: &str) -> String {
    let (year, month, date) = civil(day);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let time = match data_type {
        "date" => "",
        "timestamp with time zone" => " 00:00:00+00",
        _ => " 00:00:00",
    };
    format!("'{year:04}-{month:02}-{date:02}{time}{era}'")
}
