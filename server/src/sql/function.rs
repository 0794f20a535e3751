//! Users' own functions: `CREATE FUNCTION name(a DOUBLE, …) RETURNS DOUBLE RETURN expression`.
//!
//! The expression is planned once, over the parameters as its columns. A call then evaluates it over its arguments, or, where
//! no argument would be computed twice, is replaced by it, so that the optimizer sees through. The answer is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, ScalarUDF};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Function as SqlCall, ObjectNamePart, Query, Visit, Visitor};

use self::body::Body;
pub(super) use self::body::converts;
use self::call::{Broken, Call};
use super::circles::lead_back;
use super::errors::planning_error;
use super::failed_value::{Code, Written};
use super::parser::normalize;
use super::session::session;
use super::window_tvf::WatermarkColumns;
use crate::catalog::FunctionDef;
use crate::error::{Error, Result};

mod body;
mod call;
mod statement;

/// Functions that call one another, one in the other.
const DEPTH_MAX: usize = 8;
/// Parts of an expression with those of the functions that it calls, each counted where it is called.
const PARTS_MAX: usize = 1_000;

/// Users' functions, planned and ready for sessions. A mistaken one is there too: a query that calls it is told so.
#[derive(Debug, Default)]
pub struct Functions(BTreeMap<String, UserFunction>);

#[derive(Debug)]
struct UserFunction {
    udf: Arc<ScalarUDF>,
    /// What it computes, for the versions of queries that use it.
    meaning: String,
    /// The users' functions that it calls.
    calls: BTreeSet<String>,
    depth: usize,
    parts: usize,
    body: Box<SqlExpr>,
    file: String,
}

impl Functions {
    /// Plans all of `definitions`, whose order does not matter, and says what is wrong with them, with places.
    pub fn compile<'a>(definitions: impl IntoIterator<Item = &'a FunctionDef>) -> (Self, Vec<Error>) {
        let mut errors = Vec::new();
        let mut waiting: BTreeMap<&str, &FunctionDef> = BTreeMap::new();
        for definition in definitions {
            match waiting.get(definition.name.as_str()) {
                None => drop(waiting.insert(&definition.name, definition)),
                Some(first) => errors.push(
                    Error::invalid(format!("function \"{}\" is defined twice", definition.name))
                        .detail(format!("the first definition is at {}", first.location))
                        .hint("rename or delete one of them")
                        .at(definition.location.clone()),
                ),
            }
        }
        let mut functions = Functions::default();
        if waiting.is_empty() {
            return (functions, errors);
        }
        let context = match session(Arc::new(NoTables), 1) {
            Ok(context) => context,
            Err(error) => return (functions, vec![error]),
        };
        // One after the other, each after those that it calls.
        while !waiting.is_empty() {
            let ready: Vec<&FunctionDef> = {
                let calls = |definition: &&FunctionDef| calls_in(definition.body.as_ref());
                let waits = |call: &String| waiting.contains_key(call.as_str());
                waiting.values().copied().filter(|definition| !calls(definition).iter().any(waits)).collect()
            };
            let circular: Vec<&FunctionDef> = match ready.is_empty() {
                true => circular_in(&waiting),
                false => Vec::new(),
            };
            let planned = ready.into_iter().map(|definition| (definition, functions.plan(definition, &context)));
            let refused = circular.into_iter().map(|definition| (definition, Err(circular_error(definition))));
            for (definition, planned) in planned.chain(refused).collect::<Vec<_>>() {
                waiting.remove(definition.name.as_str());
                let function = planned.unwrap_or_else(|error| {
                    let broken = UserFunction::broken(definition, &error);
                    errors.push(error);
                    broken
                });
                // A name that is taken stays what it is.
                if !exists(&context.state(), &definition.name) {
                    context.register_udf(function.udf.as_ref().clone());
                    functions.0.insert(definition.name.clone(), function);
                }
            }
        }
        (functions, errors)
    }

    fn plan(&self, definition: &FunctionDef, context: &SessionContext) -> Result<UserFunction> {
        let state = context.state();
        if exists(&state, &definition.name) {
            return Err(Error::invalid(format!("there is a function \"{}\" already", definition.name))
                .hint("choose another name: built-in functions cannot be replaced")
                .at(definition.location.clone()));
        }
        let calls: BTreeSet<String> =
            calls_in(definition.body.as_ref()).into_iter().filter(|call| self.0.contains_key(call)).collect();
        let file = &definition.location.file;
        let place = |error| planning_error(error, file, &definition.body_at);
        let body = Body::plan(definition, &state).map_err(place)?;
        let depth = 1 + calls.iter().filter_map(|call| self.0.get(call)).map(|call| call.depth).max().unwrap_or(0);
        if depth > DEPTH_MAX {
            return Err(Error::invalid(format!("functions call one another more than {DEPTH_MAX} deep"))
                .hint("write one of them out")
                .at(definition.body_at.clone()));
        }
        let parts = self.parts(&body.expr).map_err(place)?;
        if parts > PARTS_MAX {
            return Err(Error::invalid(format!("the function stands for an expression of {parts} parts"))
                .detail("the functions that it calls are counted with all their parts, each time")
                .hint(format!("at most {PARTS_MAX}"))
                .at(definition.body_at.clone()));
        }
        let parameters: Vec<String> = definition
            .parameters
            .iter()
            .map(|parameter| format!("{} {}", parameter.name, parameter.data_type))
            .collect();
        let meaning =
            format!("{}({}) {} {}", definition.name, parameters.join(", "), definition.returns, definition.body);
        let udf = Arc::new(ScalarUDF::from(Call::new(definition, body, meaning.clone())));
        let (body, file) = (definition.body.clone(), file.clone());
        Ok(UserFunction { udf, meaning, calls, depth, parts, body, file })
    }

    fn parts(&self, expr: &Expr) -> PlanResult<usize> {
        let mut parts = 0_usize;
        expr.apply(|part| {
            let inside = match part {
                Expr::ScalarFunction(call) => self.0.get(call.func.name()).map_or(0, |function| function.parts),
                _ => 0,
            };
            parts = parts.saturating_add(1).saturating_add(inside);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(parts)
    }

    /// The functions, for a session.
    pub fn udfs(&self) -> impl Iterator<Item = Arc<ScalarUDF>> + '_ {
        self.0.values().map(|function| Arc::clone(&function.udf))
    }

    /// What the functions compute that a query uses, directly or by way of others, in the order of their names. A query whose
    /// text stands still is another one when this changes.
    pub fn used_by(&self, query: &Query) -> Vec<&str> {
        self.used(query).map(|function| function.meaning.as_str()).collect()
    }

    /// The texts of the functions that a query uses, directly or by way of others.
    pub fn written(&self, query: &Query) -> Vec<Written<'_>> {
        self.used(query).map(|function| Written { file: &function.file, code: Code::Expr(&function.body) }).collect()
    }

    /// The files of the functions that a query uses, directly or by way of others.
    pub fn files_of(&self, query: &Query) -> impl Iterator<Item = &str> {
        self.used(query).map(|function| function.file.as_str())
    }

    fn used(&self, query: &Query) -> impl Iterator<Item = &UserFunction> {
        let mut todo = calls_in(query);
        let mut used = BTreeMap::new();
        while let Some(name) = todo.pop_last() {
            if let Some(function) = self.0.get(&name)
                && used.insert(name, function).is_none()
            {
                todo.extend(function.calls.iter().cloned());
            }
        }
        used.into_values()
    }
}

impl UserFunction {
    fn broken(definition: &FunctionDef, error: &Error) -> Self {
        let what = match error.location() {
            Some(place) => format!("{place}: {error}"),
            None => error.to_string(),
        };
        let udf = Arc::new(ScalarUDF::from(Broken::new(definition.name.clone(), what.clone())));
        let (body, file) = (definition.body.clone(), definition.location.file.clone());
        UserFunction { udf, meaning: what, calls: BTreeSet::new(), depth: 1, parts: 1, body, file }
    }
}

/// Those that call themselves, directly or by way of others that wait, too.
fn circular_in<'a>(waiting: &BTreeMap<&str, &'a FunctionDef>) -> Vec<&'a FunctionDef> {
    let places: BTreeMap<&str, usize> = waiting.keys().copied().zip(0..).collect();
    let called = |definition: &&FunctionDef| -> Vec<usize> {
        let calls = calls_in(definition.body.as_ref());
        calls.iter().filter_map(|call| places.get(call.as_str()).copied()).collect()
    };
    let next: Vec<Vec<usize>> = waiting.values().map(called).collect();
    let circular = waiting.values().copied().zip(lead_back(&next)).filter(|(_, leads_back)| *leads_back);
    circular.map(|(definition, _)| definition).collect()
}

fn circular_error(definition: &FunctionDef) -> Error {
    Error::invalid(format!("function \"{}\" leads back to itself", definition.name))
        .hint("write the value out: a function cannot call itself, not by way of others either")
        .at(definition.body_at.clone())
}

fn exists(state: &SessionState, name: &str) -> bool {
    state.scalar_functions().contains_key(name)
        || state.aggregate_functions().contains_key(name)
        || state.window_functions().contains_key(name)
        || state.higher_order_functions().contains_key(name)
}

/// Functions are planned where no table is.
#[derive(Debug)]
pub(super) struct NoTables;

impl WatermarkColumns for NoTables {
    fn watermark_column(&self, _: &TableReference) -> Option<String> {
        None
    }
}

/// The names of all functions that are called.
fn calls_in(node: &impl Visit) -> BTreeSet<String> {
    struct Calls(BTreeSet<String>);
    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
            if let SqlExpr::Function(SqlCall { name, .. }) = expr
                && let [ObjectNamePart::Identifier(name)] = name.0.as_slice()
            {
                self.0.insert(normalize(name));
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls(BTreeSet::new());
    let _ = node.visit(&mut calls);
    calls.0
}

#[cfg(test)]
mod tests;
