//! The arguments of a window function in FROM, by place or by name: which of them is what.
//!
//! A function is the list of what it takes, in [`roles`]; reading, messages and what these show to write follow from there.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Spanned};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::dialect::object_name_parts;
use super::errors::at_span;
use super::options::nearest;
use super::partition_by::taken_apart;
use super::window_functions::WindowFunction;

/// Bytes of an argument that a message repeats.
const SHOWN_BYTES_MAX: usize = 60;

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Data,
    TimeCol,
    Slide,
    Step,
    Size,
    Gap,
    /// An offset, or a time zone.
    Offset,
}

/// What a function takes, in the order of places; what comes first in a call by name does not matter.
fn roles(function: WindowFunction) -> &'static [Role] {
    match function {
        WindowFunction::Tumble => &[Role::Data, Role::TimeCol, Role::Size, Role::Offset],
        WindowFunction::Hop => &[Role::Data, Role::TimeCol, Role::Slide, Role::Size, Role::Offset],
        WindowFunction::Cumulate => &[Role::Data, Role::TimeCol, Role::Step, Role::Size, Role::Offset],
        WindowFunction::Session => &[Role::Data, Role::TimeCol, Role::Gap],
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Data => "DATA",
            Role::TimeCol => "TIMECOL",
            Role::Slide => "SLIDE",
            Role::Step => "STEP",
            Role::Size => "SIZE",
            Role::Gap => "GAP",
            Role::Offset => "OFFSET",
        }
    }

    /// What a message writes for it where nothing is given; `None` for what may be left out.
    fn example(self) -> Option<&'static str> {
        match self {
            Role::Data => Some("TABLE t"),
            Role::TimeCol | Role::Offset => None,
            Role::Slide | Role::Step => Some("INTERVAL '1 minute'"),
            Role::Size => Some("INTERVAL '10 minutes'"),
            Role::Gap => Some("INTERVAL '5 minutes'"),
        }
    }
}

/// The arguments of one call.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    function: WindowFunction,
    given: Vec<(Role, &'a Expr)>,
    by_name: bool,
}

impl<'a> Arguments<'a> {
    /// `span`: of the function's name.
    ///
    /// # Errors
    /// Planning errors with the place of the argument that is wrong, and the call as it should be.
    pub(super) fn read(function: WindowFunction, args: &'a [FunctionArg], span: Span) -> Result<Self> {
        let by_name = args.iter().any(|arg| !matches!(arg, FunctionArg::Unnamed(_)));
        let mut arguments = Arguments { function, given: Vec::new(), by_name };
        let mut places = roles(function).iter().copied().peekable();
        let mut faults = Vec::new();
        for arg in args {
            let (name, name_span, arg) = match arg {
                FunctionArg::Unnamed(arg) => (None, None, arg),
                FunctionArg::Named { name, arg, .. } => (Some(name.value.clone()), Some(name.span), arg),
                FunctionArg::ExprNamed { name, arg, .. } => (Some(name.to_string()), Some(name.span()), arg),
            };
            let FunctionArgExpr::Expr(expr) = arg else {
                return Err(arguments.usage(format!("{} does not take `{arg}`", function.name()), span));
            };
            let Some(name) = name else {
                // The time of a table with a watermark may be left out.
                let is_length = matches!(expr, Expr::Interval(_) | Expr::Value(_));
                let is_left_out = |role: &Role| *role == Role::TimeCol && is_length;
                _ = places.next_if(is_left_out);
                let role = match by_name {
                    false => places.next(),
                    // It has no place; for what is to be written it is the first that has not come.
                    true => roles(function)
                        .iter()
                        .copied()
                        .find(|role| !is_left_out(role) && arguments.get(*role).is_none()),
                };
                match role {
                    Some(role) => arguments.given.push((role, expr)),
                    None => return Err(arguments.usage(format!("{} has too many arguments", function.name()), span)),
                }
                if by_name {
                    faults.push(("arguments are given either all by name or all by place".to_owned(), expr.span()));
                }
                continue;
            };
            let at = name_span.unwrap_or(span);
            match roles(function).iter().find(|role| role.name().eq_ignore_ascii_case(&name)) {
                Some(role) if arguments.get(*role).is_some() => {
                    faults.push((format!("argument {} is given twice", role.name()), at));
                }
                Some(role) => arguments.given.push((*role, expr)),
                None => {
                    faults.push((format!("{} has no argument \"{}\"", function.name(), name.to_uppercase()), at));
                    // For what is to be written: it is probably what is nearly called so.
                    let names: Vec<String> = roles(function).iter().map(|role| role.name().to_lowercase()).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let near = nearest(&name, &names).and_then(|near| names.iter().position(|name| *name == near));
                    let meant = near.map(|at| roles(function)[at]).filter(|role| arguments.get(*role).is_none());
                    arguments.given.extend(meant.map(|role| (role, expr)));
                }
            }
        }
        match faults.into_iter().next() {
            Some((what, at)) => Err(arguments.usage(what, at)),
            None => Ok(arguments),
        }
    }

    pub(super) fn get(&self, role: Role) -> Option<&'a Expr> {
        self.given.iter().find(|(given, _)| *given == role).map(|(_, expr)| *expr)
    }

    /// The length that stands before the size, where the function has one.
    pub(super) fn before_size(&self) -> Option<&'a Expr> {
        self.get(Role::Slide).or_else(|| self.get(Role::Step))
    }

    /// What stands for the size.
    pub(super) fn size(&self) -> Option<&'a Expr> {
        self.get(Role::Size).or_else(|| self.get(Role::Gap))
    }

    /// An error with how to write the call.
    pub(super) fn usage(&self, what: String, at: Span) -> DataFusionError {
        at_span(what, if self.by_name { self.by_names() } else { self.function.usage().to_owned() }, at)
    }

    /// The call by names alone, with what is given.
    fn by_names(&self) -> String {
        let arguments = roles(self.function).iter().filter_map(|role| {
            let text = match (self.get(*role), role.example()) {
                (Some(expr), _) if *role == Role::Data => shown_table(expr),
                (Some(expr), _) => shown(expr),
                (None, Some(example)) => example.to_owned(),
                (None, None) => return None,
            };
            Some(format!("{} => {text}", role.name()))
        });
        format!("write {}({})", self.function.name(), arguments.collect::<Vec<_>>().join(", "))
    }
}

fn shown_table(expr: &Expr) -> String {
    let (table, keys) = taken_apart(expr.clone());
    let table = match object_name_parts(&table) {
        Some(_) => format!("TABLE {table}"),
        None => shown(&table),
    };
    match keys.as_slice() {
        [] => table,
        keys => format!("{table} PARTITION BY {}", keys.iter().map(shown).collect::<Vec<_>>().join(", ")),
    }
}

fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Subquery(_) => "(SELECT …)".to_owned(),
        expr => {
            let text = expr.to_string();
            if text.len() > SHOWN_BYTES_MAX { "…".to_owned() } else { text }
        }
    }
}
