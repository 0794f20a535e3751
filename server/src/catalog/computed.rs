//! What a computed column is computed from, and how: `name AS expression`.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::Expr;

use crate::error::Location;

/// The expression of a computed column, planned over the columns of its row that it reads.
#[derive(Clone)]
pub struct Computed {
    /// Indices into the table's columns, ascending.
    pub reads: Vec<usize>,
    /// Those columns as the expression sees them. Of another computed column any value may be NULL there: it has not been held to
    /// its rules yet.
    pub over: SchemaRef,
    pub physical: Arc<dyn PhysicalExpr>,
    /// As it is written, for messages and fingerprints.
    pub written: Box<Expr>,
    pub at: Location,
}

/// Two are the same where they are written the same: the rest follows from that and from the table.
impl PartialEq for Computed {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written && self.reads == other.reads
    }
}

impl Eq for Computed {}

/// The text alone, which fingerprints of queries are made of.
impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.written.to_string())
    }
}
