//! `m['k']` of a map. DataFusion 55 compares a key with the map's own only where both are of one type, and takes constants alone.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::functions::core::get_field;
use datafusion::functions_nested::expr_fn::{array_element, map_extract};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, lit};

/// To be asked before DataFusion's own planners.
pub fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![Arc::new(MapAccess)]
}

#[derive(Debug)]
struct MapAccess;

impl ExprPlanner for MapAccess {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let DataType::Map(entries, _) = access.expr.get_type(schema)? else {
            return Ok(PlannerResult::Original(access));
        };
        let key_type = match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => parts[0].data_type(),
            other => return plan_err!("the entries of a map are {other}"),
        };
        let RawFieldAccessExpr { field_access, expr } = access;
        let key = match field_access {
            GetFieldAccess::NamedStructField { name } => Expr::Literal(name, None),
            GetFieldAccess::ListIndex { key } => *key,
            field_access @ GetFieldAccess::ListRange { .. } => {
                return Ok(PlannerResult::Original(RawFieldAccessExpr { field_access, expr }));
            }
        };
        let value = match key {
            Expr::Literal(key, metadata) => {
                get_field().call(vec![expr, Expr::Literal(key.cast_to(key_type)?, metadata)])
            }
            // A list of the one value, or of NULL.
            key => array_element(map_extract(expr, key), lit(1_i64)),
        };
        Ok(PlannerResult::Planned(value))
    }
}
