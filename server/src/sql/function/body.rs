//! What a function computes: its expression, planned over its parameters as columns.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{EmptyRelation, Expr, ExprSchemable, LogicalPlan, Projection, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias, Query, Spanned, Value, Visit, Visitor};
use touchline_udfs::describe::sql_type;

use crate::catalog::FunctionDef;
use crate::error::Error;
use crate::sql::errors::{at_expr, at_span};
use crate::sql::window_calls::{LENGTH_HINT, wrong_length};

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
        refuse_syntax(&definition.body)?;
        let fields: Vec<Field> = definition
            .parameters
            .iter()
            .map(|parameter| Field::new(&parameter.name, parameter.data_type.clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let over = DFSchema::try_from(Arc::clone(&schema))?;
        let body = ExprWithAlias { expr: definition.body.as_ref().clone(), alias: None };
        let expr = state.create_logical_expr_from_sql_expr(body, &over)?;
        refuse_planned(&expr, &definition.body)?;
        let input =
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(over.clone()) });
        // The analyzer settles types, as it does for queries.
        let plan = LogicalPlan::Projection(Projection::try_new(vec![expr.alias("result")], Arc::new(input))?);
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let expr = match plan {
            LogicalPlan::Projection(projection) if projection.expr.len() == 1 => projection.expr[0].clone().unalias(),
            _ => return Err(Error::bug("a function's expression became something else").into()),
        };
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
        let physical = state.create_physical_expr(expr.clone(), &over)?;
        Ok(Body { schema, expr, physical, uses })
    }
}

/// What parses and has no place in a function.
fn refuse_syntax(body: &SqlExpr) -> Result<()> {
    struct Refuse;
    impl Visitor for Refuse {
        type Break = Box<DataFusionError>;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
            let what = "a function cannot contain a query";
            let hint = "pass what it needs as an argument, or write a view";
            ControlFlow::Break(Box::new(at_span(what, hint, query.body.span())))
        }

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<Self::Break> {
            if let Some((what, span)) = wrong_length(expr) {
                return ControlFlow::Break(Box::new(at_span(what, LENGTH_HINT, span)));
            }
            let placeholder = matches!(expr, SqlExpr::Value(value) if matches!(value.value, Value::Placeholder(_)));
            match placeholder {
                true => ControlFlow::Break(Box::new(at_expr(
                    format!("`{expr}` means nothing in a function"),
                    "write the parameter's name",
                    expr,
                ))),
                false => ControlFlow::Continue(()),
            }
        }
    }
    match body.visit(&mut Refuse) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// What plans and has no place in a function: anything that is not one row's own, or not always the same.
fn refuse_planned(expr: &Expr, body: &SqlExpr) -> Result<()> {
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
    match refused {
        None => Ok(()),
        Some(why) => Err(at_expr(
            format!("{why}; a function is computed from its arguments alone"),
            "pass the value as an argument",
            body,
        )),
    }
}

/// Whether a value of type `from` is taken where `to` is declared: nothing is lost but what does not fit, which is an error
/// when it comes.
pub(super) fn converts(from: &DataType, to: &DataType) -> bool {
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
