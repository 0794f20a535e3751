//! Why a record became no row, and how that is told.

use std::fmt;

use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;

use crate::catalog::{Check, TimestampFormat};
use crate::decode::time::{NoTime, digits, plausible, range};

/// How many bytes of a value a reason quotes.
const QUOTE_BYTES_MAX: usize = 64;

/// Why a value of the right kind does not fit.
pub(super) const OUT_OF_RANGE: &str = "out of range";

/// A record that is no row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// The column's path, as in `player.positions[2].x`; `None` where the record as a whole is not readable.
    pub column: Option<String>,
    /// One sentence: what was found and what the schema says.
    pub reason: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for RowError {}

/// The same, on its way up: a path grows by each level it passes. Boxed, so that what succeeds returns in registers.
pub(super) enum Fault {
    Syntax {
        at: usize,
        what: &'static str,
    },
    /// The value at hand does not fit, with a word more on why; the column makes a [`Fault::Value`] of it.
    Mismatch(Option<&'static str>),
    Value {
        path: String,
        /// What the field is, as in `is 12; the schema says varchar`.
        says: String,
        /// The field of the record itself in which it lies.
        column: String,
        hint: Option<Hint>,
    },
    /// The record as a whole is not what was expected.
    Record(String),
}

/// What may be meant instead, and what to write then.
pub(super) enum Hint {
    /// A number that would be `time` in another format.
    Format { name: &'static str, time: String },
    /// A field whose name is nearly that of the missing one.
    Spelled(String),
}

impl Hint {
    /// `path`: of the value, in `column`.
    fn says(&self, path: &str, column: &str) -> String {
        match self {
            Hint::Format { name, time } => {
                format!("; as {name} it would be {time}: if it is, add 'timestamp-format.{column}' = '{name}'")
            }
            Hint::Spelled(seen) if path == column => {
                format!("; the record has \"{seen}\": if that is it, add 'aliases.{column}' = '{seen}'")
            }
            Hint::Spelled(seen) => {
                format!("; the record has \"{seen}\": if that is it, declare the field by that name")
            }
        }
    }
}

impl Fault {
    #[cold]
    pub(super) fn syntax(at: usize, what: &'static str) -> Box<Self> {
        Box::new(Fault::Syntax { at, what })
    }

    #[cold]
    pub(super) fn mismatch(why: Option<&'static str>) -> Box<Self> {
        Box::new(Fault::Mismatch(why))
    }

    #[cold]
    pub(super) fn record(reason: String) -> Box<Self> {
        Box::new(Fault::Record(reason))
    }

    #[cold]
    pub(super) fn value(says: String) -> Box<Self> {
        Box::new(Fault::Value { path: String::new(), says, column: String::new(), hint: None })
    }

    pub(super) fn with_hint(mut self: Box<Self>, found: Hint) -> Box<Self> {
        if let Fault::Value { hint, .. } = self.as_mut() {
            *hint = Some(found);
        }
        self
    }

    pub(super) fn is_out_of_range(&self) -> bool {
        matches!(self, Fault::Mismatch(Some(OUT_OF_RANGE)))
    }

    /// A value found where the schema wants something else.
    pub(super) fn unfit(found: &[u8], why: Option<&'static str>, wanted: &str) -> Box<Self> {
        let why = why.map(|why| format!(", {why}")).unwrap_or_default();
        Fault::value(format!("is {}{why}; the schema says {wanted}", quote(found)))
    }

    /// A value that is no time of the column. `found`: a text has its quotes.
    pub(super) fn no_time(
        found: &[u8],
        why: Option<&'static str>,
        data_type: &DataType,
        format: TimestampFormat,
    ) -> Box<Self> {
        let number = !found.starts_with(b"\"");
        let why = match (why, data_type, format.epoch_unit().and_then(|unit| TimestampFormat::Epoch(unit).name())) {
            (Some(OUT_OF_RANGE), DataType::Timestamp(unit, _), Some(name)) if number => {
                format!(", which as {name} lies outside {}", range(*unit))
            }
            (Some(OUT_OF_RANGE), DataType::Timestamp(unit, _), _) => format!(", outside {}", range(*unit)),
            (why, ..) => why.map(|why| format!(", {why}")).unwrap_or_default(),
        };
        let wanted = match format.name() {
            Some(name) => format!("{} as {name}", sql_type(data_type)),
            None => sql_type(data_type),
        };
        let fault = Fault::value(format!("is {}{why}; the schema says {wanted}", quote(found)));
        let count = std::str::from_utf8(found).ok().and_then(|text| text.split('.').next()?.parse().ok());
        match count.and_then(|count| plausible(count, format)) {
            Some((other, time)) => fault.with_hint(Hint::Format { name: other.name().unwrap_or_default(), time }),
            None => fault,
        }
    }

    /// Names the field in which it happened.
    pub(super) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        if let Fault::Value { column, .. } = self.as_mut() {
            name.clone_into(column);
        }
        self.under(|path| match path.as_bytes().first() {
            None => name.to_owned(),
            Some(b'[') => format!("{name}{path}"),
            Some(_) => format!("{name}.{path}"),
        })
    }

    /// Names the item of a list in which it happened, from 0.
    pub(super) fn in_item(self: Box<Self>, index: usize) -> Box<Self> {
        self.under(|path| match path.as_bytes().first() {
            None | Some(b'[') => format!("[{index}]{path}"),
            Some(_) => format!("[{index}].{path}"),
        })
    }

    fn under(mut self: Box<Self>, name: impl FnOnce(&str) -> String) -> Box<Self> {
        if let Fault::Value { path, .. } = self.as_mut() {
            *path = name(path);
        }
        self
    }
}

impl From<Box<Fault>> for RowError {
    fn from(fault: Box<Fault>) -> Self {
        match *fault {
            Fault::Syntax { at, what } => {
                RowError { column: None, reason: format!("the record is not valid JSON at byte {at}: {what}") }
            }
            // Columns make values of their mismatches, so this one is not about a column.
            Fault::Mismatch(why) => RowError { column: None, reason: why.unwrap_or("the record does not fit").into() },
            Fault::Record(reason) => RowError { column: None, reason },
            Fault::Value { path, says, column, hint } => {
                let hint = hint.map(|hint| hint.says(&path, &column)).unwrap_or_default();
                RowError { reason: format!("field \"{path}\" {says}{hint}"), column: Some(path) }
            }
        }
    }
}

/// Why a row of an array is no row of the table, in the words used of a record.
pub(crate) fn refusal(field: &str, check: &Check, values: &dyn Array, row: usize) -> String {
    let value = array_value_to_string(values, row).unwrap_or_default();
    let value = if values.data_type() == &DataType::Utf8View { format!("\"{value}\"") } else { value };
    format!("field \"{field}\" is {}; the schema says {}", quote(value.as_bytes()), check.says())
}

/// Why a value of a file is no time of the column, in the words used of a record.
pub(crate) fn time_refusal(
    field: &str,
    found: &str,
    is_text: bool,
    no_time: NoTime,
    data_type: &DataType,
    format: TimestampFormat,
) -> String {
    let found = if is_text { format!("\"{found}\"") } else { found.to_owned() };
    let why = (no_time == NoTime::Range).then_some(OUT_OF_RANGE);
    RowError::from(Fault::no_time(found.as_bytes(), why, data_type, format).in_field(field)).reason
}

/// The beginning of a value, for people.
pub(crate) fn quote(value: &[u8]) -> String {
    if value.len() <= QUOTE_BYTES_MAX {
        return String::from_utf8_lossy(value).into_owned();
    }
    let mut end = QUOTE_BYTES_MAX;
    while end > QUOTE_BYTES_MAX - 3 && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    format!("{}…", String::from_utf8_lossy(&value[..end]))
}

/// The type as a schema file spells it.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::UInt8 => "tinyint unsigned".into(),
        DataType::UInt16 => "smallint unsigned".into(),
        DataType::UInt32 => "int unsigned".into(),
        DataType::UInt64 => "bigint unsigned".into(),
        DataType::Float32 => "real".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Date32 => "date, as 'YYYY-MM-DD'".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({}), as 'HH:MM:SS'", digits(*unit)),
        DataType::Timestamp(unit, None) => format!("timestamp({})", digits(*unit)),
        DataType::Timestamp(unit, Some(_)) => format!("timestamp({}) with time zone", digits(*unit)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea, as base64 text".into(),
        DataType::Struct(_) => "struct".into(),
        DataType::List(item) | DataType::LargeList(item) => format!("list of {}", sql_type(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => {
                format!("map from {} to {}", sql_type(parts[0].data_type()), sql_type(parts[1].data_type()))
            }
            _ => "map".into(),
        },
        other => other.to_string(),
    }
}
