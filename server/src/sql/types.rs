//! Types of columns that DataFusion's SQL does not have: JSON, and MAP<VARCHAR, type>.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType};

use super::ddl::arrow_type;
use crate::catalog::JsonPlaces;

/// Teaches DataFusion's planner these types, wherever they stand in others.
#[derive(Debug)]
pub(super) struct MoreTypes;

impl TypePlanner for MoreTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            // Text; where it stands, a table knows by `json_places`.
            SqlType::JSON => DataType::Utf8View,
            SqlType::Map(key, value) => map(key, value)?,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
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
        _ => plan_err!("no column is of type MAP<{key}, {value}>"),
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
