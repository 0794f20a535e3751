//! `TUMBLE`, `HOP`, `CUMULATE` and `SESSION` in FROM: table functions that add `window_start`, `window_end` and `window_time`.
//!
//! The planner leaves a [`WindowTvfNode`] in the plan. A stream rewrite turns it into window state; for bounded input
//! [`super::expand_for_batch`] turns it into ordinary nodes.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field};
use datafusion::catalog::CatalogProviderList;
use datafusion::common::{Column, DFSchema, DFSchemaRef, TableReference, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, LogicalPlanBuilder, TableSource, UserDefinedLogicalNodeCore,
};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Spanned, TableAlias, TableFactor,
    Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use futures::FutureExt;
use touchline_udfs::describe::sql_type;

use super::dialect::object_name_parts;
use super::errors::{at_expr, at_span};
use super::interval;
use super::partition_by::taken_apart;
use super::window::{Origin, WindowKind};
use super::window_arguments::{Arguments, Role};
use super::window_functions::WindowFunction;
use super::zone::Zone;

/// Names of the columns a window function adds, in their order.
pub const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// Which column of a table holds its event time, and which name a row of it.
pub trait WatermarkColumns: fmt::Debug + Send + Sync {
    /// The column of the table's WATERMARK; `None` where the table is not known or has none.
    fn watermark_column(&self, table: &TableReference) -> Option<String>;

    /// The columns of its PRIMARY KEY; empty where there is none.
    fn primary_key(&self, _table: &TableReference) -> Vec<String> {
        vec![]
    }

    /// Of a materialized view the columns that have a watermark; `None` of a table, and of what is not known.
    fn times_of_view(&self, _table: &TableReference) -> Option<Vec<String>> {
        None
    }
}

/// Rows of `input`, each once for every window it falls into; rows without a time fall into none.
///
/// Schema: the input's columns, then those of [`WindowTvfNode::names`], of the time column's type and with its qualifier.
/// `window_time` is the last instant of the window: its end less one unit of the type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowTvfNode {
    pub input: LogicalPlan,
    /// A column of the input, of type Timestamp.
    pub time_column: Column,
    pub kind: WindowKind,
    /// Columns of the input: rows that differ in them are never in one session. None of other windows.
    pub keys: Vec<Column>,
    names: [&'static str; 3],
    schema: DFSchemaRef,
}

impl WindowTvfNode {
    /// With [`WINDOW_COLUMNS`].
    ///
    /// # Errors
    /// Planning errors: no such column, not a timestamp, window columns already there, lengths finer than the type.
    pub fn try_new(input: LogicalPlan, time_column: Column, kind: WindowKind, keys: Vec<Column>) -> Result<Self> {
        Self::try_named(input, time_column, kind, keys, WINDOW_COLUMNS)
    }

    /// `names`: of the columns that it adds, start, end and last tick of the window.
    ///
    /// # Errors
    /// As [`WindowTvfNode::try_new`].
    pub fn try_named(
        input: LogicalPlan,
        time_column: Column,
        kind: WindowKind,
        keys: Vec<Column>,
        names: [&'static str; 3],
    ) -> Result<Self> {
        let (qualifier, time) = input.schema().qualified_field_from_column(&time_column)?;
        let DataType::Timestamp(unit, _) = time.data_type() else {
            return Err(DataFusionError::Plan(format!("column \"{}\" is not a timestamp", time_column.name)));
        };
        kind.in_unit(*unit)?;
        if let Some(name) = names.iter().find(|name| input.schema().has_column_with_unqualified_name(name)) {
            return Err(DataFusionError::Plan(format!("the table has a column \"{name}\" already")));
        }
        keys.iter().try_for_each(|key| input.schema().index_of_column(key).map(|_| ()))?;
        let window = |name: &str| Arc::new(Field::new(name, time.data_type().clone(), time.is_nullable()));
        let schema = input.schema();
        let mut fields: Vec<_> =
            schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
        fields.extend(names.iter().map(|name| (qualifier.cloned(), window(name))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?);
        Ok(WindowTvfNode { input, time_column, kind, keys, names, schema })
    }

    /// Of the columns that it adds: start, end and last tick of the window.
    pub fn names(&self) -> [&'static str; 3] {
        self.names
    }

    /// The same over other rows.
    ///
    /// # Errors
    /// As [`WindowTvfNode::try_new`].
    pub fn over(&self, input: LogicalPlan) -> Result<Self> {
        Self::try_named(input, self.time_column.clone(), self.kind, self.keys.clone(), self.names)
    }

    /// The same rows in other windows.
    ///
    /// # Errors
    /// As [`WindowTvfNode::try_new`].
    pub fn of_kind(&self, kind: WindowKind) -> Result<Self> {
        Self::try_named(self.input.clone(), self.time_column.clone(), kind, self.keys.clone(), self.names)
    }
}

impl PartialOrd for WindowTvfNode {
    // The schema follows from the rest.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let order = self.input.partial_cmp(&other.input)?;
        let rest = |node: &Self| (node.time_column.clone(), node.kind, node.keys.clone(), node.names);
        Some(order.then_with(|| rest(self).cmp(&rest(other))))
    }
}

impl UserDefinedLogicalNodeCore for WindowTvfNode {
    fn name(&self) -> &str {
        "WindowTvf"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        std::iter::once(&self.time_column).chain(&self.keys).cloned().map(Expr::Column).collect()
    }

    /// Time and keys are among its expressions, and are needed in any case.
    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let columns = self.input.schema().fields().len();
        Some(vec![output.iter().copied().filter(|at| *at < columns).collect()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowTvf: {}, time={}", self.kind, self.time_column)?;
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        if keys.is_empty() { Ok(()) } else { write!(f, ", keys={}", keys.join(", ")) }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let columns: Option<Vec<Column>> = exprs.iter().map(|expr| expr.try_as_col().cloned()).collect();
        let mut columns = columns.unwrap_or_default().into_iter();
        match (columns.next(), inputs.pop()) {
            (Some(time), Some(input)) if inputs.is_empty() && exprs.len() == 1 + self.keys.len() => {
                WindowTvfNode::try_named(input, time, self.kind, columns.collect(), self.names)
            }
            _ => internal_err!("a window function needs its columns and one input, not {exprs:?}"),
        }
    }
}

/// Plans window functions in FROM.
#[derive(Debug)]
pub struct WindowTvfPlanner {
    watermarks: Arc<dyn WatermarkColumns>,
    catalogs: Arc<dyn CatalogProviderList>,
}

impl WindowTvfPlanner {
    /// `catalogs`: those of the session; see `sql::add_window_functions`, which registers all there is.
    pub fn new(watermarks: Arc<dyn WatermarkColumns>, catalogs: Arc<dyn CatalogProviderList>) -> Self {
        WindowTvfPlanner { watermarks, catalogs }
    }
}

impl RelationPlanner for WindowTvfPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = Call::of(&relation)? else {
            refuse_version(&relation)?;
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let alias = call.alias.clone();
        let plan = self.plan_call(call, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// Those of joins have been taken out of the text. DataFusion would plan the table as it is now and say nothing.
fn refuse_version(relation: &TableFactor) -> Result<()> {
    match relation {
        TableFactor::Table { name, version: Some(_), .. } => Err(at_span(
            "table versions are not available here",
            "leave the version out, or write e JOIN t FOR SYSTEM_TIME AS OF e.ts AS t ON t.k = e.k",
            name.span(),
        )),
        _ => Ok(()),
    }
}

impl WindowTvfPlanner {
    fn plan_call(&self, call: Call, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let Call { function, span, args, .. } = call;
        let input = self.plan_table(args.table, context)?;
        let time = match &args.time {
            Some(expr) => time_column(expr, &input, context)?,
            None => self.watermark_of(&input, function, span)?,
        };
        let (_, field) = input.schema().qualified_field_from_column(&time)?;
        let time_span = args.time.as_ref().map_or(span, Spanned::span);
        if !matches!(field.data_type(), DataType::Timestamp(..)) {
            let hint = match args.keys.is_empty() {
                true => format!("it is {}; cast it in a subquery, or name another column", sql_type(field.data_type())),
                false => {
                    "the last name before the gap is the time; brackets hold keys alone: PARTITION BY (a, b)".to_owned()
                }
            };
            return Err(at_span(format!("column \"{}\" is not a timestamp", time.name), hint, time_span));
        }
        if let Some(name) = WINDOW_COLUMNS.iter().find(|name| input.schema().has_column_with_unqualified_name(name)) {
            return Err(at_span(
                format!("the table of {} has a column \"{name}\" already", function.name()),
                "rename it in a subquery",
                span,
            ));
        }
        let keys = args.keys.iter().map(|key| key_column(key, &input, context)).collect::<Result<_>>()?;
        WindowTvfNode::try_new(input, time, args.kind, keys)
            .map(|node| LogicalPlan::Extension(Extension { node: Arc::new(node) }))
            .map_err(|error| located(error, args.size_span))
    }

    /// DataFusion opens the tables of a statement before it plans, and looks for them in relations, not in arguments of
    /// functions: a table that only a window function names is opened here.
    fn plan_table(&self, table: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let TableFactor::Table { name, .. } = &table else { return context.plan(table) };
        let name = name.clone();
        match context.plan(table) {
            Ok(plan) => Ok(plan),
            Err(error) => {
                let reference = context.object_name_to_table_reference(name)?;
                match self.open(&reference, context.context_provider().options()) {
                    Some(source) => LogicalPlanBuilder::scan(reference, source, None)?.build(),
                    None => Err(error),
                }
            }
        }
    }

    /// `None` also where a catalog would have to wait for its table: planning does not.
    fn open(&self, table: &TableReference, options: &ConfigOptions) -> Option<Arc<dyn TableSource>> {
        let catalog = &options.catalog;
        let resolved = table.clone().resolve(&catalog.default_catalog, &catalog.default_schema);
        let schema = self.catalogs.catalog(&resolved.catalog)?.schema(&resolved.schema)?;
        let table = schema.table(&resolved.table).now_or_never()?.ok()??;
        Some(provider_as_source(table))
    }

    fn watermark_of(&self, input: &LogicalPlan, function: WindowFunction, span: Span) -> Result<Column> {
        // Not by the name as written: a WITH query of that name hides the table.
        let (table, name) = match input {
            LogicalPlan::TableScan(scan) => {
                (scan.table_name.to_string(), self.watermarks.watermark_column(&scan.table_name))
            }
            _ => ("a query".to_owned(), None),
        };
        let found = name.and_then(|name| {
            let (qualifier, field) = input.schema().qualified_field_with_unqualified_name(&name).ok()?;
            Some(Column::new(qualifier.cloned(), field.name()))
        });
        found.ok_or_else(|| {
            at_span(
                format!("{} needs a time column: {table} has no watermark", function.name()),
                function.usage(),
                span,
            )
        })
    }
}

fn located(error: DataFusionError, span: Span) -> DataFusionError {
    let ours = crate::error::Error::from(error);
    at_span(ours.primary().to_owned(), ours.hint_text().unwrap_or_default().to_owned(), span)
}

fn time_column(expr: &SqlExpr, input: &LogicalPlan, context: &mut dyn RelationPlannerContext) -> Result<Column> {
    match context.sql_to_expr(expr.clone(), input.schema())? {
        Expr::Column(column) => Ok(column),
        _ => Err(at_expr("the time of a window is a column of its table", "compute it in a subquery first", expr)),
    }
}

fn key_column(expr: &SqlExpr, input: &LogicalPlan, context: &mut dyn RelationPlannerContext) -> Result<Column> {
    match context.sql_to_expr(expr.clone(), input.schema())? {
        Expr::Column(column) => Ok(column),
        _ => Err(at_expr("a session is partitioned by columns of its table", "compute it in a subquery first", expr)),
    }
}

/// A window function as written.
struct Call {
    function: WindowFunction,
    span: Span,
    args: Args,
    alias: Option<TableAlias>,
}

struct Args {
    table: TableFactor,
    time: Option<SqlExpr>,
    kind: WindowKind,
    keys: Vec<SqlExpr>,
    size_span: Span,
}

impl Call {
    /// `None` where the relation is something else.
    fn of(relation: &TableFactor) -> Result<Option<Call>> {
        let (name, args, alias) = match relation {
            TableFactor::Table { name, args: Some(args), alias, .. } => (name, args.args.as_slice(), alias),
            TableFactor::Function { name, args, alias, .. } => (name, args.as_slice(), alias),
            TableFactor::TableFunction { expr, alias } => match expr {
                SqlExpr::Function(function) => match &function.args {
                    FunctionArguments::List(list) if function_of(&function.name).is_some() => {
                        (&function.name, list.args.as_slice(), alias)
                    }
                    _ => return Err(not_a_window(expr)),
                },
                _ => return Err(not_a_window(expr)),
            },
            _ => return Ok(None),
        };
        let Some(function) = function_of(name) else { return Ok(None) };
        let args = Args::of(function, args, name.span())?;
        Ok(Some(Call { function, span: name.span(), args, alias: alias.clone() }))
    }
}

fn not_a_window(expr: &SqlExpr) -> DataFusionError {
    at_expr(
        "TABLE(…) takes a window function",
        "write TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 minute'))",
        expr,
    )
}

fn function_of(name: &ObjectName) -> Option<WindowFunction> {
    let [part] = name.0.as_slice() else { return None };
    part.as_ident().and_then(|ident| WindowFunction::named(&ident.value))
}

impl Args {
    fn of(function: WindowFunction, args: &[FunctionArg], span: Span) -> Result<Self> {
        let given = Arguments::read(function, args, span)?;
        let name = function.name();
        let missing = |what: &str| given.usage(format!("{name} needs {what}"), span);

        let (data, keys) = taken_apart(given.get(Role::Data).cloned().ok_or_else(|| missing("a table"))?);
        if let Some(key) = keys.first().filter(|_| function != WindowFunction::Session) {
            return Err(at_expr(
                format!("{name} takes no PARTITION BY: its windows are the same for all rows"),
                "leave it out, and group by the column",
                key,
            ));
        }
        let size = given.size().ok_or_else(|| match function.before_size() {
            Some(before) if given.before_size().is_some() => missing(&format!("a {before} and a size")),
            _ if function == WindowFunction::Session => missing("the gap that ends a session"),
            _ => missing("the size of its windows"),
        })?;
        let before_size = match (function.before_size(), given.before_size()) {
            (Some(what), Some(before)) => length(what, before, function)?,
            (Some(what), None) => return Err(missing(&format!("a {what} and a size"))),
            (None, _) => Duration::ZERO,
        };
        let (lengths_at, size) = (size.span().union(&span), length(function.size(), size, function)?);
        let kind = function.kind(before_size, size, Origin::default());
        let mut kind = kind.map_err(|error| located(error.into(), lengths_at))?;
        if let Some(offset) = given.get(Role::Offset) {
            let moved = function.kind(before_size, size, origin(offset, function)?);
            kind = moved.map_err(|error| located(error.into(), offset.span()))?;
        }
        let time = given.get(Role::TimeCol).cloned().map(descriptor).transpose()?;
        Ok(Args { table: table_factor(data)?, time, kind, keys, size_span: span })
    }
}

/// An offset from 1970-01-01, or the days of a time zone.
fn origin(expr: &SqlExpr, function: WindowFunction) -> Result<Origin> {
    if let SqlExpr::Value(value) = expr
        && let Value::SingleQuotedString(name) = &value.value
    {
        return Zone::named(name).map(Origin::Midnight).map_err(|error| located(error.into(), expr.span()));
    }
    interval::signed_from_sql(expr)
        .map(Origin::Offset)
        .map_err(|why| at_expr(format!("the window's offset {why}"), function.usage(), expr))
}

fn length(what: &str, expr: &SqlExpr, function: WindowFunction) -> Result<Duration> {
    interval::from_sql(expr).map_err(|why| at_expr(format!("the window's {what} {why}"), function.usage(), expr))
}

/// `DESCRIPTOR(ts)` is `ts`.
fn descriptor(expr: SqlExpr) -> Result<SqlExpr> {
    let SqlExpr::Function(function) = &expr else { return Ok(expr) };
    if !function.name.to_string().eq_ignore_ascii_case("descriptor") {
        return Ok(expr);
    }
    if let FunctionArguments::List(list) = &function.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] = list.args.as_slice()
    {
        return Ok(column.clone());
    }
    Err(at_expr("DESCRIPTOR names one column", "write DESCRIPTOR(ts)", &expr))
}

fn table_factor(expr: SqlExpr) -> Result<TableFactor> {
    if let Some(parts) = object_name_parts(&expr) {
        return Ok(TableFactor::Table {
            name: ObjectName(parts),
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        });
    }
    match expr {
        SqlExpr::Subquery(subquery) => Ok(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None }),
        other => Err(at_expr(
            "the first argument of a window function is a table",
            "name a table, or put a query into brackets: TUMBLE((SELECT …), ts, INTERVAL '1 minute')",
            &other,
        )),
    }
}

#[cfg(test)]
mod tests;
