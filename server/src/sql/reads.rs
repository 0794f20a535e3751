//! How many tables a statement reads once its WITH names stand for what they name: to be known before anything is planned.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::dialect::StreamDialect;
use crate::error::{Error, Result};

/// Tables that a statement reads, with those behind a WITH name counted each time the name is used: twenty names that
/// each use the one before twice stand for a million, and the planner goes through all of them.
const TABLES_MAX: usize = 500;

/// Refuses what reads too many tables, or one of them too often.
///
/// # Errors
/// `OverBudget` with the limit.
pub fn refuse_reads(statement: &impl Visit) -> Result<()> {
    let mut reads = Reads { tables: vec![0], ..Reads::default() };
    match statement.visit(&mut reads) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Each name that a table in FROM is read by; of a function there, as `TUMBLE(clicks, …)`, every word of its arguments.
pub fn names_in(factor: &TableFactor) -> Vec<String> {
    let words = |text: String| {
        let tokens = Tokenizer::new(&StreamDialect::default(), &text).tokenize().unwrap_or_default();
        tokens.into_iter().filter_map(|token| match token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
            // The second is a file, as in FROM 'clicks.csv'.
            Token::Word(Word { value, .. }) | Token::SingleQuotedString(value) => Some(value),
            _ => None,
        })
    };
    match factor {
        TableFactor::Table { name, args, .. } => {
            let args = args.iter().flat_map(|args| &args.args).map(ToString::to_string);
            std::iter::once(name.to_string()).chain(args).flat_map(words).collect()
        }
        TableFactor::Function { args, .. } => args.iter().flat_map(|arg| words(arg.to_string())).collect(),
        TableFactor::TableFunction { expr, .. } => words(expr.to_string()).collect(),
        _ => vec![],
    }
}

#[derive(Default)]
struct Reads {
    /// How many tables each WITH name stands for. One map for all scopes: of two queries of one name the larger counts.
    named_queries: HashMap<String, usize>,
    /// The name of a WITH query by its place in the tree, until it has been visited.
    names: HashMap<*const Query, String>,
    /// Tables so far, of each query that is being visited, outermost first.
    tables: Vec<usize>,
}

impl Visitor for Reads {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        for named in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.names.insert(&raw const *named.query, named.alias.name.value.to_lowercase());
        }
        self.tables.push(0);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        let tables = self.tables.pop().unwrap_or(0);
        if let Some(name) = self.names.remove(&(&raw const *query)) {
            let known = self.named_queries.entry(name).or_default();
            *known = tables.max(*known);
        } else if let Some(outer) = self.tables.last_mut() {
            *outer = outer.saturating_add(tables);
        }
        if tables > TABLES_MAX {
            return ControlFlow::Break(
                Error::over_budget(format!("the statement reads more than {TABLES_MAX} tables"))
                    .hint("a part of a WITH clause counts as often as it is read; write it as a view of its own"),
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        let is_table = matches!(
            factor,
            TableFactor::Table { .. } | TableFactor::Function { .. } | TableFactor::TableFunction { .. }
        );
        if let Some(tables) = self.tables.last_mut().filter(|_| is_table) {
            let named = names_in(factor).iter().filter_map(|name| self.named_queries.get(&name.to_lowercase())).sum();
            *tables = tables.saturating_add(usize::max(named, 1));
        }
        ControlFlow::Continue(())
    }
}
