//! `json -> 'field'`, `json -> 0` and the same with `->>`, as the functions that they stand for.

use std::sync::Arc;

use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{json_array_element, json_array_element_text, json_object_field, json_object_field_text};
use crate::Function;

#[derive(Debug)]
pub(crate) struct JsonOperators {
    field: Arc<ScalarUDF>,
    field_text: Arc<ScalarUDF>,
    element: Arc<ScalarUDF>,
    element_text: Arc<ScalarUDF>,
}

impl JsonOperators {
    pub(crate) fn new() -> Self {
        JsonOperators {
            field: scalar_of(json_object_field()),
            field_text: scalar_of(json_object_field_text()),
            element: scalar_of(json_array_element()),
            element_text: scalar_of(json_array_element_text()),
        }
    }
}

fn scalar_of(function: Function) -> Arc<ScalarUDF> {
    match function {
        Function::Scalar(_, function) => Arc::new(function),
        Function::Aggregate(description, _) => unreachable!("{} is a scalar function", description.name),
    }
}

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let (by_field, by_place) = match expr.op {
            BinaryOperator::Arrow => (&self.field, &self.element),
            BinaryOperator::LongArrow => (&self.field_text, &self.element_text),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let function = if expr.right.get_type(schema)?.is_integer() { by_place } else { by_field };
        let call = ScalarFunction::new_udf(Arc::clone(function), vec![expr.left, expr.right]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}
