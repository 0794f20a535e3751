//! An error that a row has caused → its place in the text of the query, or of a view or function that the query uses.

use super::plain_views::plain_views_of;
use super::plan::Tables;
use crate::catalog::ViewDef;
use crate::error::Error;
use crate::sql::{Code, Written, at_failed_value};

/// The error with the place of the expression, where it can be told; else with what it had.
pub fn at_its_expression(error: Error, view: &ViewDef, tables: &dyn Tables) -> Error {
    // A query that runs has been planned: its views do not stand too deeply.
    let plain_views = plain_views_of(&view.query, tables).unwrap_or_default();
    let functions = tables.functions();
    let queries = std::iter::once((&view.location.file, &view.query))
        .chain(plain_views.iter().map(|view| (&view.location.file, &view.query)));
    let mut written = Vec::new();
    for (file, query) in queries {
        written.push(Written { file, code: Code::Query(query) });
        written.extend(functions.written(query));
    }
    at_failed_value(error, &view.location, &written)
}
