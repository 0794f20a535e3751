//! Functions whose result can be far larger than what they are given: refused before they allocate it.
//!
//! A failed allocation ends the process, so sizes are computed from the arguments first. Each function of `bound` is put into a
//! `Limited` of the same name, signature and type, which computes an upper bound of its result and refuses what is beyond the limits
//! below. The session's registry holds these; a rule of the analyzer finds the calls that planners make by themselves, and puts a
//! function in the place of `||`. What constants fold into is refused while the plan is made. What a row of a stream asks for is an
//! error of that row, as one of arithmetic is.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use self::constant::LargeConstants;
use self::joined::Joined;
use self::limited::{limited, with_limits};
use crate::error::Error;

mod bound;
mod constant;
mod joined;
mod limited;
mod measure;

/// Bytes of one value that a function makes. A record has 1 MB or so; a value beyond this is no value but a mistake.
const VALUE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes that one call makes of one batch, which is 32 KiB for each of 8,192 rows. A quarter of what ad-hoc statements share unless
/// configured otherwise, and below the 2 GiB at which Arrow's texts end.
const BATCH_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Steps of one value of a function whose time grows by the square of its arguments: about a tenth of a second.
const VALUE_STEPS_MAX: u64 = 100_000_000;
/// Steps of one batch: about two seconds, the time in which a cancelled statement leaves its thread.
const BATCH_STEPS_MAX: u64 = 2_000_000_000;

/// Makes a session refuse results that are too large. To be called when all other functions are registered.
pub fn add_result_limits(session: &SessionContext) {
    let functions: Vec<ScalarUDF> =
        session.state_ref().read().scalar_functions().values().filter_map(limited).collect();
    for function in functions {
        session.register_udf(function);
    }
    session.add_analyzer_rule(Arc::new(LimitedResults));
    session.add_optimizer_rule(Arc::new(LargeConstants));
}

/// Whether an error is one of a result that would have been too large.
pub(crate) fn is_too_large(error: &Error) -> bool {
    error.primary().contains(WOULD_MAKE)
}

/// Whether a function stands for `||`.
pub(super) fn is_joined(function: &ScalarUDF) -> bool {
    function.inner().is::<Joined>()
}

/// Between the name of the function and how much it is, in every message; see also `failed_value`.
pub(super) const WOULD_MAKE: &str = " would make ";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Steps,
}

impl Unit {
    fn value_max(self) -> u64 {
        match self {
            Unit::Bytes => VALUE_BYTES_MAX,
            Unit::Steps => VALUE_STEPS_MAX,
        }
    }

    fn batch_max(self) -> u64 {
        match self {
            Unit::Bytes => BATCH_BYTES_MAX,
            Unit::Steps => BATCH_STEPS_MAX,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Steps => "steps",
        }
    }

    /// `of`: the function, as messages show it.
    fn check_value(self, of: &str, count: u64) -> Result<(), Error> {
        let (unit, max) = (self.name(), self.value_max());
        if count <= max {
            return Ok(());
        }
        Err(Error::invalid(format!("{of}{WOULD_MAKE}a value of {} {unit}", shown(count)))
            .detail(format!("one value may take {max} {unit}"))
            .hint("limit what it is given, as with left(text, 1000) or least(count, 1000)"))
    }

    fn check_batch(self, of: &str, count: u64, rows: usize) -> Result<(), Error> {
        let (unit, max) = (self.name(), self.batch_max());
        if count <= max {
            return Ok(());
        }
        Err(Error::invalid(format!("{of}{WOULD_MAKE}{} {unit} of {rows} rows", shown(count)))
            .detail(format!("the rows that are computed together may take {max} {unit}"))
            .hint("limit what it is given, as with left(text, 1000) or least(count, 1000), or filter rows before"))
    }
}

fn shown(count: u64) -> String {
    match count {
        u64::MAX => format!("more than {}", u64::MAX - 1),
        count => format!("up to {count}"),
    }
}

/// Runs after the coercion of types, so that what `||` joins has one type, and after the rule for integers, whose messages show it.
#[derive(Debug, Default, Clone, Copy)]
struct LimitedResults;

impl AnalyzerRule for LimitedResults {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let limited = plan.transform_up_with_subqueries(|node| {
            let schema = match &node {
                // Their numbers are read while the plan is made, as literals.
                LogicalPlan::Limit(_) => return Ok(Transformed::no(node)),
                LogicalPlan::TableScan(scan) => {
                    DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?
                }
                node => merge_schema(&node.inputs()),
            };
            // The name of an aggregate, and of a call of OVER, has the expressions of its ORDER BY and FILTER in it, as they stood there.
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let functions = with_limits(expr)?;
                let joined = functions.data.transform_up(|part| Ok(joined(part, &schema)))?;
                let joined = joined.update_data(|expr| name.restore(expr));
                Ok(match functions.transformed {
                    true => Transformed::yes(joined.data),
                    false => joined,
                })
            })
        })?;
        Ok(limited.data)
    }

    fn name(&self) -> &str {
        "limited_results"
    }
}

/// `a || b` of texts as a function; anything else as it is, also what has no type yet.
fn joined(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if !matches!(&expr, Expr::BinaryExpr(BinaryExpr { op: Operator::StringConcat, .. })) {
        return Transformed::no(expr);
    }
    let is_text = |data_type: &DataType| data_type.is_string() || data_type.is_binary();
    match (expr.get_type(schema).ok().filter(is_text), expr) {
        (Some(data_type), Expr::BinaryExpr(BinaryExpr { left, right, .. })) => {
            Transformed::yes(Joined::call(data_type, *left, *right))
        }
        (_, expr) => Transformed::no(expr),
    }
}

#[cfg(test)]
mod tests;
