//! What a function computes: its expression, planned over its parameters as columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use touchline_udfs::describe::sql_type;

use crate::catalog::FunctionDef;
use crate::sql::errors::at_expr;
use crate::sql::row_expr::{self, Owner};

const FUNCTION: Owner = Owner {
    name: "a function",
    instead_of_query: "pass what it needs as an argument, or write a view",
    computed_from: "its arguments",
    instead: "pass the value as an argument",
};

/// A function's expression over its parameters.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) schema: SchemaRef,
    pub(super) expr: Expr,
    pub(super) physical: Arc<dyn PhysicalExpr>,
    /// How often each parameter stands in it.
    pub(super) uses: Vec<usize>,
}

impl Body {
    pub(super) fn plan(definition: &FunctionDef, state: &SessionState) -> Result<Self> {
        let fields: Vec<Field> = definition
            .parameters
            .iter()
            .map(|parameter| Field::new(&parameter.name, parameter.data_type.clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let over = DFSchema::try_from(Arc::clone(&schema))?;
        let expr = row_expr::planned(&definition.body, &over, state, FUNCTION)?;
        let found = expr.get_type(&over)?;
        if !converts(&found, &definition.returns) {
            let (found, returns) = (sql_type(&found), sql_type(&definition.returns));
            return Err(at_expr(
                format!("the expression is {found}, and the function returns {returns}"),
                format!("write RETURNS {found}, or CAST(… AS {returns})"),
                &definition.body,
            ));
        }
        let expr = expr.cast_to(&definition.returns, &over)?;
        let mut uses = vec![0; definition.parameters.len()];
        expr.apply(|part| {
            if let Expr::Column(column) = part {
                uses[schema.index_of(&column.name)?] += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let physical = row_expr::physical(expr.clone(), &over, state)?;
        Ok(Body { schema, expr, physical, uses })
    }
}

/// Whether a value of type `from` is taken where `to` is declared: nothing is lost but what does not fit, which is an error
/// when it comes.
pub(in crate::sql) fn converts(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Date64, Dictionary, LargeUtf8, Null, Timestamp, Utf8, Utf8View};
    let decimal = |data_type: &DataType| data_type.is_decimal();
    match (from, to) {
        (Null, _) => true,
        (Dictionary(_, value), _) if from != to => converts(value, to),
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Timestamp(..) | Date32 | Date64, Timestamp(..)) => true,
        _ if to.is_floating() => from.is_numeric(),
        _ if decimal(to) => from.is_integer() || decimal(from),
        _ if to.is_integer() => from.is_integer(),
        _ => from == to,
    }
}
