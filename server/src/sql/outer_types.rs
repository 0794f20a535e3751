//! What a subquery takes from the query around it has the type that it has there.
//!
//! A column from outside is planned with the type that it has then. Afterwards the branches of a union are given one type, and the column
//! with them: where that is another one, DataFusion 55 compares what cannot be compared.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

/// Has to be added before what reads the types.
pub fn add_outer_types(session: &SessionContext) {
    session.add_analyzer_rule(Arc::new(OuterTypes));
}

#[derive(Debug, Default, Clone, Copy)]
struct OuterTypes;

impl AnalyzerRule for OuterTypes {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let typed = plan.transform_up_with_subqueries(|node| {
            let outside = merge_schema(&node.inputs());
            node.map_subqueries(|subquery| with_types_of(subquery, &outside))
        })?;
        match typed.transformed {
            true => TypeCoercion::new().analyze(typed.data, config),
            false => Ok(typed.data),
        }
    }

    fn name(&self) -> &str {
        "outer_types"
    }
}

fn with_types_of(subquery: LogicalPlan, outside: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    subquery.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Subquery(mut subquery) => {
            let mut transformed = false;
            for expr in &mut subquery.outer_ref_columns {
                let typed = typed(expr.clone(), outside)?;
                transformed |= typed.transformed;
                *expr = typed.data;
            }
            let subquery = LogicalPlan::Subquery(subquery);
            Ok(if transformed { Transformed::yes(subquery) } else { Transformed::no(subquery) })
        }
        node => node.map_expressions(|expr| typed(expr, outside)),
    })
}

fn typed(expr: Expr, outside: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform(|expr| match expr {
        Expr::OuterReferenceColumn(field, column) => Ok(match found(&column, outside) {
            Some(there) if there.data_type() != field.data_type() => {
                Transformed::yes(Expr::OuterReferenceColumn(there, column))
            }
            _ => Transformed::no(Expr::OuterReferenceColumn(field, column)),
        }),
        other => Ok(Transformed::no(other)),
    })
}

fn found(column: &Column, outside: &DFSchema) -> Option<FieldRef> {
    outside.maybe_index_of_column(column).map(|at| Arc::clone(outside.field(at)))
}
