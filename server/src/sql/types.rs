//! Types of SQL that DataFusion does not know, or takes for another one: in the columns of tables and in casts alike.
//!
//! | type | Arrow |
//! | --- | --- |
//! | `TIMESTAMP(p) WITH TIME ZONE`, `TIMESTAMPTZ(p)`, Flink's `TIMESTAMP_LTZ(p)` and `TIMESTAMP(p) WITH LOCAL TIME ZONE` | a timestamp in UTC: an instant |
//! | `TIMESTAMP_NTZ(p)` | a timestamp without a zone, as `TIMESTAMP(p)` |
//! | `BYTES`, `VARBINARY`, `BLOB` without a length | binary, as `BYTEA` |
//! | `MAP<VARCHAR, type>` | a map |
//! | `JSON`, of a column alone | a text; where in a column's type it stands, `json_places` says |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, ObjectName, ObjectNamePart, TimezoneInfo,
};

use super::ddl::arrow_type;
use crate::catalog::JsonPlaces;

/// The zone of all instants, as Arrow writes it.
pub(crate) const UTC: &str = "+00:00";

/// Reads the types of the module's table, wherever they stand in others. Without it DataFusion drops a time zone and says nothing.
#[derive(Debug)]
pub(crate) struct StreamTypes;

impl TypePlanner for StreamTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            SqlType::Timestamp(precision, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
                instant(sql_type, *precision)?
            }
            SqlType::Custom(name, modifiers) if is_named(name, "TIMESTAMP_LTZ") => {
                let precision = match modifiers.as_slice() {
                    [] => None,
                    // What is no number is no precision either.
                    [precision, rest @ ..] => {
                        Some(precision.parse().ok().filter(|_| rest.is_empty()).unwrap_or(u64::MAX))
                    }
                };
                instant(sql_type, precision)?
            }
            SqlType::TimestampNtz(precision) => DataType::Timestamp(unit(sql_type, *precision)?, None),
            SqlType::Bytes(None) | SqlType::Varbinary(None) | SqlType::Blob(None) => DataType::Binary,
            SqlType::Map(key, value) => map(key, value)?,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// Reads what a column may be declared as beside: its values are looked at, which those of a cast to JSON would not be.
#[derive(Debug)]
pub(super) struct ColumnTypes;

impl TypePlanner for ColumnTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        match sql_type {
            SqlType::JSON => Ok(Some(Arc::new(Field::new("", DataType::Utf8View, true)))),
            other => StreamTypes.plan_type_field(other),
        }
    }
}

/// The names of fields in JSON are texts, so a map's keys are.
fn map(key: &SqlType, value: &SqlType) -> Result<DataType> {
    let is_text = *key != SqlType::JSON && arrow_type(key) == Some(DataType::Utf8View);
    match arrow_type(value) {
        Some(value) if is_text => {
            let entry =
                Fields::from(vec![Field::new("key", DataType::Utf8View, false), Field::new("value", value, true)]);
            Ok(DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false))
        }
        _ => plan_err!("MAP<{key}, {value}> is not available: a map is from VARCHAR to a type of a column"),
    }
}

/// Where in values of a type JSON is kept as text.
pub(super) fn json_places(sql_type: &SqlType) -> JsonPlaces {
    match sql_type {
        SqlType::JSON => JsonPlaces(vec![Vec::new()]),
        SqlType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => json_places(item).under(0),
        SqlType::Map(_, value) => json_places(value).under(0),
        SqlType::Struct(fields, _) => {
            let inside = fields.iter().enumerate().flat_map(|(at, field)| json_places(&field.field_type).under(at).0);
            JsonPlaces(inside.collect())
        }
        _ => JsonPlaces::default(),
    }
}

fn is_named(name: &ObjectName, word: &str) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(part)]
        if part.quote_style.is_none() && part.value.eq_ignore_ascii_case(word))
}

fn instant(sql_type: &SqlType, precision: Option<u64>) -> Result<DataType> {
    Ok(DataType::Timestamp(unit(sql_type, precision)?, Some(UTC.into())))
}

fn unit(sql_type: &SqlType, precision: Option<u64>) -> Result<TimeUnit> {
    match precision {
        Some(0) => Ok(TimeUnit::Second),
        Some(3) => Ok(TimeUnit::Millisecond),
        Some(6) => Ok(TimeUnit::Microsecond),
        // As DataFusion has it of a TIMESTAMP.
        None | Some(9) => Ok(TimeUnit::Nanosecond),
        Some(_) => plan_err!("{sql_type} is not available: a precision is 0, 3, 6 or 9"),
    }
}

/// Whether these time zones are one and the same, and so an instant of the one is the same time of the other: a time without a zone is
/// in UTC.
pub(crate) fn same_zone(one: Option<&Arc<str>>, other: Option<&Arc<str>>) -> bool {
    let is_utc = |zone: Option<&Arc<str>>| zone.is_none_or(|zone| matches!(zone.as_ref(), UTC | "UTC" | "Z"));
    one == other || (is_utc(one) && is_utc(other))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::sql::dialect::StreamDialect;

    fn of(text: &str) -> Option<DataType> {
        let dialect = StreamDialect::default();
        let mut parser = Parser::new(&dialect).try_with_sql(text).expect("tokens");
        arrow_type(&parser.parse_data_type().expect("a type"))
    }

    #[test]
    fn every_spelling_of_a_type_is_that_type() {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        let instant = |unit| DataType::Timestamp(unit, Some(UTC.into()));
        for (spellings, data_type) in [
            (
                &["TIMESTAMP_LTZ(3)", "timestamp_ltz(3)", "TIMESTAMPTZ(3)", "TIMESTAMP(3) WITH TIME ZONE"][..],
                instant(Millisecond),
            ),
            (&["TIMESTAMP_LTZ(0)"][..], instant(Second)),
            (&["TIMESTAMP_LTZ(6)", "TIMESTAMP(6) WITH TIME ZONE"][..], instant(Microsecond)),
            (&["TIMESTAMP_LTZ", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"][..], instant(Nanosecond)),
            (
                &["TIMESTAMP_NTZ(3)", "TIMESTAMP(3) WITHOUT TIME ZONE", "TIMESTAMP(3)"][..],
                DataType::Timestamp(Millisecond, None),
            ),
            (&["BYTES", "bytea", "VARBINARY", "BLOB"][..], DataType::Binary),
            (&["STRING", "TEXT", "VARCHAR"][..], DataType::Utf8View),
            (&["INT", "INTEGER", "INT4"][..], DataType::Int32),
            (&["BIGINT UNSIGNED"][..], DataType::UInt64),
            (&["ARRAY<TIMESTAMP_LTZ(3)>", "TIMESTAMPTZ(3)[]"][..], DataType::new_list(instant(Millisecond), true)),
        ] {
            for spelling in spellings {
                assert_eq!(of(spelling), Some(data_type.clone()), "{spelling}");
            }
        }
        for other in ["TIMESTAMP_LTZ(2)", "TIMESTAMP_LTZ(x)", "TIMESTAMP_LTZ(3, 3)", "BYTES(8)", "TIMESTAMP_TTZ(3)"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn utc_is_one_zone_whatever_it_is_called() {
        let zone = |name: &str| Some(Arc::<str>::from(name));
        assert!(same_zone(None, zone("UTC").as_ref()) && same_zone(zone(UTC).as_ref(), zone("UTC").as_ref()));
        assert!(same_zone(zone("Europe/Berlin").as_ref(), zone("Europe/Berlin").as_ref()));
        assert!(!same_zone(None, zone("Europe/Berlin").as_ref()) && !same_zone(zone("+01:00").as_ref(), None));
    }
}
