//! Files that a query reads by their names, without a declaration: `SELECT … FROM 'clicks.ndjson'`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Query, TableFactor, Visit, Visitor};

use crate::error::Location;

/// What stands in single quotes where a table is named, at any depth.
pub(super) fn named_files(query: &Query) -> BTreeSet<String> {
    let mut named = Named::default();
    let _ = query.visit(&mut named);
    named.0
}

/// The path as it counts from the file of the statement at `place`.
pub(super) fn beside(name: &str, place: &Location) -> PathBuf {
    let folder = Path::new(&place.file).parent().unwrap_or(Path::new(""));
    let path = folder.join(name);
    std::path::absolute(&path).unwrap_or(path)
}

#[derive(Default)]
struct Named(BTreeSet<String>);

impl Visitor for Named {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name: ObjectName(parts), args: None, .. } = factor
            && let [ObjectNamePart::Identifier(Ident { value, quote_style: Some('\''), .. })] = parts.as_slice()
        {
            self.0.insert(value.clone());
        }
        ControlFlow::Continue(())
    }
}
