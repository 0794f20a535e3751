//! Options of a table that are about its columns: aliases, numbers as text, how times are written.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::DataType;

use super::ddl::unknown_column;
use super::options::{self, GivenOption};
use crate::catalog::{Column, ColumnKind, RecordRows};
use crate::error::Error;

pub(super) fn add_aliases(
    columns: &mut HashMap<String, Column>,
    given: Vec<(String, GivenOption)>,
    names: &[&str],
    errors: &mut Vec<Error>,
) {
    // A field may be called as a column that is computed.
    let is_decoded =
        |name: &&str| columns.get(*name).is_none_or(|column| !matches!(column.kind, ColumnKind::Computed(_)));
    let mut taken: HashSet<String> =
        names.iter().filter(|name| is_decoded(name)).map(|name| (*name).to_owned()).collect();
    for (name, option) in given {
        let Some(name) = named(name, &option, names, errors) else { continue };
        let Some(column) = columns.get_mut(&name) else { continue };
        let ColumnKind::Physical { aliases, .. } = &mut column.kind else {
            let what = if matches!(column.kind, ColumnKind::Computed(_)) { "computed" } else { "metadata" };
            errors.push(
                Error::invalid(format!("column \"{name}\" is {what} and has no field that could be called otherwise"))
                    .at(option.key_at),
            );
            continue;
        };
        match option.list() {
            Ok(list) => {
                if let Some(alias) = list.iter().find(|alias| !taken.insert((*alias).clone())) {
                    errors.push(
                        Error::invalid(format!("field \"{alias}\" would belong to two columns"))
                            .hint("each field name belongs to one column, by its name or as an alias")
                            .at(option.value_at),
                    );
                }
                *aliases = list;
            }
            Err(error) => errors.push(error),
        }
    }
}

/// The column that an option names behind its own name: as it stands, else as it would be named without quotes.
fn named(name: String, option: &GivenOption, names: &[&str], errors: &mut Vec<Error>) -> Option<String> {
    let unquoted = name.to_ascii_lowercase();
    match [name.as_str(), unquoted.as_str()].into_iter().find(|name| names.contains(name)) {
        Some(found) => Some(found.to_owned()),
        None => {
            let what = format!("option \"{}\"", option.key);
            errors.push(unknown_column(&what, &name, names).at(option.key_at.clone()));
            None
        }
    }
}

pub(super) fn set_timestamp_format(
    columns: &mut HashMap<String, Column>,
    option: &GivenOption,
    errors: &mut Vec<Error>,
) {
    let format = match options::timestamp_format(option) {
        Ok(format) => format,
        Err(error) => return errors.push(error),
    };
    let mut found = false;
    for column in columns.values_mut().filter(|column| has_timestamps(column)) {
        column.timestamps = format;
        found = true;
    }
    if !found {
        errors.push(
            Error::invalid(format!("option \"{}\" has no effect on a table without a timestamp", option.key))
                .hint("leave it out")
                .at(option.key_at.clone()),
        );
    }
}

pub(super) fn set_timestamp_formats(
    columns: &mut HashMap<String, Column>,
    given: Vec<(String, GivenOption)>,
    names: &[&str],
    errors: &mut Vec<Error>,
) {
    for (name, option) in given {
        let Some(name) = named(name, &option, names, errors) else { continue };
        let Some(column) = columns.get_mut(&name) else { continue };
        if !has_timestamps(column) {
            errors.push(
                Error::invalid(format!("option \"{}\" names a column without a timestamp in the record", option.key))
                    .hint(format!("declare it as {name} TIMESTAMP(3)"))
                    .at(option.key_at),
            );
            continue;
        }
        match options::timestamp_format(&option) {
            Ok(format) => column.timestamps = format,
            Err(error) => errors.push(error),
        }
    }
}

/// Whether values of a record become timestamps of the column.
fn has_timestamps(column: &Column) -> bool {
    fn inside(data_type: &DataType) -> bool {
        match data_type {
            DataType::Timestamp(..) => true,
            DataType::List(item) => inside(item.data_type()),
            DataType::Struct(fields) => fields.iter().any(|field| inside(field.data_type())),
            DataType::Map(entries, _) => inside(entries.data_type()),
            _ => false,
        }
    }
    matches!(column.kind, ColumnKind::Physical { .. }) && inside(&column.data_type)
}

pub(super) fn take_numbers_as_text(
    columns: &mut HashMap<String, Column>,
    option: &GivenOption,
    json: bool,
    names: &[&str],
    errors: &mut Vec<Error>,
) {
    if !json {
        let error = Error::invalid(format!("option \"{}\" has no effect on a format other than 'json'", option.key));
        errors.push(error.hint("leave it out").at(option.key_at.clone()));
        return;
    }
    let list = match option.list() {
        Ok(list) => list,
        Err(error) => return errors.push(error),
    };
    for name in list {
        if !names.contains(&name.as_str()) {
            errors
                .push(unknown_column(&format!("option \"{}\"", option.key), &name, names).at(option.value_at.clone()));
            continue;
        }
        // A column that is missing here has had its mistake noted.
        let Some(column) = columns.get_mut(&name) else { continue };
        match &mut column.kind {
            ColumnKind::Physical { numbers_as_text, .. }
                if column.data_type == DataType::Utf8View && !column.reading.json.is_whole() =>
            {
                *numbers_as_text = true;
            }
            _ => errors.push(
                Error::invalid(format!("option \"{}\" names column \"{name}\", which is not read as text", option.key))
                    .hint("it is for columns of type VARCHAR")
                    .at(option.value_at.clone()),
            ),
        }
    }
}

/// Columns that are read from the record and not from the element that is the row.
pub(super) fn set_paths(
    columns: &mut HashMap<String, Column>,
    given: Vec<(String, GivenOption)>,
    rows: &RecordRows,
    names: &[&str],
    errors: &mut Vec<Error>,
) {
    for (name, option) in given {
        let Some(name) = named(name, &option, names, errors) else { continue };
        if !matches!(rows, RecordRows::Elements(_)) {
            errors.push(
                Error::invalid(format!(
                    "option \"{}\" has no effect on a table whose rows are no elements",
                    option.key
                ))
                .hint("add 'json.rows' = '$.events[*]', or leave it out")
                .at(option.key_at),
            );
            continue;
        }
        let Some(column) = columns.get_mut(&name) else { continue };
        let wrong = match &column.kind {
            ColumnKind::Metadata(_) => Some("is metadata and has no field"),
            ColumnKind::Computed(_) => Some("is computed and has no field"),
            ColumnKind::Physical { aliases, .. } if !aliases.is_empty() => {
                Some("has other names for its field, which a path has not")
            }
            ColumnKind::Physical { .. } => None,
        };
        match (wrong, options::field_path(&option, &option.value)) {
            (Some(wrong), _) => {
                let error = Error::invalid(format!("column \"{name}\" {wrong}"));
                errors.push(error.hint(format!("leave \"{}\" out", option.key)).at(option.key_at));
            }
            (None, Ok(path)) => column.reading.path = Some(path),
            (None, Err(error)) => errors.push(error),
        }
    }
}

/// `'on-null' = 'default'`.
pub(super) fn set_on_null(
    columns: &mut HashMap<String, Column>,
    option: &GivenOption,
    json: bool,
    errors: &mut Vec<Error>,
) {
    let is_default = match option.value.as_str() {
        "default" => true,
        "null" => false,
        _ => return errors.push(option.wrong("it is 'null' or 'default'")),
    };
    if !json {
        return errors.push(option.without_effect("a format other than 'json'"));
    }
    let mut found = false;
    for column in columns.values_mut().filter(|column| column.reading.default.is_some()) {
        column.reading.null_is_default = is_default;
        found = true;
    }
    if !found {
        errors.push(option.without_effect("a table without a DEFAULT"));
    }
}

#[cfg(test)]
mod tests;
