//! The parameters of a statement: which type each takes by the place where it stands, how that is announced, and what a
//! value becomes that was bound.
//!
//! The engine knows a type from a comparison at most. Clients like JDBC convert a value to the announced type and refuse
//! what does not fit, so that `LIMIT ?` announced as a text takes no number. Inference is a pure pass over the plan; what it
//! does not find is announced as a text, and a CAST around the parameter says what it is.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::binary::comparison_coercion;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, TypeSignature};
use datafusion::sql::parser::Statement;
use sqlparser::ast::{self, Value, VisitMut, VisitorMut};

use self::signature::argument_type;
use super::metadata::sql_type;
use super::wire::wire_type;
use crate::error::{Error, Result};

mod signature;

/// One parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    /// As it is written, `$1` or `$name`.
    pub(super) name: String,
    /// That of its place; `None` where the statement leaves it open.
    pub(super) data_type: Option<DataType>,
}

impl Parameter {
    /// What is said of a parameter that nobody knows the type of.
    fn open_hint(&self) -> String {
        format!(
            "its place does not say the type of parameter {name}: write CAST({name} AS BIGINT), or what it is",
            name = self.name
        )
    }
}

/// The parameters in the order of `names`, with the types of their places in the plan.
pub(super) fn of_plan(plan: &LogicalPlan, names: Vec<String>) -> Result<Vec<Parameter>, DataFusionError> {
    let mut types = Types::default();
    plan.apply_with_subqueries(|node| {
        types.node(node)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    let found = |name: String| {
        let data_type = types.found.remove(&name).flatten();
        Parameter { name, data_type }
    };
    Ok(names.into_iter().map(found).collect())
}

/// One nullable field a parameter.
///
/// Times are announced in milliseconds, because Arrow's JDBC driver writes those whatever unit it is told; and intervals as
/// texts, because no driver binds others.
pub(super) fn schema_of(parameters: &[Parameter]) -> SchemaRef {
    let field = |parameter: &Parameter| {
        let data_type = match parameter.data_type.as_ref().map(wire_type) {
            None | Some(DataType::Null | DataType::Interval(_) | DataType::Duration(_)) => DataType::Utf8,
            Some(DataType::Timestamp(_, zone)) => DataType::Timestamp(TimeUnit::Millisecond, zone),
            Some(DataType::Time32(_) | DataType::Time64(_)) => DataType::Time32(TimeUnit::Millisecond),
            Some(other) => other,
        };
        Field::new(&parameter.name, data_type, true)
    };
    Schema::new(parameters.iter().map(field).collect::<Vec<_>>()).into()
}

/// The parameters whose types are open, as a hint; `None` if there are none.
pub(super) fn hint_for_open(parameters: &[Parameter]) -> Option<String> {
    parameters.iter().find(|parameter| parameter.data_type.is_none()).map(Parameter::open_hint)
}

/// NULLs of the types of their places: what a plan's result is, before values are bound.
pub(super) fn typed_nulls(parameters: &[Parameter]) -> Result<ParamValues> {
    let mut nulls = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        // What is open is announced as a text.
        let data_type = parameter.data_type.as_ref().unwrap_or(&DataType::Utf8);
        nulls.push((parameter, ScalarValue::try_new_null(data_type)?));
    }
    Ok(values_of(nulls))
}

/// Values by number or by name, as the statement writes its parameters.
pub(super) fn values_of(scalars: Vec<(&Parameter, ScalarValue)>) -> ParamValues {
    let plain = |value| ScalarAndMetadata { value, metadata: None };
    let numbered = scalars.first().is_some_and(|(parameter, _)| parameter.name[1..].parse::<usize>().is_ok());
    if numbered {
        return ParamValues::List(scalars.into_iter().map(|(_, value)| plain(value)).collect());
    }
    ParamValues::Map(
        scalars.into_iter().map(|(parameter, value)| (parameter.name[1..].to_owned(), plain(value))).collect(),
    )
}

/// The values that bound ones of one column stand for at the parameter's place, all of one type.
///
/// # Errors
/// As [`value_at`].
pub(super) fn values_at(parameter: &Parameter, bound: Vec<ScalarValue>) -> Result<Vec<ScalarValue>> {
    let values = bound.iter().cloned().map(|value| value_at(parameter, value)).collect::<Result<Vec<_>>>()?;
    let of_one_type = values.windows(2).all(|pair| pair[0].data_type() == pair[1].data_type());
    // The statement runs once for each, and its result has one schema.
    Ok(if of_one_type { values } else { bound })
}

/// The value that a bound one stands for at the parameter's place.
///
/// Cast to the type of the place where nothing is lost by it. A number that would change stays as it is, and so does a time:
/// `price > 12.345` is not `price > 12.35`, and the engine compares the two.
///
/// # Errors
/// `Invalid` for a value that is of another kind than the place, or for a text that is not one of its values.
fn value_at(parameter: &Parameter, bound: ScalarValue) -> Result<ScalarValue> {
    let Some(wanted) = &parameter.data_type else { return Ok(bound) };
    if bound.is_null() {
        return Ok(ScalarValue::try_new_null(wanted)?);
    }
    let from = bound.data_type();
    if from == *wanted {
        return Ok(bound);
    }
    let (name, takes) = (&parameter.name, sql_type(wanted));
    if !is_sane(&from, wanted) {
        let given = sql_type(&from);
        return Err(Error::invalid(format!("parameter {name} is bound to a {given}, and its place takes a {takes}"))
            .hint(format!("bind a {takes}, or write CAST({name} AS {given}) if that is what is meant")));
    }
    let keeps_its_own = (from.is_numeric() && wanted.is_numeric()) || (is_time(&from) && is_time(wanted));
    match bound.cast_to(wanted) {
        Ok(value) if !keeps_its_own || value.cast_to(&from).is_ok_and(|back| back == bound) => Ok(value),
        _ if keeps_its_own => Ok(bound),
        Ok(value) => Ok(value),
        Err(error) => Err(Error::invalid(format!("the value of parameter {name} is not a {takes}"))
            .caused_by(error)
            .hint(format!("bind a {takes}, or write CAST({name} AS …) with the type that it has"))),
    }
}

/// Whether values of one type say the same as values of the other.
fn is_sane(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let is_text = |data_type: &DataType| wire_type(data_type) == Utf8;
    // A text is read as what its place takes.
    if is_text(from) {
        return !to.is_nested();
    }
    if is_text(to) {
        return !from.is_nested();
    }
    match (wire_type(from), wire_type(to)) {
        (a, b) if a == b => true,
        (a, b) if a.is_numeric() && b.is_numeric() => true,
        (Time32(_) | Time64(_), Time32(_) | Time64(_)) | (Binary | FixedSizeBinary(_), Binary | FixedSizeBinary(_)) => {
            true
        }
        (Duration(_), Duration(_) | Interval(_)) => true,
        (a, b) if is_time(&a) && is_time(&b) => true,
        // Of their elements the engine says what fits.
        (a, b) => a.is_nested() && std::mem::discriminant(&a) == std::mem::discriminant(&b),
    }
}

/// A day or a moment.
fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// What has been found; `None` for a parameter that stands in places of different kinds.
#[derive(Default)]
struct Types {
    found: HashMap<String, Option<DataType>>,
}

impl Types {
    fn note(&mut self, expr: &Expr, data_type: &DataType) {
        let Some(name) = parameter(expr) else { return };
        let data_type = wire_type(data_type);
        if data_type == DataType::Null {
            return;
        }
        match self.found.get_mut(name) {
            None => {
                self.found.insert(name.to_owned(), Some(data_type));
            }
            Some(known) => {
                *known = known
                    .as_ref()
                    .and_then(|known| comparison_coercion(known, &data_type))
                    .map(|both| wire_type(&both));
            }
        }
    }

    fn node(&mut self, node: &LogicalPlan) -> Result<(), DataFusionError> {
        let mut here = Vec::new();
        node.apply_expressions(|expr| {
            if expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_))))? {
                here.push(expr.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        if here.is_empty() {
            return Ok(());
        }
        match node {
            LogicalPlan::Limit(limit) => {
                [&limit.skip, &limit.fetch].into_iter().flatten().for_each(|count| self.note(count, &DataType::Int64));
            }
            LogicalPlan::Filter(filter) => self.note(&filter.predicate, &DataType::Boolean),
            // As the rows beside it.
            LogicalPlan::Values(values) => {
                for row in &values.values {
                    for (expr, field) in row.iter().zip(values.schema.fields()) {
                        self.note(expr, field.data_type());
                    }
                }
            }
            _ => {}
        }
        let inputs = node.inputs();
        let schema = if inputs.is_empty() { node.schema().as_ref().clone() } else { merge_schema(&inputs) };
        for expr in &here {
            expr.apply(|part| {
                self.expression(part, &schema);
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(())
    }

    /// What an expression says of the parameters right below it.
    fn expression(&mut self, expr: &Expr, schema: &DFSchema) {
        match expr {
            Expr::BinaryExpr(binary) => self.operator(binary, schema),
            Expr::Between(between) => self.alike([&*between.expr, &*between.low, &*between.high], schema),
            Expr::InList(list) => self.alike(std::iter::once(&*list.expr).chain(&list.list), schema),
            Expr::InSubquery(within) => self.note_column(&within.expr, within.subquery.subquery.schema()),
            Expr::SetComparison(compared) => self.note_column(&compared.expr, compared.subquery.subquery.schema()),
            Expr::Like(like) | Expr::SimilarTo(like) => {
                self.note(&like.expr, &DataType::Utf8);
                self.note(&like.pattern, &DataType::Utf8);
            }
            Expr::Not(inner)
            | Expr::IsTrue(inner)
            | Expr::IsFalse(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsNotUnknown(inner) => self.note(inner, &DataType::Boolean),
            Expr::Case(case) => {
                let whens = case.when_then_expr.iter().map(|(when, _)| &**when);
                match &case.expr {
                    Some(of) => self.alike(std::iter::once(&**of).chain(whens), schema),
                    None => whens.for_each(|when| self.note(when, &DataType::Boolean)),
                }
                let thens = case.when_then_expr.iter().map(|(_, then)| &**then);
                self.alike(thens.chain(case.else_expr.as_deref()), schema);
            }
            Expr::Cast(cast) => self.note(&cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => self.note(&cast.expr, cast.field.data_type()),
            Expr::ScalarFunction(call) => {
                const ALIKE: [&str; 8] =
                    ["coalesce", "nullif", "greatest", "least", "nvl", "ifnull", "make_array", "nvl2"];
                match ALIKE.contains(&call.func.name()) {
                    true => self.alike(&call.args, schema),
                    false => self.arguments(&call.args, &call.func.signature().type_signature),
                }
            }
            Expr::AggregateFunction(call) => {
                self.arguments(&call.params.args, &call.func.signature().type_signature);
                call.params.filter.iter().for_each(|filter| self.note(filter, &DataType::Boolean));
            }
            Expr::WindowFunction(call) => self.arguments(&call.params.args, &call.fun.signature().type_signature),
            _ => {}
        }
    }

    fn operator(&mut self, BinaryExpr { left, op, right }: &BinaryExpr, schema: &DFSchema) {
        use Operator::*;
        let both = |types: &mut Self, data_type: &DataType| {
            types.note(left, data_type);
            types.note(right, data_type);
        };
        match op {
            And | Or => both(self, &DataType::Boolean),
            StringConcat | RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch | LikeMatch | ILikeMatch
            | NotLikeMatch | NotILikeMatch => both(self, &DataType::Utf8),
            Plus | Minus => {
                let span = DataType::Interval(IntervalUnit::MonthDayNano);
                match (left.get_type(schema), right.get_type(schema)) {
                    // A moment and a span: of two moments the difference alone means something, and a text is either.
                    (Ok(of), _) if is_time(&of) && parameter(left).is_none() => self.note(right, &span),
                    (_, Ok(of)) if is_time(&of) && parameter(right).is_none() => {
                        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
                        self.note(left, if *op == Plus { &span } else { &moment });
                    }
                    (_, Ok(DataType::Interval(_) | DataType::Duration(_))) if parameter(right).is_none() => {
                        self.note(left, &DataType::Timestamp(TimeUnit::Microsecond, None));
                    }
                    _ => self.alike([&**left, &**right], schema),
                }
            }
            Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | Multiply | Divide | Modulo
            | IntegerDivide | BitwiseAnd | BitwiseOr | BitwiseXor | BitwiseShiftLeft | BitwiseShiftRight => {
                self.alike([&**left, &**right], schema);
            }
            _ => {}
        }
    }

    /// The parameters among these expressions have the type of the others.
    fn alike<'a>(&mut self, group: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) {
        let (open, known): (Vec<&Expr>, Vec<&Expr>) = group.into_iter().partition(|expr| parameter(expr).is_some());
        let mut types = known.iter().filter_map(|expr| expr.get_type(schema).ok()).filter(|of| !of.is_null());
        let Some(first) = types.next() else { return };
        let Some(common) = types.try_fold(first, |common, next| comparison_coercion(&common, &next)) else { return };
        open.into_iter().for_each(|expr| self.note(expr, &common));
    }

    /// As the one column of a subquery.
    fn note_column(&mut self, expr: &Expr, subquery: &DFSchema) {
        if let [field] = &subquery.fields()[..] {
            self.note(expr, field.data_type());
        }
    }

    fn arguments(&mut self, arguments: &[Expr], signature: &TypeSignature) {
        for (at, argument) in arguments.iter().enumerate().filter(|(_, argument)| parameter(argument).is_some()) {
            if let Some(data_type) = argument_type(signature, at, arguments.len()) {
                self.note(argument, &data_type);
            }
        }
    }
}

/// The name of the parameter that an expression is, be it with a sign or a name of its own.
fn parameter(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Placeholder(Placeholder { id, .. }) => Some(id),
        Expr::Negative(inner) => parameter(inner),
        Expr::Alias(alias) => parameter(&alias.expr),
        _ => None,
    }
}

/// The statement with each parameter that is added or subtracted as an INTERVAL; `None` if there is none. The engine takes
/// it for the other side's type, and cannot plan the sum of two timestamps.
pub(super) fn with_intervals(statement: &Statement) -> Option<Statement> {
    let mut statement = statement.clone();
    let Statement::Statement(inner) = &mut statement else { return None };
    let mut visitor = Intervals::default();
    let _ = inner.as_mut().visit(&mut visitor);
    visitor.found.then_some(statement)
}

#[derive(Default)]
struct Intervals {
    found: bool,
}

impl VisitorMut for Intervals {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        let ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Plus | ast::BinaryOperator::Minus, right } = expr
        else {
            return ControlFlow::Continue(());
        };
        for side in [left, right] {
            let is_parameter =
                matches!(&**side, ast::Expr::Value(value) if matches!(value.value, Value::Placeholder(_)));
            if is_parameter {
                **side = ast::Expr::Cast {
                    kind: ast::CastKind::Cast,
                    expr: side.clone(),
                    data_type: ast::DataType::Interval { fields: None, precision: None },
                    array: false,
                    format: None,
                };
                self.found = true;
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
