//! A query that also emits what is not final yet: which queries may, what names a row of theirs, and the column that says which it is.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, Projection, SubqueryAlias, lit};

use super::StreamPlan;
use super::edge::{ColumnFacts, Edge};
use super::expression::{as_column, is_volatile};
use crate::catalog::EarlyWhen;
use crate::changelog::Changes;
use crate::changelog::early::IS_FINAL;
use crate::clock::micros_of;
use crate::error::{Error, Result};
use crate::operator::logical::{EarlyDefinition, Names, OperatorNode};
use crate::operator::static_side::tables_of_subqueries;
use crate::sql::interval;
use crate::sql::window::WindowKind;

/// Where early results come from, and what names them.
#[derive(Debug, Clone)]
pub struct EarlyPlan {
    /// The id of the operator that emits them.
    pub operator: String,
    /// The columns of the query that name a row, in its order.
    pub key: Vec<EarlyKey>,
    begin_together: bool,
    /// How many group keys there are.
    keys: usize,
}

/// A column that names a row.
#[derive(Debug, Clone)]
pub struct EarlyKey {
    /// Its place in the result of the query, and its name there.
    pub column: usize,
    pub name: String,
    /// The column of the operator that it is, and the field where it is one of a struct.
    pub from: usize,
    pub field: Option<String>,
    names: Names,
}

impl EarlyPlan {
    /// Whether these columns of the query name a row by themselves.
    fn named_by(&self, columns: &[String]) -> bool {
        let named: Vec<&EarlyKey> = self.key.iter().filter(|key| columns.contains(&key.name)).collect();
        named.len() == columns.len()
            && named.iter().any(|key| self.names_window(key))
            && (0..self.keys).all(|at| named.iter().any(|key| key.names == Names::Key(at)))
    }

    fn names_window(&self, key: &EarlyKey) -> bool {
        match key.names {
            Names::Window | Names::WindowStruct => true,
            Names::WindowStart => !self.begin_together,
            Names::Key(_) | Names::Value => false,
        }
    }

    /// Whether a view may be upserted by the columns that its `'primary-key'` says.
    ///
    /// # Errors
    /// `Invalid` where they do not name what a row replaces.
    pub fn check_primary_key(&self, when: EarlyWhen, given: &[String]) -> Result<()> {
        if given.is_empty() || self.named_by(given) {
            return Ok(());
        }
        let all = self.key.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
        Err(Error::invalid(format!(
            "with {when} rows replace one another by their window and keys, and 'primary-key' says \"{}\"",
            given.join(", ")
        ))
        .hint(format!("write 'primary-key' = '{all}', or leave it out")))
    }
}

/// The plan with results before they are final, and the column [`IS_FINAL`] behind those of the query.
///
/// # Errors
/// `Invalid` for a query that is no window aggregate, or does not show what names its rows.
pub fn emitting_early(stream: StreamPlan, when: EarlyWhen) -> Result<(StreamPlan, EarlyPlan)> {
    let schema = Arc::clone(stream.logical.schema());
    if schema.fields().iter().any(|field| field.name() == IS_FINAL) {
        return Err(Error::invalid(format!("{when} adds the column {IS_FINAL}, and the query has one of this name"))
            .hint("give it another name, with AS"));
    }
    let found = upper(&stream.logical, when);
    if found.is_err() && stream.edge.columns.iter().any(is_of_session) {
        return Err(of_sessions(when));
    }
    let Upper { plan, columns, operator, definition } = found?;
    let key: Vec<EarlyKey> = columns
        .into_iter()
        .enumerate()
        .filter_map(|(at, from)| {
            let Origin { column, field } = from?;
            let names = match (definition.columns.get(column)?, field.as_deref()) {
                (Names::Value, _) => return None,
                (Names::WindowStruct, Some("start")) => Names::WindowStart,
                (Names::WindowStruct, Some(_)) => Names::Window,
                (names, _) => *names,
            };
            Some(EarlyKey { column: at, name: schema.field(at).name().clone(), from: column, field, names })
        })
        .collect();
    let keys = definition.columns.iter().filter_map(|names| match names {
        Names::Key(at) => Some(at + 1),
        _ => None,
    });
    let early = EarlyPlan {
        operator: operator.id.clone(),
        key,
        begin_together: definition.begin_together,
        keys: keys.max().unwrap_or(0),
    };
    shows_its_key(&early, when, &definition, &operator)?;

    let mut shown: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    shown.push(lit(true).alias(IS_FINAL));
    let logical = LogicalPlan::Projection(Projection::try_new(shown, Arc::new(plan))?);
    let mut columns = stream.edge.columns.clone();
    columns.push(ColumnFacts::default());
    let changes = Changes::Upsert(early.key.iter().map(|key| key.column).collect());
    let edge = Edge { columns, changes: changes.clone(), ..stream.edge };
    let mut explain = stream.explain;
    (explain.changes, explain.early) = (changes, Some(Emission(when).to_string()));
    let with_rows = logical.clone();
    Ok((StreamPlan { logical, with_rows, edge, explain, operators: stream.operators }, early))
}

/// In every row there has to be the window, and each key.
fn shows_its_key(
    early: &EarlyPlan,
    when: EarlyWhen,
    definition: &EarlyDefinition,
    operator: &OperatorNode,
) -> Result<()> {
    let lacks = |what: String, add: &str| {
        Err(Error::invalid(format!("with {when} rows replace one another by their window and keys, and {what}"))
            .hint(format!("add {add} to the SELECT list, as it is")))
    };
    if !early.key.iter().any(|key| early.names_window(key)) {
        let add = if early.begin_together { "window_end" } else { "window_start" };
        return lacks("the window is not in the SELECT list".to_owned(), add);
    }
    for at in 0..early.keys {
        if early.key.iter().any(|key| key.names == Names::Key(at)) {
            continue;
        }
        let column = definition.columns.iter().position(|names| *names == Names::Key(at));
        let name = column.map_or_else(String::new, |column| operator.schema.field(column).name().clone());
        return lacks(format!("\"{name}\" is not in the SELECT list"), &name);
    }
    Ok(())
}

/// The nodes from the root to the operator.
struct Upper {
    /// With an operator that emits early.
    plan: LogicalPlan,
    /// Of each column what of the operator's it is; `None` where it is computed.
    columns: Vec<Option<Origin>>,
    operator: OperatorNode,
    definition: EarlyDefinition,
}

#[derive(Debug, Clone)]
struct Origin {
    column: usize,
    field: Option<String>,
}

fn upper(plan: &LogicalPlan, when: EarlyWhen) -> Result<Upper> {
    match plan {
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().try_for_each(|expr| repeatable(expr, when))?;
            let below = upper(&projection.input, when)?;
            let trace = |expr: &Expr| traced(expr, projection.input.schema(), &below.columns);
            let columns = projection.expr.iter().map(trace).collect();
            let (expr, schema) = (projection.expr.clone(), Arc::clone(&projection.schema));
            let plan = Projection::try_new_with_schema(expr, Arc::new(below.plan), schema)?;
            Ok(Upper { plan: LogicalPlan::Projection(plan), columns, ..below })
        }
        LogicalPlan::Filter(filter) => {
            repeatable(&filter.predicate, when)?;
            let below = upper(&filter.input, when)?;
            let plan = Filter::try_new(filter.predicate.clone(), Arc::new(below.plan))?;
            Ok(Upper { plan: LogicalPlan::Filter(plan), ..below })
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let below = upper(&alias.input, when)?;
            let plan = SubqueryAlias::try_new(Arc::new(below.plan), alias.alias.clone())?;
            Ok(Upper { plan: LogicalPlan::SubqueryAlias(plan), ..below })
        }
        LogicalPlan::Extension(extension) => {
            let operator = extension.node.as_any().downcast_ref::<OperatorNode>();
            let early = operator.and_then(|operator| Some((operator, operator.definition.emitting_early(when)?)));
            let Some((operator, definition)) = early else { return Err(other_shape(when)) };
            let node = OperatorNode { definition: Arc::clone(&definition.definition), ..operator.clone() };
            let columns = (0..operator.schema.fields().len()).map(|column| Some(Origin { column, field: None }));
            Ok(Upper {
                plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }),
                columns: columns.collect(),
                operator: operator.clone(),
                definition,
            })
        }
        _ => Err(other_shape(when)),
    }
}

fn is_of_session(facts: &ColumnFacts) -> bool {
    facts.window.as_ref().is_some_and(|window| matches!(window.kind, WindowKind::Session { .. }))
}

fn of_sessions(when: EarlyWhen) -> Error {
    Error::invalid(format!(
        "{when} is not available over SESSION: its results leave once, when a session closes and its end is known"
    ))
    .hint("leave the clause out, or use TUMBLE, HOP or CUMULATE, whose windows are known before they close")
}

fn other_shape(when: EarlyWhen) -> Error {
    Error::invalid(format!(
        "{when} is for an aggregate over windows of TUMBLE, HOP or CUMULATE, and above it filters and expressions alone"
    ))
    .hint("SELECT window_start, window_end, k, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, k; join it, or compute further, when reading the view")
}

/// What is evaluated again and again of the same key must give the same.
fn repeatable(expr: &Expr, when: EarlyWhen) -> Result<()> {
    if is_volatile(expr) {
        return Err(Error::invalid(format!(
            "\"{expr}\" gives another value each time, and with {when} each result is computed many times"
        ))
        .hint("compute it when reading the view"));
    }
    let mut chooses = false;
    expr.apply(|expr| {
        chooses |= matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_));
        chooses |= matches!(expr, Expr::ScalarSubquery(query) if !query.outer_ref_columns.is_empty());
        Ok(TreeNodeRecursion::Continue)
    })?;
    match chooses {
        true => Err(Error::invalid(format!("with {when} no result is looked up in another table"))
            .hint("look it up below the aggregate, or when reading the view")),
        false => Ok(()),
    }
}

/// Names of the tables that subqueries above the operator read: early results are compared with their values, and so are final ones.
pub fn tables_above(plan: &LogicalPlan) -> BTreeSet<String> {
    tables_of_subqueries(plan, |node| matches!(node, LogicalPlan::Extension(_)))
}

/// What of the operator's columns an expression passes on, if that is all it does.
fn traced(expr: &Expr, input: &DFSchema, columns: &[Option<Origin>]) -> Option<Origin> {
    let of_column = |column: &Column| columns.get(input.maybe_index_of_column(column)?)?.clone();
    if let Some(column) = as_column(expr) {
        return of_column(column);
    }
    match expr {
        Expr::Alias(alias) => traced(&alias.expr, input, columns),
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "get_field" => {
            let [of, Expr::Literal(name, _)] = args.as_slice() else { return None };
            let Origin { column, field: None } = traced(of, input, columns)? else { return None };
            Some(Origin { column, field: Some(name.try_as_str()??.to_owned()) })
        }
        _ => None,
    }
}

/// Early results in words, for EXPLAIN.
struct Emission(EarlyWhen);

impl fmt::Display for Emission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            EarlyWhen::Changes => f.write_str("after each epoch the results that it has changed"),
            EarlyWhen::Every(length) => {
                write!(f, "at most every {} the results that have changed", interval::shown(micros_of(length)))
            }
            EarlyWhen::LateCorrections => f.write_str(
                "the results of a window when the watermark passes its end, and those that a late row changes",
            ),
        }
    }
}
