//! What stands in a text that holds JSON: the operators `->` and `->>`, and the functions of SQL/JSON.
//!
//! Nothing here is an error of the data: a text that is no JSON, a value that is not there, or one of another kind gives NULL. What
//! is found is a part of the text, so no result is longer than its argument.

mod operators;
mod path;
mod text;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, plan_err};

pub(crate) use self::operators::JsonOperators;
pub use self::path::{Path, Step};
use self::text::{Kind, NotJson, Value, find};
use crate::Function;
use crate::describe::{Description, describe};
use crate::scalar::{Arguments, Column, scalar, scalar_with};

/// Whether a text is JSON: one value and nothing else, nested no deeper than these functions read.
pub fn is_json(text: &str) -> bool {
    find(text, &[]).is_ok()
}

describe! {
    /// The field of an object, as JSON: what `json -> 'field'` means.
    ///
    /// NULL where there is no such field, where json is no object, and where it is no JSON; a field that is null is `null`. Of a name
    /// that stands twice the last one counts. Source: PostgreSQL.
    JSON_OBJECT_FIELD = json_object_field(json: Varchar, field: Varchar) -> "VARCHAR"
}

pub(crate) fn json_object_field() -> Function {
    of_field(&JSON_OBJECT_FIELD, as_json)
}

describe! {
    /// The field of an object, as text: what `json ->> 'field'` means.
    ///
    /// A string is without its quotes and escapes, all else as it stands in the JSON; a field that is null is NULL. Otherwise as
    /// `json_object_field`. Source: PostgreSQL.
    JSON_OBJECT_FIELD_TEXT = json_object_field_text(json: Varchar, field: Varchar) -> "VARCHAR"
}

pub(crate) fn json_object_field_text() -> Function {
    of_field(&JSON_OBJECT_FIELD_TEXT, |value| value.unquoted())
}

describe! {
    /// The item of an array, as JSON: what `json -> 0` means.
    ///
    /// index: from 0; -1 is the last one. NULL where there is no such item, where json is no array, and where it is no JSON; an item
    /// that is null is `null`. Source: PostgreSQL.
    JSON_ARRAY_ELEMENT = json_array_element(json: Varchar, index: BigInt) -> "VARCHAR"
}

pub(crate) fn json_array_element() -> Function {
    of_element(&JSON_ARRAY_ELEMENT, as_json)
}

describe! {
    /// The item of an array, as text: what `json ->> 0` means.
    ///
    /// As `json_array_element`, a string without its quotes and escapes, and null as NULL. Source: PostgreSQL.
    JSON_ARRAY_ELEMENT_TEXT = json_array_element_text(json: Varchar, index: BigInt) -> "VARCHAR"
}

pub(crate) fn json_array_element_text() -> Function {
    of_element(&JSON_ARRAY_ELEMENT_TEXT, |value| value.unquoted())
}

describe! {
    /// The string, number or boolean at a path, as text.
    ///
    /// path: `$`, then `.name`, `['name']` and `[0]`, as in `$.player.positions[2]`. NULL where nothing is there, where it is null, an
    /// object or an array, and where json is no JSON. `json_value(j, '$.n' RETURNING BIGINT)` is `TRY_CAST(json_value(j, '$.n') AS
    /// BIGINT)`. Source: SQL/JSON, with NULL ON EMPTY NULL ON ERROR.
    JSON_VALUE = json_value(json: Varchar, path: Varchar) -> "VARCHAR"
}

pub(crate) fn json_value() -> Function {
    of_path(&JSON_VALUE, |value| match value.kind() {
        Kind::Object | Kind::Array => None,
        _ => value.unquoted(),
    })
}

describe! {
    /// The object or array at a path, as JSON.
    ///
    /// path: as of `json_value`. NULL where there is anything else or nothing, and where json is no JSON. Source: SQL/JSON, without a
    /// wrapper, NULL ON EMPTY NULL ON ERROR.
    JSON_QUERY = json_query(json: Varchar, path: Varchar) -> "VARCHAR"
}

pub(crate) fn json_query() -> Function {
    of_path(&JSON_QUERY, |value| match value.kind() {
        Kind::Object | Kind::Array => as_json(value),
        _ => None,
    })
}

describe! {
    /// Whether there is a value at a path; a null is one.
    ///
    /// path: as of `json_value`. False where json is no JSON, NULL where it is NULL. Source: SQL/JSON, with FALSE ON ERROR.
    JSON_EXISTS = json_exists(json: Varchar, path: Varchar) -> "BOOLEAN"
}

pub(crate) fn json_exists() -> Function {
    scalar_with(&JSON_EXISTS, DataType::Boolean, path_is_one, |arguments| {
        let exists = at_path(arguments, |found| Some(matches!(found, Ok(Some(_)))))?;
        Ok(Arc::new(BooleanArray::from(exists)))
    })
}

describe! {
    /// How many items an array has.
    ///
    /// NULL where json is no array, or no JSON. Source: PostgreSQL, where these are errors.
    JSON_ARRAY_LENGTH = json_array_length(json: Varchar) -> "BIGINT"
}

pub(crate) fn json_array_length() -> Function {
    scalar(&JSON_ARRAY_LENGTH, DataType::Int64, |arguments| {
        let lengths = whole(arguments, |value| i64::try_from(value.items()?).ok())?;
        Ok(Arc::new(Int64Array::from(lengths)))
    })
}

describe! {
    /// Of which kind a JSON value is: `object`, `array`, `string`, `number`, `boolean` or `null`.
    ///
    /// NULL where json is no JSON. Source: PostgreSQL.
    JSON_TYPEOF = json_typeof(json: Varchar) -> "VARCHAR"
}

pub(crate) fn json_typeof() -> Function {
    scalar(&JSON_TYPEOF, DataType::Utf8View, |arguments| {
        let kinds = whole(arguments, |value| {
            Some(match value.kind() {
                Kind::Object => "object",
                Kind::Array => "array",
                Kind::String => "string",
                Kind::Number => "number",
                Kind::Boolean => "boolean",
                Kind::Null => "null",
            })
        })?;
        Ok(shown(kinds.into_iter().map(|kind: Option<&'static str>| kind.map(Cow::Borrowed))))
    })
}

fn as_json(value: Value<'_>) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(value.text()))
}

type Show = for<'a> fn(Value<'a>) -> Option<Cow<'a, str>>;

/// A function of the field that its second argument names.
fn of_field(description: &'static Description, show: Show) -> Function {
    scalar(description, DataType::Utf8View, move |arguments| {
        let (texts, names) = (arguments.words(0)?, arguments.words(1)?);
        let value = |row| find(texts.get(row)?, &[Step::Field(names.get(row)?)]).ok()?;
        Ok(shown((0..arguments.rows).map(|row| show(value(row)?))))
    })
}

/// A function of the item at the place that its second argument is.
fn of_element(description: &'static Description, show: Show) -> Function {
    scalar(description, DataType::Utf8View, move |arguments| {
        let (texts, places) = (arguments.words(0)?, arguments.integers(1)?);
        let value = |row| find(texts.get(row)?, &[Step::Element(places.get(row)?)]).ok()?;
        Ok(shown((0..arguments.rows).map(|row| show(value(row)?))))
    })
}

/// A function of the value at the path that its second argument is.
fn of_path(description: &'static Description, show: Show) -> Function {
    scalar_with(description, DataType::Utf8View, path_is_one, move |arguments| {
        let values = at_path(arguments, |found| show(found.ok()??))?;
        Ok(shown(values.into_iter()))
    })
}

fn shown<'a>(values: impl Iterator<Item = Option<Cow<'a, str>>>) -> ArrayRef {
    let mut texts = StringViewBuilder::new();
    values.for_each(|value| texts.append_option(value));
    Arc::new(texts.finish())
}

/// What `read` makes of the first argument as a whole, row by row; NULL where it is no JSON.
fn whole<'a, T>(arguments: &Arguments<'a>, read: impl Fn(Value<'a>) -> Option<T>) -> Result<Vec<Option<T>>> {
    let texts = arguments.words(0)?;
    Ok((0..arguments.rows).map(|row| read(find(texts.get(row)?, &[]).ok()??)).collect())
}

/// What `read` makes of that which is found at a path, row by row; NULL where an argument is, or where the path is none.
fn at_path<'a, T>(
    arguments: &Arguments<'a>,
    read: impl Fn(Result<Option<Value<'a>>, NotJson>) -> Option<T>,
) -> Result<Vec<Option<T>>> {
    let (texts, paths) = (arguments.words(0)?, arguments.words(1)?);
    let constant = match &paths {
        Column::Constant(Some(path)) => Path::parse(path).ok(),
        _ => None,
    };
    let steps = constant.as_ref().map(Path::steps);
    let value = |row| {
        let text = texts.get(row)?;
        match &steps {
            Some(steps) => read(find(text, steps)),
            None => read(find(text, &Path::parse(paths.get(row)?).ok()?.steps())),
        }
    };
    Ok((0..arguments.rows).map(value).collect())
}

/// Refuses a path that is none where it is written into the query: there it is a mistake, and not a matter of the data.
fn path_is_one(description: &Description, constants: &[Option<&ScalarValue>]) -> Result<()> {
    let path = constants.get(1).copied().flatten().and_then(|path| path.try_as_str().flatten());
    match path.map(Path::parse) {
        Some(Err(why)) => plan_err!("{}: {why}", description.name),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
