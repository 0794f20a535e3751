//! Which of a file's columns is the table's: the one of its exact name or alias, else the one that differs in capitals alone.

use std::collections::BTreeSet;

use crate::catalog::{Column, TableDef};
use crate::decode::spelling::{are_alike, folded};
use crate::error::{Error, Result};

/// The names of a table's columns, in order.
pub(super) struct Header {
    names: Vec<(String, Vec<String>)>,
}

impl Header {
    pub(super) fn new(def: &TableDef) -> Self {
        let names = |column: &Column| column.field_names().map(str::to_owned).collect();
        Header { names: def.columns.iter().map(|column| (column.name.clone(), names(column))).collect() }
    }

    /// The place of `column` among `has`, the columns of `file`.
    ///
    /// # Errors
    /// `Invalid` where there is none, with what the file has, and where there are several that differ in capitals alone.
    pub(super) fn find(&self, column: &Column, file: &str, has: &[&str]) -> Result<usize> {
        let exact = column.field_names().find_map(|name| has.iter().position(|found| *found == name));
        if let Some(place) = exact {
            return Ok(place);
        }
        // Whatever is another column's by its capitals alone stands for neither.
        let others: BTreeSet<String> = self.others(column).map(folded).collect();
        let own: BTreeSet<String> = column.field_names().map(folded).filter(|name| !others.contains(name)).collect();
        let places: Vec<usize> = (0..has.len()).filter(|place| own.contains(&folded(has[*place]))).collect();
        match places.as_slice() {
            [place] => Ok(*place),
            [] => Err(self.missing(column, file, has)),
            [one, other, ..] => Err(Error::invalid(format!(
                "file {file} spells column \"{}\" in two ways, \"{}\" and \"{}\"",
                column.name, has[*one], has[*other]
            ))
            .hint(format!("name the right one in 'aliases.{}'", column.name))),
        }
    }

    fn others<'a>(&'a self, column: &'a Column) -> impl Iterator<Item = &'a str> {
        self.names.iter().filter(|(name, _)| *name != column.name).flat_map(|(_, names)| names).map(String::as_str)
    }

    fn missing(&self, column: &Column, file: &str, has: &[&str]) -> Error {
        let is_anothers = |name: &str| self.others(column).any(|other| other == name);
        let alike = |name: &str| column.field_names().any(|own| are_alike(own, name)) && !is_anothers(name);
        let error = Error::invalid(format!("file {file} has no column \"{}\"", column.name))
            .detail(format!("its columns are: {}", has.join(", ")));
        match has.iter().find(|name| alike(name)) {
            Some(near) => error.hint(format!("if \"{near}\" is it, add 'aliases.{}' = '{near}'", column.name)),
            None => error.hint("correct the CREATE TABLE, or name the file's column in 'aliases.<column>'"),
        }
    }
}
