//! An expression over the columns of one row that stands outside of a query, as the body of a function or a computed column does.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias, Query, Spanned, Value, Visit, Visitor};

use super::errors::{at_expr, at_span};
use super::window_calls::{LENGTH_HINT, wrong_length};
use crate::error::Error;

/// What such an expression belongs to, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    /// As in "a function".
    pub(super) name: &'static str,
    /// What to write instead of a query in it.
    pub(super) instead_of_query: &'static str,
    /// What to write instead of what is not the row's own, and why.
    pub(super) computed_from: &'static str,
    pub(super) instead: &'static str,
}

/// The expression with its types settled, as they are in queries.
///
/// # Errors
/// Planning errors, with places as far as these are known, also for what looks beyond the row or is not always the same.
pub(super) fn planned(written: &SqlExpr, over: &DFSchema, state: &SessionState, owner: Owner) -> Result<Expr> {
    refuse_syntax(written, owner)?;
    let body = ExprWithAlias { expr: written.clone(), alias: None };
    let expr = state.create_logical_expr_from_sql_expr(body, over)?;
    if let Some(why) = beyond_its_row(&expr)? {
        return Err(at_expr(
            format!("{why}; {} is computed from {} alone", owner.name, owner.computed_from),
            owner.instead,
            written,
        ));
    }
    let input = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(over.clone()) });
    let plan = LogicalPlan::Projection(Projection::try_new(vec![expr.alias("result")], Arc::new(input))?);
    match state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})? {
        LogicalPlan::Projection(projection) if projection.expr.len() == 1 => Ok(projection.expr[0].clone().unalias()),
        _ => Err(Error::bug(format!("the expression of {} became something else", owner.name)).into()),
    }
}

/// The expression as it is evaluated. Some functions are there only to be replaced while a plan is optimized, as `coalesce` is.
///
/// # Errors
/// Those of DataFusion where it cannot be computed.
pub(super) fn physical(expr: Expr, over: &DFSchema, state: &SessionState) -> Result<Arc<dyn PhysicalExpr>> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(over.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .build();
    let expr = ExprSimplifier::new(context).simplify(expr)?;
    state.create_physical_expr(expr, over)
}

/// What parses and has no place there.
fn refuse_syntax(written: &SqlExpr, owner: Owner) -> Result<()> {
    struct Refuse(Owner);
    impl Visitor for Refuse {
        type Break = Box<DataFusionError>;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
            let what = format!("{} cannot contain a query", self.0.name);
            ControlFlow::Break(Box::new(at_span(what, self.0.instead_of_query, query.body.span())))
        }

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<Self::Break> {
            if let Some((what, span)) = wrong_length(expr) {
                return ControlFlow::Break(Box::new(at_span(what, LENGTH_HINT, span)));
            }
            let placeholder = matches!(expr, SqlExpr::Value(value) if matches!(value.value, Value::Placeholder(_)));
            match placeholder {
                true => ControlFlow::Break(Box::new(at_expr(
                    format!("`{expr}` means nothing in {}", self.0.name),
                    "write the name of what it stands for",
                    expr,
                ))),
                false => ControlFlow::Continue(()),
            }
        }
    }
    match written.visit(&mut Refuse(owner)) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// What plans and is not one row's own, or not always the same.
fn beyond_its_row(expr: &Expr) -> Result<Option<String>> {
    let mut refused = None;
    expr.apply(|part| {
        refused = match part {
            Expr::AggregateFunction(call) => Some(format!("{}() is an aggregate, over many rows", call.func.name())),
            Expr::WindowFunction(_) => Some("OVER looks at other rows".to_owned()),
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                Some(format!("{}() does not always give the same value", call.func.name()))
            }
            Expr::Unnest(_) => Some("unnest() makes several rows of one".to_owned()),
            Expr::ScalarVariable(..) => Some("a session's variable is not always the same".to_owned()),
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(refused)
}
