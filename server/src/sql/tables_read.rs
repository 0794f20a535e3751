//! Which tables a query names: those of its FROM clauses at any depth, without the names that its own WITH clauses give.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, ObjectNamePart, Query, TableFactor, Visit,
    Visitor,
};

use super::dialect::object_name_parts;
use super::parser::normalize;
use super::partition_by::taken_apart;
use super::reads::names_in;

/// See the module's first line. Of a window function, as `TUMBLE(v, …)`, the table that it is over.
pub fn tables_of(query: &Query) -> BTreeSet<String> {
    let mut names = Names::default();
    let _ = query.visit(&mut names);
    names.tables
}

#[derive(Default)]
struct Names {
    tables: BTreeSet<String>,
    /// Of each query around, what its WITH has given a name to so far.
    given: Vec<Vec<String>>,
    /// The name of a WITH query by its place in the tree, until it has been visited: only what follows it means it by the name.
    names: HashMap<*const Query, String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let mut given = Vec::new();
        if let Some(with) = &query.with {
            for named in &with.cte_tables {
                let name = normalize(&named.alias.name);
                match with.recursive {
                    true => given.push(name),
                    false => _ = self.names.insert(&raw const *named.query, name),
                }
            }
        }
        self.given.push(given);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.given.pop();
        if let (Some(name), Some(around)) = (self.names.remove(&(&raw const *query)), self.given.last_mut()) {
            around.push(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        for name in named_by(factor) {
            if !self.given.iter().flatten().any(|given| *given == name) {
                self.tables.insert(name);
            }
        }
        ControlFlow::Continue(())
    }
}

fn named_by(factor: &TableFactor) -> Vec<String> {
    let args = match factor {
        TableFactor::Table { name: ObjectName(parts), args: None, .. } => return last(parts).into_iter().collect(),
        TableFactor::Table { args: Some(args), .. } => args.args.as_slice(),
        TableFactor::Function { args, .. } => args.as_slice(),
        TableFactor::TableFunction { expr: Expr::Function(function), .. } => match &function.args {
            FunctionArguments::List(list) => list.args.as_slice(),
            FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
        },
        _ => &[],
    };
    let Some(table) = data(args) else { return vec![] };
    match taken_apart(table.clone()).0 {
        // It is visited as a query of its own.
        Expr::Subquery(_) => vec![],
        table => match object_name_parts(&table) {
            Some(parts) => last(&parts).into_iter().collect(),
            None => names_in(factor),
        },
    }
}

/// The table among the arguments of a window function.
fn data(args: &[FunctionArg]) -> Option<&Expr> {
    let mut of_role = args.iter().filter_map(|arg| match arg {
        FunctionArg::Named { name, arg, .. } if name.value.eq_ignore_ascii_case("data") => Some(arg),
        FunctionArg::ExprNamed { name, arg, .. } if name.to_string().eq_ignore_ascii_case("data") => Some(arg),
        _ => None,
    });
    let first = || match args.first() {
        Some(FunctionArg::Unnamed(arg)) => Some(arg),
        _ => None,
    };
    match of_role.next().or_else(first)? {
        FunctionArgExpr::Expr(expr) => Some(expr),
        _ => None,
    }
}

fn last(parts: &[ObjectNamePart]) -> Option<String> {
    parts.last().and_then(ObjectNamePart::as_ident).map(normalize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Statement;
    use crate::sql::parse_file;

    fn named(query: &str) -> Vec<String> {
        match parse_file("a.sql", query).expect(query).pop() {
            Some(Statement::Select(view)) => tables_of(&view.query).into_iter().collect(),
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn a_query_names_tables_wherever_it_reads_and_of_window_functions_the_table_alone() {
        for (query, want) in [
            ("SELECT a FROM x JOIN Y ON x.a = y.a WHERE a IN (SELECT b FROM \"Z\")", &["Z", "x", "y"][..]),
            ("SELECT count(*) FROM TUMBLE(v, ts, INTERVAL '1 minute') GROUP BY window_end", &["v"]),
            ("SELECT 1 FROM TABLE(TUMBLE(TABLE v, DESCRIPTOR(ts), INTERVAL '1 minute'))", &["v"]),
            (
                "SELECT 1 FROM TABLE(TUMBLE(SIZE => INTERVAL '1 minute', DATA => TABLE v, TIMECOL => DESCRIPTOR(ts)))",
                &["v"],
            ),
            ("SELECT 1 FROM HOP((SELECT ts FROM v), ts, INTERVAL '1 minute', INTERVAL '2 minutes')", &["v"]),
            ("SELECT 1 FROM SESSION(v PARTITION BY k, j, ts, INTERVAL '1 minute')", &["v"]),
            ("SELECT 1 FROM SESSION((SELECT k, ts FROM v) PARTITION BY k, ts, INTERVAL '1 minute')", &["v"]),
            ("SELECT 1 FROM public.v", &["v"]),
        ] {
            assert_eq!(named(query), want, "{query}");
        }
    }

    #[test]
    fn what_a_with_names_is_no_table_but_where_it_reads_one_of_its_own_name() {
        for (query, want) in [
            ("WITH w AS (SELECT a FROM x), u AS (SELECT a FROM w) SELECT a FROM u", &["x"][..]),
            ("WITH v AS (SELECT a FROM v WHERE a > 0) SELECT a FROM v", &["v"]),
            ("SELECT a FROM (WITH w AS (SELECT a FROM x) SELECT a FROM w) JOIN w ON true", &["w", "x"]),
            ("WITH RECURSIVE w AS (SELECT a FROM x UNION ALL SELECT a FROM w) SELECT a FROM w", &["x"]),
            (
                "WITH w AS (SELECT a FROM x) SELECT count(*) FROM TUMBLE(w, ts, INTERVAL '1 minute') GROUP BY window_end",
                &["x"],
            ),
        ] {
            assert_eq!(named(query), want, "{query}");
        }
    }
}
