//! An error that a row has caused → its place in the text of the query, or of a view or function that the query uses.

use std::sync::Arc;

use super::plain_views::plain_views_of;
use super::plan::Tables;
use crate::catalog::{PlainView, ViewDef};
use crate::error::Error;
use crate::sql::{Code, Functions, Written, at_failed_value};

/// All texts that a query's expressions stand in.
#[derive(Debug)]
pub(super) struct ExpressionPlaces {
    view: ViewDef,
    plain_views: Vec<Arc<PlainView>>,
    functions: Arc<Functions>,
}

impl ExpressionPlaces {
    pub(super) fn of(view: &ViewDef, tables: &dyn Tables) -> Self {
        // A query that runs has been planned: its views do not stand too deeply.
        let plain_views = plain_views_of(&view.query, tables).unwrap_or_default();
        ExpressionPlaces { view: view.clone(), plain_views, functions: tables.functions() }
    }

    /// The error with the place of the expression, where it can be told; else with what it had.
    pub(super) fn locate(&self, error: Error) -> Error {
        let queries = std::iter::once((&self.view.location.file, &self.view.query))
            .chain(self.plain_views.iter().map(|view| (&view.location.file, &view.query)));
        let mut written = Vec::new();
        for (file, query) in queries {
            written.push(Written { file, code: Code::Query(query) });
            written.extend(self.functions.written(query));
        }
        at_failed_value(error, &self.view.location, &written)
    }
}

/// [`ExpressionPlaces::locate`] for one error.
pub fn at_its_expression(error: Error, view: &ViewDef, tables: &dyn Tables) -> Error {
    ExpressionPlaces::of(view, tables).locate(error)
}
