//! Window functions called as expressions, as they are written: what planning is not told, or no longer sees.

use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select,
    Spanned, TableFactor, TableWithJoins, UnaryOperator, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::errors::at_span;
use super::interval;
use super::parser::normalize;
use super::window_functions::WindowFunction;
use super::window_tvf::WatermarkColumns;

/// What goes with [`wrong_length`].
pub(crate) const LENGTH_HINT: &str = "write a length as in INTERVAL '90' SECOND or INTERVAL '1 day'";

/// What is wrong with a length in the call of a window function, and where that stands.
///
/// Before planning, which makes fifteen days of `INTERVAL '0.5 months'`.
pub(crate) fn wrong_length(expr: &Expr) -> Option<(String, Span)> {
    let Expr::Function(function) = expr else { return None };
    let window = window_of(function)?;
    let intervals = arguments(function).filter(|argument| is_interval(argument));
    window.intervals().zip(intervals).find_map(|(what, length)| {
        let why = match what {
            "offset" => interval::signed_from_sql(length).err(),
            _ => interval::from_sql(length).err(),
        };
        Some((format!("the window's {what} {}", why?), length.span()))
    })
}

/// The query with the watermark's column in every call that leaves its time out, as `tumble(INTERVAL '1 minute')` does.
///
/// # Errors
/// A planning error at the call where the tables of its FROM do not say which column that is.
pub fn with_times(query: &Query, watermarks: &dyn WatermarkColumns) -> Result<Query> {
    let mut query = query.clone();
    match VisitMut::visit(&mut query, &mut Selects { watermarks, named: Vec::new() }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(query),
    }
}

/// Whether a query puts rows into sessions, in FROM or to group by, but for what stands in views that it reads.
pub fn names_session(query: &Query) -> bool {
    Visit::visit(query, &mut NamesSession).is_break()
}

struct NamesSession;

impl Visitor for NamesSession {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let is_session = match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => is_session(name),
            _ => false,
        };
        if is_session { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    // Also what stands in TABLE(…).
    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if is_session(&function.name) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_session(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(name)]
        if WindowFunction::named(&name.value) == Some(WindowFunction::Session))
}

fn window_of(function: &Function) -> Option<WindowFunction> {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => WindowFunction::named(&name.value),
        _ => None,
    }
}

fn arguments(function: &Function) -> impl Iterator<Item = &Expr> {
    let list = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => is_interval(expr),
        other => matches!(other, Expr::Interval(_)),
    }
}

/// Goes to each SELECT with the names that WITH has given to queries there.
struct Selects<'a> {
    watermarks: &'a dyn WatermarkColumns,
    /// Of each query around.
    named: Vec<Vec<String>>,
}

impl VisitorMut for Selects<'_> {
    type Break = Box<DataFusionError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|named| normalize(&named.alias.name));
        self.named.push(names.collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.named.pop();
        ControlFlow::Continue(())
    }

    // Those inside it have been visited, so the calls that are left are its own.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let mut times = Vec::new();
        select.from.iter().for_each(|from| self.times_of(from, &mut times));
        let time = match times.as_slice() {
            [time] => Ok(time.clone()),
            [] => Err("no table in its FROM has a watermark"),
            _ => Err("more than one table in its FROM has a watermark"),
        };
        VisitMut::visit(select, &mut Calls { time })
    }
}

impl Selects<'_> {
    /// The columns of declared watermarks.
    fn times_of(&self, from: &TableWithJoins, times: &mut Vec<Expr>) {
        for table in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
            match table {
                TableFactor::NestedJoin { table_with_joins, alias: None } => self.times_of(table_with_joins, times),
                TableFactor::Table { name, alias, args: None, .. } => {
                    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { continue };
                    let table = normalize(name);
                    let renamed = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
                    if renamed || self.named.iter().flatten().any(|named| *named == table) {
                        continue;
                    }
                    let Some(column) = self.watermarks.watermark_column(&TableReference::bare(table)) else { continue };
                    let qualifier = alias.as_ref().map_or(name, |alias| &alias.name).clone();
                    times.push(Expr::CompoundIdentifier(vec![qualifier, Ident::with_quote('"', column)]));
                }
                _ => {}
            }
        }
    }
}

/// Completes the calls of one SELECT.
struct Calls {
    /// The time to put in, or why there is none.
    time: Result<Expr, &'static str>,
}

impl VisitorMut for Calls {
    type Break = Box<DataFusionError>;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let span = expr.span();
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let Some(window) = window_of(function) else { return ControlFlow::Continue(()) };
        if !arguments(function).next().is_some_and(is_interval) {
            return ControlFlow::Continue(());
        }
        match (&self.time, &mut function.args) {
            (Ok(time), FunctionArguments::List(list)) => {
                list.args.insert(0, FunctionArg::Unnamed(FunctionArgExpr::Expr(time.clone())));
                ControlFlow::Continue(())
            }
            (Err(why), _) => ControlFlow::Break(Box::new(at_span(
                format!("{} needs a time column: {why}", window.call_name()),
                format!("write {}, with the time column for ts", window.call_usage()),
                span,
            ))),
            _ => ControlFlow::Continue(()),
        }
    }
}
